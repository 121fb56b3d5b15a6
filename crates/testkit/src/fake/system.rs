//! The system behind a fake connector: what it counts, what it holds, and how it is broken.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use trunkline_core::ErrorKind;

/// A reply that a test has scripted for one call of an action.
#[derive(Clone, Debug)]
pub enum FakeReply {
    /// The call has no effect and returns this value. A list returns the array as its only page.
    Returns(serde_json::Value),
    /// The call has no effect and fails with this error.
    Fails(trunkline_core::Error),
    /// The call takes this time before the action decides.
    Delay(Duration),
    /// The call takes effect, and its response is lost: it fails with `unknown_outcome`.
    Lost,
}

/// The system behind a [`Fake`](super::Fake): counters, created things, scripts and switches. Every method may be
/// called while calls run.
#[derive(Debug)]
pub struct FakeSystem {
    state: Mutex<State>,
    me: Weak<FakeSystem>,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<String, usize>,
    scripts: BTreeMap<String, VecDeque<FakeReply>>,
    created: Vec<String>,
    refused: BTreeSet<String>,
    is_down: bool,
    is_blind: bool,
    look_up: Option<ErrorKind>,
    working: usize,
    most_working: usize,
}

impl FakeSystem {
    /// Creates a system that works and holds nothing.
    pub fn new() -> Arc<FakeSystem> {
        Arc::new_cyclic(|me| FakeSystem { state: Mutex::default(), me: me.clone() })
    }

    pub(super) fn handle(&self) -> Arc<FakeSystem> {
        self.me.upgrade().expect("a system is only made behind an Arc")
    }

    // An action may panic as asked, but not while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event, and returns how often it has been counted.
    pub fn count(&self, what: &str) -> usize {
        let mut state = self.state();
        let count = state.calls.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Returns how often an event was counted: an action, an idempotency key, `connect`, or what an action counts.
    pub fn calls(&self, what: &str) -> usize {
        self.state().calls.get(what).copied().unwrap_or_default()
    }

    /// Returns all counters.
    pub fn all_calls(&self) -> BTreeMap<String, usize> {
        self.state().calls.clone()
    }

    /// Scripts the replies to the next calls of an action, after those that are already scripted.
    pub fn script(&self, action: &str, replies: impl IntoIterator<Item = FakeReply>) {
        self.state().scripts.entry(action.to_owned()).or_default().extend(replies);
    }

    pub(super) fn next_reply(&self, action: &str) -> Option<FakeReply> {
        self.state().scripts.get_mut(action)?.pop_front()
    }

    /// Creates a thing. Two things may have the same name.
    pub fn create(&self, name: &str) {
        self.state().created.push(name.to_owned());
    }

    /// Removes all things of a name. Returns whether there were any.
    pub fn remove(&self, name: &str) -> bool {
        let created = &mut self.state().created;
        let before = created.len();
        created.retain(|created| created != name);
        created.len() < before
    }

    /// Returns the names of the created things, in the order of their creation.
    pub fn created(&self) -> Vec<String> {
        self.state().created.clone()
    }

    /// Returns whether there is a thing of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.state().created.iter().any(|created| created == name)
    }

    /// Refuses to create things of these names, besides those that it already refuses.
    pub fn refuse(&self, names: impl IntoIterator<Item = impl Into<String>>) {
        self.state().refused.extend(names.into_iter().map(Into::into));
    }

    /// Refuses no name any more.
    pub fn refuse_nothing(&self) {
        self.state().refused.clear();
    }

    /// Returns whether the system refuses to create things of this name.
    pub fn refuses(&self, name: &str) -> bool {
        self.state().refused.contains(name)
    }

    /// Takes the system down, or up again.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Returns whether the system is down.
    pub fn is_down(&self) -> bool {
        self.state().is_down
    }

    /// Sets whether the look-up of a create cannot find out its outcome.
    pub fn set_blind(&self, is_blind: bool) {
        self.state().is_blind = is_blind;
    }

    /// Returns whether the look-up of a create cannot find out its outcome.
    pub fn is_blind(&self) -> bool {
        self.state().is_blind
    }

    /// Sets the kind of error that the look-up of a create fails with, if it fails.
    pub fn fail_look_up(&self, kind: Option<ErrorKind>) {
        self.state().look_up = kind;
    }

    /// Returns the kind of error that the look-up of a create fails with, if it fails.
    pub fn look_up_failure(&self) -> Option<ErrorKind> {
        self.state().look_up
    }

    /// Counts a call that is in progress, until [`FakeSystem::leave`].
    pub fn enter(&self) {
        let mut state = self.state();
        state.working += 1;
        state.most_working = state.working.max(state.most_working);
    }

    /// Ends what [`FakeSystem::enter`] has begun.
    pub fn leave(&self) {
        self.state().working -= 1;
    }

    /// Returns the number of calls that are in progress.
    pub fn working(&self) -> usize {
        self.state().working
    }

    /// Returns the most calls that were in progress at the same time.
    pub fn most_working(&self) -> usize {
        self.state().most_working
    }
}

//! The activity of a run: it calls actions, or it only waits.
//!
//! A host limits how many runs work at the same time. A waiting run need not count, and if it waits for long, the host
//! suspends it until it is due: then it takes no memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trunkline_core::{Quota, Timestamp};

use crate::run::{QuotaUse, RunState, quota::CountedQuota, time::Timer};

/// Reports whether a run calls actions or only waits: for a time, for a signal, for its next attempt. A clone reports
/// on the same run.
#[derive(Clone, Debug, Default)]
pub struct ActivityMonitor(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    calls: usize,
    /// Lists of actions that are being read. A run that is suspended reads the page again.
    lists: usize,
    /// The end of each wait, by number, and what it waits for.
    waits: BTreeMap<u64, (WaitEnd, WaitReason)>,
    next: u64,
    /// The end of the pause that a service has asked for, and the connection to it.
    paused: Option<(Timestamp, String)>,
    /// The quotas that services have stated, by connection.
    quotas: BTreeMap<String, CountedQuota>,
    /// What the list that the run works on takes of one of them.
    quota: Option<QuotaUse>,
}

/// What a step waits for.
#[derive(Clone, Debug)]
pub(crate) enum WaitReason {
    /// A time, or the next attempt after an error.
    Time,
    /// A signal of this name.
    Signal(String),
    /// The next attempt after a throttle.
    Throttle,
}

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEnd {
    /// The time of the clock.
    pub until: Timestamp,
    /// When it ends at the latest, also if the clock is set back.
    pub latest: Instant,
}

/// Thirty years: a time that can be added to any time.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl WaitEnd {
    /// Returns the end of a timer.
    pub(crate) fn of(timer: Timer, now: Timestamp) -> WaitEnd {
        let left = timer.until.since(now).min(timer.longest).min(LONGEST);
        WaitEnd { until: timer.until, latest: Instant::now() + left }
    }

    /// Returns the time left.
    pub fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now).min(self.latest.saturating_duration_since(Instant::now()))
    }
}

impl ActivityMonitor {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether everything in flight is waiting.
    pub fn is_idle(&self) -> bool {
        let counts = self.lock();
        counts.calls == 0 && !counts.waits.is_empty()
    }

    /// Returns the earliest end of a wait if everything in flight is waiting, and if a run that is suspended now does
    /// not repeat anything.
    pub fn waits_until(&self, now: Timestamp) -> Option<WaitEnd> {
        let counts = self.lock();
        let waits = counts.waits.values().filter(|_| counts.calls == 0 && counts.lists == 0);
        waits.map(|(end, _)| end).min_by_key(|end| end.left(now)).copied()
    }

    /// Returns what the run does: it waits or is throttled if everything in flight does.
    pub fn state(&self, now: Timestamp) -> RunState {
        let counts = self.lock();
        match (&counts.paused, counts.waits.values().min_by_key(|(end, _)| end.left(now))) {
            (Some((until, connection)), _) if counts.calls > 0 && *until > now => {
                RunState::Throttled { until: *until, connection: Some(connection.clone()) }
            }
            (_, Some((end, reason))) if counts.calls == 0 => match reason {
                WaitReason::Throttle => RunState::Throttled { until: end.until, connection: None },
                WaitReason::Time => RunState::Waiting { until: Some(end.until), signal: None, connections: Vec::new() },
                WaitReason::Signal(name) => {
                    let signal = Some(name.clone());
                    RunState::Waiting { until: Some(end.until), signal, connections: Vec::new() }
                }
            },
            _ => RunState::Running,
        }
    }

    /// Records that a service accepts no requests of this connection before this time.
    pub(crate) fn pause(&self, until: Timestamp, connection: &str) {
        let mut counts = self.lock();
        if counts.paused.as_ref().is_none_or(|(before, _)| *before < until) {
            counts.paused = Some((until, connection.to_owned()));
        }
    }

    /// Counts a request on this connection, for which its service has stated a quota. Of several quotas, the one that ends
    /// last counts.
    pub(crate) fn count(&self, quota: Quota, now: Timestamp, connection: &str) {
        let Quota { limit, left, ends_in } = quota;
        let until = now + ends_in;
        let mut counts = self.lock();
        let Some(known) = counts.quotas.get_mut(connection) else {
            counts.quotas.insert(connection.to_owned(), CountedQuota { limit, left, until, requests: 1 });
            return;
        };
        known.requests += 1;
        if known.limit == limit || known.until < until {
            (known.limit, known.left, known.until) = (limit, left, until);
        }
    }

    /// Returns what the list that the run works on takes of a quota, as measured last.
    pub fn quota(&self) -> Option<QuotaUse> {
        self.lock().quota.clone()
    }

    pub(crate) fn set_quota(&self, quota: Option<QuotaUse>) {
        self.lock().quota = quota;
    }

    /// Returns the quotas that services have stated, by connection.
    pub(crate) fn quotas(&self) -> BTreeMap<String, CountedQuota> {
        self.lock().quotas.clone()
    }

    /// Counts a call of an action until the guard is dropped.
    pub(crate) fn call(&self) -> ActivityGuard<'_> {
        self.lock().calls += 1;
        ActivityGuard { of: self, what: Activity::Call }
    }

    /// Counts a list of an action until the guard is dropped.
    pub(crate) fn list(&self) -> ActivityGuard<'_> {
        self.lock().lists += 1;
        ActivityGuard { of: self, what: Activity::List }
    }

    /// Counts a waiting step until the guard is dropped.
    pub(crate) fn wait(&self, end: WaitEnd, reason: WaitReason) -> ActivityGuard<'_> {
        let mut counts = self.lock();
        let number = counts.next;
        counts.next += 1;
        counts.waits.insert(number, (end, reason));
        ActivityGuard { of: self, what: Activity::Wait(number) }
    }
}

enum Activity {
    Call,
    List,
    Wait(u64),
}

pub(crate) struct ActivityGuard<'a> {
    of: &'a ActivityMonitor,
    what: Activity,
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        match self.what {
            Activity::Call => counts.calls -= 1,
            Activity::List => counts.lists -= 1,
            Activity::Wait(number) => drop(counts.waits.remove(&number)),
        }
    }
}

//! The queue of requests that wait for a permit.
//!
//! The idea is a round robin between runs: the queue is ordered by rounds, and each run has at most one request in a
//! round.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::Notify;
use trunkline_core::CancellationToken;

/// The key by which the queue is fair. Requests that are cancelled together belong to one run, so the run's
/// cancellation token identifies it.
pub(crate) type FairnessKey = CancellationToken;

/// A position in the queue, ordered by round and then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    round: u64,
    ticket: u64,
}

/// A round-robin queue of waiting requests.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<QueuePosition, Arc<Notify>>,
    /// For each key, the first round that has room for another of its requests.
    next_rounds: HashMap<FairnessKey, u64>,
    /// The round of the request that was served last.
    round: u64,
    tickets: u64,
}

impl Queue {
    /// Adds a request with this key. `wake` is notified when the request should check its position again.
    pub(super) fn join(&mut self, key: &FairnessKey, wake: Arc<Notify>) -> QueuePosition {
        if self.waiting.is_empty() {
            self.next_rounds.clear();
        }
        let next = self.next_rounds.entry(key.clone()).or_default();
        let round = self.round.max(*next);
        *next = round + 1;
        self.tickets += 1;
        let position = QueuePosition { round, ticket: self.tickets };
        self.waiting.insert(position, wake);
        position
    }

    pub(super) fn is_first(&self, position: QueuePosition) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first == position)
    }

    /// Removes a request that got its permit, and moves on to its round.
    pub(super) fn serve(&mut self, position: QueuePosition) {
        self.round = self.round.max(position.round);
        self.leave(position);
    }

    /// Removes a request, if it is still in the queue, and wakes the first of the others.
    pub(super) fn leave(&mut self, position: QueuePosition) {
        if self.waiting.remove(&position).is_some() {
            self.wake_first();
        }
        // Now and then, keys without waiting requests are removed.
        if self.next_rounds.len() > 2 * self.waiting.len() + 64 {
            let round = self.round;
            self.next_rounds.retain(|_, next| *next > round);
        }
    }

    pub(super) fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        self.waiting.values().for_each(|wake| wake.notify_one());
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

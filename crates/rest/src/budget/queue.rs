//! Who waits, in what order: round by round, and each lane once a round.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::Notify;

use super::Lane;

/// A place in the line: the round, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    round: u64,
    ticket: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Line {
    waiting: BTreeMap<QueuePosition, Arc<Notify>>,
    /// The first round that has room for another call of a lane.
    lanes: HashMap<Lane, u64>,
    /// The round of who went last.
    round: u64,
    tickets: u64,
}

impl Line {
    pub(super) fn join(&mut self, lane: &Lane, told: Arc<Notify>) -> QueuePosition {
        if self.waiting.is_empty() {
            self.lanes.clear();
        }
        let next = self.lanes.entry(lane.clone()).or_default();
        let round = self.round.max(*next);
        *next = round + 1;
        self.tickets += 1;
        let place = QueuePosition { round, ticket: self.tickets };
        self.waiting.insert(place, told);
        place
    }

    pub(super) fn is_first(&self, place: QueuePosition) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first == place)
    }

    /// Its turn has come.
    pub(super) fn serve(&mut self, place: QueuePosition) {
        self.round = self.round.max(place.round);
        self.leave(place);
    }

    pub(super) fn leave(&mut self, place: QueuePosition) {
        if self.waiting.remove(&place).is_some() {
            self.tell_first();
        }
        // Lanes that nobody waits in any more are forgotten now and then.
        if self.lanes.len() > 2 * self.waiting.len() + 64 {
            let round = self.round;
            self.lanes.retain(|_, next| *next > round);
        }
    }

    pub(super) fn tell_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }

    pub(super) fn tell_all(&self) {
        self.waiting.values().for_each(|told| told.notify_one());
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

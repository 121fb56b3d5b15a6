//! What is queued to be written, for those in this process who have to see it at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use trunkline_core::{Error, Result};
use trunkline_engine::{RunId, StepPath};

use crate::event_row::{Change, Outcome, Row};

pub(crate) type ItemKey = (RunId, StepPath, String);

/// What is queued, but perhaps not on disk; and which runs that are not over are known to exist (they never go).
#[derive(Default)]
pub(crate) struct Pending(Mutex<Queued>);

#[derive(Default)]
pub(crate) struct Queued {
    pub(crate) known: HashSet<RunId>,
    /// Those among them that are not on disk yet.
    pub(crate) arriving: HashSet<RunId>,
    pub(crate) appends: u64,
    pub(crate) items: HashMap<ItemKey, (u64, String)>,
    pub(crate) cancels: HashMap<RunId, u64>,
    /// Runs of which something was lost, and why. Who works on one knows more than the disk, so he may record nothing more:
    /// there would be a gap. Who claims it anew reads what is there.
    torn: HashMap<RunId, Error>,
    /// Numbers the appends, so that one that is done takes away its own entries only.
    last: u64,
}

impl Pending {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many runs it knows of.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.lock().known.len()
    }

    pub(crate) fn add(&self, run: &RunId, rows: &[Row]) -> u64 {
        let mut queued = self.lock();
        queued.last += 1;
        queued.appends += 1;
        let number = queued.last;
        for row in rows {
            match &row.change {
                Change::Item(Outcome { step, key, outcome, .. }) => {
                    queued.items.insert((run.clone(), step.clone(), key.clone()), (number, outcome.clone()));
                }
                Change::Cancel => {
                    queued.cancels.insert(run.clone(), number);
                }
                Change::Status { .. } | Change::None => {}
            }
        }
        number
    }

    /// A run that is queued to be accepted.
    pub(crate) fn arrive(&self, run: &RunId) -> u64 {
        let number = self.add(run, &[]);
        let mut queued = self.lock();
        queued.known.insert(run.clone());
        queued.arriving.insert(run.clone());
        number
    }

    pub(crate) fn tear(&self, run: &RunId, error: &Error) {
        self.lock().torn.entry(run.clone()).or_insert_with(|| error.clone());
    }

    /// From here on the run is what the disk says.
    pub(crate) fn mend(&self, run: &RunId) {
        let mut queued = self.lock();
        if queued.torn.remove(run).is_some() {
            queued.known.remove(run);
            queued.items.retain(|(of, _, _), _| of != run);
            queued.cancels.remove(run);
        }
    }

    pub(crate) fn whole(&self, run: &RunId) -> Result<()> {
        self.lock().torn.get(run).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// An append is on disk, or lost. What is lost stays visible to who can only stop now: he would else do an item twice.
    pub(crate) fn done(&self, run: &RunId, keys: Vec<ItemKey>, number: u64, result: Result<()>) {
        let result = result.and_then(|()| self.whole(run));
        let mut queued = self.lock();
        queued.appends -= 1;
        queued.arriving.remove(run);
        if let Err(error) = result {
            drop(queued);
            return self.tear(run, &error);
        }
        for key in keys {
            if queued.items.get(&key).is_some_and(|(of, _)| *of == number) {
                queued.items.remove(&key);
            }
        }
        if queued.cancels.get(run) == Some(&number) {
            queued.cancels.remove(run);
        }
    }
}

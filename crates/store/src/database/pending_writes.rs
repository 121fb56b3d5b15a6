//! The queued changes that this process has to see before they are on disk.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use trunkline_core::{Error, Result, RunId};

use crate::database::{Change, ItemKey, Outcome, Row};

/// Changes that are queued but may not be on disk, and the unfinished runs that are known to exist (only
/// ended ones are removed).
#[derive(Default)]
pub(crate) struct Pending(Mutex<Queued>);

#[derive(Default)]
pub(crate) struct Queued {
    pub(crate) known: HashSet<RunId>,
    /// The known runs that are not on disk yet.
    pub(crate) arriving: HashSet<RunId>,
    pub(crate) appends: u64,
    pub(crate) items: HashMap<ItemKey, (u64, String)>,
    pub(crate) cancels: HashMap<RunId, u64>,
    /// Runs whose latest events failed to reach the disk, and why. The current worker must stop, or the journal would
    /// have a gap. The next worker reloads the run from disk.
    failed: HashMap<RunId, Error>,
    /// Numbers the appends, so that a finished append removes only its own entries.
    last: u64,
}

impl Pending {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of known runs.
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

    /// Adds a run whose acceptance is queued. Returns the number of the append.
    pub(crate) fn arrive(&self, run: &RunId) -> u64 {
        let number = self.add(run, &[]);
        let mut queued = self.lock();
        queued.known.insert(run.clone());
        queued.arriving.insert(run.clone());
        number
    }

    /// Marks a run whose events were lost.
    pub(crate) fn fail(&self, run: &RunId, error: &Error) {
        self.lock().failed.entry(run.clone()).or_insert_with(|| error.clone());
    }

    /// Forgets the queued changes of a failed run: its state is read from disk again.
    pub(crate) fn reload(&self, run: &RunId) {
        let mut queued = self.lock();
        if queued.failed.remove(run).is_some() {
            queued.known.remove(run);
            queued.items.retain(|(of, _, _), _| of != run);
            queued.cancels.remove(run);
        }
    }

    /// Fails if events of the run were lost.
    pub(crate) fn check(&self, run: &RunId) -> Result<()> {
        self.lock().failed.get(run).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Ends an append: it is on disk, or lost. Lost entries stay visible to the current worker, which must stop:
    /// without them it would run an item twice.
    pub(crate) fn done(&self, run: &RunId, keys: Vec<ItemKey>, number: u64, result: Result<()>) {
        let result = result.and_then(|()| self.check(run));
        let mut queued = self.lock();
        queued.appends -= 1;
        queued.arriving.remove(run);
        if let Err(error) = result {
            drop(queued);
            return self.fail(run, &error);
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

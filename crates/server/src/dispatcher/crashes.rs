//! Runs that may be the cause of crashes: those that were active in the last one and have recorded nothing since. They
//! are resumed one at a time, so that the next crash does not count for their neighbours. The engine suspends a run after
//! the last crash that it may have, and `/health` reports it until it is resumed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use trunkline_core::RunId;
use trunkline_engine::{MOST_CRASHES, RunSummary};

use super::{Dispatcher, QueuedRun, State};

/// How long a run that may be the cause of crashes keeps others of this kind waiting, unless it records something before.
const TRIAL: Duration = Duration::from_secs(10);
/// The time between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// Runs that may be the cause of crashes.
#[derive(Default)]
pub(super) struct SuspectedRuns {
    /// The resumed run that has not recorded anything yet.
    on_trial: Option<RunId>,
    /// Those that are not resumed any more.
    suspended: BTreeSet<RunId>,
}

impl QueuedRun {
    /// Returns whether the run was active in a crash, and is resumed after it.
    fn is_suspected(&self) -> bool {
        (1..MOST_CRASHES).contains(&self.crashes)
    }
}

impl State {
    /// Returns whether a run does not have to wait for another that may be the cause of crashes.
    pub(super) fn may_be_tried(&self, run: &QueuedRun) -> bool {
        !run.is_suspected() || self.suspected.on_trial.is_none()
    }
}

impl Dispatcher {
    /// Returns in how many crashes a run was active without progress.
    pub(super) async fn crashes_of(&self, run: &RunId) -> u32 {
        self.runtime.journal().active_marks(run).await.unwrap_or_else(|error| {
            tracing::warn!(%run, "its crashes cannot be counted: {error}");
            0
        })
    }

    /// Watches a run that is resumed if it may be the cause of crashes. The caller holds the state.
    pub(super) fn try_run(self: &Arc<Self>, state: &mut State, run: &QueuedRun) {
        if !run.is_suspected() {
            return;
        }
        state.suspected.on_trial = Some(run.run.clone());
        let (this, run) = (self.clone(), run.run.clone());
        tokio::spawn(async move {
            let is_tried = async {
                while this.lock().active.contains_key(&run) && this.crashes_of(&run).await > 0 {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _ = tokio::time::timeout(TRIAL, is_tried).await;
            this.lock().suspected.on_trial = None;
            this.advance();
        });
    }

    /// Reports those of the failed runs that earlier processes have suspended.
    pub(super) async fn find_suspended(&self, failed: &[RunSummary]) {
        for run in failed {
            self.report_if_suspended(&run.id).await;
        }
    }

    /// Reports a run that is not active if it was suspended after crashes.
    pub(super) async fn report_if_suspended(&self, run: &RunId) {
        let crashes = self.crashes_of(run).await;
        if crashes >= MOST_CRASHES {
            tracing::error!(%run, "is suspended after {crashes} crashes without progress; resume it when their cause is gone");
            let mut state = self.lock();
            state.suspected.suspended.insert(run.clone());
            self.health.set_suspended(state.suspected.suspended.len());
        }
    }

    /// Removes the runs from the report that were resumed, by whichever process.
    pub(super) async fn forget_resumed(&self) {
        let suspended = self.lock().suspected.suspended.clone();
        for run in suspended {
            if self.crashes_of(&run).await < MOST_CRASHES {
                let mut state = self.lock();
                state.suspected.suspended.remove(&run);
                self.health.set_suspended(state.suspected.suspended.len());
            }
        }
    }
}

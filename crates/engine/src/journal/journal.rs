//! What a [`Journal`](crate::Journal) stores and returns: ids, paths, summaries, outcomes and claims.
//!
//! Events are only appended, and the state of a run is the fold of its events and nothing else. An event that must not
//! be lost is appended with [`Flush::Now`]. An event whose loss would only repeat harmless work is appended with
//! [`Flush::Later`] and reaches the disk with the next group.

use std::{any::Any, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{RunId, StepPath, Timestamp};

use crate::run::{ItemOutcome, RunEvent, RunStatus};

/// When an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// When everything appended so far is on disk and would survive a power cut.
    Now,
    /// At once. The events are written to disk in order, with the next group.
    Later,
}

/// A run in a list of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    /// The run's id.
    pub id: RunId,
    /// Its flow's name.
    pub flow: String,
    /// Its flow's version.
    pub version: String,
    /// The run's status.
    pub status: RunStatus,
    /// When the run was accepted.
    pub started_at: Timestamp,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
    /// The number of items by status: `done`, `skipped`, `failed`, `unknown`.
    pub items: BTreeMap<String, u64>,
}

/// An item of a run that has an outcome.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Item {
    /// The path of its `each` step.
    pub step: StepPath,
    /// The item's key.
    pub key: String,
    /// The item's outcome.
    #[serde(flatten)]
    pub outcome: ItemOutcome,
    /// When the item got this outcome.
    pub at: Timestamp,
}

/// The outcome of an item with `once` in an earlier run of the same flow on the same connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousOutcome {
    /// The earlier run.
    pub run: RunId,
    /// The fingerprint that the item had then.
    pub fingerprint: String,
    /// Whether the outcome is unknown. Otherwise, the item is done.
    pub unknown: bool,
}

/// The event of a trigger for which a run is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerEvent {
    /// The flow, by the name under which it is saved.
    pub flow: String,
    /// What the trigger watches, if its keys belong to that. Each feed of a flow has keys of its own. It is empty for
    /// webhooks and schedules, and for keys that early versions recorded.
    pub feed: String,
    /// The deduplication keys of the event. They are recorded with the run, and no other run is accepted for them.
    pub keys: Vec<String>,
    /// With this run, the trigger has dealt with everything up to this time.
    pub through: Option<Timestamp>,
    /// Whether all earlier keys of the feed are kept: the trigger may not have asked for some that it can still meet.
    pub keep: bool,
}

/// The exclusive right to work on a run. One process holds it at a time.
///
/// It is given back when it is dropped. A journal in which processes share runs must also give it back when the process
/// that holds it is killed.
pub struct RunClaim {
    _guard: Box<dyn Any + Send + Sync>,
}

impl RunClaim {
    /// Wraps the guard of a lock. Dropping the claim drops the guard, which releases the lock.
    pub fn new(guard: impl Any + Send + Sync) -> RunClaim {
        RunClaim { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for RunClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunClaim").finish_non_exhaustive()
    }
}

impl RunSummary {
    /// Returns the summary of a run without events. [`apply`](RunSummary::apply) the events of the run to it.
    pub fn new(id: RunId) -> RunSummary {
        RunSummary {
            id,
            flow: String::new(),
            version: String::new(),
            status: RunStatus::Running,
            started_at: Timestamp::EPOCH,
            finished_at: None,
            items: BTreeMap::new(),
        }
    }

    /// Applies an event. Items are not counted here: the last outcome of an item counts, not every event.
    pub fn apply(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { flow, version, at, .. } => {
                self.flow.clone_from(flow);
                self.version.clone_from(version);
                self.started_at = *at;
            }
            RunEvent::Resumed { .. } => {
                self.status = RunStatus::Running;
                self.finished_at = None;
            }
            RunEvent::Finished { status, at, .. } => {
                self.status = *status;
                self.finished_at = Some(*at);
            }
            _ => {}
        }
    }
}

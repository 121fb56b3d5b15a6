//! What a [`Journal`](crate::Journal) stores and returns: ids, paths, summaries, outcomes and claims.
//!
//! Events are only appended, and the state of a run is the fold of its events and nothing else. An event that must not
//! be lost is appended with [`Flush::Now`]. An event whose loss would only repeat harmless work is appended with
//! [`Flush::Later`] and reaches the disk with the next group.

use std::{any::Any, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Error, ErrorKind, NextStep, Result, RunId, StepPath, Timestamp};

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
    /// The kind of trigger that has started it: `schedule`, `webhook` or `poll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The kind of the error that stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorKind>,
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
            trigger: None,
            error: None,
            items: BTreeMap::new(),
        }
    }

    /// Applies an event. Items are not counted here: the last outcome of an item counts, not every event.
    pub fn apply(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { flow, version, trigger, at, .. } => {
                self.flow.clone_from(flow);
                self.version.clone_from(version);
                self.trigger.clone_from(trigger);
                self.started_at = *at;
            }
            RunEvent::Resumed { .. } => {
                self.status = RunStatus::Running;
                (self.finished_at, self.error) = (None, None);
            }
            RunEvent::Finished { status, error, at } => {
                self.status = *status;
                self.finished_at = Some(*at);
                self.error = error.as_ref().map(Error::kind);
            }
            _ => {}
        }
    }

    /// Fails if the run must not be removed: it has not ended, the outcome of a step or an item is unknown, or
    /// `rerun`, a run that repeats its failed items, needs what it has recorded.
    ///
    /// # Errors
    ///
    /// `conflict`, with what to do first.
    pub fn check_removal(&self, rerun: Option<&RunId>) -> Result<()> {
        let id = self.id.as_str().to_owned();
        let refused = |why: String| Error::new(ErrorKind::Conflict, format!("run {id} cannot be removed: {why}"));
        let unknown = self.items.get("unknown").copied().unwrap_or_default();
        if self.status == RunStatus::Running {
            return Err(refused("it has not ended".to_owned())
                .next(NextStep::ResumeRun { run: Some(id.clone()) })
                .next(NextStep::CancelRun { run: Some(id.clone()) }));
        }
        if unknown > 0 {
            return Err(refused(format!("the outcome of {unknown} of its items is unknown"))
                .next(NextStep::ListItems { run: id.clone(), status: "unknown".to_owned() })
                .next(NextStep::ResolveStep { run: id.clone(), step: None }));
        }
        if self.error == Some(ErrorKind::UnknownOutcome) {
            return Err(refused("the outcome of one of its steps is unknown".to_owned())
                .next(NextStep::ResolveStep { run: id.clone(), step: None })
                .next(NextStep::ResumeRun { run: Some(id.clone()) }));
        }
        match rerun {
            Some(rerun) => Err(refused(format!("run {rerun} repeats its failed items and needs what it has recorded"))
                .next(format!("remove {rerun} first"))),
            None => Ok(()),
        }
    }
}

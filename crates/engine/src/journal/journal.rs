//! What a [`Journal`](crate::Journal) stores and returns: ids, paths, summaries, outcomes and claims.
//!
//! Events are only appended, and the state of a run is the fold of its events and nothing else. An event that must not
//! be lost is appended with [`Flush::Now`]. An event whose loss would only repeat harmless work is appended with
//! [`Flush::Later`] and reaches the disk with the next group.

use std::{
    any::Any,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// What people call the item, if the flow says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the item has become, if the flow says it: a value, or a small object of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// When the item got this outcome.
    pub at: Timestamp,
}

impl Item {
    /// Returns the item whose outcome this event records.
    pub fn of(event: &RunEvent) -> Option<Item> {
        let (RunEvent::ItemFinished { step, key, outcome, note, at, .. }
        | RunEvent::ItemResolved { step, key, outcome, note, at, .. }) = event
        else {
            return None;
        };
        let (label, result) = (note.label.clone(), note.result.clone());
        Some(Item { step: step.clone(), key: key.clone(), outcome: outcome.clone(), label, result, at: *at })
    }

    /// Returns whether the item has one of these keys or names, or one that begins like them.
    pub fn is_named(&self, keys: &[String], prefix: bool) -> bool {
        let fits = |name: &str| keys.iter().any(|key| name == key || (prefix && name.starts_with(&**key)));
        fits(&self.key) || self.names().iter().any(|name| fits(name))
    }

    /// Returns the texts by which a person looks for the item beside its key: its label, and the ids of what it has
    /// become.
    pub fn names(&self) -> BTreeSet<String> {
        fn ids(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::String(text) => drop(found.insert(text.clone())),
                Value::Number(number) => drop(found.insert(number.to_string())),
                Value::Array(items) => items.iter().for_each(|item| ids(item, found)),
                Value::Object(members) => members.values().for_each(|member| ids(member, found)),
                Value::Null | Value::Bool(_) => {}
            }
        }
        let mut found = self.label.iter().cloned().collect();
        self.result.iter().for_each(|result| ids(result, &mut found));
        found
    }
}

/// An item that was found by its key, its label or an id of what it has become.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FoundItem {
    /// The run that has worked on it.
    pub run: RunId,
    /// The name of the run's flow.
    pub flow: String,
    /// The item.
    #[serde(flatten)]
    pub item: Item,
}

/// A place in a list of found items, which is ordered by it: the newest first.
pub type FoundPlace = (Reverse<Timestamp>, RunId, StepPath, String);

impl FoundItem {
    /// Returns the place of the item in a list of found items.
    pub fn place(&self) -> FoundPlace {
        (Reverse(self.item.at), self.run.clone(), self.item.step.clone(), self.item.key.clone())
    }

    /// Returns a page of a list, of all items in any order.
    pub(crate) fn page(mut all: Vec<FoundItem>, after: Option<&FoundPlace>, most: usize) -> Vec<FoundItem> {
        all.sort_by_cached_key(FoundItem::place);
        all.retain(|found| after.is_none_or(|after| found.place() > *after));
        all.truncate(most);
        all
    }
}

/// An item that is remembered across runs, because its list says `once`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberedItem {
    /// The name of the connection for each connection binding of the flow.
    pub connections: BTreeMap<String, String>,
    /// The path of its `each` step.
    pub step: StepPath,
    /// The item's key.
    pub key: String,
    /// The run that has worked on it last.
    pub run: RunId,
    /// Whether its outcome is unknown. Otherwise, the item is done.
    pub unknown: bool,
}

impl RememberedItem {
    /// Returns the error that the items of a flow cannot be forgotten while this run has not ended.
    pub fn in_use(flow: &str, run: &RunId) -> Error {
        let message =
            format!("the items of {flow} cannot be forgotten: run {run} has not ended, and may remember more");
        let next = NextStep::ResumeRun { run: Some(run.as_str().to_owned()) };
        Error::new(ErrorKind::Conflict, message).hint("wait until the run ends, or cancel it").next(next)
    }
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

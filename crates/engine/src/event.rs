//! What happens in a run, as the facts its journal keeps.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, Timestamp};

use crate::{RunId, StepPath};

/// What became of one item of an `each`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ItemOutcome {
    /// All steps ran.
    Done,
    /// A `skip` step ended it.
    Skipped {
        /// What the step said.
        reason: String,
    },
    /// A step failed.
    Failed {
        /// Which and why.
        error: Error,
    },
    /// A step may or may not have taken effect; a person has to look.
    Unknown {
        /// Which and why.
        error: Error,
    },
}

impl ItemOutcome {
    /// `done`, `skipped`, `failed` or `unknown`.
    pub fn status(&self) -> &'static str {
        match self {
            ItemOutcome::Done => "done",
            ItemOutcome::Skipped { .. } => "skipped",
            ItemOutcome::Failed { .. } => "failed",
            ItemOutcome::Unknown { .. } => "unknown",
        }
    }

    /// What went wrong, if something did.
    pub fn error(&self) -> Option<&Error> {
        match self {
            ItemOutcome::Failed { error } | ItemOutcome::Unknown { error } => Some(error),
            ItemOutcome::Done | ItemOutcome::Skipped { .. } => None,
        }
    }

    /// Why it did not end as done.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ItemOutcome::Done => None,
            ItemOutcome::Skipped { reason } => Some(reason),
            ItemOutcome::Failed { error } | ItemOutcome::Unknown { error } => Some(error.message()),
        }
    }
}

/// What a person says of something whose outcome nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect.
    Done,
    /// It did not take effect, and may be tried again.
    Retry,
    /// It counts as failed, and is not tried again.
    Fail,
}

impl Verdict {
    /// The word that stands for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Done => "done",
            Verdict::Retry => "retry",
            Verdict::Fail => "fail",
        }
    }
}

/// That a run goes over what failed in an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RerunOf {
    /// The earlier run.
    pub run: RunId,
    /// Whether what nobody knows the outcome of is looked up, too.
    #[serde(default)]
    pub unknown: bool,
}

/// What a `wait` step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// A signal of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Until when at most.
    pub until: Timestamp,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted and not ended: somebody works on it, or it waits to be resumed.
    Running,
    /// Ended, and no item failed.
    Succeeded,
    /// Ended, but some items failed or are unknown.
    Partial,
    /// Stopped by an error that concerns the whole run; it can be resumed.
    Failed,
    /// Stopped by a person.
    Cancelled,
}

impl RunStatus {
    /// The word that stands for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Succeeded => "succeeded",
            RunStatus::Partial => "partial",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }
}

/// One fact about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run was accepted; it is pinned to this version of its flow.
    Started {
        /// The flow's name.
        flow: String,
        /// The flow's version, under which the journal keeps the document.
        version: String,
        /// The run's input.
        input: Value,
        /// Which connection fills which slot.
        connections: BTreeMap<String, String>,
        /// The versions of the flows it calls, by their names: it is pinned to them too.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        calls: BTreeMap<String, String>,
        /// The run whose failed items it goes over, if it is for those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<RerunOf>,
        /// When.
        at: Timestamp,
    },
    /// Another run goes over what failed in this one.
    #[serde(alias = "retried")]
    Rerun {
        /// Which.
        by: RunId,
        /// When.
        at: Timestamp,
    },
    /// Somebody took the run up again after a crash or a failure.
    Resumed {
        /// When.
        at: Timestamp,
    },
    /// A step that must not be repeated blindly is about to be attempted.
    StepStarted {
        /// Which step.
        step: StepPath,
        /// Which try of it, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// What a step in flight left for its next attempt. A store keeps it encrypted: it may hold signed URLs.
    Checkpoint {
        /// Which step.
        step: StepPath,
        /// The action's own business.
        value: Value,
    },
    /// A step ended well: it is never called again.
    StepFinished {
        /// Which step; nothing stands for the run itself, whose result this is.
        step: StepPath,
        /// What later steps refer to. A store keeps it encrypted: it may hold signed URLs.
        output: Value,
        /// What services said although their calls succeeded; the first 20.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// Which try of it, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When this try began, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        began: Option<Timestamp>,
        /// When.
        at: Timestamp,
    },
    /// A step ended badly: it is not called again in this run, unless its `retry`, or that of a step around it, says so.
    StepFailed {
        /// Which step.
        step: StepPath,
        /// Why.
        error: Error,
        /// Which try of it, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When this try began, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        began: Option<Timestamp>,
        /// When.
        at: Timestamp,
    },
    /// A step is tried again later. What failed in it is forgotten, but for outcomes that nobody knows.
    StepRetried {
        /// Which step.
        step: StepPath,
        /// Why the try before failed.
        error: Error,
        /// Which try that was, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When the next try begins.
        until: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// A step that has a timeout has begun.
    DeadlineSet {
        /// Which step.
        step: StepPath,
        /// When its time is over, however often the process is started anew meanwhile.
        until: Timestamp,
    },
    /// A `wait` step has begun.
    WaitBegan {
        /// Which step.
        step: StepPath,
        /// What it waits for, and how long.
        #[serde(flatten)]
        wait: Waiting,
    },
    /// Somebody sent the run a signal. The first of a name counts, for all that wait for it, also later.
    Signalled {
        /// Which signal.
        name: String,
        /// What came with it. A store keeps it encrypted.
        payload: Value,
        /// When.
        at: Timestamp,
    },
    /// An `each` knows of more items to work on.
    Listed {
        /// The `each` step.
        step: StepPath,
        /// How many there are, as far as the list has been read, with those that have an outcome.
        items: u64,
        /// Whether it has been read to its end.
        last: bool,
        /// When.
        at: Timestamp,
    },
    /// All items of a list up to here have an outcome; a resumed run goes on with the page after it.
    PageFinished {
        /// The `each` step.
        step: StepPath,
        /// Where the next page begins; nothing if that was the last one.
        next: Option<Value>,
        /// How many items of pages after it have an outcome already; not told by old versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<u64>,
    },
    /// A list seems to have changed while it was read: items of it may be missing. Told once a list.
    ListChanged {
        /// The `each` step.
        step: StepPath,
        /// What was noticed.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// An item of an `each` has its outcome.
    ItemFinished {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// What became of it.
        outcome: ItemOutcome,
        /// What the item was like, where the flow says `once`: remembered across runs if it is done or unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A person has said what became of a step whose outcome nobody knew.
    #[serde(alias = "step_settled")]
    StepResolved {
        /// Which step.
        step: StepPath,
        /// What became of it.
        verdict: Verdict,
        /// What later steps refer to, if it is done. A store keeps it encrypted.
        output: Value,
        /// When.
        at: Timestamp,
    },
    /// An item whose outcome nobody knew has another one: one of its steps was settled.
    #[serde(alias = "item_settled")]
    ItemResolved {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// What was said of the step.
        verdict: Verdict,
        /// What had become of the item before.
        before: ItemOutcome,
        /// What has become of it.
        outcome: ItemOutcome,
        /// When.
        at: Timestamp,
    },
    /// Items that were worked on together have their outcomes.
    BatchFinished {
        /// The `each` step.
        step: StepPath,
        /// What the batch was called in the paths of its steps.
        batch: String,
    },
    /// A person wants the run to stop.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// The run ended.
    Finished {
        /// How.
        status: RunStatus,
        /// Why, if it failed.
        error: Option<Error>,
        /// When.
        at: Timestamp,
    },
}

fn first() -> u32 {
    1
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

impl RunEvent {
    /// The part that a store keeps encrypted.
    fn sealed(&mut self) -> Option<&mut Value> {
        match self {
            RunEvent::Checkpoint { value, .. } => Some(value),
            RunEvent::StepFinished { output, .. } | RunEvent::StepResolved { output, .. } => Some(output),
            RunEvent::Signalled { payload, .. } => Some(payload),
            _ => None,
        }
    }

    /// The event as those may see it who watch: without what a store keeps encrypted, and without what a run was handed and
    /// where its lists go on.
    pub fn shown(mut self) -> RunEvent {
        self.sealed().map(Value::take);
        match &mut self {
            RunEvent::Started { input, .. } => *input = Value::Null,
            RunEvent::PageFinished { next: Some(next), .. } => *next = Value::Null,
            _ => {}
        }
        self
    }
}

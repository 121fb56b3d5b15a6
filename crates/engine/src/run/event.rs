//! The events of a run: the facts that its journal stores.
//!
//! An event is written once and never changed, so an event of an earlier version has to stay readable: an old name is
//! an `alias`, a new member has a default, and a time may be a number of milliseconds since 1970.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, RunId, StepPath, Timestamp};

use crate::run::{ItemNote, ItemOutcome, KeyForm, RunStatus, Verdict};

/// The earlier run whose failed items a run repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RerunOf {
    /// The earlier run.
    pub run: RunId,
    /// Whether items with an unknown outcome are looked up and repeated, too.
    #[serde(default)]
    pub unknown: bool,
}

/// The condition that a `wait` step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The name of the signal, if the step waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The time at which the wait ends at the latest.
    pub until: Timestamp,
}

/// One fact about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run was accepted. It is pinned to this version of its flow.
    Started {
        /// The flow's name.
        flow: String,
        /// The flow's version, under which the journal stores the document.
        version: String,
        /// The run's input.
        input: Value,
        /// The name of the connection for each connection binding of the flow.
        connections: BTreeMap<String, String>,
        /// The versions of the called flows, by name. The run is pinned to them too.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        calls: BTreeMap<String, String>,
        /// The run whose failed items this run repeats, if it is a rerun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<RerunOf>,
        /// Why its trigger could not start it, if so. Only the failure handler of the flow runs then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_error: Option<Error>,
        /// The kind of trigger that has started the run: `schedule`, `webhook`, `poll` or `event`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<String>,
        /// The form of the keys of its items. Early versions did not write it.
        #[serde(default)]
        keys: KeyForm,
        /// When the run was accepted.
        at: Timestamp,
    },
    /// Another run repeats the failed items of this run.
    #[serde(alias = "retried")]
    Rerun {
        /// The other run.
        by: RunId,
        /// When the other run was accepted.
        at: Timestamp,
    },
    /// The run was resumed after a crash or a failure.
    Resumed {
        /// When it was resumed.
        at: Timestamp,
    },
    /// A step that must not be repeated blindly is about to be attempted.
    StepStarted {
        /// The step.
        step: StepPath,
        /// The number of the attempt, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When the attempt began.
        at: Timestamp,
    },
    /// The state that a step in flight saved for its next attempt. A store keeps it encrypted: it may contain signed
    /// URLs.
    Checkpoint {
        /// The step.
        step: StepPath,
        /// The saved state, in a form that only the action reads.
        value: Value,
    },
    /// A step succeeded. It is not called again.
    StepFinished {
        /// The step; the empty path for the run itself, whose result this is.
        step: StepPath,
        /// The output that later steps refer to. A store keeps it encrypted: it may contain signed URLs.
        output: Value,
        /// The first 20 warnings of services whose calls succeeded.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// The number of the attempt, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When this attempt began, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        began: Option<Timestamp>,
        /// When the step ended.
        at: Timestamp,
    },
    /// A step failed. This run does not call it again, unless its `retry`, or that of a step around it, says so.
    StepFailed {
        /// The step.
        step: StepPath,
        /// The error of the attempt.
        error: Error,
        /// The number of the attempt, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When this attempt began, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        began: Option<Timestamp>,
        /// When the step ended.
        at: Timestamp,
    },
    /// A step will be tried again. Failures inside it are forgotten, except for unknown outcomes.
    StepRetried {
        /// The step.
        step: StepPath,
        /// The error of the failed attempt.
        error: Error,
        /// The number of the failed attempt, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// When the next attempt begins.
        until: Timestamp,
        /// When the attempt failed.
        at: Timestamp,
    },
    /// A step that has a timeout has begun.
    DeadlineSet {
        /// The step.
        step: StepPath,
        /// The end of its time. A restart of the process does not extend it.
        until: Timestamp,
    },
    /// A `wait` step has begun.
    WaitBegan {
        /// The step.
        step: StepPath,
        /// The condition and the end of the wait.
        #[serde(flatten)]
        wait: Waiting,
    },
    /// A signal was sent to the run. The first signal of a name counts, for all steps that wait for it, also later
    /// ones.
    Signalled {
        /// The name of the signal.
        name: String,
        /// The payload of the signal. A store keeps it encrypted.
        payload: Value,
        /// When the signal was sent.
        at: Timestamp,
    },
    /// An `each` step has read more items of its list.
    Listed {
        /// The `each` step.
        step: StepPath,
        /// The number of items read so far, including those that have an outcome.
        items: u64,
        /// Whether the list has been read to its end.
        last: bool,
        /// When the items were read.
        at: Timestamp,
    },
    /// All items of a list up to here have an outcome. A resumed run continues with the page after it.
    PageFinished {
        /// The `each` step.
        step: StepPath,
        /// The cursor of the next page; nothing after the last page.
        next: Option<Value>,
        /// The number of items on later pages that have an outcome already. Early versions did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<u64>,
        /// The number of items on all pages up to here. Early versions did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<u64>,
    },
    /// A list seems to have changed while it was read, so items of it may be missing. Recorded once for each list.
    ListChanged {
        /// The `each` step.
        step: StepPath,
        /// The evidence of the change.
        reason: String,
        /// When the change was noticed.
        at: Timestamp,
    },
    /// An item of an `each` has its outcome.
    ItemFinished {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// The item's outcome.
        outcome: ItemOutcome,
        /// The item's fingerprint, if the flow says `once`. It is remembered across runs if the item is done or
        /// unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
        /// What is kept of the item beside its outcome. A store keeps the collected value encrypted.
        #[serde(default, skip_serializing_if = "ItemNote::is_empty")]
        note: ItemNote,
        /// When the item ended.
        at: Timestamp,
    },
    /// An operator has resolved a step whose outcome was unknown.
    #[serde(alias = "step_settled")]
    StepResolved {
        /// The step.
        step: StepPath,
        /// The operator's decision.
        verdict: Verdict,
        /// The output that later steps refer to, if the step is done. A store keeps it encrypted.
        output: Value,
        /// When it was resolved.
        at: Timestamp,
    },
    /// An item whose outcome was unknown has another one, because one of its steps was resolved.
    #[serde(alias = "item_settled")]
    ItemResolved {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// The operator's decision about the step.
        verdict: Verdict,
        /// The item's previous outcome.
        before: ItemOutcome,
        /// The item's outcome now.
        outcome: ItemOutcome,
        /// What is kept of the item beside its outcome.
        #[serde(default, skip_serializing_if = "ItemNote::is_empty")]
        note: ItemNote,
        /// When it was resolved.
        at: Timestamp,
    },
    /// All items of a batch have their outcomes.
    BatchFinished {
        /// The `each` step.
        step: StepPath,
        /// The name of the batch in the paths of its steps.
        batch: String,
    },
    /// A `skip` step has ended the steps of the run.
    Skipped {
        /// The reason, as the step says it.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// An operator has asked the run to stop.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// The run ended.
    Finished {
        /// The status of the run from now on.
        status: RunStatus,
        /// The error that stopped the run, if one did.
        error: Option<Error>,
        /// When the run ended.
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
    /// Returns the error of an end of the run, if it has one; nothing for an event that is not an end.
    pub fn end(&self) -> Option<Option<&Error>> {
        match self {
            RunEvent::Finished { error, .. } => Some(error.as_ref()),
            _ => None,
        }
    }

    /// Returns the name of the event as it is written in JSON, such as `step_finished`.
    pub fn name(&self) -> &'static str {
        match self {
            RunEvent::Started { .. } => "started",
            RunEvent::Rerun { .. } => "rerun",
            RunEvent::Resumed { .. } => "resumed",
            RunEvent::StepStarted { .. } => "step_started",
            RunEvent::Checkpoint { .. } => "checkpoint",
            RunEvent::StepFinished { .. } => "step_finished",
            RunEvent::StepFailed { .. } => "step_failed",
            RunEvent::StepRetried { .. } => "step_retried",
            RunEvent::DeadlineSet { .. } => "deadline_set",
            RunEvent::WaitBegan { .. } => "wait_began",
            RunEvent::Signalled { .. } => "signalled",
            RunEvent::Listed { .. } => "listed",
            RunEvent::PageFinished { .. } => "page_finished",
            RunEvent::ListChanged { .. } => "list_changed",
            RunEvent::ItemFinished { .. } => "item_finished",
            RunEvent::StepResolved { .. } => "step_resolved",
            RunEvent::ItemResolved { .. } => "item_resolved",
            RunEvent::BatchFinished { .. } => "batch_finished",
            RunEvent::Skipped { .. } => "skipped",
            RunEvent::CancelRequested { .. } => "cancel_requested",
            RunEvent::Finished { .. } => "finished",
        }
    }

    /// Returns the step that the event belongs to by itself, not as one of its items.
    pub fn step(&self) -> Option<&StepPath> {
        match self {
            RunEvent::StepStarted { step, .. }
            | RunEvent::StepFinished { step, .. }
            | RunEvent::StepFailed { step, .. }
            | RunEvent::StepRetried { step, .. }
            | RunEvent::StepResolved { step, .. }
            | RunEvent::WaitBegan { step, .. }
            | RunEvent::Listed { step, .. } => Some(step),
            _ => None,
        }
    }

    /// Returns the member that a store keeps encrypted.
    fn encrypted_value(&mut self) -> Option<&mut Value> {
        match self {
            RunEvent::Checkpoint { value, .. } => Some(value),
            RunEvent::StepFinished { output, .. } | RunEvent::StepResolved { output, .. } => Some(output),
            RunEvent::Signalled { payload, .. } => Some(payload),
            RunEvent::ItemFinished { note, .. } => note.collected.as_mut().map(|collected| &mut collected.value),
            _ => None,
        }
    }

    /// Returns the event as a subscriber may see it: without the values that a store keeps encrypted, the run's input
    /// and the cursors of its lists.
    pub fn shown(mut self) -> RunEvent {
        self.encrypted_value().map(Value::take);
        match &mut self {
            RunEvent::Started { input, .. } => *input = Value::Null,
            RunEvent::PageFinished { next: Some(next), .. } => *next = Value::Null,
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn events_of_earlier_versions_are_read_and_written_in_the_current_form() {
        let error = json!({ "kind": "unknown_outcome", "message": "lost" });
        let unknown = json!({ "status": "unknown", "error": error });
        for (old, name) in [
            (json!({ "event": "retried", "by": "r2", "at": 1500 }), "rerun"),
            (
                json!({ "event": "step_settled", "step": "all", "verdict": "done", "output": 1, "at": 1500 }),
                "step_resolved",
            ),
            (
                json!({
                    "event": "item_settled", "step": "all", "key": "a", "verdict": "fail", "before": unknown,
                    "outcome": { "status": "done" }, "at": 1500
                }),
                "item_resolved",
            ),
            (json!({ "event": "step_started", "step": "copy", "at": 1500 }), "step_started"),
        ] {
            let event: RunEvent = from_value(old.clone()).unwrap();
            let new = to_value(&event).unwrap();
            assert_eq!((&new["event"], &new["at"]), (&json!(name), &json!("1970-01-01T00:00:01.500Z")), "{old}");
            let again: RunEvent = from_value(new.clone()).unwrap();
            assert_eq!(to_value(&again).unwrap(), new, "{old}");
        }
    }

    #[test]
    fn times_in_milliseconds_are_read_in_every_member() {
        let old = json!({
            "event": "step_retried", "step": "copy", "error": { "kind": "unavailable", "message": "busy" }, "attempt": 2,
            "until": 3000, "at": 1500
        });
        let new = to_value(from_value::<RunEvent>(old).unwrap()).unwrap();
        assert_eq!(new["until"], "1970-01-01T00:00:03.000Z");
        let old = json!({ "event": "step_finished", "step": "copy", "output": 1, "began": 500, "at": 1500 });
        let new = to_value(from_value::<RunEvent>(old).unwrap()).unwrap();
        assert_eq!(new["began"], "1970-01-01T00:00:00.500Z");
        let old = json!({ "event": "wait_began", "step": "pause", "signal": "go", "until": 3000 });
        let new = to_value(from_value::<RunEvent>(old).unwrap()).unwrap();
        assert_eq!((&new["signal"], &new["until"]), (&json!("go"), &json!("1970-01-01T00:00:03.000Z")));
    }
}

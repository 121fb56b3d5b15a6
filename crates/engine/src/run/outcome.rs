//! Outcomes: of an item, of a run, and an operator's decision about one that is unknown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::Error;

/// The outcome of one item of an `each` step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ItemOutcome {
    /// All steps of the item ran.
    Done {
        /// The warnings of its steps, such as that the object of a delete was already gone. Early versions did not
        /// write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A `skip` step ended the item.
    Skipped {
        /// The reason that the step gives.
        reason: String,
    },
    /// A step failed.
    Failed {
        /// The error, with the step's path in its context.
        error: Error,
    },
    /// A step may or may not have taken effect; an operator has to check.
    Unknown {
        /// The error, with the step's path in its context.
        error: Error,
    },
}

impl ItemOutcome {
    /// Returns `done`, `skipped`, `failed` or `unknown`.
    pub fn status(&self) -> &'static str {
        match self {
            ItemOutcome::Done { .. } => "done",
            ItemOutcome::Skipped { .. } => "skipped",
            ItemOutcome::Failed { .. } => "failed",
            ItemOutcome::Unknown { .. } => "unknown",
        }
    }

    /// Returns the error of a failed or unknown item.
    pub fn error(&self) -> Option<&Error> {
        match self {
            ItemOutcome::Failed { error } | ItemOutcome::Unknown { error } => Some(error),
            ItemOutcome::Done { .. } | ItemOutcome::Skipped { .. } => None,
        }
    }

    /// Returns the reason of the skip, the message of the error, or the warnings of an item that is done.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ItemOutcome::Done { reason } => reason.as_deref(),
            ItemOutcome::Skipped { reason } => Some(reason),
            ItemOutcome::Failed { error } | ItemOutcome::Unknown { error } => Some(error.message()),
        }
    }
}

/// The largest `result` of an item, in bytes of JSON.
pub(crate) const MAX_RESULT: usize = 1024;

/// What a run keeps of an item beside its outcome: what the `label`, `result` and `collect` of its list yield.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemNote {
    /// What people call the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the item has become: a value, or a small object of ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Its value for the steps after the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Collected>,
}

/// The value of an item for the steps after its list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collected {
    /// The number of the item in its list, from 0.
    pub index: u64,
    /// The value. A store keeps it encrypted: it may contain signed URLs.
    pub value: Value,
}

impl ItemNote {
    pub(crate) fn is_empty(&self) -> bool {
        *self == ItemNote::default()
    }
}

/// An operator's decision about a step with an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The step took effect.
    Done,
    /// The step did not take effect and may be repeated.
    Retry,
    /// The step counts as failed and is not repeated.
    Fail,
}

impl Verdict {
    /// Returns the verdict as JSON writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Done => "done",
            Verdict::Retry => "retry",
            Verdict::Fail => "fail",
        }
    }
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted and not ended: a process works on the run, or it waits to be resumed.
    Running,
    /// Ended, and no item failed.
    Succeeded,
    /// Ended, but some items failed or are unknown.
    Partial,
    /// Stopped by an error that concerns the whole run; the run can be resumed.
    Failed,
    /// Stopped by an operator.
    Cancelled,
}

impl RunStatus {
    /// Returns the status as JSON writes it.
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

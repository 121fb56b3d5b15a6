//! What a failed start does: it is recorded, and runs the failure handler of its flow.

use std::sync::Arc;

use serde_json::Value;
use trunkline::{Cause, NewRun};
use trunkline_core::{Error, ErrorKind, Timestamp};
use trunkline_flow::Flow;
use trunkline_store::{FailedStart, SavedFlow};

use super::Dispatcher;

impl Dispatcher {
    /// Records that the trigger of a flow could not start a run with this input, for this reason, and runs the failure
    /// handler of the flow if that is news. `due` is the time of a schedule.
    pub(crate) async fn start_failed(
        self: &Arc<Self>,
        saved: SavedFlow,
        flow: Flow,
        (input, due): (Value, Option<Timestamp>),
        error: &Error,
    ) {
        let Some(trigger) = flow.trigger() else { return };
        // No start fails while the server stops, and nothing can be recorded while the store fails.
        if error.kind() == ErrorKind::Store || self.is_closing() {
            return;
        }
        let runtime = self.runtime();
        let redacted = |text: &str| runtime.redactor().redact(text).into_owned();
        let failed = FailedStart {
            at: runtime.now(),
            trigger: trigger.kind().to_owned(),
            due,
            reason: redacted(&error.to_string()),
            hint: error.advice().map(|hint| redacted(&hint)),
        };
        if !self.starts.failed(&saved, failed) || flow.on_failure().is_empty() {
            return;
        }
        let name = saved.name.clone();
        let new = NewRun::of_saved(saved, flow, input);
        match self.dispatch(new, Cause::FailedStart(error)).await {
            Ok(outcome) => tracing::info!(flow = name, ?outcome, "a failed start runs its `on_failure`"),
            Err(second) => tracing::warn!(flow = name, "a failed start cannot run its `on_failure`: {second}"),
        }
    }
}

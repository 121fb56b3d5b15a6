//! Values as JSON for people and other programs.

use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Timestamp, redact};
use trunkline_engine::{Run, RunStatus};

/// Returns a run as JSON, with the progress of its lists while it is running.
pub fn run_view(run: &Run) -> Value {
    let mut shown = serde_json::to_value(run).unwrap_or_default();
    let progress = run.progress(Timestamp::now());
    if run.status == RunStatus::Running && !progress.is_empty() {
        shown["progress"] = serde_json::to_value(progress).unwrap_or_default();
    }
    shown
}

/// Returns a value as JSON with known secrets redacted. Each text is redacted by itself: in the serialized JSON a secret
/// would be escaped, and not be found.
pub fn redacted(value: &impl Serialize) -> Value {
    fn redact_all(value: &mut Value) {
        match value {
            Value::String(text) => *text = redact(text).into_owned(),
            Value::Array(all) => all.iter_mut().for_each(redact_all),
            Value::Object(all) => all.values_mut().for_each(redact_all),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    redact_all(&mut value);
    value
}

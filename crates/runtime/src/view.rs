//! Values as JSON for people and other programs.

use serde_json::Value;
use trunkline_core::Timestamp;
use trunkline_engine::{Run, RunStatus};

/// Returns a run as JSON, with the progress of its lists at the time `now` while it is running.
pub fn run_view(run: &Run, now: Timestamp) -> Value {
    let mut shown = serde_json::to_value(run).unwrap_or_default();
    let progress = run.progress(now);
    if run.status == RunStatus::Running && !progress.is_empty() {
        shown["progress"] = serde_json::to_value(progress).unwrap_or_default();
    }
    shown
}

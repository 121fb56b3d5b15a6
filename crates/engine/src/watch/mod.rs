//! Reading a run: its events as they come, its process log, and its timeline.

mod run_events;
mod timeline;

pub use run_events::{RunEventView, Watch};
pub use timeline::{DurationStats, ItemTimes, StepTime, Timeline};

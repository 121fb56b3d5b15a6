//! Reading a run: its events as they come, its process log, and its timeline.

mod all_events;
mod run_events;
mod timeline;

pub use all_events::{AllRuns, AnyRunEvent, WatchedPage};
pub use run_events::{RunEventView, Watch};
pub use timeline::{DurationStats, ItemTimes, StepTime, Timeline};

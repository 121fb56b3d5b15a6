//! Flows and their runs.
mod journal;
pub use journal::{
    Claim, Flush, ItemOutcome, Journal, MemoryJournal, RunEvent, RunId, RunStatus, RunSummary, StepPath,
};

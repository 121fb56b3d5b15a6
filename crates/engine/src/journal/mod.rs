//! The port through which the engine stores runs, and what it stores there besides events.

mod journal;
mod memory;
pub(crate) mod pinned_flow;
pub(crate) mod process_log;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use journal::{Flush, Item, Journal, PreviousOutcome, RunClaim, RunSummary, TriggerEvent};
pub use memory::MemoryJournal;
pub use process_log::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage};

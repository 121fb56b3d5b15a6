//! The port through which the engine stores runs, and what it stores there besides events.

mod journal;
mod journal_parts;
mod journal_traits;
pub(crate) mod journaled_run;
mod memory;
pub(crate) mod pinned_flow;
pub(crate) mod process_log;
mod run_list;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use journal::{
    Flush, FoundItem, FoundPlace, Item, PreviousOutcome, RememberedItem, RunClaim, RunSummary, TriggerEvent,
};
pub use journal_parts::JournalParts;
pub use journal_traits::{
    EventLog, FlowVersions, Journal, ProcessLog, RunClaims, RunIndex, RunRemoval, TriggerDeduplication,
};
pub use memory::MemoryJournal;
pub use process_log::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage};
pub use run_list::{RunFilter, RunPage, RunPlace};

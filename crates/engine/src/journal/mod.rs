//! The port through which the engine stores runs, and what it stores there besides events.

mod event_order;
mod journal;
mod journal_parts;
mod journal_traits;
pub(crate) mod journaled_run;
mod memory;
pub(crate) mod pinned_flow;
pub(crate) mod process_log;
mod run_claims;
mod run_list;
mod run_removal;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use event_order::{EventPage, EventPlace, PlacedEvent};
pub use journal::{
    Flush, FoundItem, FoundPlace, Item, PreviousOutcome, RememberedItem, RunClaim, RunSummary, TriggerEvent,
};
pub use journal_parts::JournalParts;
pub use journal_traits::{EventLog, FlowVersions, Journal, ProcessLog, RunIndex, TriggerDeduplication};
pub use memory::MemoryJournal;
pub use process_log::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage, shown_input, shown_value};
pub use run_claims::RunClaims;
pub use run_list::{RunFilter, RunPage, RunPlace};
pub use run_removal::RunRemoval;

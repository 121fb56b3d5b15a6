//! Flows and their durable runs: the document that a user writes, the steps of a run, and the journal from which a run
//! recovers after a crash.
//!
//! A [`Flow`] is read and checked. An [`Engine`] accepts a run of it and executes the steps. A [`Journal`] stores the
//! events of the run, and a [`Run`] is the fold of these events: after a crash, any engine on the same journal
//! continues where the events end. A [`Trigger`] describes what else starts runs; the host watches clocks, lists and
//! webhooks, and passes each [`TriggerEvent`] to the engine.
//!
//! # Guarantees of one run
//!
//! - A run is on disk before its id is returned ([`Flush::Later`] is the exception), and always before it creates or
//!   deletes anything.
//! - A step whose result is recorded is not called again.
//! - A step that was in flight when the process died may be called again, with the same idempotency key. A `Create` is
//!   first looked up; if the look-up finds no answer, the step ends as `unknown`.
//! - A wait and a timeout end when they would have ended without the crash. Recorded attempts count, an attempt in
//!   flight does not. An error that `on_error` has handled stays handled.
//! - A signal is not lost, however early it arrives. The first signal of a name counts.
//! - A run is pinned to the versions of its flow and of all flows that it calls ([`Flow::link`]).
//! - A power cut may undo the last milliseconds of work that neither created nor deleted anything; this work is
//!   repeated. A flow with `"durability": "every_step"` excludes that.
//!
//! # Guarantees across runs
//!
//! - [`Engine::rerun_failed`] repeats the failed items of a run and writes no others. What a run has recorded as
//!   created is not created again.
//! - An `unknown` outcome is looked up by the action, or resolved by an operator ([`Engine::resolve_unknown`]).
//! - An `each` with `once` repeats an item only if the item has changed.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::{collections::BTreeMap, sync::Arc};
//! use trunkline_engine::{Engine, Flow, MemoryJournal, RunStatus, StepPath};
//!
//! let flow = Flow::from_value(serde_json::json!({
//!     "name": "evens",
//!     "input": { "type": "object", "properties": { "numbers": { "type": "array" } }, "required": ["numbers"] },
//!     "steps": [{
//!         "id": "numbers", "each": "{{ input.numbers }}",
//!         "steps": [{ "id": "odd", "if": "{{ item % 2 == 1 }}", "skip": "odd" }]
//!     }]
//! })).unwrap();
//!
//! let engine = Engine::new(Arc::new(MemoryJournal::default()));
//! let handle = engine.start(&flow, serde_json::json!({ "numbers": [1, 2, 3] }), BTreeMap::new()).await?;
//! let run = handle.wait().await?;
//! let ledger = &run.ledger[&StepPath::from("numbers")];
//! assert_eq!(run.status, RunStatus::Succeeded);
//! assert_eq!((ledger.done, ledger.skipped["odd"]), (1, 2));
//! # Ok::<(), trunkline_core::Error>(())
//! # }).unwrap();
//! ```

mod action_call;
mod activity;
mod cancellation;
mod check;
mod document;
mod durability;
mod each;
mod engine;
mod event;
mod filters;
mod flow;
mod interpreter;
mod journal;
mod journal_parts;
#[cfg(any(test, feature = "suite"))]
pub mod journal_suite;
mod journal_traits;
mod json_kinds;
mod ledger;
mod limits;
mod memory;
mod notification;
mod previous_run;
mod process_log;
mod progress;
mod reader;
mod resolve;
mod run;
mod run_end;
mod run_handle;
mod schedule;
mod schema_algebra;
mod step;
mod step_position;
mod syntax;
mod template;
mod time;
mod timeline;
mod trigger;
mod typing;
mod watch;

pub use activity::ActivityMonitor;
pub use check::GrantedScopes;
pub use engine::Engine;
pub use event::{ItemOutcome, RerunOf, RunEvent, RunStatus, Verdict, Waiting};
pub use filters::{Argument, Example, FILTERS, Filter};
pub use flow::Flow;
pub use journal::{Flush, Item, PreviousOutcome, RunClaim, RunId, RunSummary, StepPath};
pub use journal_parts::JournalParts;
pub use journal_traits::{EventLog, FlowVersions, Journal, ProcessLog, RunClaims, RunIndex, TriggerDeduplication};
pub use ledger::Ledger;
pub use limits::RunLimits;
pub use memory::MemoryJournal;
pub use notification::RunNotification;
pub use process_log::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage};
pub use progress::{ListProgress, Rate};
pub use resolve::Resolution;
pub use run::Run;
pub use run_handle::{AcceptOutcome, AcceptedRun, RunHandle};
pub use schedule::{Missed, Schedule};
pub use step::Step;
pub use template::Template;
pub use timeline::{DurationStats, ItemTimes, StepTime, Timeline};
pub use trigger::{
    Encoding, InitialItems, Overlap, Poll, Signature, Trigger, TriggerEvent, Webhook, WebhookResponseMode,
};
pub use watch::{RunEventView, Watch};

//! Durable runs of flows: the steps of a run, and the journal from which a run recovers after a crash.
//!
//! The crate `trunkline-flow` reads and checks a [`Flow`]. An [`Engine`] accepts a run of it and executes the steps. A
//! [`Journal`] stores the events of the run, and a [`Run`] is the fold of these events: after a crash, any engine on the
//! same journal continues where the events end. A [`Trigger`] describes what else starts runs; the host watches clocks,
//! lists and webhooks, and passes each [`TriggerEvent`] to the engine.
//!
//! [`Flow`]: trunkline_flow::Flow
//! [`Trigger`]: trunkline_flow::Trigger
//!
//! The interpreter decides what is recorded: which attempt is looked up before it is repeated, how often a step is tried,
//! which limits a run has, and what of an earlier run counts. A journal only stores events, so these rules are the same on
//! every journal. Recorded times come from the engine's clock ([`Engine::with_clock`]).
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
//! [`Flow::link`]: trunkline_flow::Flow::link
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
//! use trunkline_core::StepPath;
//! use trunkline_engine::{Engine, MemoryJournal, RunStatus};
//! use trunkline_flow::Flow;
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

mod interpreter;
mod journal;
mod run;
mod supervisor;
mod watch;

pub use interpreter::{ActivityMonitor, PolledItem, PolledPage, WaitEnd, poll_page};
#[cfg(any(test, feature = "suite"))]
pub use journal::suite as journal_suite;
pub use journal::{
    EventLog, EventPage, EventPlace, FlowVersions, Flush, FoundItem, FoundPlace, Item, Journal, JournalParts,
    LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage, MemoryJournal, PlacedEvent, PreviousOutcome,
    ProcessLog, RememberedItem, RunClaim, RunClaims, RunFilter, RunIndex, RunPage, RunPlace, RunRemoval, RunSummary,
    TriggerDeduplication, TriggerEvent, shown_input, shown_value,
};
pub use run::{
    Collected, ItemKey, ItemNote, ItemOutcome, KeyForm, Ledger, ListProgress, QuotaShare, QuotaUse, Rate, RerunOf, Run,
    RunEvent, RunLimits, RunNote, RunNotification, RunState, RunStatus, VALUE_NESTING, Verdict, Waiting,
};
pub use supervisor::{
    AcceptOutcome, AcceptedRun, Engine, MOST_CRASHES, Resolution, ResumeOptions, RunHandle, StepTrial, TriedStep,
};
pub use watch::{AllRuns, AnyRunEvent, DurationStats, ItemTimes, RunEventView, StepTime, Timeline, Watch, WatchedPage};

//! Flows and their runs: the document a user writes, the steps it takes, and a journal from which a crash recovers.
//!
//! A [`Flow`] is read and checked, an [`Engine`] accepts a run of it and works on it, a [`Journal`] keeps what happened. A
//! [`Run`] is the fold of its events: after a crash any engine on the same journal goes on where the events end.
//! A [`Trigger`] says what starts runs beside a person; a host looks at clocks, lists and calls, and hands over what is new.
//!
//! What a run promises: an accepted run is on disk before somebody hears of it, and before it creates or deletes anything; a
//! step whose result is recorded is never called again; a step in flight when the process died may be called again under the
//! same idempotency key, except for a `Create`, which is looked up first and otherwise ends as `unknown`.
//!
//! Across runs: [`Engine::retry`] goes over the items that failed in a run and writes no others; what a run has recorded as
//! created stays so. What ended as `unknown` is looked up or left to a person ([`Engine::settle`]). An `each` with `once`
//! does an item again only if it has changed.
//!
//! The same is true of what a flow says about time and failure: a wait and a timeout end when they would have ended without
//! the crash; tries that were recorded count, one in flight does not; an error that `on_error` has dealt with stays dealt
//! with; a signal is heard however early it comes, and the first of its name counts. A run is pinned to the versions of its
//! flow and of all flows that it calls ([`Flow::link`]). Of the milliseconds before a power cut, what did not create or delete
//! anything may be done again, unless the flow says `"durability": "every_step"`.
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
//! let running = engine.start(&flow, serde_json::json!({ "numbers": [1, 2, 3] }), BTreeMap::new()).await?;
//! let run = running.wait().await?;
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
#[cfg(any(test, feature = "suite"))]
pub mod journal_suite;
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
pub use engine::{AcceptOutcome, AcceptedRun, Engine, RunHandle};
pub use event::{ItemOutcome, RerunOf, RunEvent, RunStatus, Verdict, Waiting};
pub use filters::{Argument, Example, FILTERS, Filter};
pub use flow::Flow;
pub use journal::{Claim, Flush, Item, Journal, PreviousOutcome, RunId, RunSummary, StepPath};
pub use ledger::Ledger;
pub use limits::RunLimits;
pub use memory::MemoryJournal;
pub use notification::RunNotification;
pub use process_log::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, LogPage};
pub use progress::{ListProgress, Rate};
pub use resolve::Resolution;
pub use run::Run;
pub use schedule::{Missed, Schedule};
pub use step::Step;
pub use template::Template;
pub use timeline::{DurationStats, ItemTimes, StepTime, Timeline};
pub use trigger::{
    Encoding, InitialItems, Overlap, Poll, Signature, Trigger, TriggerEvent, Webhook, WebhookResponseMode,
};
pub use watch::{RunEventView, Watch};

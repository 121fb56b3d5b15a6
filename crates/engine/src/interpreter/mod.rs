//! The interpreter: executes the steps of a flow, and decides what of them is recorded.
//!
//! How often a call is attempted, when a `Create` is looked up first, which limits a run has and what an earlier run
//! counts for is decided here. A journal only stores events.

mod action_call;
mod activity;
pub(crate) mod bounds;
pub(crate) mod cancellation;
mod each;
mod earlier_outcomes;
mod groups;
mod interpreter;
mod item_record;
mod item_values;
mod list;
mod nested_steps;
mod poll;
pub(crate) mod previous_run;
mod reconcile;
pub(crate) mod record;
mod recorded_call;
mod repeats;
mod retries;
mod step;
mod step_recorder;
mod waiting;

pub use activity::{ActivityMonitor, WaitEnd};
pub(crate) use interpreter::{FlowBounds, Interpreter, InterpreterParts, error_value, joined};
pub use poll::{PolledItem, PolledPage, poll_page};

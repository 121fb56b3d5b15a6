//! The interpreter: executes the steps of a flow on what [`durability`] records.

mod action_call;
mod activity;
pub(crate) mod bounds;
pub(crate) mod cancellation;
pub(crate) mod durability;
mod each;
mod interpreter;
mod poll;
mod waiting;

pub use activity::ActivityMonitor;
pub(crate) use interpreter::{Interpreter, InterpreterParts, joined};
pub use poll::poll_page;

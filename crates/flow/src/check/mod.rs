//! Checks a flow against the connectors it uses.

mod called_flows;
mod checker;
mod complete;
mod each;
mod flow_check;
mod granted_scopes;
mod inputs;
mod literal_braces;
mod open_schema;
mod retried_creates;
mod step_yield;
mod trigger_input;

pub use granted_scopes::GrantedScopes;
pub use step_yield::{StepYield, YieldedValue};

//! Checks a flow against the connectors it uses.

mod checker;
mod flow_check;
mod granted_scopes;
mod open_schema;

pub use granted_scopes::GrantedScopes;

//! The request budget of a connection.

mod permits;
mod queue;
mod rate;
mod shared;

pub(crate) use permits::{Bounds, Budget, Permit};
pub(crate) use shared::{Budgets, Identity};

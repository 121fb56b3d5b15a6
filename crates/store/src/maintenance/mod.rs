//! What an operator does with a store: open it, adopt it, probe it, compact it, change its key.

pub(crate) mod compact;
pub(crate) mod health_probe;
pub(crate) mod open;
pub(crate) mod owner;
pub(crate) mod rotate;

//! A store in memory.

pub(crate) mod memory_connections;
pub(crate) mod memory_flows;
pub(crate) mod memory_runs;
pub(crate) mod memory_store;

//! Saved flows.

pub(crate) mod flow_store;
#[cfg(feature = "sqlite")]
pub(crate) mod flow_table;

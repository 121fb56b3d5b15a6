//! Saved flows.

pub(crate) mod flow_table;

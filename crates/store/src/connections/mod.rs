//! Connections and their secrets.

pub(crate) mod connection_store;
#[cfg(feature = "sqlite")]
pub(crate) mod connection_table;
pub(crate) mod in_use;
pub(crate) mod secrets;

//! Connections and their secrets.

pub(crate) mod connection_table;

//! Connections of a user to connectors, and the registry that makes clients for them.

pub(crate) mod connection;
pub(crate) mod registry;

//! The open store that all roles share: the pool of readers, the writer, and the events that wait for it.

pub(crate) mod event_row;
pub(crate) mod pending_writes;
pub(crate) mod store;
pub(crate) mod writer;

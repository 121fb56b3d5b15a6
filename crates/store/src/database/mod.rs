//! The open store that all roles share: the pool of readers, the writer, and the events that wait for it.

mod event_row;
mod pending_writes;
mod store;
mod writer;

pub(crate) use event_row::{
    Change, ItemKey, Outcome, Row, SecretPart, StoredEvent, StoredOutcome, damaged, parse, secret_part,
};
pub(crate) use pending_writes::Pending;
pub use store::Store;
pub(crate) use store::{Inner, exists};
pub(crate) use writer::{Insert, Work, Writer};

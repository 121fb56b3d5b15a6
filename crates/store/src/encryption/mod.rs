//! Encryption at rest: the keys of a store, and the seal around each secret.

mod key;
pub(crate) mod seal;

pub use key::KeySource;
pub(crate) use key::{Key, Ring, random};
pub(crate) use seal::{AssociatedData, RecordKey, Seal, Sealed};

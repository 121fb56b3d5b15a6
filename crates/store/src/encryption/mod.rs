//! Encryption at rest: the keys of a store, and the seal around each secret.

pub(crate) mod key;
pub(crate) mod seal;

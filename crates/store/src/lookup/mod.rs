//! Errors for names that are not in a store.

pub(crate) mod not_found;

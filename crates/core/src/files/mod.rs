//! Files by reference, and staged copies of them.

pub(crate) mod file;
pub(crate) mod staging;

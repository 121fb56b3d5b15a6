//! Staged copies of files, see [`Staging`](trunkline_core::Staging).

pub(crate) mod staged_copies;

//! Small values without behaviour of their own: digests, ids, JSON pointers, times and similar names.

pub(crate) mod digest;
pub(crate) mod ids;
pub(crate) mod pointer;
pub(crate) mod spelling;
pub(crate) mod timestamp;

//! The values of expressions: sets of their kinds, their comparison, and their conversion to JSON.

pub(crate) mod comparison;
pub(crate) mod conversion;
pub(crate) mod json_kinds;
pub(crate) mod number;
pub(crate) mod part;

//! Small values without behaviour of their own: the clock, digests, ids, JSON and its numbers and pointers, times and
//! similar names.

pub(crate) mod clock;
pub(crate) mod digest;
pub(crate) mod ids;
pub(crate) mod json_error;
pub(crate) mod kind;
pub(crate) mod memory;
pub(crate) mod memory_budget;
pub(crate) mod number;
pub(crate) mod number_tokens;
pub(crate) mod pointer;
pub(crate) mod spelling;
pub(crate) mod strict_json;
pub(crate) mod timestamp;
pub(crate) mod url_text;

//! The filters of expressions: one table with the input, arguments, result and purpose of each, and examples that run
//! as tests.
//!
//! The same table is used to check flows, to check the values of a call at run time, and to print the help of
//! `trunkline flow filters`. Every filter is bounded: it fails on a text or list larger than its limits, before
//! or while it builds the result.

mod call;
mod dates;
pub(crate) mod environment;
mod filter;
mod table;
#[cfg(test)]
mod tests;
mod texts;
mod units;
mod values;

pub(crate) use call::MAX_ITEMS;
pub use filter::{Argument, Example, Filter};
pub(crate) use filter::{Gives, conversion};
pub use table::FILTERS;

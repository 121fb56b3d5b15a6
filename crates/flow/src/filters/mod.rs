//! The filters of expressions: one table with the input, arguments, result and purpose of each, and examples that run
//! as tests.
//!
//! The same table is used to check flows, to check the values of a call at run time, and to print the help of
//! `trunkline flow filters`. Every filter is bounded: it fails on a text or list larger than its limits, before
//! or while it builds the result.

mod call;
mod date_math;
mod dates;
mod encodings;
mod entries;
pub(crate) mod environment;
mod filter;
mod lists;
mod objects;
mod parsing;
mod paths;
mod table;
#[cfg(test)]
mod tests;
mod texts;
mod totals;
mod units;
mod values;

pub(crate) use call::{Fuel, MAX_ITEMS, is_limit};
pub use filter::{Argument, Example, Filter};
pub(crate) use filter::{Gives, conversion};
pub use table::filters;

//! The words of the product, as other crates use them.
#![allow(clippy::unwrap_used, missing_docs)]

mod errors;
mod schema;
mod values;
mod vault;

//! What tests of Trunkline and of its connectors share.
//!
//! - [`cases`]: checks the rows of a connector against cases written from the vendor's reference, and against the
//!   vendor's list of operations.
//! - [`dice`]: random numbers from a printed seed, so that a failed test can be repeated.
//! - [`proxy`]: a proxy that loses, doubles or changes responses.

pub mod cases;
pub mod dice;
pub mod proxy;

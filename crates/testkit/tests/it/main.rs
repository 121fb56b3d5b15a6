//! Tests of the test kit: what it promises to the suites that stand on it.
#![allow(clippy::unwrap_used)]

mod clock;
mod fake;
mod kill;

//! Tests of the test kit: what it promises to the suites that stand on it.

mod clock;
mod fake;
mod kill;

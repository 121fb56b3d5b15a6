//! The engine seen from outside, on a journal in memory and with a connector that is made for these tests.

mod calls;
mod cancel;
mod language;
mod ledger;
mod limits;
mod model;
mod moved;
mod points;
mod runs;
mod support;
mod tracing;
mod waits;
mod watching;

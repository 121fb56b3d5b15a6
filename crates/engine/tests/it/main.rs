//! Tests of the engine through its public API, on the memory journal and with a connector that exists for these tests.

mod calls;
mod cancel;
mod collected;
mod crashes;
mod earlier;
mod keys;
mod language;
mod ledger;
mod limits;
mod model;
mod moved;
mod numbers;
mod points;
mod runs;
mod states;
mod support;
mod tracing;
mod waits;
mod warnings;
mod watching;

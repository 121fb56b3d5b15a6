//! Tests of the flow language through its public API.

mod checks;
mod clock_changes;
mod documents;
mod graph;
mod limits;
mod linking;

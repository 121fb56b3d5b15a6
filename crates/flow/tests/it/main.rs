//! Tests of the flow language through its public API.

mod clock_changes;
mod documents;
mod linking;

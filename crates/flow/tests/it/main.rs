//! Tests of the flow language through its public API.

mod documents;
mod linking;

//! The command line as a whole.
#![allow(clippy::unwrap_used)]

mod coverage;
mod usage;

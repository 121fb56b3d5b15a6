//! Tests of the sandbox through its public API and over real sockets on free ports.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like a test")]

mod faults;
mod keep_alive;
mod login;
mod mediaflow;
mod mediavalet;
mod state;
mod support;

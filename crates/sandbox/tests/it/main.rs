//! The sandbox seen from outside, over real sockets on ephemeral ports.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod faults;
mod login;
mod mediaflow;
mod mediavalet;
mod state;
mod support;

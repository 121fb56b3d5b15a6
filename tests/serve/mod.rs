//! `trunkline serve`: the real binary, called as browsers, hosts and senders of webhooks call it, and killed as
//! machines do.
#![allow(clippy::unwrap_used)]

mod access;
mod clock;
mod corrections;
mod events;
mod fairness;
mod runs;
mod sign_in;
mod webhooks;

pub(crate) use trunkline_tests::serve::{Serve, add, save};

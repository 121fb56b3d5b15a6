//! `trunkline serve`: the real binary, called by browsers, hosts and webhook senders, and killed as in a crash.
#![allow(clippy::unwrap_used)]

mod access;
mod accounts;
mod api;
mod api_clients;
mod challenges;
mod clock;
mod corrections;
mod crashes;
mod defaults;
mod events;
mod fairness;
mod idempotency;
mod replays;
mod resumption;
mod run_steps;
mod runs;
mod sign_in;
mod states;
mod triggers;
mod watching;
mod webhooks;

pub(crate) use trunkline_tests::serve::{Serve, add, save};

//! The data of both systems, and the log that restores it after a crash.

pub(crate) mod asset;
mod package;
mod seed;
mod state;
mod time;
pub(crate) mod tokens;
mod webhook;

pub(crate) use package::Package;
pub(crate) use seed::seed;
pub(crate) use state::{Event, State, StateStore};
pub(crate) use time::{now, timestamp};
pub(crate) use webhook::Webhook;

//! Every command of the command line, end to end: the real binary in a process of its own, for people and with
//! `--json`.
#![allow(clippy::unwrap_used)]

mod calls;
mod catalogue;
mod connections;
mod damage;
mod flows;
mod keys;
mod ledger;
mod network;
mod own_connector;
mod pipes;
mod proxies;
mod readers;
mod runs;
mod scopes;
mod sign_in;
mod waits;
mod watching;

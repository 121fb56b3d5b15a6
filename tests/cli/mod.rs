//! Every command of the command line, end to end: the real binary in a process of its own, for people and with
//! `--json`.
#![allow(clippy::unwrap_used)]

mod calls;
mod catalogue;
mod connections;
mod consent;
mod damage;
mod flows;
mod foreign_text;
mod keys;
mod ledger;
mod network;
mod own_connector;
mod pipes;
mod proxies;
mod readers;
mod runs;
mod scopes;
mod secret_doors;
mod sign_in;
mod tables;
mod waits;
mod watching;

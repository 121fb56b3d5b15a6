//! The binary `trunkline` as a process: its command line, its server, its demo, and the places where secrets could
//! appear.

mod cli;
mod cookbook;
mod demo;
mod own_journal;
mod secrets;
mod serve;

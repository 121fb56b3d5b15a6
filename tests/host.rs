//! The binary `trunkline` in a process of its own: its command line, its server, its demo, and where secrets may appear.

mod cli;
mod cookbook;
mod demo;
mod secrets;
mod serve;

//! The store seen from outside, in a data directory for each test.

mod connections;
mod damage;
mod flows;
mod journal;
mod log;
mod processes;
mod rotation;
mod samples;
mod secrets;
mod staging;
mod support;
mod triggers;

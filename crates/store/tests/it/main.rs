//! Tests of the store through its public API. Each test has a data directory of its own.

mod connections;
mod damage;
mod flows;
mod forgery;
mod items;
mod journal;
mod log;
mod owner;
mod processes;
mod retention;
mod rotation;
mod samples;
mod secrets;
mod staging;
mod support;
mod triggers;

//! Runs survive anything: kills at random moments and at named points, two processes that want the same run, disks that
//! fail or are full, clocks that are moved. A witness in a process of its own says what really happened.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod account;
mod clock;
mod disk;
mod kills;
mod owners;
mod points;
mod tools;
mod witness;

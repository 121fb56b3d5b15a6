//! Runs survive faults of processes and machines: kills at random moments and at named points, two processes that claim
//! the same run, disks that fail, are full or read-only, too few open files, clocks that are moved.
//!
//! The idea: a witness in a process of its own records each effect, so that the journal is compared with what really
//! happened.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod account;
mod clock;
mod crash;
mod disk;
mod flushes;
mod kills;
mod looking;
mod machine;
mod owners;
mod points;
mod tools;
mod witness;

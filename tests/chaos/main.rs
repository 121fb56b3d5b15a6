//! Runs survive anything: kills at random moments and at named points, two processes that want the same run, disks that
//! fail, are full or read-only, too few open files, clocks that are moved. A witness in a process of its own says what really happened.
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

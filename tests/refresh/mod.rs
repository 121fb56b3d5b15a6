//! Token refreshes under faults: processes that share a connection are killed, stopped and delayed at every point of a
//! refresh, against the sandbox's login server with each of its policies.
//!
//! The idea: each rule of the protocol predicts a number, and removing one protection changes that number. The harness
//! is `trunkline_tests::refresh`.
#![allow(clippy::unwrap_used)]

mod frozen;
mod kills;
mod slow;
mod stop;

use std::time::Duration;

use trunkline_sandbox::{Options, RefreshPolicy, Sandbox};
use trunkline_tests::{
    approve, few,
    refresh::{Grant, Upstream, World},
    sandbox,
};

/// Not a test: the program of the processes.
#[test]
#[ignore = "the program of the other tests' processes"]
fn process() {
    trunkline_tests::refresh::process();
}

/// Starts a sandbox whose login server has this policy for a refresh token that is used twice.
async fn login(refresh_policy: RefreshPolicy) -> Sandbox {
    sandbox(Options { refresh_policy, ..few(1) }).await
}

async fn browser(url: String) -> String {
    approve(&url).await
}

/// Prepares a shared connection that is signed in to this sandbox.
async fn world(sandbox: &Sandbox, grant: Grant, attempt: Duration) -> World {
    let world = World::new("refresh::process", Upstream::sandbox(sandbox), grant, attempt).await;
    world.sign_in(&browser).await;
    world
}

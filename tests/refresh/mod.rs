//! Token refreshes where it hurts: processes that share a connection are killed, frozen and kept waiting at every point of
//! one, against the sandbox's login server with each of its policies.
//!
//! The idea: each rule of the protocol has a number that comes out if it holds, and a defence less makes it come out
//! otherwise. The harness is `trunkline_tests::refresh`.
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

/// A sandbox whose login server does this with a refresh token that comes again.
async fn login(refresh_policy: RefreshPolicy) -> Sandbox {
    sandbox(Options { refresh_policy, ..few(1) }).await
}

async fn browser(url: String) -> String {
    approve(&url).await
}

/// A world that is signed in at this sandbox.
async fn world(sandbox: &Sandbox, grant: Grant, attempt: Duration) -> World {
    let world = World::new("refresh::process", Upstream::sandbox(sandbox), grant, attempt).await;
    world.sign_in(&browser).await;
    world
}

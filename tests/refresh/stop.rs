//! A server that is told to stop in the middle of a refresh: it waits for the login server's answer and stores it, also
//! when the time for its runs is over.
#![cfg(unix)]

use std::time::Duration;

use serde_json::json;
use trunkline_core::SignInState;
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::{
    finish,
    refresh::{Grant, HoldPoint},
    serve::{Serve, save},
};

use super::{login, world};

const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// What goes against the promise when a server gets this signal while the answer to its refresh is on the way, and how
/// the run ends that wanted the token.
async fn signalled(signal: &str, grace: &str) -> Vec<String> {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, Duration::from_secs(20)).await;
    save(
        &world.home,
        &json!({ "name": "asks", "connections": { "there": "http" }, "steps": [
            { "id": "ask", "action": "request", "connection": "there", "input": { "method": "GET", "path": "/" } }] }),
    )
    .await;
    world.expire().await;
    let before = world.tokens().await;
    let mut serve = Serve::with(&world.home, &[&LISTEN[..], &["--grace", grace]].concat()).await;
    let mut held = world.gate.hold(HoldPoint::BeforeCaller);
    let run = serve.run("asks", &json!({})).await;
    held.arrived().await;
    serve.signal(signal);
    // The time for its runs is over; a process that does not wait is gone by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut faults = Vec::new();
    if serve.process.try_wait().unwrap().is_some() {
        faults.push("it has not waited for the answer".to_owned());
    }
    drop(held);
    let ended = finish(serve.process).await;
    if ended.code != 0 {
        faults.push(format!("it ended with {}", ended.code));
    }
    let now = world.tokens().await;
    if now == before || !world.gate.gave(&now) {
        faults.push("the new tokens are not stored".to_owned());
    }
    if signal == "-KILL" {
        return faults;
    }
    // The next one goes on with the run, and with the tokens.
    let serve = Serve::with(&world.home, &LISTEN).await;
    let status = serve.ended(&run).await["status"].clone();
    if status != "succeeded" {
        faults.push(format!("the run {status}"));
    }
    if world.gate.posts().len() > 2 {
        faults.push("the login server was asked again".to_owned());
    }
    if world.state().await != SignInState::Ok {
        faults.push(format!("the sign-in is {:?}", world.state().await));
    }
    faults.extend(world.gate.faults());
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_stores_the_tokens_that_are_on_the_way() {
    // In time, and when the runs were cut off already.
    let (in_time, too_late) = tokio::join!(signalled("-TERM", "30"), signalled("-TERM", "0"));
    assert_eq!((in_time, too_late), (vec![], vec![]));
}

/// The sabotage twin: what is on the way to a server that does not wait is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_of_a_refresh_stores_nothing() {
    let faults = signalled("-KILL", "0").await;
    for fault in ["it has not waited", "the new tokens are not stored"] {
        assert!(faults.iter().any(|one| one.starts_with(fault)), "{fault}: {faults:#?}");
    }
}

//! A server that gets a stop signal in the middle of a refresh: it waits for the login server's response and stores it,
//! also after the grace period of its runs.
#![cfg(unix)]

use std::time::Duration;

use serde_json::json;
use trunkline_core::SignInState;
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::{
    finish,
    refresh::{CONNECTION, Grant, HoldPoint},
    serve::{Serve, add},
};

use super::{login, world};

const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Returns violations of the guarantee when a server gets a signal while the response to its refresh is on the way, and
/// the run that needed the token ends otherwise than expected.
async fn signalled(signal: &str, grace: &str) -> Vec<String> {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, Duration::from_secs(20)).await;
    let flow = json!({ "name": "asks", "connections": { "there": "http" }, "steps": [
        { "id": "ask", "action": "request", "connection": "there", "input": { "method": "GET", "path": "/" } }] });
    add(&world.home, &flow, &["--connection", &format!("there={CONNECTION}")]).await.expect(0);
    world.expire().await;
    let before = world.tokens().await;
    let mut serve = Serve::with(&world.home, &[&LISTEN[..], &["--grace", grace]].concat()).await;
    let mut held = world.gate.hold(HoldPoint::BeforeCaller);
    let run = serve.run("asks", &json!({})).await;
    held.arrived().await;
    serve.signal(signal);
    // The grace period is over; a process that does not wait has ended by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut faults = Vec::new();
    if serve.process.try_wait().unwrap().is_some() {
        faults.push("it has not waited for the response".to_owned());
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
    // The next server resumes the run with the new tokens.
    let serve = Serve::with(&world.home, &LISTEN).await;
    let status = serve.ended(&run).await["status"].clone();
    if status != "succeeded" {
        faults.push(format!("the run {status}"));
    }
    if world.gate.posts().len() > 2 {
        faults.push("there was another token request".to_owned());
    }
    if world.state().await != SignInState::Ok {
        faults.push(format!("the sign-in is {:?}", world.state().await));
    }
    faults.extend(world.gate.faults());
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_stores_the_tokens_of_a_refresh_in_flight() {
    // Within the grace period, and after it.
    let (in_time, too_late) = tokio::join!(signalled("-TERM", "30"), signalled("-TERM", "0"));
    assert_eq!((in_time, too_late), (vec![], vec![]));
}

/// The sabotage twin: a server that does not wait loses the tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_of_a_refresh_stores_nothing() {
    let faults = signalled("-KILL", "0").await;
    for fault in ["it has not waited", "the new tokens are not stored"] {
        assert!(faults.iter().any(|one| one.starts_with(fault)), "{fault}: {faults:#?}");
    }
}

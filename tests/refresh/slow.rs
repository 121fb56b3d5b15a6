//! A login server whose responses take longer than a lease, or never arrive: one process at a time sends a request, and
//! no caller waits beyond its deadline.

use std::time::Duration;

use futures::future::join_all;
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::{
    LONG,
    refresh::{CallOutcome, Grant, PATIENCE, Process, Sabotage, World},
};

use super::{login, world};

/// Length of a token call. A lease is twice as long.
const ATTEMPT: Duration = Duration::from_millis(600);

/// The same for tests in which responses arrive in time, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(4);

/// Duration of a response that is in time, as a part of a lease: a token call may take half a lease.
const IN_TIME: f64 = 0.2;

/// Calls per process.
const CALLS: usize = 5;

/// The deadline of callers.
const DEADLINE: Duration = Duration::from_secs(3);

/// The deadline of impatient callers.
const SHORT: Duration = Duration::from_millis(200);

async fn all_call(processes: &mut [Process], deadline: Duration) -> Vec<CallOutcome> {
    let each = processes.iter_mut().map(async |process| {
        process.start_calls(CALLS, deadline).await;
        process.done().await
    });
    join_all(each).await.concat()
}

/// Returns violations of the guarantee while `count` processes wait for responses that take `leases` leases.
async fn waited(world: &World, count: usize, leases: f64, sabotage: Option<Sabotage>) -> Vec<String> {
    let patience = if sabotage == Some(Sabotage::GivesUp) { 1 } else { PATIENCE };
    let mut processes = join_all((0..count).map(|_| world.started(None, sabotage))).await;
    let delay = if leases.is_finite() { world.lease().mul_f64(leases) } else { Duration::from_secs(3600) };
    world.expire().await;
    world.gate.delay(delay);
    let before = world.gate.posts().len();
    let mut all = Vec::new();
    if leases >= 0.5 {
        // Their deadline is before the first response, or before the end of the token call.
        all.extend(all_call(&mut processes, SHORT).await);
        let waited = |called: &CallOutcome| called.message.contains("waited for a token from the login server");
        assert!(all.iter().any(waited), "{all:?}");
    }
    let deadline = if leases < 0.5 { LONG } else { DEADLINE };
    all.extend(all_call(&mut processes, deadline).await);
    assert_eq!(all.len() % (count * CALLS), 0);
    let mut faults = world.gate.faults();
    let requests = world.gate.posts().len() - before;
    for called in &all {
        let fails = called.error.is_some();
        // A late response is used; a caller with an early deadline does not wait for it.
        let too_late = leases * 2.0 >= f64::from(patience);
        if fails != too_late && !(fails && leases >= 0.5 && called.message.contains("waited for a token")) {
            faults.push(format!("success or failure is not as expected: {called:?}"));
        }
        let names_cause = called.setting.as_deref() == Some("/tokenUrl") || called.message.contains("login server");
        if fails && !(called.retryable && names_cause) {
            faults.push(format!("the error does not name the cause, or is not retryable: {called:?}"));
        }
        if called.late > Duration::from_secs(1) {
            faults.push(format!("late: {called:?}"));
        }
    }
    // Each try lasts for the time that a response is awaited.
    let tries = (DEADLINE + SHORT).div_duration_f64(ATTEMPT * patience).ceil() as usize;
    let most = if leases * 2.0 < f64::from(patience) { 1 } else { tries };
    if requests == 0 || requests > most {
        faults.push(format!("{requests} token requests, more than the {most} that fit one after the other"));
    }
    // When responses are fast again, the same sign-in works.
    world.gate.delay(Duration::ZERO);
    for process in &mut processes {
        let called = process.call().await;
        if called.error.is_some() {
            faults.push(format!("the sign-in is lost: {called:?}"));
        }
    }
    println!("{count} processes, responses after {leases} leases: {requests} token requests for {} callers", all.len());
    faults
}

async fn slow(count: usize) {
    // Single-use tokens are lost with responses that no process receives; the kills test that.
    let sandbox = login(RefreshPolicy::Reuse).await;
    let faults = join_all([IN_TIME, 0.9, 1.5, 3.0, f64::INFINITY].map(async |leases| {
        let attempt = if leases < 0.5 { PATIENT } else { ATTEMPT };
        let world = world(&sandbox, Grant::Browser, attempt).await;
        waited(&world, count, leases, None).await
    }));
    assert_eq!(faults.await.concat(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_call_a_slow_login_server_one_after_the_other() {
    slow(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_call_a_slow_login_server_one_after_the_other() {
    slow(5).await;
}

/// Responses that arrive after the time of a call, from a login server that ends the sign-in when a token is used
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn late_responses_keep_the_sign_in_at_a_strict_login_server() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let faults = join_all([0.9, 1.3].map(async |leases| {
        let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
        waited(&world, 2, leases, None).await
    }));
    assert_eq!(faults.await.concat(), [""; 0]);
}

/// The sabotage twin: a process that gives the response up sends the same token again, and the sign-in is lost.
#[tokio::test(flavor = "multi_thread")]
async fn late_responses_that_are_given_up_lose_the_sign_in() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
    let faults = waited(&world, 2, 1.3, Some(Sabotage::GivesUp)).await;
    assert!(faults.iter().any(|fault| fault.contains("the sign-in is lost")), "{faults:#?}");
}

/// The sabotage twin: without leases, requests overlap and the sign-in is lost.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_ignore_leases_send_simultaneous_requests() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, PATIENT).await;
    let faults = waited(&world, 2, IN_TIME, Some(Sabotage::NoLease)).await;
    assert!(faults.iter().any(|fault| fault.contains("another one is in flight")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("the sign-in is lost")), "{faults:#?}");
}

/// The two protections one by one. In one process, the shared in-flight request is enough; without it, the sign-in is
/// lost as well.
#[tokio::test(flavor = "multi_thread")]
async fn callers_in_one_process_need_a_shared_refresh_but_no_lease() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    for (sabotage, lives) in [(Sabotage::NoLease, true), (Sabotage::NoFlight, false)] {
        let world = world(&sandbox, Grant::Browser, PATIENT).await;
        let mut process = world.started(None, Some(sabotage)).await;
        world.expire().await;
        world.gate.delay(world.lease().mul_f64(IN_TIME));
        let before = world.gate.posts().len();
        process.start_calls(CALLS, LONG).await;
        let failed = process.done().await.iter().filter(|called| called.error.is_some()).count();
        let requests = world.gate.posts().len() - before;
        assert_eq!(
            (requests == 1, failed == 0),
            (lives, lives),
            "{sabotage:?}: {requests} token requests, {failed} failed"
        );
    }
}

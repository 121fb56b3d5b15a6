//! A login server whose answers take longer than a lease, or never come: it is asked by one at a time, and nobody waits
//! for longer than he wanted to.

use std::time::Duration;

use futures::future::join_all;
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::{
    LONG,
    refresh::{CallOutcome, Grant, Process, Sabotage, World},
};

use super::{login, world};

/// A lease is twice as long.
const ATTEMPT: Duration = Duration::from_millis(600);

/// Where answers are to come in time, also on a machine with much to do.
const PATIENT: Duration = Duration::from_secs(4);

/// The part of a lease that an answer takes which comes in time: a token call may take half of one.
const IN_TIME: f64 = 0.2;

/// Calls of each process.
const CALLS: usize = 5;

/// How long callers want to wait.
const DEADLINE: Duration = Duration::from_secs(3);

/// How long those want to wait who are in a hurry.
const SHORT: Duration = Duration::from_millis(200);

async fn all_call(processes: &mut [Process], deadline: Duration) -> Vec<CallOutcome> {
    let each = processes.iter_mut().map(async |process| {
        process.start_calls(CALLS, deadline).await;
        process.done().await
    });
    join_all(each).await.concat()
}

/// What goes against the promise while so many processes wait for answers that take this part of a lease.
async fn waited(world: &World, count: usize, leases: f64, sabotage: Option<Sabotage>) -> Vec<String> {
    let mut processes = join_all((0..count).map(|_| world.started(None, sabotage))).await;
    let delay = if leases.is_finite() { world.lease().mul_f64(leases) } else { Duration::from_secs(3600) };
    world.expire().await;
    world.gate.delay(delay);
    let before = world.gate.posts().len();
    let mut all = Vec::new();
    if leases >= 0.5 {
        // They have had enough before the first answer could come, or the time for it is over.
        all.extend(all_call(&mut processes, SHORT).await);
        let waited = |called: &CallOutcome| called.message.contains("waited for a token from the login server");
        assert!(all.iter().any(waited), "{all:?}");
    }
    let deadline = if leases < 0.5 { LONG } else { DEADLINE };
    all.extend(all_call(&mut processes, deadline).await);
    assert_eq!(all.len() % (count * CALLS), 0);
    let mut faults = world.gate.faults();
    let asked = world.gate.posts().len() - before;
    for called in &all {
        let fails = called.error.is_some();
        if fails != (leases >= 0.5) {
            faults.push(format!("whether it failed: {called:?}"));
        }
        let said = called.setting.as_deref() == Some("/tokenUrl") || called.message.contains("login server");
        if fails && !(called.retryable && said) {
            faults.push(format!("does not say what it waited for, or that it may be tried again: {called:?}"));
        }
        if called.late > Duration::from_secs(1) {
            faults.push(format!("late: {called:?}"));
        }
    }
    // Each try takes as long as a token call may.
    let most = if leases < 0.5 { 1 } else { (DEADLINE + SHORT).div_duration_f64(ATTEMPT).ceil() as usize };
    if asked == 0 || asked > most {
        faults.push(format!("{asked} token requests, and {most} one after the other are the most"));
    }
    // Where answers come again, the same sign-in goes on.
    world.gate.delay(Duration::ZERO);
    for process in &mut processes {
        let called = process.call().await;
        if called.error.is_some() {
            faults.push(format!("the sign-in is lost: {called:?}"));
        }
    }
    println!("{count} processes, answers after {leases} leases: {asked} token requests for {} callers", all.len());
    faults
}

async fn slow(count: usize) {
    // Tokens that are good once cannot outlive answers that nobody gets; that is what the kills are about.
    let sandbox = login(RefreshPolicy::Reuse).await;
    let faults = join_all([IN_TIME, 0.9, 1.5, 3.0, f64::INFINITY].map(async |leases| {
        let attempt = if leases < 0.5 { PATIENT } else { ATTEMPT };
        let world = world(&sandbox, Grant::Browser, attempt).await;
        waited(&world, count, leases, None).await
    }));
    assert_eq!(faults.await.concat(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_ask_a_slow_login_server_one_after_the_other() {
    slow(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_ask_a_slow_login_server_one_after_the_other() {
    slow(5).await;
}

/// The sabotage twin.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_see_no_lease_ask_at_the_same_time() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, PATIENT).await;
    let faults = waited(&world, 2, IN_TIME, Some(Sabotage::NoLease)).await;
    assert!(faults.iter().any(|fault| fault.contains("another one is under way")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("the sign-in is lost")), "{faults:#?}");
}

/// The two defences one by one. In one process the shared flight is enough; without that, too, the sign-in is lost.
#[tokio::test(flavor = "multi_thread")]
async fn callers_of_one_process_need_no_lease_but_a_flight_that_they_share() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    for (sabotage, lives) in [(Sabotage::NoLease, true), (Sabotage::NoFlight, false)] {
        let world = world(&sandbox, Grant::Browser, PATIENT).await;
        let mut process = world.started(None, Some(sabotage)).await;
        world.expire().await;
        world.gate.delay(world.lease().mul_f64(IN_TIME));
        let before = world.gate.posts().len();
        process.start_calls(CALLS, LONG).await;
        let failed = process.done().await.iter().filter(|called| called.error.is_some()).count();
        let asked = world.gate.posts().len() - before;
        assert_eq!((asked == 1, failed == 0), (lives, lives), "{sabotage:?}: {asked} token requests, {failed} failed");
    }
}

//! The process that refreshes is stopped for two leases while another one refreshes: when it continues, it overwrites
//! nothing.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use trunkline_core::{ReauthCause, SignInState};
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::refresh::{CallOutcome, Grant, HeldRequest, HoldPoint, Point, Process, Sabotage, World};

use super::{browser, login, world};

/// Length of a token call. A lease is twice as long and renewed after a third of its time: the owner has to be stopped
/// before.
const ATTEMPT: Duration = Duration::from_secs(1);
const GRACE: RefreshPolicy = RefreshPolicy::OneTimeGrace(Duration::from_secs(30));

/// The result after the stopped process has continued.
#[derive(Debug)]
struct Thawed {
    /// Outcomes of the calls of the other process, the stopped one, and a third one afterwards.
    other: CallOutcome,
    frozen: CallOutcome,
    third: CallOutcome,
    /// Whether the tokens of the other process were overwritten.
    overwritten: bool,
    mixed: bool,
    /// The state of the sign-in in the end.
    state: SignInState,
}

/// Starts a process that is stopped while its request is held at a point.
async fn frozen(world: &World, point: HoldPoint, sabotage: Option<Sabotage>) -> (Process, HeldRequest) {
    loop {
        let mut owner = world.started(None, sabotage).await;
        let stop = owner.signal("STOP").await;
        world.expire().await;
        let (version, _) = world.row().await;
        let mut held = world.gate.hold(point);
        owner.start_calls(1, Duration::from_secs(60)).await;
        held.arrived().await;
        stop.send().await;
        // It has stored its intent and nothing else. On a slow machine it may have done more.
        if world.row().await.0 == version + 1 {
            return (owner, held);
        }
        drop(held);
        owner.kill().await;
        world.sign_in(&browser).await;
    }
}

/// Stops a process for two leases with its request held at a point, while another process calls.
async fn thawed(world: &World, point: HoldPoint, sabotage: Option<Sabotage>) -> Thawed {
    let mut other = world.process().await;
    let (mut owner, held) = frozen(world, point, sabotage).await;
    let other = if matches!(point, HoldPoint::BeforeCaller) {
        // The response is in the socket of the stopped process.
        drop(held);
        other.call().await
    } else {
        let called = other.call().await;
        drop(held);
        called
    };
    // At least one lease: the other process had to wait for its end.
    sleep(world.lease()).await;
    let before = world.tokens().await;
    owner.signal("CONT").await.send().await;
    let frozen = owner.done().await.remove(0);
    let after = world.tokens().await;
    let mixed = !world.gate.gave(&after);
    let third = world.process().await.call().await;
    Thawed {
        overwritten: other.error.is_none() && after != before,
        mixed,
        frozen,
        third,
        other,
        state: world.state().await,
    }
}

/// Returns whether the sign-in is valid, or its loss is reported with its cause.
fn is_valid_or_reported(thawed: &Thawed) -> bool {
    match &thawed.third.error {
        None => thawed.state == SignInState::Ok,
        Some(kind) => {
            let interrupted =
                matches!(thawed.state, SignInState::ReauthRequired { cause: ReauthCause::Interrupted, .. });
            kind == "auth" && thawed.third.cause.as_deref() == Some("interrupted") && interrupted
        }
    }
}

async fn at(point: HoldPoint) {
    let policies = [RefreshPolicy::Reuse, GRACE, RefreshPolicy::OneTime].map(async |policy| {
        let sandbox = login(policy).await;
        let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
        let thawed = thawed(&world, point, None).await;
        assert!(!thawed.overwritten && !thawed.mixed, "{policy:?} {point:?}: {thawed:#?}");
        assert!(is_valid_or_reported(&thawed), "{policy:?} {point:?}: {thawed:#?}");
        println!("{policy:?}, held at {point:?}: {:?}", thawed.state);
        if policy != RefreshPolicy::OneTime {
            let all = [&thawed.other, &thawed.frozen, &thawed.third];
            assert!(all.iter().all(|called| called.error.is_none()), "{policy:?} {point:?}: {thawed:#?}");
        }
    });
    join_all(policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_during_its_request_overwrites_nothing() {
    join_all([HoldPoint::BeforeServer, HoldPoint::BeforeCaller].map(at)).await;
}

/// The process pauses between its lease and its request. Another process refreshes meanwhile, so the late request is
/// not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_pauses_between_its_lease_and_its_request_sends_no_request() {
    let sandbox = login(RefreshPolicy::OneTime).await;
    let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
    let mut owner = world.held_up(Point::Begun, world.lease() * 2).await;
    let mut other = world.process().await;
    world.expire().await;
    let before = world.gate.posts().len();
    owner.start_calls(1, Duration::from_secs(60)).await;
    owner.reached().await;
    let all = [other.call().await, owner.done().await.remove(0), world.process().await.call().await];
    assert!(all.iter().all(|called| called.error.is_none()), "{all:#?}");
    assert_eq!((world.gate.posts().len() - before, world.gate.faults()), (1, Vec::new()));
    assert!(world.row().await.1.get("attempts").is_none(), "no attempt is left in the row");
}

/// The sabotage twin: a process that does not check that its intent is still stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_check_its_intent_overwrites_newer_tokens() {
    let sandbox = login(RefreshPolicy::Reuse).await;
    let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
    let thawed = thawed(&world, HoldPoint::BeforeCaller, Some(Sabotage::NoFence)).await;
    assert!(thawed.overwritten, "{thawed:#?}");
}

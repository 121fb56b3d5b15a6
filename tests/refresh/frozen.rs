//! The one who asks is frozen for two leases, and another one goes on: whoever comes back late overwrites nothing.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use trunkline_core::{ReauthCause, SignInState};
use trunkline_sandbox::RefreshPolicy;
use trunkline_tests::refresh::{CallOutcome, Grant, HeldRequest, HoldPoint, Point, Process, Sabotage, World};

use super::{browser, login, world};

/// A lease is twice as long, and is renewed first after a third of that: by then the owner has to be frozen.
const ATTEMPT: Duration = Duration::from_secs(1);
const GRACE: RefreshPolicy = RefreshPolicy::OneTimeGrace(Duration::from_secs(30));

/// What came of it.
#[derive(Debug)]
struct Thawed {
    /// How the other's call ended, the frozen one's, and one of a third process afterwards.
    other: CallOutcome,
    frozen: CallOutcome,
    third: CallOutcome,
    /// The row held the tokens that the other one had got, and then others.
    overwritten: bool,
    torn: bool,
    /// How the sign-in is shown in the end.
    state: SignInState,
}

/// A process that is frozen while its request is held at this door.
async fn frozen(world: &World, door: HoldPoint, sabotage: Option<Sabotage>) -> (Process, HeldRequest) {
    loop {
        let mut owner = world.started(None, sabotage).await;
        let stop = owner.signal("STOP").await;
        world.expire().await;
        let (version, _) = world.row().await;
        let mut held = world.gate.hold(door);
        owner.start_calls(1, Duration::from_secs(60)).await;
        held.arrived().await;
        stop.send().await;
        // It has written its intent and nothing else. On a machine that is too slow it may have come further.
        if world.row().await.0 == version + 1 {
            return (owner, held);
        }
        drop(held);
        owner.kill().await;
        world.sign_in(&browser).await;
    }
}

/// A process is frozen for two leases with its request at this door, and another one calls meanwhile.
async fn thawed(world: &World, door: HoldPoint, sabotage: Option<Sabotage>) -> Thawed {
    let mut other = world.process().await;
    let (mut owner, held) = frozen(world, door, sabotage).await;
    let other = if matches!(door, HoldPoint::BeforeCaller) {
        // The answer waits in the frozen one's socket.
        drop(held);
        other.call().await
    } else {
        let called = other.call().await;
        drop(held);
        called
    };
    // At least: the other one had to wait for the lease to end.
    sleep(world.lease()).await;
    let before = world.tokens().await;
    owner.signal("CONT").await.send().await;
    let frozen = owner.done().await.remove(0);
    let after = world.tokens().await;
    let torn = !world.gate.gave(&after);
    let third = world.process().await.call().await;
    Thawed {
        overwritten: other.error.is_none() && after != before,
        torn,
        frozen,
        third,
        other,
        state: world.state().await,
    }
}

/// Every sign-in lives, or it is said why not.
fn lives_or_is_told(thawed: &Thawed) -> bool {
    match &thawed.third.error {
        None => thawed.state == SignInState::Ok,
        Some(kind) => {
            let interrupted =
                matches!(thawed.state, SignInState::ReauthRequired { cause: ReauthCause::Interrupted, .. });
            kind == "auth" && thawed.third.cause.as_deref() == Some("interrupted") && interrupted
        }
    }
}

async fn at(door: HoldPoint) {
    let policies = [RefreshPolicy::Reuse, GRACE, RefreshPolicy::OneTime].map(async |policy| {
        let sandbox = login(policy).await;
        let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
        let thawed = thawed(&world, door, None).await;
        assert!(!thawed.overwritten && !thawed.torn, "{policy:?} {door:?}: {thawed:#?}");
        assert!(lives_or_is_told(&thawed), "{policy:?} {door:?}: {thawed:#?}");
        println!("{policy:?}, held at {door:?}: {:?}", thawed.state);
        if policy != RefreshPolicy::OneTime {
            let all = [&thawed.other, &thawed.frozen, &thawed.third];
            assert!(all.iter().all(|called| called.error.is_none()), "{policy:?} {door:?}: {thawed:#?}");
        }
    });
    join_all(policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_frozen_with_its_request_or_its_answer_on_the_way_overwrites_nothing() {
    join_all([HoldPoint::BeforeServer, HoldPoint::BeforeCaller].map(at)).await;
}

/// HeldRequest up between the two: another one goes on meanwhile, and the request that would come after it is not made
/// any more.
#[tokio::test(flavor = "multi_thread")]
async fn one_held_up_between_its_lease_and_its_request_asks_no_more() {
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
    assert!(world.row().await.1.get("attempts").is_none(), "nothing is left of it");
}

/// The sabotage twin: one that does not look whether its intent still stands there.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_look_for_its_intent_overwrites_newer_tokens() {
    let sandbox = login(RefreshPolicy::Reuse).await;
    let world = world(&sandbox, Grant::Browser, ATTEMPT).await;
    let thawed = thawed(&world, HoldPoint::BeforeCaller, Some(Sabotage::NoFence)).await;
    assert!(thawed.overwritten, "{thawed:#?}");
}

//! `kill -9` at every point of a refresh: nothing is torn, and a sign-in is lost only where no client could have kept it.

use std::time::Duration;

use futures::future::join_all;
use trunkline_sandbox::{RefreshPolicy, Sandbox};
use trunkline_tests::{
    Dice,
    refresh::{Grant, Sabotage, Tally, WINDOWS, Window, kill},
};

use super::{browser, login, world};

/// Token calls of this length: long enough for a machine with much to do, and the dead one's lease is waited for.
const ATTEMPT: Duration = Duration::from_millis(1_500);

/// Connections that are killed at, each with its own sign-in and store: most of a kill is waiting.
struct Lanes<'a> {
    sandbox: &'a Sandbox,
    grant: Grant,
    may_lose: bool,
    lanes: usize,
    kills: usize,
}

impl Lanes<'_> {
    async fn run(&self) -> Tally {
        let mut dice = Dice::default();
        let pauses: Vec<Vec<_>> = (0..self.lanes)
            .map(|_| (0..self.kills).map(|_| Duration::from_micros(dice.roll(0, 6_000))).collect())
            .collect();
        let lanes = pauses.iter().enumerate().map(async |(lane, pauses)| {
            let world = world(self.sandbox, self.grant.clone(), ATTEMPT).await;
            let mut tally = Tally::default();
            for (round, pause) in pauses.iter().enumerate() {
                let window = WINDOWS[(lane * self.kills + round) % WINDOWS.len()];
                let so_far = tally.count();
                while tally.count() == so_far {
                    tally = tally.and(kill(&world, window, self.may_lose, None, *pause, &browser).await);
                    assert!(tally.spoiled < 20, "{tally}");
                }
            }
            tally.faults.extend(world.gate.faults());
            tally
        });
        join_all(lanes).await.into_iter().fold(Tally::default(), Tally::and)
    }
}

fn password(sandbox: &Sandbox) -> Grant {
    let credentials = sandbox.credentials().mediavalet;
    Grant::Password { username: credentials.username, password: credentials.password }
}

/// So many kills in each of thirty lanes.
async fn kills(each: usize) {
    let reuse = login(RefreshPolicy::Reuse).await;
    let grace = login(RefreshPolicy::OneTimeGrace(Duration::from_secs(30))).await;
    let strict = login(RefreshPolicy::OneTime).await;
    let lanes = |sandbox, grant, lanes| Lanes { sandbox, grant, may_lose: false, lanes, kills: each };
    let by_reuse = lanes(&reuse, Grant::Browser, 9);
    let by_grace = lanes(&grace, Grant::Browser, 6);
    let by_strict = Lanes { may_lose: true, ..lanes(&strict, Grant::Browser, 9) };
    let (by_password, by_client) = (lanes(&strict, password(&strict), 3), lanes(&strict, Grant::Client, 3));
    let (reused, graced, stricter, password, client) =
        futures::join!(by_reuse.run(), by_grace.run(), by_strict.run(), by_password.run(), by_client.run());
    println!("tokens good for ever: {reused}");
    println!("good once, with 30 s of grace: {graced}");
    println!("good once: {stricter}");
    println!("password: {password}");
    println!("client credentials: {client}");
    let lost_by_strict = stricter.lost();
    let unsafe_kills = [Window::Sent, Window::Answered].map(|window| stricter.kills[&window]).iter().sum::<usize>();
    // Nothing would be shown by a login server that forgives.
    assert_eq!(lost_by_strict, unsafe_kills, "{stricter}");
    let all = [reused, graced, stricter, password, client].into_iter().fold(Tally::default(), Tally::and);
    println!("all: {all}");
    assert_eq!((all.mixed, all.lost()), (0, lost_by_strict), "{all}");
    assert_eq!(all.faults, [""; 0]);
    assert_eq!(all.count(), 30 * each);
    assert!(WINDOWS.iter().all(|window| all.kills[window] >= each), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_point_of_a_refresh_tears_nothing_and_loses_only_what_nobody_could_keep() {
    kills(7).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 1,000 kills"]
async fn a_process_killed_at_any_point_of_a_refresh_for_long() {
    kills(34).await;
}

/// The sabotage twins: kills that have to be told as faults.
async fn sabotaged(window: Window, sabotage: Sabotage) -> Tally {
    let strict = login(RefreshPolicy::OneTime).await;
    let world = world(&strict, Grant::Browser, ATTEMPT).await;
    kill(&world, window, true, Some(sabotage), Duration::ZERO, &browser).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_used_before_they_are_stored_would_be_lost() {
    let tally = sabotaged(Window::Used, Sabotage::StoreAfterUse).await;
    assert_eq!(tally.lost(), 1, "{tally:?}");
    assert!(tally.faults.iter().any(|fault| fault.contains("need not be")), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_stored_one_by_one_would_be_torn() {
    let tally = sabotaged(Window::Stored, Sabotage::TwoWrites).await;
    assert_eq!(tally.mixed, 1, "{tally:?}");
}

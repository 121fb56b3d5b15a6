//! `kill -9` at every point of a refresh: no row mixes tokens of two responses, and a sign-in is lost only if no client
//! could have kept it.

use std::time::Duration;

use futures::future::join_all;
use trunkline_sandbox::{RefreshPolicy, Sandbox};
use trunkline_tests::{
    Dice,
    refresh::{Grant, Rounds, Sabotage, Tally, WINDOWS, Window, kill},
};

use super::{browser, login, world};

/// Length of a token call: long enough for a busy machine. The next process waits for the lease of the dead one.
const ATTEMPT: Duration = Duration::from_millis(1_500);

/// Parallel connections, each with its own sign-in and store: most of the time of a kill is waiting.
struct Connections<'a> {
    sandbox: &'a Sandbox,
    grant: Grant,
    may_lose: bool,
    connections: usize,
    kills: usize,
}

impl Connections<'_> {
    async fn run(&self) -> Tally {
        let mut dice = Dice::default();
        let pauses: Vec<Vec<_>> = (0..self.connections)
            .map(|_| (0..self.kills).map(|_| Duration::from_micros(dice.roll(0, 6_000))).collect())
            .collect();
        let connections = pauses.iter().enumerate().map(async |(connection, pauses)| {
            let world = world(self.sandbox, self.grant.clone(), ATTEMPT).await;
            let (first, may_lose) = (connection * self.kills, self.may_lose);
            Rounds { world: &world, first, pauses, may_lose }.play(&browser).await
        });
        join_all(connections).await.into_iter().fold(Tally::default(), Tally::and)
    }
}

fn password(sandbox: &Sandbox) -> Grant {
    let credentials = sandbox.credentials().mediavalet;
    Grant::Password { username: credentials.username, password: credentials.password }
}

/// Makes `each` kills on each of thirty connections.
async fn kills(each: usize) {
    let reuse = login(RefreshPolicy::Reuse).await;
    let grace = login(RefreshPolicy::OneTimeGrace(Duration::from_secs(30))).await;
    let strict = login(RefreshPolicy::OneTime).await;
    let connections =
        |sandbox, grant, connections| Connections { sandbox, grant, may_lose: false, connections, kills: each };
    let by_reuse = connections(&reuse, Grant::Browser, 9);
    let by_grace = connections(&grace, Grant::Browser, 6);
    let by_strict = Connections { may_lose: true, ..connections(&strict, Grant::Browser, 9) };
    let (by_password, by_client) = (connections(&strict, password(&strict), 3), connections(&strict, Grant::Client, 3));
    let (reused, graced, stricter, password, client) =
        futures::join!(by_reuse.run(), by_grace.run(), by_strict.run(), by_password.run(), by_client.run());
    println!("reusable tokens: {reused}");
    println!("single-use tokens, with 30 s of grace: {graced}");
    println!("single-use tokens: {stricter}");
    println!("password: {password}");
    println!("client credentials: {client}");
    let lost_by_strict = stricter.lost();
    let unsafe_kills = [Window::Sent, Window::Answered].map(|window| stricter.kills[&window]).iter().sum::<usize>();
    // The login server has to be strict, or the test proves nothing.
    assert_eq!(lost_by_strict, unsafe_kills, "{stricter}");
    let all = [reused, graced, stricter, password, client].into_iter().fold(Tally::default(), Tally::and);
    println!("all: {all}");
    assert_eq!((all.mixed, all.lost()), (0, lost_by_strict), "{all}");
    assert_eq!(all.faults, [""; 0]);
    assert_eq!(all.count(), 30 * each);
    assert!(WINDOWS.iter().all(|window| all.kills[window] >= each), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_point_of_a_refresh_mixes_no_tokens_and_loses_only_unavoidable_sign_ins() {
    kills(7).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 1,000 kills"]
async fn many_kills_at_every_point_of_a_refresh_lose_only_unavoidable_sign_ins() {
    kills(34).await;
}

/// The sabotage twins: kills that have to be reported as faults.
async fn sabotaged(window: Window, sabotage: Sabotage) -> Tally {
    let strict = login(RefreshPolicy::OneTime).await;
    let world = world(&strict, Grant::Browser, ATTEMPT).await;
    kill(&world, window, true, Some(sabotage), Duration::ZERO, &browser).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_used_before_they_are_stored_are_lost() {
    let tally = sabotaged(Window::Used, Sabotage::StoreAfterUse).await;
    assert_eq!(tally.lost(), 1, "{tally:?}");
    assert!(tally.faults.iter().any(|fault| fault.contains("without need")), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_stored_one_by_one_are_mixed() {
    let tally = sabotaged(Window::Stored, Sabotage::TwoWrites).await;
    assert_eq!(tally.mixed, 1, "{tally:?}");
}

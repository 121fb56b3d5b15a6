//! `kill -9` at every point of a refresh, with a login server that revokes a sign-in if a refresh token is used twice.

use std::time::Duration;

use futures::future::join_all;
use trunkline_tests::{
    Dice,
    refresh::{Grant, Rounds, Tally, Upstream, Window, World},
};

use super::{Login, walk};

const ATTEMPT: Duration = Duration::from_secs(1);

/// Number of parallel connections, each with its own sign-in and store: most of the time of a kill is waiting.
const CONNECTIONS: usize = 8;

/// Not a test: the program of the processes.
#[test]
#[ignore = "the program of the other tests' processes"]
fn process() {
    trunkline_tests::refresh::process();
}

fn upstream(login: &Login) -> Upstream {
    Upstream {
        token_url: login.url("/token"),
        authorization_url: login.url("/auth?prompt=consent"),
        api_url: login.url("/api/me"),
        headers: Vec::new(),
        client_id: "by-post".into(),
        client_secret: "by-post-secret".into(),
        scopes: ["openid", "offline_access"].map(str::to_owned).into(),
    }
}

async fn kills(each: usize) {
    let Some(login) = Login::start(&[]).await else { return };
    let browser = async |url: String| walk(&url).await;
    let mut dice = Dice::default();
    let pauses: Vec<_> = (0..CONNECTIONS * each).map(|_| Duration::from_micros(dice.roll(0, 6_000))).collect();
    let all_connections = pauses.chunks(each).enumerate().map(async |(connection, pauses)| {
        let world = World::new("oidc::kills::process", upstream(&login), Grant::Browser, ATTEMPT).await;
        world.sign_in(&browser).await;
        Rounds { world: &world, first: connection * each, pauses, may_lose: true }.play(&browser).await
    });
    let all = join_all(all_connections).await.into_iter().fold(Tally::default(), Tally::and);
    println!("oidc-provider, strict: {all}");
    assert_eq!((all.mixed, all.count()), (0, CONNECTIONS * each), "{all}");
    assert_eq!(all.faults, [""; 0]);
    // The login server has to be strict, or the test proves nothing.
    let spent = [Window::Sent, Window::Answered].map(|window| all.kills[&window]).iter().sum::<usize>();
    assert!(all.lost() == spent && spent >= each, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_point_of_a_refresh_loses_only_unavoidable_sign_ins() {
    kills(3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 400 kills"]
async fn many_kills_at_every_point_of_a_refresh_lose_only_unavoidable_sign_ins() {
    kills(50).await;
}

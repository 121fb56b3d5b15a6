//! Callers that are dropped at any instant: the refresh that they started continues without them, and the sign-in is
//! not lost.

use std::time::Duration;

use trunkline::Runtime;
use trunkline_core::Connected;
use trunkline_tests::{Cli, Dice};

use super::{Login, call, expire, forget_lease, is_leased, reconnect, signed_in, vault};

/// The result of the rounds.
#[derive(Debug, Default)]
struct Outcome {
    /// Callers that were dropped before they had their response.
    dropped: usize,
    /// Dropped callers whose refresh was in flight.
    caught: usize,
    /// Violations of the guarantee.
    faults: Vec<String>,
}

/// Runs rounds with expired tokens: `cut` drops a caller after a random time, then another caller has to succeed, with
/// one token request for both. Ends when the sign-in is lost.
async fn rounds(
    login: &Login,
    runtime: &Runtime,
    rounds: usize,
    cut: impl AsyncFn(Connected, Duration) -> bool,
) -> Outcome {
    let vault = vault(runtime);
    let mut dice = Dice::default();
    let mut outcome = Outcome::default();
    // The maximum lifetime of callers in microseconds. It adapts to the speed of the machine, so that the instants are
    // spread over a whole call and most callers are dropped.
    let mut span = 40_000;
    let mut requests = login.token_requests().await.len();
    for round in 1..=rounds {
        expire(&*vault, "login").await;
        let time = Duration::from_micros(dice.roll(0, span));
        let dropped = cut(reconnect(runtime).await, time).await;
        outcome.dropped += usize::from(dropped);
        outcome.caught += usize::from(dropped && is_leased(&*vault, "login").await);
        span = if dropped { span * 9 / 8 } else { span * 3 / 4 };
        let next = reconnect(runtime).await;
        let lost = call(&next).await.err();
        let now = login.token_requests().await.len();
        if now != requests + 1 {
            outcome.faults.push(format!("round {round}: {} token requests", now - requests));
        }
        requests = now;
        if let Some(error) = lost {
            outcome.faults.push(format!("round {round}: the sign-in is lost: {error:?}"));
            break;
        }
    }
    outcome
}

async fn drops(rotation: &str, count: usize) {
    let Some(login) = Login::start(&["--rotation", rotation, "--delay", "5"]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    drop(signed_in(&runtime, login.document()).await);
    let cut = async |caller: Connected, time| tokio::time::timeout(time, call(&caller)).await.is_err();
    let outcome = rounds(&login, &runtime, count, cut).await;
    println!("{} callers: {} dropped, {} in the middle of a refresh", count, outcome.dropped, outcome.caught);
    assert_eq!(outcome.faults, [""; 0]);
    assert!(outcome.dropped > count / 3 && outcome.caught > count / 10, "too few were dropped: {outcome:?}");
    let requests = login.token_requests().await;
    assert!(requests.iter().all(|one| one.1 == 200), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_caller_loses_nothing() {
    drops("strict", 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_caller_repeats_no_token_request() {
    drops("none", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 3,000 callers"]
async fn many_dropped_callers_lose_nothing() {
    drops("strict", 3_000).await;
}

/// The sabotage twin: each caller has a runtime of its own, which ends with the caller and cancels the refresh. The
/// lease of the cancelled refresh is then ignored, as if no process had to wait for its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_cancels_its_refresh_loses_the_sign_in() {
    let Some(login) = Login::start(&["--delay", "5"]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    drop(signed_in(&runtime, login.document()).await);
    let vault = vault(&runtime);
    let cut = async |caller: Connected, time| {
        let work = move || {
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            own.block_on(async { tokio::time::timeout(time, call(&caller)).await.is_err() })
        };
        let dropped = tokio::task::spawn_blocking(work).await.unwrap();
        forget_lease(&*vault, "login").await;
        dropped
    };
    let outcome = rounds(&login, &runtime, 300, cut).await;
    let last = outcome.faults.last().unwrap_or_else(|| panic!("nothing was lost: {outcome:?}"));
    assert!(last.contains("the sign-in is lost") && last.contains("invalid_grant"), "{outcome:?}");
    // It is lost permanently.
    forget_lease(&*vault, "login").await;
    expire(&*vault, "login").await;
    assert!(call(&reconnect(&runtime).await).await.is_err());
}

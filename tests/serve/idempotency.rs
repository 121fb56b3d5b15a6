//! A start that a client repeats with its key, because the server was killed before or after it has answered.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use trunkline_tests::{Cli, Dice};

use super::{Serve, save};

/// Sends the request of a round, and returns the run that the response names, if there is one.
async fn start(serve: &Serve, round: usize) -> Option<String> {
    let request = serve.http.post(serve.url("/rest/v1/flows/note/runs")).bearer_auth(&serve.token);
    let request = request.header("idempotency-key", format!("order-{round}")).json(&json!({ "input": {} }));
    let body: Value = request.send().await.ok()?.json().await.ok()?;
    Some(body["run"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned())
}

/// Kills a server at a random point of each start, and repeats the start at the next server. Each one starts one run.
async fn killed(kills: usize) {
    let (cli, mut dice) = (Cli::default(), Dice::default());
    save(&cli, &json!({ "name": "note", "steps": [{ "id": "a", "set": { "a": 1 } }] })).await;
    let (mut unanswered, mut known, mut runs) = (0, None, BTreeSet::new());
    for round in 0..=kills {
        let serve = Serve::start(&cli).await;
        if round > 0 {
            let again = start(&serve, round - 1).await.unwrap();
            assert!(known.take().is_none_or(|first: String| first == again), "round {round}: {again} is another run");
            assert!(runs.insert(again), "round {round}: an earlier run");
            assert_eq!(serve.runs().await.len(), round, "round {round}: each start has one run");
        }
        // The first kill comes before a response is possible.
        let pause = if round == 0 { Duration::ZERO } else { dice.pause(&(0..12)) };
        let (first, ()) = tokio::join!(start(&serve, round), async {
            tokio::time::sleep(pause).await;
            serve.signal("-KILL");
        });
        unanswered += usize::from(first.is_none());
        known = first;
        serve.kill().await;
    }
    println!("{kills} kills, {unanswered} starts without a response");
    assert!(unanswered > 0, "no kill came before a response");
}

#[tokio::test]
async fn a_start_that_is_repeated_with_its_key_after_a_kill_starts_one_run() {
    killed(6).await;
}

#[tokio::test]
#[ignore = "minutes: 50 kills"]
async fn after_many_kills_each_start_with_a_key_has_one_run() {
    killed(50).await;
}

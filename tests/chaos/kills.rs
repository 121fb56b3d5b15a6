//! `kill -9` at random moments, on a server with twenty active runs while others are being accepted.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;
use trunkline_testkit::{kill::Strike, process::TestProcess};
use trunkline_tests::{Cli, Dice, LONG, serve::Serve};

use crate::{
    account::{Account, repeats, unsafe_repeats},
    witness::{Witness, input},
};

const RUNS: usize = 20;
/// The most runs that are started in one life of the server, so that kills hit runs that are being accepted.
const AT_ONCE: usize = 5;

/// Starts runs one after the other until the server fails. Returns the acknowledged ones.
async fn start(serve: &Serve, runs: usize, items: usize) -> tokio::task::JoinHandle<Vec<String>> {
    let (http, token) = (serve.http.clone(), serve.token.clone());
    let (url, body) = (serve.url("/rest/v1/flows/witnessed/runs"), json!({ "input": input(items) }));
    tokio::spawn(async move {
        let mut accepted = Vec::new();
        for _ in 0..runs {
            let Ok(answer) = http.post(&url).bearer_auth(&token).json(&body).send().await else { break };
            assert_eq!(answer.status(), 202);
            // A truncated acknowledgement does not count.
            let Ok(reply) = answer.json::<serde_json::Value>().await else { break };
            accepted.push(reply["run"].as_str().unwrap().to_owned());
        }
        accepted
    })
}

/// Waits for `effects` more effects.
async fn goes_on(witness: &mut Witness, effects: u64, cli: &Cli) {
    let goal = witness.seen().len() + effects as usize;
    let deadline = Instant::now() + LONG;
    while witness.seen().len() < goal {
        if Instant::now() > deadline {
            let now = Account::of(cli).await;
            panic!(
                "no more effects, {} of {} runs have ended: if all have, the runs are too short",
                now.through(),
                now.runs.len()
            );
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Starts a server and kills it early, at an unknown point.
async fn killed_early(cli: &Cli, after: Duration) {
    let process = TestProcess::from(cli.start(&["serve", "--json", "--listen", "127.0.0.1:0"]));
    match process.strike(after, async || true).await {
        Strike::Hit => {}
        Strike::Missed(ended) => panic!("the server ended by itself: {:?}", ended.finish().await),
    }
}

async fn kills(kills: usize) {
    let mut witness = Witness::start();
    let cli = witness.home().await;
    let mut dice = Dice::default();
    // Enough work for the longest possible lives, also on a fast machine.
    let items = kills + 25;
    let mut accepted = BTreeSet::new();
    let mut before = Account::default();
    let (mut checked, mut got_on) = (0, 0);
    for kill in 1..=kills {
        if kill % 5 == 0 {
            killed_early(&cli, dice.pause(&(0..600))).await;
        } else {
            let serve = Serve::start(&cli).await;
            let starting = start(&serve, AT_ONCE.min(RUNS - accepted.len()), items).await;
            goes_on(&mut witness, dice.roll(1, 80), &cli).await;
            tokio::time::sleep(dice.pause(&(0..20))).await;
            serve.kill().await;
            accepted.extend(starting.await.unwrap());
        }
        let now = Account::of(&cli).await;
        let effects = witness.seen();
        // Calls of the killed process may reach the witness a little later; none of them is recorded.
        assert_eq!(before.called_again(&effects[checked..]), [""; 0], "after kill {kill}");
        assert_eq!(now.lost(&accepted), [""; 0], "after kill {kill}");
        assert_eq!(now.doubles(), [""; 0], "after kill {kill}");
        assert!(before.steps.keys().all(|step| now.steps.contains_key(step)), "kill {kill}: a recorded step is gone");
        got_on += usize::from(now.steps.len() > before.steps.len());
        (checked, before) = (effects.len(), now);
    }
    let serve = Serve::start(&cli).await;
    for run in &accepted {
        serve.ended(run).await;
    }
    serve.stop().await.expect(0);
    let now = Account::of(&cli).await;
    let effects = witness.seen();
    assert_eq!(before.called_again(&effects[checked..]), [""; 0]);
    assert_eq!((now.lost(&accepted), now.doubles()), (vec![], vec![]));
    assert_eq!((unsafe_repeats(effects), now.not_done(effects)), (vec![], vec![]));
    assert!(accepted.len() == RUNS && got_on * 2 > kills, "void: {got_on} of {kills} lives made progress");
    let (through, runs) = (now.through(), now.runs.len());
    assert!(through * 100 >= runs * 95, "void: {through} of {runs} runs ended: {:?}", now.runs);
    let (done, unknown) = (now.count("done"), now.count("unknown"));
    assert_eq!(done + unknown, now.items.len(), "an item is done, or the outcome of its create is unknown");
    // Two items of each run are in progress at once.
    assert!(unknown <= kills * runs * 2, "{unknown}");
    println!(
        "{kills} kills, {got_on} of them on a server that got on; {runs} runs ({} acknowledged), {through} through; \
         {} effects, {} of them repeats under the same key; items: {done} done, {unknown} unknown; 0 recorded steps called \
         again, 0 runs lost, 0 recorded twice, 0 creates repeated: a fault in less than {:.1} % of kills (95 %)",
        accepted.len(),
        effects.len(),
        repeats(effects),
        300.0 / kills as f64,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_often_repeats_no_recorded_step_and_loses_no_run() {
    kills(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: two hundred kills"]
async fn a_server_that_is_killed_two_hundred_times_repeats_no_recorded_step_and_loses_no_run() {
    kills(200).await;
}

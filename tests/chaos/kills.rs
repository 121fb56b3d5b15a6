//! `kill -9` at random moments, on a server with twenty runs at work and others being accepted.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;
use trunkline_tests::{Cli, Dice, LONG, serve::Serve};

use crate::{
    account::{Account, repeats, unsafe_repeats},
    witness::{Witness, input},
};

const RUNS: usize = 20;
/// How many are begun in one life at most, so that kills meet runs that are being accepted.
const AT_ONCE: usize = 5;

/// Starts runs one after the other until it cannot; those that were acknowledged.
async fn start(serve: &Serve, runs: usize, items: usize) -> tokio::task::JoinHandle<Vec<String>> {
    let (http, token) = (serve.http.clone(), serve.token.clone());
    let (url, body) = (serve.url("/rest/v1/flows/witnessed/runs"), json!({ "input": input(items) }));
    tokio::spawn(async move {
        let mut accepted = Vec::new();
        for _ in 0..runs {
            let Ok(answer) = http.post(&url).bearer_auth(&token).json(&body).send().await else { break };
            assert_eq!(answer.status(), 202);
            // An acknowledgement that was cut off is none.
            let Ok(told) = answer.json::<serde_json::Value>().await else { break };
            accepted.push(told["run"].as_str().unwrap().to_owned());
        }
        accepted
    })
}

/// Lets the work go on for so many effects.
async fn goes_on(witness: &mut Witness, effects: u64, cli: &Cli) {
    let goal = witness.seen().len() + effects as usize;
    let deadline = Instant::now() + LONG;
    while witness.seen().len() < goal {
        if Instant::now() > deadline {
            let now = Account::of(cli).await;
            panic!(
                "nothing goes on any more, {} of {} runs are through: if all, then they are too short",
                now.through(),
                now.runs.len()
            );
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Begun and killed before anybody knows how far it came.
async fn killed_early(cli: &Cli, after: Duration) {
    let mut process = cli.start(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    tokio::time::sleep(after).await;
    process.kill().await.unwrap();
}

async fn kills(kills: usize) {
    let mut witness = Witness::start();
    let cli = witness.home().await;
    let mut dice = Dice::default();
    // Enough for the longest lives that the dice can throw, also on a fast machine.
    let items = kills + 25;
    let mut accepted = BTreeSet::new();
    let mut before = Account::default();
    let (mut checked, mut got_on) = (0, 0);
    for kill in 1..=kills {
        if kill % 5 == 0 {
            killed_early(&cli, Duration::from_millis(dice.roll(0, 600))).await;
        } else {
            let serve = Serve::start(&cli).await;
            let starting = start(&serve, AT_ONCE.min(RUNS - accepted.len()), items).await;
            goes_on(&mut witness, dice.roll(1, 80), &cli).await;
            tokio::time::sleep(Duration::from_millis(dice.roll(0, 20))).await;
            serve.kill().await;
            accepted.extend(starting.await.unwrap());
        }
        let now = Account::of(&cli).await;
        let effects = witness.seen();
        // What the killed process had sent may come to the witness a little later; none of it is recorded.
        assert_eq!(before.called_again(&effects[checked..]), [""; 0], "after kill {kill}");
        assert_eq!(now.lost(&accepted), [""; 0], "after kill {kill}");
        assert_eq!(now.doubles(), [""; 0], "after kill {kill}");
        assert!(before.steps.keys().all(|step| now.steps.contains_key(step)), "kill {kill}: what was recorded is gone");
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
    assert!(accepted.len() == RUNS && got_on * 2 > kills, "void: {got_on} of {kills} lives got on");
    let (through, runs) = (now.through(), now.runs.len());
    assert!(through * 100 >= runs * 95, "void: {through} of {runs} runs came to their end: {:?}", now.runs);
    let (done, unknown) = (now.count("done"), now.count("unknown"));
    assert_eq!(done + unknown, now.items.len(), "an item is done, or nobody knows of its create");
    // Two items of each run are at work at once.
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
async fn killed_again_and_again_a_server_repeats_no_recorded_step_and_loses_no_run() {
    kills(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: kills it two hundred times"]
async fn killed_two_hundred_times_it_repeats_no_recorded_step_and_loses_no_run() {
    kills(200).await;
}

//! `kill -9` of the real binary while it waits for background work of MediaValet.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_engine::RunStatus;
use trunkline_sandbox::{Options, Sandbox};
use trunkline_testkit::{kill::Strike, process::TestProcess};
use trunkline_tests::{Cli, Dice, requests};

/// Returns whether a call polls: it asks whether the asset is processed, or the package is ready.
fn is_poll(call: &Value) -> bool {
    let path = call["path"].as_str().unwrap();
    call["method"] == "GET" && (path.contains("/assets/") || path.contains("/downloads/"))
}

fn is_made(call: &&Value, what: &str) -> bool {
    call["method"] == "POST" && call["path"].as_str().unwrap().ends_with(what)
}

async fn polls(sandbox: &Sandbox) -> usize {
    requests(sandbox).await.iter().filter(|call| is_poll(call)).count()
}

/// Returns a flow that uploads a file and packages it: both take a while.
fn flow() -> Value {
    json!({
        "name": "waits",
        "connections": { "source": "mediaflow", "target": "mediavalet" },
        "input": { "type": "object", "required": ["id", "category"],
            "properties": { "id": { "type": "integer" }, "category": { "type": "string" } } },
        "steps": [
            { "id": "original", "action": "file.download", "connection": "source", "input": { "id": "{{ input.id }}" } },
            { "id": "asset", "action": "asset.upload", "connection": "target",
              "input": { "file": "{{ steps.original.file }}", "categories": ["{{ input.category }}"] } },
            { "id": "zip", "action": "asset.package", "connection": "target",
              "input": { "assetIds": ["{{ steps.asset.assetId }}"] } },
            { "id": "seen", "if": "{{ not steps.asset.processed }}", "then": [{ "id": "no", "fail": "the step did not wait" }] }
        ]
    })
}

async fn killed_while_waiting(kills: usize) {
    let processing = Duration::from_millis(1200);
    let options = Options { files: kills as u64, max_size: 2000, processing, ..Options::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let (cli, mut dice) = (Cli::default(), Dice::default());
    cli.connect(&sandbox).await;
    let flow = cli.write("flow.json", &flow().to_string());
    let folder = json!({ "id": sandbox.root_folder() });
    let files = cli.runtime().call("mediaflow.folder.files", "mediaflow", folder).await.unwrap().output;
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        let input = json!({ "id": files[runs]["id"], "category": sandbox.category() }).to_string();
        let mut process = TestProcess::from(cli.start(&["run", &flow, "--input", &input, "--json"]));
        runs += 1;
        let last = loop {
            if killed == kills {
                break Some(process);
            }
            let before = polls(&sandbox).await;
            let pause = dice.pause(&(0..150));
            if let Strike::Missed(ended) = process.strike(pause, async || polls(&sandbox).await > before).await {
                break Some(*ended);
            }
            killed += 1;
            let all = cli.runtime().journal().runs().await.unwrap();
            let run = all.into_iter().max_by_key(|run| run.started_at).unwrap();
            if run.finished_at.is_some() {
                break None;
            }
            process = TestProcess::from(cli.start(&["runs", "resume", run.id.as_str(), "--json"]));
        };
        if let Some(last) = last {
            last.finish().await.expect(0);
        }
    }
    let all = cli.runtime().journal().runs().await.unwrap();
    assert!(all.len() == runs && all.iter().all(|run| run.status == RunStatus::Succeeded), "{all:?}");
    let calls = requests(&sandbox).await;
    let made = |what: &str| calls.iter().filter(|call| is_made(call, what)).count();
    assert_eq!((made("/uploads"), made("/downloads")), (runs, runs), "each is created once");
    let report = sandbox.report();
    assert_eq!((report.assets, report.unfinished_uploads), (runs as u64, 0), "{report:?}");
    println!("{kills} kills in {runs} runs, each with 1 upload and 1 package: 0 repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_while_it_polls_continues_to_poll_the_same_object() {
    killed_while_waiting(15).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: a hundred kills"]
async fn a_run_that_is_killed_a_hundred_times_continues_to_poll_the_same_object() {
    killed_while_waiting(100).await;
}

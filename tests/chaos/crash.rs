//! Fifty kills of one run: `kill -9` at random moments, with a resume after each. In the end nothing is lost or
//! doubled, and no step with a recorded result was called again.
//!
//! The simulated systems survive the kills, since they run in the process of the test. Their log of requests is
//! compared with the journal.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use trunkline_core::RunId;
use trunkline_engine::{EventLog, ItemOutcome, RunEvent, RunIndex};
use trunkline_sandbox::{Faults, Options, Sandbox};
use trunkline_store::{KeySource, Store};
use trunkline_testkit::{
    kill::{KillPlan, Killed},
    process::TestProcess,
};
use trunkline_tests::{Cli, flow_input, requests, sandbox, shipped_flow};

/// The contents of the journal: results of steps by path, and outcomes of items by key.
#[derive(Default)]
struct Recorded {
    steps: BTreeMap<String, Value>,
    items: BTreeMap<String, ItemOutcome>,
}

fn store(cli: &Cli) -> Store {
    Store::open(&cli.data(), KeySource::File(cli.key_file())).unwrap()
}

/// Reads the journal as the next process will, while no process works on the run.
async fn recorded(cli: &Cli, id: &RunId) -> Recorded {
    let store = store(cli);
    let mut recorded = Recorded::default();
    let mut twice = Vec::new();
    let visit = &mut |event| {
        let again = match event {
            RunEvent::StepFinished { step, output, .. } => {
                let path = step.to_string();
                recorded.steps.insert(path.clone(), output).map(|_| path)
            }
            RunEvent::ItemFinished { key, outcome, .. } => recorded.items.insert(key.clone(), outcome).map(|_| key),
            _ => None,
        };
        twice.extend(again);
    };
    store.replay(id, visit).await.unwrap();
    assert_eq!(twice, [""; 0], "recorded twice");
    recorded
}

/// Returns the calls that belong to a recorded step or to an item with an outcome.
fn repeated(recorded: &Recorded, calls: &[Value]) -> Vec<String> {
    // The last segment of a path identifies the step: each step of the flow makes different calls.
    let step_of = |path: &str| -> Option<(String, &'static str)> {
        let (id, call) = path.strip_prefix("/mediaflow/1/file/")?.split_once('/').unwrap_or_else(|| {
            let id = path.rsplit('/').next().unwrap_or_default();
            (id, "")
        });
        let step = match call {
            "checkpermissions" => "rights",
            "" => "original",
            // The bytes are uploaded by the step that creates the asset.
            _ => "asset",
        };
        Some((id.to_owned(), step))
    };
    let uploads: BTreeSet<&str> = recorded
        .steps
        .iter()
        .filter(|(step, _)| step.ends_with("/asset"))
        .filter_map(|(_, output)| output["assetId"].as_str())
        .collect();
    let mut found = Vec::new();
    for call in calls {
        let path = call["path"].as_str().unwrap();
        let describe = || format!("{} {path}", call["method"].as_str().unwrap());
        if let Some((id, step)) = step_of(path)
            && (recorded.items.contains_key(&id) || recorded.steps.contains_key(&format!("files/{id}/{step}")))
        {
            found.push(describe());
        }
        let asset = path.strip_prefix("/mediavalet/uploads/").or_else(|| path.strip_prefix("/mediavalet/assets/"));
        let asset = asset.map(|rest| rest.split('/').next().unwrap_or_default());
        if asset.is_some_and(|asset| uploads.contains(asset)) {
            found.push(describe());
        }
    }
    found
}

/// A run of the shipped flow that is killed, and what was recorded at the last kill.
struct Copies {
    sandbox: Sandbox,
    cli: Cli,
    flow: String,
    input: String,
    id: Option<RunId>,
    /// The number of requests at the last kill.
    seen: usize,
    before: Recorded,
    /// The number of processes that have recorded something.
    progress: usize,
}

impl Killed for Copies {
    async fn start(&mut self, _: usize) -> TestProcess {
        self.cli.run_or_resume(&self.flow, &self.input).await
    }

    async fn progress(&mut self) -> u64 {
        self.sandbox.report().requests
    }

    async fn check(&mut self, kills: usize) {
        let log = requests(&self.sandbox).await;
        assert!(log.len() < 10_000, "the sandbox keeps 10,000 requests, and all are needed");
        let repeats = repeated(&self.before, &log[self.seen..]);
        assert_eq!(repeats, [""; 0], "after kill {kills}: recorded already, and called again");
        if self.id.is_none() {
            self.id = store(&self.cli).runs().await.unwrap().pop().map(|run| run.id);
        }
        let now = match &self.id {
            Some(id) => recorded(&self.cli, id).await,
            None => Recorded::default(),
        };
        // Recorded results and outcomes stay.
        assert!(self.before.items.keys().all(|key| now.items.contains_key(key)), "after kill {kills}");
        self.progress += usize::from(now.steps.len() > self.before.steps.len());
        // Requests of the killed process may still arrive; none of them belongs to a recorded step.
        (self.seen, self.before) = (log.len(), now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_repeat_no_recorded_step_and_lose_or_double_nothing() {
    killed(20, 160).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: fifty kills"]
async fn fifty_kills_repeat_no_recorded_step_and_lose_or_double_nothing() {
    killed(50, 400).await;
}

async fn killed(most: usize, files: u64) {
    let faults = Faults { latency: Duration::from_millis(8), ..Faults::default() };
    let options =
        Options { files, max_size: 20_000, processing: Duration::ZERO, refusals: true, faults, ..Options::default() };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (flow, input) = (shipped_flow().to_string_lossy().into_owned(), flow_input(&sandbox).to_string());
    let (before, seen, progress) = (Recorded::default(), 0, 0);
    let mut copies = Copies { sandbox, cli, flow, input, id: None, seen, before, progress };
    // A run that ends before its last kill needs more files.
    let plan = KillPlan { kills: most, progress: 2..110, pause: 0..20 };
    let last = plan.play(&mut copies).await.finish().await.expect(0);
    let Copies { sandbox, cli, id, seen, before, progress, .. } = copies;
    assert!(progress > most / 2, "only {progress} of {most} kills hit a run that made progress");

    // The last process repeated nothing that was recorded at the last kill.
    let log = requests(&sandbox).await;
    assert!(log.len() < 10_000);
    assert_eq!(repeated(&before, &log[seen..]), [""; 0]);
    assert!(before.items.len() as u64 > files / 20 && (before.items.len() as u64) < files, "{}", before.items.len());

    // Nothing is lost: every file has an outcome, and none failed.
    let id = id.unwrap();
    let now = recorded(&cli, &id).await;
    assert_eq!(now.items.len() as u64, files);
    let bad: Vec<_> = now.items.values().filter(|one| matches!(one.status(), "failed" | "unknown")).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let run = last.json();
    assert_eq!(run["status"], "succeeded", "{run}");
    let done = now.items.values().filter(|one| one.status() == "done").count() as u64;
    assert_eq!(run["ledger"]["files"]["done"], done);

    // Nothing is doubled or corrupted; each asset was finalized once.
    let report = sandbox.report();
    assert_eq!((report.duplicates, report.digest_mismatches), (0, 0), "{report:?}");
    let there = run["ledger"]["files"]["skipped"]["already in MediaValet"].as_u64().unwrap();
    assert_eq!(report.uploaded + report.preexisting, done + there, "{report:?}");
    let count = |method: &str, status: u64, path: &dyn Fn(&str) -> bool| {
        let fits = |call: &&Value| call["method"] == method && call["status"] == status;
        log.iter().filter(fits).filter(|call| path(call["path"].as_str().unwrap())).count() as u64
    };
    let begun = count("POST", 201, &|path| path == "/mediavalet/uploads");
    assert_eq!(begun, report.uploaded + report.unfinished_uploads, "each upload is an asset or an empty one");
    assert!(report.unfinished_uploads <= (most * 8) as u64, "{report:?}");
    let mut finalized = BTreeMap::<&str, u64>::new();
    for call in log.iter().filter(|call| call["method"] == "PATCH" && call["status"] == 200) {
        *finalized.entry(call["path"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(finalized.len() as u64, report.uploaded, "{report:?}");
    assert!(finalized.values().all(|count| *count == 1), "{finalized:?}");
    println!(
        "{} requests, {} uploads begun for {} assets, {progress} of {most} processes made progress",
        log.len(),
        begun,
        done
    );
    sandbox.stop().await;
}

#[test]
fn a_repeated_step_is_found() {
    let mut recorded = Recorded::default();
    recorded.steps.insert("files/7/rights".into(), Value::Null);
    recorded.steps.insert("files/8/asset".into(), serde_json::json!({ "assetId": "a-8" }));
    recorded.items.insert("9".into(), ItemOutcome::Done { reason: None });
    let call = |path: &str| serde_json::json!({ "method": "GET", "path": path });
    for path in [
        "/mediaflow/1/file/7/checkpermissions",
        "/mediaflow/1/file/8/downloads/0",
        "/mediavalet/uploads/a-8",
        "/mediavalet/uploads/a-8/categories",
        "/mediavalet/assets/a-8",
        "/mediaflow/1/file/9",
        "/mediaflow/1/file/9/checkpermissions",
    ] {
        assert_eq!(repeated(&recorded, &[call(path)]).len(), 1, "{path}");
    }
    for path in [
        "/mediaflow/1/file/7",
        "/mediaflow/1/file/6/checkpermissions",
        "/mediavalet/uploads",
        "/mediavalet/assets/search",
    ] {
        assert_eq!(repeated(&recorded, &[call(path)]), [""; 0], "{path}");
    }
}

//! A journal that is written outside the workspace's crates, with nothing but their public API: it passes the whole
//! journal suite, and an engine runs a flow on it.
#![allow(clippy::unwrap_used)]

mod file_journal;
mod sabotage;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use file_journal::FileJournal;
use serde_json::json;
use trunkline_core::StepPath;
use trunkline_engine::{Engine, ProcessLog, RunIndex, RunStatus, journal_suite};
use trunkline_flow::Flow;

/// Makes journals in files of their own.
struct Files {
    home: tempfile::TempDir,
    made: std::cell::Cell<usize>,
}

impl Files {
    fn new() -> Files {
        Files { home: tempfile::tempdir().unwrap(), made: std::cell::Cell::new(0) }
    }

    fn path(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        self.home.path().join(format!("{}.journal", self.made.get()))
    }

    fn fresh(&self) -> FileJournal {
        FileJournal::open(&self.path()).unwrap()
    }
}

#[tokio::test]
async fn a_journal_from_outside_passes_the_journal_suite() {
    let files = Files::new();
    journal_suite::run(async || files.fresh()).await;
}

#[tokio::test]
async fn a_journal_from_outside_survives_a_crash() {
    let files = Files::new();
    // What is in memory is lost, as in a crash.
    journal_suite::run_reopening(async || files.fresh(), async |before| FileJournal::open(before.path()).unwrap())
        .await;
}

#[tokio::test]
async fn a_flow_runs_to_its_end_on_a_journal_from_outside() {
    let flow = Flow::from_value(json!({
        "name": "evens",
        "input": { "type": "object", "properties": { "numbers": { "type": "array" } }, "required": ["numbers"] },
        "steps": [
            {
                "id": "numbers", "each": "{{ input.numbers }}",
                "steps": [{ "id": "odd", "if": "{{ item % 2 == 1 }}", "skip": "odd" }]
            },
            { "id": "ok", "wait": { "signal": "approved" } },
            { "id": "rest", "each": [4, 5], "steps": [{ "id": "small", "if": "{{ item < 5 }}", "skip": "small" }] }
        ]
    }));
    let (files, flow) = (Files::new(), flow.unwrap());
    let path = files.path();

    let journal = Arc::new(FileJournal::open(&path).unwrap());
    let engine = Engine::new(journal.clone());
    let run = engine.start(&flow, json!({ "numbers": [1, 2, 3] }), BTreeMap::new()).await.unwrap();
    let id = run.id().clone();
    while journal.items(&id, None, None, 10).await.unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.drain();
    assert_eq!(run.wait().await.unwrap().status, RunStatus::Running, "it waits for the signal");
    drop((engine, journal));

    // Another process.
    let journal = Arc::new(FileJournal::open(&path).unwrap());
    let engine = Engine::new(journal.clone());
    let run = engine.resume(&id, BTreeMap::new()).await.unwrap();
    assert!(engine.signal(&id, "approved", json!({ "by": "Ada" })).await.unwrap());
    let run = run.wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded);
    let counts = |step: &str| {
        let ledger = &run.ledger[&StepPath::from(step)];
        (ledger.done, ledger.skipped.values().sum::<u64>())
    };
    assert_eq!((counts("numbers"), counts("rest")), ((1, 2), (1, 1)));
    let summaries = journal.runs().await.unwrap();
    assert_eq!((summaries.len(), summaries[0].status), (1, RunStatus::Succeeded));
    assert_eq!(summaries[0].items, BTreeMap::from([("done".to_owned(), 2), ("skipped".to_owned(), 3)]));
    assert!(journal.logged(&id, 0).await.unwrap().entries.is_empty(), "it stores no process log");
}

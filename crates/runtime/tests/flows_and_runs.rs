//! The operations on flows and runs, on a runtime in memory.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use trunkline::{
    NewRerun, NewRun, Ports, RunLauncher, Runtime, StartOutcome,
    core::{ErrorKind, Registry, Result, RunId, Timestamp, async_trait},
    engine::{FlowVersions, MemoryJournal, RunStatus, TriggerDeduplication, TriggerEvent},
    operations::{
        Caller, FlowChoice, FlowFile, OperationOutput, PageQuery, Role,
        flows::{FlowCandidate, FlowChange, FlowDraft, ListFlows, RemoveFlow, SaveFlow, ValidateFlow},
        operations,
        run_queries::{GetRun, RunPosition, WatchRun},
        runs::{CancelRun, ResumeRun, RunName, RunRequest, StartRun},
    },
};

fn runtime() -> Runtime {
    Runtime::in_memory(Registry::empty())
}

fn sets() -> Value {
    json!({
        "name": "sets", "input": { "type": "object", "properties": { "a": { "type": "integer" } } },
        "steps": [{ "id": "one", "set": { "a": "{{ input.a | default(1) }}" } }]
    })
}

fn waits() -> Value {
    json!({ "name": "waits", "steps": [{ "id": "go", "wait": { "signal": "go" } }] })
}

fn file(document: Value) -> FlowFile {
    serde_json::from_value(json!({ "document": document })).unwrap()
}

fn request(document: Value) -> RunRequest {
    RunRequest {
        flow: FlowChoice::File(file(document)),
        input: None,
        connections: BTreeMap::new(),
        idempotency_key: None,
    }
}

fn draft(document: Value) -> FlowDraft {
    serde_json::from_value(json!({ "flow": { "document": document } })).unwrap()
}

fn position(run: &RunId, after: u64) -> RunPosition {
    RunPosition { run: run.as_str().to_owned(), after }
}

fn name(run: &RunId) -> RunName {
    RunName { run: run.as_str().to_owned() }
}

async fn start(runtime: &Runtime, document: Value) -> RunId {
    runtime.execute::<StartRun>(&Caller::owner(), request(document)).await.unwrap().run
}

async fn json_of(runtime: &Runtime, name: &str, input: Value) -> Result<Value> {
    let operation = operations().iter().find(|one| one.spec().name == name).unwrap();
    match operation.execute(runtime, &Caller::owner(), input).await? {
        OperationOutput::Value(value, _) => Ok(value),
        OperationOutput::Stream(items) => items.try_collect().await.map(Value::Array),
    }
}

#[tokio::test]
async fn a_given_flow_is_run_and_watched_with_json_alone() {
    let runtime = runtime();
    let started = json!({ "flow": { "document": sets() }, "input": { "a": 2 } });
    let started = json_of(&runtime, "runs.start", started).await.unwrap();
    let run = started["run"].as_str().unwrap();
    assert_eq!(started, json!({ "run": run }));
    // The stream ends with the run.
    let events = json_of(&runtime, "runs.events", json!({ "run": run })).await.unwrap();
    let names: Vec<_> = events.as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"started"), Some(&"finished")));
    let shown = json_of(&runtime, "runs.get", json!({ "run": &run[..12] })).await.unwrap();
    assert_eq!((&shown["id"], &shown["status"], &shown["input"]["a"]), (&json!(run), &json!("succeeded"), &json!(2)));
    assert_eq!(shown.get("progress"), None);
    assert_eq!(json_of(&runtime, "runs.list", json!({})).await.unwrap()["items"][0]["id"], *run);
    // A misspelled member is found, and a flow that cannot be read.
    let error = json_of(&runtime, "runs.start", json!({ "flow": "sets", "inputs": 1 })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let flow = json!({ "file": "a.yaml", "document": "name: a\nsteps:\n- id: x\n  sett: 1\n" });
    let error = json_of(&runtime, "runs.start", json!({ "flow": flow })).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.message().contains("a.yaml:"), "{error}");
}

#[tokio::test]
async fn a_handle_is_taken_once_and_the_handles_of_ended_runs_are_dropped() {
    let runtime = runtime();
    let run = start(&runtime, sets()).await;
    let handle = runtime.take_handle(&run).unwrap();
    assert!(runtime.take_handle(&run).is_none());
    assert_eq!(handle.wait().await.unwrap().status, RunStatus::Succeeded);

    let (ended, waiting) = (start(&runtime, sets()).await, start(&runtime, waits()).await);
    json_of(&runtime, "runs.events", json!({ "run": ended })).await.unwrap();
    // The task of a run ends shortly after its last event.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    start(&runtime, sets()).await;
    assert!(runtime.take_handle(&ended).is_none());
    assert!(runtime.take_handle(&waiting).is_some(), "a running run keeps its handle");
    let error = runtime.execute::<ResumeRun>(&Caller::owner(), name(&ended)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn the_first_poll_of_a_stream_has_an_event_or_the_end() {
    let (runtime, owner) = (runtime(), Caller::owner());
    let ended = start(&runtime, sets()).await;
    runtime.take_handle(&ended).unwrap().wait().await.unwrap();
    let mut all = runtime.stream::<WatchRun>(&owner, position(&ended, 0)).await.unwrap();
    assert_eq!(all.next().now_or_never().unwrap().unwrap().unwrap().get().event, "started");
    let mut end = runtime.stream::<WatchRun>(&owner, position(&ended, 100)).await.unwrap();
    assert!(end.next().now_or_never().unwrap().is_none());

    let waiting = start(&runtime, waits()).await;
    let mut open = runtime.stream::<WatchRun>(&owner, position(&waiting, 100)).await.unwrap();
    assert!(open.next().now_or_never().is_none(), "the run may have more events");
    runtime.execute::<CancelRun>(&owner, name(&waiting)).await.unwrap();
    let handle = runtime.take_handle(&waiting).unwrap();
    assert_eq!(handle.wait().await.unwrap().status, RunStatus::Cancelled);
    assert!(open.next().await.is_none());
    assert_eq!(runtime.execute::<GetRun>(&owner, name(&waiting)).await.unwrap().run.status, RunStatus::Cancelled);
}

/// Starts no run, but records what it is asked for. From the second run on, it skips.
#[derive(Default)]
struct Recording(Mutex<Vec<String>>);

#[async_trait]
impl RunLauncher for Recording {
    async fn start(self: Arc<Self>, _: &Runtime, new: NewRun) -> Result<StartOutcome> {
        let mut all = self.0.lock().unwrap();
        all.push(format!("{} with {}", new.flow.name(), new.input));
        Ok(if all.len() > 1 { StartOutcome::Skipped } else { StartOutcome::Run(RunId::new(Timestamp::now())) })
    }

    async fn resume(self: Arc<Self>, _: &Runtime, _: &RunId) -> Result<()> {
        Ok(())
    }

    async fn rerun(self: Arc<Self>, _: &Runtime, rerun: NewRerun) -> Result<RunId> {
        Ok(rerun.run)
    }
}

#[tokio::test]
async fn a_host_starts_runs_through_its_own_launcher() {
    let (launcher, owner) = (Arc::new(Recording::default()), Caller::owner());
    let runtime = runtime().with_launcher(launcher.clone());
    let mut saved = draft(sets());
    saved.input = Some([("a".to_owned(), json!(7))].into_iter().collect());
    runtime.execute::<SaveFlow>(&owner, saved).await.unwrap();
    let request = || RunRequest {
        flow: FlowChoice::Saved("sets".to_owned()),
        input: Some(json!({ "b": 8 })),
        connections: BTreeMap::new(),
        idempotency_key: None,
    };
    let started = runtime.execute::<StartRun>(&owner, request()).await.unwrap();
    assert!(runtime.take_handle(&started.run).is_none());
    assert_eq!(runtime.journal().runs().await.unwrap(), [], "nothing was started beside it");
    let error = runtime.execute::<StartRun>(&owner, request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(*launcher.0.lock().unwrap(), [r#"sets with {"a":7,"b":8}"#; 2]);
}

#[tokio::test]
async fn a_given_flow_is_linked_with_the_flows_that_are_given_with_it() {
    let (runtime, owner) = (runtime(), Caller::owner());
    let mut flow = file(json!({ "name": "caller", "steps": [{ "id": "it", "call": "sets" }] }));
    let validate = async |flow: &FlowFile| {
        let candidate = FlowCandidate { flow: flow.clone(), connections: BTreeMap::new() };
        runtime.execute::<ValidateFlow>(&owner, candidate).await.unwrap()
    };
    let report = validate(&flow).await;
    assert!(!report.ok && report.findings[0].pointer == "/steps/0/call", "{report:?}");
    assert!(report.findings[0].advice().unwrap().contains("NAME.json"), "{report:?}");

    let called = json!({ "file": "other.json", "document": sets().to_string().replace("sets", "other") });
    flow.called.insert("sets".to_owned(), serde_json::from_value(called).unwrap());
    let report = validate(&flow).await;
    assert!(report.findings.iter().any(|one| one.to_string().starts_with("other.json:1:")), "{report:?}");

    flow.called.insert("sets".to_owned(), serde_json::from_value(json!({ "document": sets() })).unwrap());
    assert!(validate(&flow).await.ok);
    let request =
        RunRequest { flow: FlowChoice::File(flow), input: None, connections: BTreeMap::new(), idempotency_key: None };
    let run = runtime.execute::<StartRun>(&owner, request).await.unwrap().run;
    assert_eq!(runtime.take_handle(&run).unwrap().wait().await.unwrap().status, RunStatus::Succeeded);
}

#[tokio::test]
async fn a_removed_flow_leaves_no_deduplication_keys_in_a_journal_of_its_own() {
    let journal = Arc::new(MemoryJournal::default());
    let runtime = Runtime::new(Registry::empty(), Ports { journal: journal.clone(), ..Ports::in_memory() });
    let owner = Caller::owner();
    let saved = runtime.execute::<SaveFlow>(&owner, draft(sets())).await.unwrap().added;
    // The documents of flow versions belong to the journal, which this store of flows does not write.
    journal.keep_version(&saved.version, &sets()).await.unwrap();
    assert_eq!(runtime.execute::<ListFlows>(&owner, PageQuery::default()).await.unwrap().items[0].flow.name, "sets");
    let keys = vec!["one".to_owned()];
    let event = TriggerEvent { flow: "sets".to_owned(), keys: keys.clone(), ..TriggerEvent::default() };
    journal.remember_trigger(event).await.unwrap();
    assert!(journal.not_taken("sets", "", keys.clone()).await.unwrap().is_empty());
    runtime.execute::<RemoveFlow>(&owner, FlowChange { name: "sets".to_owned(), if_match: None }).await.unwrap();
    assert_eq!(journal.not_taken("sets", "", keys).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_viewer_sees_flows_and_runs_and_changes_none() {
    let (runtime, viewer) = (runtime(), Caller::new("v", Role::Viewer));
    assert!(runtime.execute::<ListFlows>(&viewer, PageQuery::default()).await.unwrap().items.is_empty());
    let operator = Caller::new("o", Role::Operator);
    for caller in [&viewer, &operator] {
        let error = runtime.execute::<SaveFlow>(caller, draft(sets())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
    }
    let error = runtime.execute::<StartRun>(&viewer, request(sets())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    runtime.execute::<StartRun>(&operator, request(sets())).await.unwrap();
}

#[tokio::test]
async fn a_flow_whose_trigger_can_never_start_a_run_is_neither_saved_nor_activated() {
    let (runtime, owner) = (runtime(), Caller::owner());
    let nightly = json!({
        "name": "nightly", "steps": [], "trigger": { "schedule": { "cron": "30 2 * * *" } },
        "input": { "type": "object", "properties": { "folder": { "type": "integer" } }, "required": ["folder"] }
    });
    let candidate = FlowCandidate { flow: file(nightly.clone()), connections: BTreeMap::new() };
    let report = runtime.execute::<ValidateFlow>(&owner, candidate).await.unwrap();
    assert_eq!((report.ok, report.warnings, &*report.findings[0].pointer), (true, 1, "/input/properties/folder"));
    let save = async |active: Option<bool>, input: Value| {
        let input = input.as_object().cloned();
        let draft = FlowDraft { active, input, replace: true, ..draft(nightly.clone()) };
        runtime.execute::<SaveFlow>(&owner, draft).await.map_err(|error| error.message().to_owned())
    };
    for (active, input) in [(Some(true), json!({})), (None, json!({})), (Some(true), json!({ "folder": "4711" }))] {
        let refused = save(active, input).await.unwrap_err();
        assert!(refused.contains("/input/properties/folder") && refused.contains("schedule"), "{refused}");
    }
    assert!(runtime.execute::<ListFlows>(&owner, PageQuery::default()).await.unwrap().items.is_empty());
    // An inactive flow may lack what its trigger needs, as it may lack connections.
    save(Some(false), json!({})).await.unwrap();
    let error = runtime.activate_flow("nightly", true).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.message().contains("/input/properties/folder"), "{error}");
    save(Some(true), json!({ "folder": 4711 })).await.unwrap();
}

//! Lists of runs, and the removal of ended ones, as operations.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::{
    Ports, Runtime,
    core::{ErrorKind, Registry, Timestamp},
    engine::{Flush, RunEvent},
    operations::{AnyOperation, Caller, OperationOutput, operations},
};

const DAY: u64 = 24 * 60 * 60;

/// Carries out an operation as the doors do that are made of the list. An error is its kind and its text with advice.
async fn execute(runtime: &Runtime, name: &str, input: Value) -> Result<Value, (ErrorKind, String)> {
    let operation: &dyn AnyOperation = &**operations().iter().find(|one| one.spec().name == name).unwrap();
    match operation.execute(runtime, &Caller::owner(), input).await {
        Ok(OperationOutput::Value(value, _)) => Ok(value),
        Ok(OperationOutput::Stream(_)) => unreachable!(),
        Err(error) => Err((error.kind(), format!("{error}; {}", error.advice().unwrap_or_default()))),
    }
}

fn runtime() -> Runtime {
    Runtime::new(Registry::empty(), Ports::in_memory())
}

/// Adds a run that was accepted this number of days ago and has ended an hour later, unless `status` is null.
async fn add(runtime: &Runtime, name: &str, flow: &str, days: u64, status: Value) {
    let event = |event: Value| serde_json::from_value::<RunEvent>(event).unwrap();
    let at = Timestamp::now() - Duration::from_secs(days * DAY);
    let started =
        json!({ "event": "started", "flow": flow, "version": "v1", "input": {}, "connections": {}, "at": at });
    let journal = runtime.journal();
    journal.accept(&name.into(), "v1", &json!({}), event(started), Flush::Now).await.unwrap();
    if !status.is_null() {
        let unknown = json!({ "event": "item_finished", "step": "all", "key": "1", "at": at, "outcome": {
            "status": "unknown", "error": { "kind": "unknown_outcome", "message": "it may have arrived" } } });
        let events = (status == "partial").then(|| event(unknown)).into_iter();
        let at = at + Duration::from_secs(3600);
        let end = event(json!({ "event": "finished", "status": status, "error": null, "at": at }));
        journal.append(&name.into(), events.chain([end]).collect(), Flush::Now).await.unwrap();
    }
}

async fn ids(runtime: &Runtime, query: Value) -> String {
    let page = execute(runtime, "runs.list", query).await.unwrap();
    let ids = page["items"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap());
    ids.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_list_takes_times_and_ages_and_refuses_what_is_no_query() {
    let runtime = runtime();
    for (name, days) in [("a1", 200), ("a2", 100), ("a3", 10)] {
        add(&runtime, name, "copy", days, json!("succeeded")).await;
    }
    assert_eq!(ids(&runtime, json!({ "since": "150d" })).await, "a3 a2");
    assert_eq!(ids(&runtime, json!({ "since": "150d", "until": "2 weeks" })).await, "a2");
    let time = (Timestamp::now() - Duration::from_secs(50 * DAY)).to_string();
    assert_eq!(ids(&runtime, json!({ "until": time })).await, "a2 a1");
    let page = execute(&runtime, "runs.list", json!({ "limit": 2 })).await.unwrap();
    assert_eq!(ids(&runtime, json!({ "limit": 2, "cursor": page["next"] })).await, "a1");
    for (query, said) in [
        (json!({ "search": "" }), "`search` has 0 characters"),
        (json!({ "search": " \t " }), "`search` has 0 characters"),
        (json!({ "search": "x".repeat(101) }), "`search` has 101 characters"),
        (json!({ "since": "soon" }), "`since` is neither a time nor an age: soon"),
        (json!({ "limit": 0 }), "between 1 and 500"),
        (json!({ "limit": 501 }), "between 1 and 500"),
        (json!({ "cursor": "x" }), "no page of runs.list starts at this `cursor`"),
        (json!({ "status": "ended" }), "must be \"running\", \"succeeded\", \"partial\", \"failed\" or \"cancelled\""),
        (json!({ "trigger": "clock" }), "\"schedule\", \"webhook\", \"poll\" or \"event\""),
        (json!({ "page": 2 }), "page is not known here"),
    ] {
        let (kind, text) = execute(&runtime, "runs.list", query.clone()).await.unwrap_err();
        assert!(kind == ErrorKind::InvalidInput && text.contains(said), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_run_is_found_by_its_id_and_else_by_its_first_digits() {
    let runtime = runtime();
    for name in ["7d", "7d4", "7d41", "8a1"] {
        add(&runtime, name, "copy", 1, json!("succeeded")).await;
    }
    let find = async |start: &str| runtime.find_run(start).await.map(|run| run.as_str().to_owned());
    assert_eq!(find("7d").await.unwrap(), "7d", "exactly this one");
    assert_eq!(find("8").await.unwrap(), "8a1");
    let error = find("7").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("several runs start with 7: 7d, 7d4, 7d41"), "{error}");
    for none in ["", "9", "8a12"] {
        assert_eq!(find(none).await.unwrap_err().kind(), ErrorKind::NotFound, "{none:?}");
    }
}

/// All that must not be removed, and runs that may be.
async fn filled() -> Runtime {
    let runtime = runtime();
    add(&runtime, "running", "copy", 400, Value::Null).await;
    add(&runtime, "unresolved", "copy", 300, json!("partial")).await;
    add(&runtime, "old", "copy", 200, json!("succeeded")).await;
    add(&runtime, "other", "sync", 200, json!("failed")).await;
    add(&runtime, "young", "copy", 10, json!("succeeded")).await;
    runtime
}

#[tokio::test]
async fn only_ended_and_resolved_runs_are_pruned() {
    let runtime = filled().await;
    let prune = async |input| execute(&runtime, "runs.prune", input).await;
    assert_eq!(prune(json!({ "older": "90d", "flow": "sync" })).await.unwrap(), json!({ "removed": 1, "kept": 0 }));
    assert_eq!(prune(json!({ "older": "90d" })).await.unwrap(), json!({ "removed": 1, "kept": 1 }));
    assert_eq!(ids(&runtime, json!({})).await, "young unresolved running");
    let (kind, text) = prune(json!({ "older": "1h", "status": "running" })).await.unwrap_err();
    assert!(kind == ErrorKind::InvalidInput && text.contains("cancel them first"), "{text}");
    assert_eq!(prune(json!({ "older": "old" })).await.unwrap_err().0, ErrorKind::InvalidInput);
    let remove = async |runs: Value| execute(&runtime, "runs.remove", json!({ "runs": runs })).await;
    for (run, said) in [("running", "it has not ended"), ("unresolved", "the outcome of 1 of its items is unknown")] {
        let (kind, text) = remove(json!([run])).await.unwrap_err();
        assert!(kind == ErrorKind::Conflict && text.contains(said), "{text}");
    }
    let claim = runtime.journal().claim(&"young".into()).await.unwrap();
    assert_eq!(remove(json!(["young"])).await.unwrap_err().0, ErrorKind::Conflict, "a process works on it");
    drop(claim);
    assert_eq!(remove(json!(["you"])).await.unwrap(), json!({ "removed": ["young"] }));
}

#[tokio::test]
async fn the_retention_of_a_flow_comes_before_that_of_the_store() {
    let runtime = filled().await;
    for (name, retention) in [("copy", "forever"), ("sync", "150d")] {
        let document = json!({ "name": name, "retention": retention, "steps": [{ "id": "a", "set": { "b": 1 } }] });
        execute(&runtime, "flows.save", json!({ "flow": { "document": document } })).await.unwrap();
    }
    execute(&runtime, "runs.set_retention", json!({ "retention": "1d" })).await.unwrap();
    add(&runtime, "unsaved", "once", 2, json!("succeeded")).await;
    let pruned = runtime.apply_retention().await.unwrap();
    assert_eq!((pruned.removed, pruned.kept), (2, 0));
    assert_eq!(ids(&runtime, json!({})).await, "young old unresolved running");
    assert_eq!(execute(&runtime, "runs.get_retention", json!({})).await.unwrap(), json!({ "retention": "1d" }));
    let (kind, text) = execute(&runtime, "runs.set_retention", json!({ "retention": "5m" })).await.unwrap_err();
    assert!(kind == ErrorKind::InvalidInput && text.contains("at least an hour"), "{text}");
}

//! Journals of earlier versions: their errors have facts and no details, and are decided on as before.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_core::ErrorKind;
use trunkline_engine::{Engine, EventLog, Flush, MemoryJournal, Run, RunEvent, RunStatus, Verdict};

use crate::support::{call, flow, slots, world};

/// Removes members from all errors in an event.
fn without(members: &[&str], event: &mut Value) {
    match event {
        Value::Object(object) => {
            if object.contains_key("kind") && object.contains_key("message") {
                object.retain(|name, _| !members.contains(&name.as_str()));
            }
            object.values_mut().for_each(|value| without(members, value));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| without(members, value)),
        _ => {}
    }
}

/// Runs a flow with three items whose outcome is unknown, and returns the run with a journal in which its errors lack
/// these members.
async fn recorded(place: &str, members: &[&str]) -> (Run, Arc<MemoryJournal>) {
    let flow = flow(json!([{ "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}", "steps": [
        call("make", "thing.make_blindly", json!({ "name": "{{ item }}", "fault": "lost" }))] }]));
    let (now, earlier) = (Arc::new(MemoryJournal::default()), Arc::new(MemoryJournal::default()));
    let engine = Engine::new(now.clone());
    let run = engine.start(&flow, json!({}), slots(place)).await.unwrap().wait().await.unwrap();
    assert_eq!((run.status, run.ledger[&"all".into()].unknown.values().sum::<u64>()), (RunStatus::Partial, 3));
    let mut events = Vec::new();
    now.replay(&run.id, &mut |event| events.push(serde_json::to_value(event).unwrap())).await.unwrap();
    let events = events.into_iter().map(|mut event| {
        without(members, &mut event);
        serde_json::from_value::<RunEvent>(event).unwrap()
    });
    let mut events: Vec<_> = events.collect();
    let started = events.remove(0);
    earlier.accept(&run.id, flow.version(), flow.document(), started, Flush::Now).await.unwrap();
    earlier.append(&run.id, events, Flush::Now).await.unwrap();
    (run, earlier)
}

#[tokio::test]
async fn an_unknown_outcome_that_an_earlier_version_recorded_is_resolved_and_rerun() {
    let place = "earlier";
    let (run, journal) = recorded(place, &["details", "next"]).await;
    let engine = Engine::new(journal.clone());
    // The item's path stands for the step that its error comes from.
    let resolved = engine.resolve_unknown(&run.id, &"all/b".into(), Verdict::Retry, Value::Null).await.unwrap();
    assert_eq!((resolved.step.as_str(), resolved.items.len()), ("all/b/make", 1));
    let resolved = engine.resolve_unknown(&run.id, &"all/a/make".into(), Verdict::Done, Value::Null).await.unwrap();
    assert_eq!(resolved.items.len(), 1);
    let again = engine.rerun_failed(&run.id, None, slots(place), false).await.unwrap().wait().await.unwrap();
    assert_eq!(again.status, RunStatus::Succeeded, "b is repeated, c is left alone");
    assert_eq!(["make a", "make b", "make c"].map(|what| world(place).calls(what)), [1, 2, 1]);
}

/// The sabotage twin: without facts and details, nothing says which step an item is unknown because of.
#[tokio::test]
async fn an_error_without_facts_and_details_has_no_step() {
    let (run, journal) = recorded("earlier and empty", &["details", "next", "context"]).await;
    let engine = Engine::new(journal);
    let error = engine.resolve_unknown(&run.id, &"all/b".into(), Verdict::Retry, Value::Null).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
}

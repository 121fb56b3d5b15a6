//! What a list keeps of its items: labels, results, collected values, and the items that failed.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::{call, lab::Lab, registry, slots, world};
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, ErrorKind, RunId, StepPath};
use trunkline_engine::{
    Engine, EventLog, FlowVersions, Flush, Item, MemoryJournal, Run, RunEvent, RunIndex, RunStatus,
};
use trunkline_flow::Flow;

/// Returns a flow with these steps and more members.
fn flow(steps: Value, more: Value) -> Flow {
    let mut document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    if !steps.to_string().contains("\"connection\"") {
        document.as_object_mut().unwrap().remove("connections");
    }
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let flow = Flow::from_value(document).unwrap();
    Diagnostic::accept("the flow", &flow.check(&registry())).unwrap();
    flow
}

/// Returns an `each` that makes a thing for each item of three pages, and collects their names. `t5` fails.
fn collecting(more: Value) -> Value {
    let mut each = json!({ "id": "all", "key": "{{ item.name }}", "label": "thing {{ item.name }}", "concurrency": 4,
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 3 } },
        "steps": [call("make", "thing.make", json!({ "name": "{{ item.name }}", "fault": "door" })),
            { "id": "bad", "if": "{{ item.name == 't5' }}", "fail": "it is bad" }],
        "result": "{{ steps.make.key }}", "collect": "{{ item.name }}" });
    each.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    each
}

/// The output of a flow that collects.
fn output() -> Value {
    json!({ "values": "{{ steps.all.collected }}", "failures": "{{ steps.all.failures | map('key') }}" })
}

#[tokio::test(start_paused = true)]
async fn what_items_collect_is_the_same_wherever_the_process_dies() {
    let batched = json!({ "batch": 2, "collect": { "name": "{{ item.name }}", "of": "{{ items | length }}" },
        "steps": [{ "id": "set", "set": { "names": "{{ items | map('name') }}" } }], "result": "{{ item.name }}" });
    let inner = json!({ "concurrency": 2, "collect": "{{ steps.inner.collected }}", "steps": [
        { "id": "inner", "each": [1, 2], "collect": "{{ item }}", "steps": [{ "id": "n", "set": { "n": "{{ item }}" } }] }
    ], "result": "{{ item.name }}" });
    for (name, more) in [("plain", json!({})), ("batched", batched), ("inner", inner)] {
        let flow = flow(json!([collecting(more)]), json!({ "output": output() }));
        let lab = Lab::new(name, &flow, json!({}));
        let played = lab.play().await;
        let values = played.run.output.unwrap()["values"].as_array().unwrap().clone();
        assert!(values.len() > 5, "{name}: {values:?}");
        if name == "plain" {
            let mut sorted = values.clone();
            sorted.sort_by_key(ToString::to_string);
            assert_eq!(values, sorted, "the order of the list");
        }
    }
}

/// Runs a flow until it waits, copies what its journal keeps, and finishes a run on the copy. Returns its output.
async fn in_another_process(name: &str, keeps: fn(RunEvent) -> RunEvent) -> Value {
    let steps = json!([collecting(json!({ "concurrency": 2 })), { "id": "pause", "wait": { "signal": "go" } }]);
    let flow = flow(steps, json!({ "output": output() }));
    let (journal, next) = (Arc::new(MemoryJournal::default()), Arc::new(MemoryJournal::default()));
    let engine = Engine::new(journal.clone());
    let handle = engine.start(&flow, json!({}), slots(name)).await.unwrap();
    let run = handle.id().clone();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let mut events = Vec::new();
    journal.replay(&run, &mut |event| events.push(keeps(event))).await.unwrap();
    let started = events.remove(0);
    let RunEvent::Started { version, .. } = &started else { unreachable!() };
    let (version, document) = (version.clone(), journal.flow(version).await.unwrap());
    next.accept(&run, &version, &document, started, Flush::Now).await.unwrap();
    next.append(&run, events, Flush::Now).await.unwrap();
    let engine = Engine::new(next);
    engine.signal(&run, "go", Value::Null).await.unwrap();
    engine.resume(&run, slots(name)).await.unwrap().wait().await.unwrap().output.unwrap()
}

/// The twin: collected values that are not durable are lost with their process.
#[tokio::test(start_paused = true)]
async fn another_process_sees_the_collected_values_only_because_they_are_durable() {
    let forgetful = |event| match event {
        RunEvent::ItemFinished { step, key, outcome, once, mut note, at } => {
            note.collected = None;
            RunEvent::ItemFinished { step, key, outcome, once, note, at }
        }
        event => event,
    };
    let durable = in_another_process("durable", |event| event).await;
    assert_eq!(durable["values"].as_array().unwrap().first(), Some(&json!("t0")));
    assert_eq!(in_another_process("forgetful", forgetful).await["values"], json!([]));
}

async fn finished(engine: &Engine, flow: &Flow, input: Value, place: &str) -> Run {
    let slots = if flow.connections().is_empty() { Default::default() } else { slots(place) };
    engine.start(flow, input, slots).await.unwrap().wait().await.unwrap()
}

fn in_memory() -> (Engine, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    (Engine::new(journal.clone()), journal)
}

/// Returns a flow that collects a text of a given size for each number of its input.
fn sized(more: Value) -> Flow {
    let mut each = json!({ "id": "all", "each": "{{ input.sizes }}", "concurrency": 8,
        "steps": [{ "id": "set", "set": { "n": "{{ item }}" } }], "collect": "{{ input.text[:item] }}" });
    each.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let properties =
        json!({ "sizes": { "type": "array", "items": { "type": "integer" } }, "text": { "type": "string" } });
    let input = json!({ "type": "object", "properties": properties, "required": ["sizes", "text"] });
    flow(json!([each]), json!({ "input": input, "output": { "count": "{{ steps.all.collected | length }}" } }))
}

#[tokio::test]
async fn a_list_that_collects_too_much_fails_with_the_limit_also_when_it_is_resumed() {
    let text = "x".repeat(1_100_000);
    for (sizes, limit) in [
        (vec![1; 10_000], None),
        (vec![1; 10_001], Some("10000 values")),
        (vec![349_000; 3], None),
        (vec![350_000; 3], Some("1048576")),
    ] {
        let (engine, _) = in_memory();
        let (flow, count) = (sized(json!({})), sizes.len());
        let run = finished(&engine, &flow, json!({ "sizes": sizes, "text": text }), "").await;
        match limit {
            None => assert_eq!((run.status, run.output), (RunStatus::Succeeded, Some(json!({ "count": count })))),
            Some(limit) => {
                let error = run.error.unwrap();
                assert_eq!((run.status, error.kind()), (RunStatus::Failed, ErrorKind::Limit));
                assert!(error.message().contains(limit) && error.message().contains("collect"), "{error:?}");
                let again = engine.resume(&run.id, Default::default()).await.unwrap().wait().await.unwrap();
                assert_eq!(again.error.unwrap().message(), error.message(), "nothing is cut");
            }
        }
    }
}

async fn items(journal: &MemoryJournal, run: &RunId) -> Vec<Item> {
    journal.items(run, None, None, 100).await.unwrap()
}

#[tokio::test]
async fn an_item_whose_values_are_wrong_or_too_large_fails_alone() {
    let text = "é".repeat(1_100_000);
    for (more, reasons) in [
        (json!({ "collect": ["{{ input.text[:item] }}", "{{ input.text[:item] }}"] }), ["1048576", "`collect`"]),
        (json!({ "result": { "id": "{{ input.text[:item] }}" } }), ["1024", "`result`"]),
        (json!({ "label": "{{ 'x' if item == 1 else 1 / 0 }}" }), ["zero", ""]),
    ] {
        let (engine, journal) = in_memory();
        let run = finished(&engine, &sized(more.clone()), json!({ "sizes": [1, 300_000], "text": text }), "").await;
        assert_eq!(run.status, RunStatus::Partial, "{more}: {:?}", run.error);
        let found = items(&journal, &run.id).await;
        let failed = found[1].outcome.error().unwrap();
        let named = reasons.iter().all(|reason| failed.message().contains(reason));
        assert!(named && found[0].outcome.error().is_none(), "{more}: {failed:?}");
        assert_eq!(run.output, Some(json!({ "count": 1 })), "{more}");
    }
}

#[tokio::test]
async fn a_hostile_expression_about_an_item_ends_within_its_limit() {
    let growth = "{{ input.text | replace('a', input.text) | length }}";
    let splitting = "{{ input.text | replace('a', 'a,b,') | split(',') | sort | unique | length }}";
    let nesting = "{{ input.deep | parse_json | flatten | length }}";
    for member in ["label", "result", "collect", "key"] {
        for hostile in [growth, splitting, nesting] {
            let each = json!({ "id": "all", "each": "{{ input.sizes }}", member: hostile,
                "steps": [{ "id": "set", "set": { "n": "{{ item }}" } }] });
            let properties = json!({ "sizes": { "type": "array", "items": { "type": "integer" } }, "text": { "type": "string" }, "deep": { "type": "string" } });
            let input = json!({ "type": "object", "properties": properties, "required": ["sizes", "text", "deep"] });
            let document = json!({ "name": "test", "input": input, "steps": [each] });
            let flow = Flow::from_value(document).unwrap();
            let (engine, _) = in_memory();
            let began = std::time::Instant::now();
            let input = json!({ "sizes": vec![1; 20], "text": "a".repeat(100_000), "deep": "[".repeat(100_000) });
            let run = finished(&engine, &flow, input, "").await;
            assert!(began.elapsed().as_secs() < 20, "{member} {hostile}: {:?}", began.elapsed());
            assert_eq!(run.status, RunStatus::Partial, "{member} {hostile}: each item fails alone");
        }
    }
}

#[tokio::test]
async fn items_keep_their_labels_and_what_they_have_become() {
    let label = "{{ none if item == 1 else (item if item == 2 else input.text[:300]) }}";
    let more = json!({ "label": label, "result": { "id": "{{ item }}", "of": ["{{ steps.set.n }}"] } });
    let (engine, journal) = in_memory();
    let run = finished(&engine, &sized(more), json!({ "sizes": [1, 2, 3], "text": "é".repeat(400) }), "").await;
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.error);
    let found = items(&journal, &run.id).await;
    let labels: Vec<_> = found.iter().map(|item| item.label.clone()).collect();
    assert_eq!(labels, [None, Some("2".to_owned()), Some(format!("{}…", "é".repeat(200)))]);
    assert_eq!(found[2].result, Some(json!({ "id": 3, "of": [3] })));
    let found = journal.find_items(&["3".to_owned()], false, None, 10).await.unwrap();
    assert_eq!((found.len(), &found[0].run, &*found[0].item.key), (1, &run.id, "2"));
}

#[tokio::test(start_paused = true)]
async fn later_steps_and_failure_handlers_see_which_items_failed() {
    let place = "told";
    world(place).refuse(["t4", "t7"]);
    let steps = json!([
        collecting(json!({ "result": "{{ steps.make.name }}" })),
        { "id": "summary", "set": { "text": "{{ steps.all.failures | map('label') | join(', ') }}" } },
        { "id": "stop", "if": "{{ input.stop }}", "fail": "stopped" }
    ]);
    let on_failure = json!([{ "id": "tell", "set": { "keys": "{{ error.failures | map('key') }}" } },
        call("note", "thing.put", json!({ "name": "{{ steps.tell.keys | join('+') }}" }))]);
    let input = json!({ "type": "object", "properties": { "stop": { "type": "boolean" } }, "required": ["stop"] });
    let flow = flow(
        steps,
        json!({ "input": input, "on_failure": on_failure,
            "output": { "text": "{{ steps.summary.text }}", "all": "{{ steps.all }}" } }),
    );
    let (engine, journal) = in_memory();
    let run = finished(&engine, &flow, json!({ "stop": false }), place).await;
    assert_eq!(run.status, RunStatus::Partial, "{:?}", run.error);
    let output = run.output.unwrap();
    assert_eq!(output["text"], "thing t4, thing t5, thing t7");
    assert_eq!((&output["all"]["failed"], &output["all"]["unknown"]), (&json!(3), &json!(0)));
    let failure = &output["all"]["failures"][0];
    assert_eq!(
        (&failure["step"], &failure["key"], &failure["status"]),
        (&json!("all"), &json!("t4"), &json!("failed"))
    );
    assert!(failure["reason"].as_str().unwrap().len() > 3, "{failure}");
    let stopped = finished(&engine, &flow, json!({ "stop": true }), place).await;
    assert_eq!(stopped.status, RunStatus::Failed);
    assert!(
        world(place).all_calls().iter().any(|(what, _)| what.contains("t4+t5+t7")),
        "{:?}",
        world(place).all_calls()
    );
    // A rerun collects and names what it has worked on itself.
    world(place).refuse_nothing();
    world(place).refuse(["t7"]);
    let again = engine.rerun_failed(&run.id, None, slots(place), false).await.unwrap().wait().await.unwrap();
    let output = again.output.unwrap();
    assert_eq!((&output["all"]["collected"], &output["text"]), (&json!(["t4"]), &json!("thing t5, thing t7")));
    let done = journal.item(&again.id, &StepPath::from("all"), "t4").await.unwrap().unwrap();
    assert_eq!(done.status(), "done");
}

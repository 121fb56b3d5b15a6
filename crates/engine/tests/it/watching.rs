//! What those see who watch a run: its events as they come, where its time went, how far its lists are.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{call, flow, slots};
use serde_json::{Value, json};
use trunkline_core::Timestamp;
use trunkline_engine::{Engine, Flow, Journal, LogEntry, MemoryJournal, RunEventView, RunStatus};

fn engine() -> Engine {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    Engine::new(journal)
}

/// Three items, of which `b` works at its second try and `c` never.
fn three() -> Flow {
    let mut look = call("look", "thing.look", json!({ "name": "{{ item }}", "fault": "{{ input.faults[item] }}" }));
    look["retry"] = json!({ "tries": 2, "wait": "1s" });
    flow(json!([
        { "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}/1", "steps": [look] },
        call("after", "thing.make", json!({ "name": "after" })),
    ]))
}

fn faults() -> Value {
    json!({ "faults": { "a": "sleep 3000", "b": "busy 1", "c": "missing" } })
}

async fn all(engine: &Engine, run: &trunkline_engine::RunId, after: u64) -> (Vec<RunEventView>, RunStatus) {
    let mut watch = engine.watch(run, after).await.unwrap();
    let mut all = Vec::new();
    while let Some(happened) = watch.next().await.unwrap() {
        all.push(happened);
    }
    (all, watch.status())
}

#[tokio::test(start_paused = true)]
async fn who_watches_sees_each_event_once_in_order_with_step_item_and_attempt() {
    let engine = engine();
    let running = engine.start(&three(), faults(), slots("watched")).await.unwrap();
    let id = running.id().clone();
    let (live, second) = tokio::join!(all(&engine, &id, 0), all(&engine, &id, 3));
    running.wait().await.unwrap();
    let (later, status) = all(&engine, &id, 0).await;
    assert_eq!((&live.0, live.1, status), (&later, RunStatus::Partial, RunStatus::Partial), "live as afterwards");
    assert_eq!(second.0, later[3..]);
    assert!(later.iter().map(|one| one.seq).eq(1..=later.len() as u64));
    let told: Vec<_> = later
        .iter()
        .map(|one| {
            let (step, item) = (one.step.as_deref().unwrap_or("-"), one.item.as_deref().unwrap_or("-"));
            let attempt = one.attempt.unwrap_or_default();
            format!("{} {step} {item} {attempt} {}", one.event, one.status.as_deref().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "started - - 0 -",
            "listed all - 0 -",
            "step_finished all/*/look a/1 1 -",
            "item_finished all a/1 0 done",
            "step_failed all/*/look b/1 1 -",
            "step_retried all/*/look b/1 1 -",
            "step_finished all/*/look b/1 2 -",
            "item_finished all b/1 0 done",
            "step_failed all/*/look c/1 1 -",
            "item_finished all c/1 0 failed",
            "page_finished all - 0 -",
            "step_started after - 1 -",
            "step_finished after - 1 -",
            "finished - - 0 partial",
        ]
    );
    assert_eq!((later[4].kind.as_deref(), later[4].message.as_deref()), (Some("unavailable"), Some("busy")));
    assert!(!json!(later).to_string().contains("faults"), "nothing of what it was handed, or yields");
}

#[tokio::test]
async fn a_timeline_says_how_long_how_often_and_which_were_slow() {
    let engine = engine();
    let look = call("look", "thing.look", json!({ "name": "n{{ item }}", "fault": "sleep {{ item }}" }));
    let flow = flow(json!([
        { "id": "all", "each": [5, 20, 30, 40, 50, 160, 320], "concurrency": 7, "key": "{{ item }}", "steps": [look] },
        call("after", "thing.make", json!({ "name": "after" })),
    ]));
    let running = engine.start(&flow, json!({}), slots("timeline")).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let told = json!(engine.timeline(&id).await.unwrap());
    let steps = told["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["all", "all/*/look", "after"], "{told}");
    let counts = |at: usize| ["tries", "done", "failed"].map(|count| steps[at][count].as_u64().unwrap());
    assert_eq!((counts(1), counts(2)), ([7, 7, 0], [1, 1, 0]), "{told}");
    let items = &steps[0]["items"];
    assert_eq!(items["count"], json!({ "done": 7 }), "{told}");
    let slowest: Vec<_> = items["slowest"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert_eq!((slowest.len(), slowest[0], slowest[1]), (5, "320", "160"), "{told}");
    for part in [items, &steps[1]] {
        let [fastest, median, longest] = ["fastest", "median", "longest"].map(|name| part[name].as_u64().unwrap());
        assert!(fastest >= 5 && median >= 38 && longest >= 320 && fastest < median && median < longest, "{told}");
    }
    for step in steps {
        let at = |time: &Value| serde_json::from_value::<Timestamp>(time.clone()).unwrap();
        assert!(at(&step["began"]) <= at(&step["ended"]) && at(&step["began"]) >= at(&told["began"]));
    }
}

#[tokio::test(start_paused = true)]
async fn tries_are_counted_in_a_timeline_and_a_step_that_came_through_has_not_failed() {
    let engine = engine();
    let running = engine.start(&three(), faults(), slots("tries")).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let told = json!(engine.timeline(&id).await.unwrap());
    let look = &told["steps"][1];
    assert_eq!((&look["step"], &look["tries"]), (&json!("all/*/look"), &json!(4)), "{told}");
    assert_eq!((&look["done"], &look["failed"]), (&json!(2), &json!(1)), "{told}");
    assert_eq!(told["steps"][0]["items"]["count"], json!({ "done": 2, "failed": 1 }), "{told}");
}

#[tokio::test(start_paused = true)]
async fn how_far_a_list_is_and_how_long_it_may_take_is_known_while_it_is_at_work() {
    let engine = engine();
    let flow = flow(json!([{ "id": "all", "key": "{{ item.name }}",
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 3 } },
        "steps": [call("look", "thing.look", json!({ "name": "{{ item.name }}", "fault": "sleep 1000" }))] }]));
    let running = engine.start(&flow, json!({}), slots("far")).await.unwrap();
    let id = running.id().clone();
    let mut seen = Vec::new();
    let far = async || {
        let run = engine.run(&id).await.unwrap();
        // The clock of these tests stands still: so late it is by what has ended.
        let now = run.started_at + Duration::from_secs(1);
        run.progress(now).remove(&"all".into())
    };
    while seen.last().is_none_or(|(_, _, ended)| *ended < 8) {
        if let Some(far) = far().await
            && seen.last() != Some(&(far.listed, far.complete, far.ended))
        {
            assert_eq!(far.left.is_some(), far.per_second.is_some() || far.complete && far.listed == far.ended);
            seen.push((far.listed, far.complete, far.ended));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.wait().await.unwrap();
    // Three pages of three; one item stands on two of them.
    assert!(seen.contains(&(3, false, 1)) && seen.contains(&(8, true, 7)), "{seen:?}");
}

/// What is in the process log of a run of these steps, and its document.
async fn logged(name: &str, log: &str, steps: Value, input: Value) -> Vec<LogEntry> {
    let document = json!({ "name": "test", "log": log, "connections": { "shop": "shop" }, "steps": steps });
    let (engine, flow) = (engine(), Flow::from_value(document).unwrap());
    let running = engine.start(&flow, input, slots(name)).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let page = engine.log(&id, 0).await.unwrap();
    assert!(page.entries.iter().map(|(number, _)| *number).eq(1..=page.entries.len() as u64));
    page.entries.into_iter().map(|(_, entry)| entry).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_are_logged_in_order_as_the_flow_says() {
    let steps = three().document()["steps"].clone();
    let told = async |name: &str, log: &str| -> Vec<String> {
        let line = |entry: LogEntry| {
            assert_eq!((&*entry.action, &*entry.connection), ("thing.look", "shop"));
            assert_eq!(
                (entry.input["name"].as_str(), entry.step.as_str()),
                (entry.item.as_deref().map(|item| &item[..1]), "all/*/look")
            );
            let end = entry.error.map_or_else(|| entry.output.unwrap()["name"].clone(), |error| error["kind"].clone());
            format!("{} {} {}", entry.item.unwrap(), entry.attempt, end.as_str().unwrap())
        };
        let entries = logged(name, log, json!([steps[0]]), faults()).await;
        entries.into_iter().map(line).collect()
    };
    assert_eq!(told("log-all", "all").await, ["a/1 1 a", "b/1 1 unavailable", "b/1 2 b", "c/1 1 not_found"]);
    assert_eq!(told("log-failures", "failures").await, ["b/1 1 unavailable", "c/1 1 not_found"]);
    assert_eq!(told("log-none", "none").await, [""; 0]);
    assert_eq!(three().document().get("log"), None);
}

#[tokio::test(start_paused = true)]
async fn an_unclear_call_and_a_list_that_fails_are_logged_too() {
    let make = call("make", "thing.make", json!({ "name": "a", "fault": "lost" }));
    let entries = logged("log-lost", "failures", json!([make]), json!({})).await;
    assert_eq!((entries.len(), &entries[0].error.as_ref().unwrap()["kind"]), (1, &json!("unknown_outcome")));
    let list = json!({ "id": "all", "key": "{{ item.name }}", "retry": { "tries": 2, "wait": "1s" }, "steps": [],
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 1, "failures": 1 } } });
    let entries = logged("log-list", "failures", json!([list]), json!({})).await;
    assert_eq!((entries.len(), &entries[0].input["failures"], &*entries[0].step), (1, &json!(1), "all"));
}

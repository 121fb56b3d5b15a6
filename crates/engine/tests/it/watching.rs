//! Observation of a run: its live events, its timeline, the progress of its lists, and its call log.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{call, flow, slots};
use serde_json::{Value, json};
use trunkline_core::Timestamp;
use trunkline_engine::{Engine, Journal, LogEntry, MemoryJournal, RunEventView, RunStatus};
use trunkline_flow::Flow;

fn engine() -> Engine {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    Engine::new(journal)
}

/// Returns a flow with three items: with [`faults`], `a` succeeds, `b` succeeds at its second try, and `c` fails.
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

async fn all(engine: &Engine, run: &trunkline_core::RunId, after: u64) -> (Vec<RunEventView>, RunStatus) {
    let mut watch = engine.watch(run, after).await.unwrap();
    let mut all = Vec::new();
    while let Some(event) = watch.next().await.unwrap() {
        all.push(event);
    }
    (all, watch.status())
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_each_event_once_and_in_order_with_step_item_and_attempt() {
    let engine = engine();
    let running = engine.start(&three(), faults(), slots("watched")).await.unwrap();
    let id = running.id().clone();
    let (live, second) = tokio::join!(all(&engine, &id, 0), all(&engine, &id, 3));
    running.wait().await.unwrap();
    let (later, status) = all(&engine, &id, 0).await;
    assert_eq!(
        (&live.0, live.1, status),
        (&later, RunStatus::Partial, RunStatus::Partial),
        "live events are the same as later"
    );
    assert_eq!(second.0, later[3..]);
    assert!(later.iter().map(|one| one.seq).eq(1..=later.len() as u64));
    let lines: Vec<_> = later
        .iter()
        .map(|one| {
            let (step, item) = (one.step.as_deref().unwrap_or("-"), one.item.as_deref().unwrap_or("-"));
            let attempt = one.attempt.unwrap_or_default();
            format!("{} {step} {item} {attempt} {}", one.event, one.status.as_deref().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        lines,
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
    assert!(!json!(later).to_string().contains("faults"), "events contain neither inputs nor outputs");
}

#[tokio::test]
async fn a_timeline_has_durations_counts_and_the_slowest_items() {
    let engine = engine();
    let look = call("look", "thing.look", json!({ "name": "n{{ item }}", "fault": "sleep {{ item }}" }));
    let flow = flow(json!([
        { "id": "all", "each": [5, 20, 30, 40, 50, 160, 320], "concurrency": 7, "key": "{{ item }}", "steps": [look] },
        call("after", "thing.make", json!({ "name": "after" })),
    ]));
    let running = engine.start(&flow, json!({}), slots("timeline")).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let timeline = json!(engine.timeline(&id).await.unwrap());
    let steps = timeline["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["all", "all/*/look", "after"], "{timeline}");
    let counts = |at: usize| ["tries", "done", "failed"].map(|count| steps[at][count].as_u64().unwrap());
    assert_eq!((counts(1), counts(2)), ([7, 7, 0], [1, 1, 0]), "{timeline}");
    let items = &steps[0]["items"];
    assert_eq!(items["count"], json!({ "done": 7 }), "{timeline}");
    let slowest: Vec<_> = items["slowest"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert_eq!((slowest.len(), slowest[0], slowest[1]), (5, "320", "160"), "{timeline}");
    for part in [items, &steps[1]] {
        let [fastest, median, longest] = ["fastest", "median", "longest"].map(|name| part[name].as_u64().unwrap());
        assert!(fastest >= 5 && median >= 38 && longest >= 320 && fastest < median && median < longest, "{timeline}");
    }
    for step in steps {
        let at = |time: &Value| serde_json::from_value::<Timestamp>(time.clone()).unwrap();
        assert!(at(&step["began"]) <= at(&step["ended"]) && at(&step["began"]) >= at(&timeline["began"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeline_counts_tries_and_a_step_that_succeeds_at_last_has_not_failed() {
    let engine = engine();
    let running = engine.start(&three(), faults(), slots("tries")).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let timeline = json!(engine.timeline(&id).await.unwrap());
    let look = &timeline["steps"][1];
    assert_eq!((&look["step"], &look["tries"]), (&json!("all/*/look"), &json!(4)), "{timeline}");
    assert_eq!((&look["done"], &look["failed"]), (&json!(2), &json!(1)), "{timeline}");
    assert_eq!(timeline["steps"][0]["items"]["count"], json!({ "done": 2, "failed": 1 }), "{timeline}");
}

#[tokio::test(start_paused = true)]
async fn progress_and_remaining_time_of_a_list_are_known_while_it_runs() {
    let engine = engine();
    let flow = flow(json!([{ "id": "all", "key": "{{ item.name }}",
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 3 } },
        "steps": [call("look", "thing.look", json!({ "name": "{{ item.name }}", "fault": "sleep 1000" }))] }]));
    let running = engine.start(&flow, json!({}), slots("far")).await.unwrap();
    let id = running.id().clone();
    let mut progress = Vec::new();
    let far = async || {
        let run = engine.run(&id).await.unwrap();
        // The engine has the system clock, which hardly advances in simulated time: the test gives a later time
        // instead.
        let now = run.started_at + Duration::from_secs(1);
        run.progress(now).remove(&"all".into())
    };
    while progress.last().is_none_or(|(_, _, ended)| *ended < 9) {
        if let Some(far) = far().await
            && progress.last() != Some(&(far.listed, far.complete, far.ended))
        {
            // A forecast looks no further ahead than back.
            let is_known = far.ended >= 5 || (far.complete && far.listed == far.ended);
            assert!(far.left.is_none_or(|left| left <= 1000) && (far.left.is_some() || !is_known), "{far:?}");
            progress.push((far.listed, far.complete, far.ended));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.wait().await.unwrap();
    // Three pages of three; the list shifts, so one item is on two pages and counted as skipped the second time.
    assert!(progress.contains(&(3, false, 1)) && progress.contains(&(9, true, 8)), "{progress:?}");
}

/// Runs a flow with these steps and returns its call log.
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
async fn calls_are_logged_in_order_and_as_the_flow_configures() {
    let steps = three().document()["steps"].clone();
    let log_lines = async |name: &str, log: &str| -> Vec<String> {
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
    assert_eq!(log_lines("log-all", "all").await, ["a/1 1 a", "b/1 1 unavailable", "b/1 2 b", "c/1 1 not_found"]);
    assert_eq!(log_lines("log-failures", "failures").await, ["b/1 1 unavailable", "c/1 1 not_found"]);
    assert_eq!(log_lines("log-none", "none").await, [""; 0]);
    assert_eq!(three().document().get("log"), None);
}

#[tokio::test(start_paused = true)]
async fn calls_with_an_unknown_outcome_and_failed_pages_are_logged_too() {
    let make = call("make", "thing.make", json!({ "name": "a", "fault": "lost" }));
    let entries = logged("log-lost", "failures", json!([make]), json!({})).await;
    assert_eq!((entries.len(), &entries[0].error.as_ref().unwrap()["kind"]), (1, &json!("unknown_outcome")));
    let list = json!({ "id": "all", "key": "{{ item.name }}", "retry": { "tries": 2, "wait": "1s" }, "steps": [],
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 1, "failures": 1 } } });
    let entries = logged("log-list", "failures", json!([list]), json!({})).await;
    assert_eq!((entries.len(), &entries[0].input["failures"], &*entries[0].step), (1, &json!(1), "all"));
}

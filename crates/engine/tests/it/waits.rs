//! Waits for a time and for a signal, also across restarts, and their limits.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{
    call,
    lab::{Forgets, Lab, Mortal, nothing},
    registry, slots,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_core::{ErrorKind, StepPath};
use trunkline_engine::{MemoryJournal, RunEvent, RunStatus};
use trunkline_flow::Flow;

fn flow(steps: Value) -> Flow {
    let output = json!({ "by": "{{ (steps.ok | default({})).by | default('none') }}" });
    let document = json!({ "name": "test", "connections": { "shop": "shop" }, "output": output, "steps": steps });
    Flow::from_value(document).unwrap()
}

fn look(name: &str) -> Value {
    call(name, "thing.look", json!({ "name": name }))
}

fn approval(more: Value) -> Flow {
    let mut wait = json!({ "id": "ok", "wait": { "signal": "approved" } });
    wait.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    flow(json!([look("before"), wait, call("after", "thing.make", json!({ "name": "after" }))]))
}

#[tokio::test(start_paused = true)]
async fn a_wait_takes_its_duration_however_often_the_process_dies() {
    let flow = flow(json!([
        { "id": "pause", "wait": { "for": "90s" } },
        { "id": "then", "wait": { "until": "{{ input.then }}" } },
        { "id": "past", "wait": { "until": "2020-01-01T00:00:00Z" } },
        look("after"),
    ]));
    assert_eq!(flow.check(&registry()).len(), 1, "only the missing step ok");
    // The clock of the lab starts at 1,700,000,000 s, which is 2023-11-14T22:13:20Z.
    let lab = Lab::new("pause", &flow, json!({ "then": "2023-11-14T22:15:20Z" }));
    let before = Instant::now();
    let played = lab.once("pause", std::iter::once(0).chain([1, 2, 2, 2])).await;
    assert_eq!((played.run.status, before.elapsed().as_secs()), (RunStatus::Succeeded, 120));
    assert!(played.lives > 4);
    assert_eq!((played.count("wait_began"), played.world.calls("look after")), (3, 1));
    Lab::new("pauses", &flow, json!({ "then": "2023-11-14T22:15:20Z" })).play().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_waits_as_long_as_the_service_asks_also_across_crashes() {
    let slow = |fault: &str| call("a", "thing.look", json!({ "name": "a", "fault": fault }));
    let lab = Lab::new("later", &flow(json!([slow("later 2")])), json!({}));
    let before = Instant::now();
    let played = lab.once("later", std::iter::empty()).await;
    assert_eq!((played.run.status, played.world.calls("look a")), (RunStatus::Succeeded, 3));
    assert_eq!(before.elapsed().as_secs(), 4800);
    let before = Instant::now();
    let played = lab.once("later again", [1, 2, 2].into_iter()).await;
    assert_eq!(played.run.status, RunStatus::Succeeded);
    assert!(played.lives > 2 && before.elapsed().as_secs() >= 2400, "{}", played.lives);
    // The number of tries is limited.
    let lab = Lab::new("too late", &flow(json!([slow("later 99")])), json!({}));
    let played = lab.once("too late", std::iter::empty()).await;
    assert_eq!((played.run.status, played.world.calls("look a")), (RunStatus::Failed, 10));
}

#[tokio::test(start_paused = true)]
async fn without_the_recorded_times_each_process_would_start_its_waits_again() {
    let mut slow = call("a", "thing.look", json!({ "name": "a", "fault": "sleep 40000" }));
    slow["timeout"] = json!("60s");
    let waits = flow(json!([{ "id": "pause", "wait": { "for": "90s" } }]));
    let (nothing, no_wait, no_deadline): (Forgets, Forgets, Forgets) = (
        nothing,
        |event| matches!(event, RunEvent::WaitBegan { .. }),
        |event| matches!(event, RunEvent::DeadlineSet { .. }),
    );
    // The first process dies at the end of the wait or of the call.
    for (place, flow, forgets, seconds) in [
        ("wait", waits.clone(), nothing, 90),
        ("wait forgotten", waits, no_wait, 180),
        ("deadline", flow(json!([slow.clone()])), nothing, 60),
        ("deadline forgotten", flow(json!([slow])), no_deadline, 80),
    ] {
        let mut lab = Lab::new(place, &flow, json!({}));
        lab.forgets = forgets;
        let before = Instant::now();
        lab.once(&format!("recorded {place}"), std::iter::once(1)).await;
        assert_eq!(before.elapsed().as_secs(), seconds, "{place}");
    }
}

/// Returns a lab whose step fails in each of its three attempts.
fn busy(name: &str) -> Lab {
    let mut busy = call("a", "thing.look", json!({ "name": "a", "fault": "busy 9999" }));
    busy["retry"] = json!({ "tries": 3, "wait": "1s" });
    Lab::new(name, &flow(json!([busy])), json!({}))
}

#[tokio::test(start_paused = true)]
async fn attempts_before_a_restart_count() {
    let played = busy("tries").once("tries again", std::iter::repeat_n(2, 2)).await;
    assert_eq!((played.run.status, played.lives), (RunStatus::Failed, 3));
    assert_eq!(
        (played.world.calls("look a"), played.count("step_retried")),
        (4, 2),
        "the last one was not recorded, and is repeated"
    );
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the run does not get on")]
async fn without_the_recorded_tries_there_would_be_no_last_one() {
    let mut lab = busy("tries forgotten");
    lab.forgets = |event| matches!(event, RunEvent::StepRetried { .. });
    lab.once("tries forgotten", std::iter::once(1).chain(std::iter::repeat(3))).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_arrives_before_the_wait_during_it_or_while_no_process_runs() {
    let flow = approval(json!({}));
    let by = |run: &trunkline_engine::Run| run.output.as_ref().map(|output| output["by"].clone());
    // Before the wait begins, with a crash at every position of the journal.
    let mut lab = Lab::new("signal before", &flow, json!({}));
    lab.signals.push(("approved", json!({ "by": "Åsa" })));
    let played = lab.play().await;
    assert_eq!((by(&played.run), played.world.calls("make after")), (Some(json!("Åsa")), 1));

    // During the wait, from another process.
    let journal = Arc::new(MemoryJournal::default());
    let (engine, other) = (lab.engine(journal.clone()), lab.engine(journal.clone()));
    let running = engine.start(&flow, json!({}), slots("signal during")).await.unwrap();
    let id = running.id().clone();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let run = other.run(&id).await.unwrap();
    assert_eq!(run.waiting[&StepPath::from("ok")].signal.as_deref(), Some("approved"));
    assert!(other.signal(&id, "approved", json!({ "by": "Bo" })).await.unwrap(), "a process works on it");
    let again = other.signal(&id, "approved", json!({ "by": "Eve" })).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let run = running.wait().await.unwrap();
    assert_eq!((by(&run), run.waiting.len()), (Some(json!("Bo")), 0));
    assert_eq!(other.signal(&id, "late", json!(1)).await.unwrap_err().kind(), ErrorKind::Conflict, "it has ended");

    // While no process works on it.
    let journal = Arc::new(MemoryJournal::default());
    let dying = lab.engine(Mortal::journal(journal.clone(), 2, nothing));
    let running = dying.start(&flow, json!({}), slots("signal meanwhile")).await.unwrap();
    let id = running.id().clone();
    // The run waits, and its journal fails from now on. The cancellation makes it notice.
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.cancel();
    assert!(running.wait().await.is_err());
    let other = lab.engine(journal);
    assert_eq!(other.run(&id).await.unwrap().waiting.len(), 1);
    assert!(!other.signal(&id, "approved", json!({ "by": "Cy" })).await.unwrap(), "no process works on it");
    let run = other.resume(&id, slots("signal meanwhile")).await.unwrap().wait().await.unwrap();
    assert_eq!((by(&run), run.status), (Some(json!("Cy")), RunStatus::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn every_wait_for_a_signal_gets_the_first_signal_with_its_name() {
    let flow = flow(json!([
        { "id": "all", "each": ["a", "b"], "key": "{{ item }}", "concurrency": 2, "steps": [
            { "id": "own", "wait": { "signal": "ok-{{ item }}" } },
            { "id": "common", "wait": { "signal": "approved" } },
            { "id": "good", "if": "{{ not steps.common.yes or steps.own != item }}", "fail": "not received" }
        ] },
        { "id": "ok", "wait": { "signal": "approved" } }
    ]));
    let mut lab = Lab::new("signals", &flow, json!({}));
    lab.signals = vec![("approved", json!({ "yes": true, "by": "Di" })), ("ok-a", json!("a")), ("ok-b", json!("b"))];
    let played = lab.play().await;
    assert_eq!((played.run.status, played.run.output), (RunStatus::Succeeded, Some(json!({ "by": "Di" }))));
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_does_not_arrive_in_time_is_an_error_that_can_be_handled() {
    let before = Instant::now();
    let lab = Lab::new("no signal", &approval(json!({ "timeout": "3m" })), json!({}));
    let played = lab.once("no signal", std::iter::once(2)).await;
    assert_eq!((played.run.error.unwrap().kind(), before.elapsed().as_secs()), (ErrorKind::Timeout, 180));
    assert_eq!(played.world.calls("make after"), 0);

    let late = json!([{ "id": "late", "if": "{{ error.kind != 'timeout' }}", "fail": "{{ error.message }}" }]);
    let lab = Lab::new("no signal handled", &approval(json!({ "timeout": "3m", "on_error": late })), json!({}));
    let played = lab.play().await;
    assert_eq!((played.run.status, played.run.output), (RunStatus::Succeeded, Some(json!({ "by": "none" }))));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_in_every_state() {
    let wait = json!({ "id": "w", "wait": { "for": "1h" } });
    let hanging = call("w", "thing.look", json!({ "name": "w", "fault": "forever" }));
    let uncancellable = call("w", "thing.make", json!({ "name": "w", "fault": "sleep 600000" }));
    let mut busy = call("w", "thing.look", json!({ "name": "w", "fault": "busy 99" }));
    busy["retry"] = json!({ "tries": 99, "wait": "1h", "longest": "1h" });
    busy["on_error"] = json!("continue");
    let signal = json!({ "id": "w", "wait": { "signal": "never" }, "on_error": [{ "id": "x", "fail": "caught" }] });
    for (place, steps) in [
        ("waiting", json!([wait])),
        ("for a signal", json!([signal])),
        ("working", json!([hanging])),
        ("working and uncancellable", json!([uncancellable])),
        ("backing off", json!([busy])),
        (
            "in branches",
            json!([{ "id": "p", "on_error": "continue", "parallel": { "a": [wait], "b": [look("quick")] } }]),
        ),
        ("in items", json!([{ "id": "e", "each": [1, 2, 3], "concurrency": 2, "steps": [wait] }])),
        ("in a batch", json!([{ "id": "e", "each": [1, 2, 3], "batch": 2, "steps": [hanging] }])),
        ("in a handler", json!([{ "id": "p", "parallel": { "a": [{ "id": "f", "fail": "x" }] }, "on_error": [wait] }])),
    ] {
        let flow = flow(steps.as_array().unwrap().iter().cloned().chain([look("after")]).collect());
        let lab = Lab::new(place, &flow, json!({}));
        for by_journal in [false, true] {
            let engine = lab.engine(Arc::new(MemoryJournal::default()));
            let world = format!("cancel {place} {by_journal}");
            let running = engine.start(&flow, json!({}), slots(&world)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let before = Instant::now();
            match by_journal {
                true => engine.cancel(running.id()).await.unwrap(),
                false => running.cancel(),
            }
            let run = running.wait().await.unwrap();
            assert_eq!((run.status, run.waiting.len()), (RunStatus::Cancelled, 0), "{world}");
            let limit = Duration::from_secs(if place.ends_with("uncancellable") { 11 } else { 1 });
            assert!(before.elapsed() <= limit, "{world}");
            assert_eq!(crate::support::world(&world).calls("look after"), 0, "{world}");
        }
    }
}

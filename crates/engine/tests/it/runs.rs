//! Runs of flows: how often each action is called, what is recorded, and what a resumed run does.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{call, flow, lab::Lab, registry, slots, world};
use serde_json::json;
use trunkline_core::{ErrorKind, StepPath};
use trunkline_engine::{Engine, MemoryJournal, RunEvent, RunIndex, RunStatus};
use trunkline_flow::Flow;

fn engine() -> (Engine, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    (Engine::new(journal.clone()), journal)
}

#[tokio::test]
async fn steps_pass_values_and_every_kind_of_outcome_is_counted() {
    let flow = flow(json!([
        call("seen", "thing.look", json!({ "name": "a" })),
        { "id": "names", "set": { "all": ["{{ steps.seen.name }}", "skip", "fail", "panic", "missing", "odd"] } },
        { "id": "each", "each": "{{ steps.names.all }}", "key": "{{ item }}", "concurrency": 3, "steps": [
            { "id": "gate", "if": "{{ item == 'skip' }}", "skip": "not {{ item }}" },
            { "id": "branch", "if": "{{ item == 'fail' }}", "then": [{ "id": "stop", "fail": "no {{ item }}" }],
              "else": [call("look", "thing.look", json!({ "name": "{{ item }}", "fault": "{{ item }}" }))] },
            { "id": "odd", "if": "{{ item == 'odd' }}", "then": [{ "id": "bad", "set": { "x": "{{ item | int }}" } }] }
        ] }
    ]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("kinds")).await.unwrap().wait().await.unwrap();
    let ledger = &run.ledger[&StepPath::from("each")];
    assert_eq!(run.status, RunStatus::Partial, "{run:#?}");
    assert_eq!((ledger.done, ledger.skipped["not skip"], ledger.faults()), (1, 1, 4), "{ledger:#?}");
    assert_eq!((ledger.failed["no fail"], ledger.failed["no such thing"], ledger.failed["a step panicked"]), (1, 1, 1));
}

#[tokio::test]
async fn a_list_is_fetched_page_by_page_and_an_item_on_two_pages_is_processed_once() {
    let flow = flow(json!([{ "id": "all", "key": "{{ item.name }}", "concurrency": 2,
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 40 } },
        "steps": [call("make", "thing.make", json!({ "name": "{{ item.name }}" }))] }]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("shifting")).await.unwrap().wait().await.unwrap();
    let world = world("shifting");
    let mut made = world.created();
    made.sort();
    made.dedup();
    assert_eq!((made.len(), run.ledger[&StepPath::from("all")].done), (119, 119));
    assert_eq!(world.created().len(), 119, "t2 is on two pages and was created once");
    assert_eq!(world.calls("thing.list"), 40);
}

#[tokio::test]
async fn concurrency_limits_the_number_of_items_in_flight() {
    let flow = flow(json!([{ "id": "all", "each": (0..40).collect::<Vec<_>>(), "concurrency": 4,
        "steps": [call("look", "thing.look", json!({ "name": "{{ item | string }}" }))] }]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("bounded")).await.unwrap().wait().await.unwrap();
    assert_eq!(run.ledger[&StepPath::from("all")].done, 40);
    assert_eq!(world("bounded").most_working(), 4);
}

#[tokio::test]
async fn a_create_whose_response_was_lost_is_looked_up_and_never_repeated_blindly() {
    let (engine, _) = engine();
    let make = |action: &str, fault: &str| {
        flow(json!([{ "id": "all", "each": ["x"], "steps": [
            call("make", action, json!({ "name": "{{ item }}", "fault": fault }))] }]))
    };
    // It took effect: the look-up finds it. It did not: it is created now. No look-up: it is left to an operator.
    for (place, action, fault, calls, made, unknown) in [
        ("lost", "thing.make", "lost", 1, 1, 0),
        ("early", "thing.make", "early", 2, 1, 0),
        ("blind", "thing.make_blindly", "lost", 1, 1, 1),
    ] {
        let run = engine.start(&make(action, fault), json!({}), slots(place)).await.unwrap().wait().await.unwrap();
        let world = world(place);
        let counted = (world.calls("make x"), world.created().len());
        assert_eq!(counted, (calls, made), "{place}");
        assert_eq!(run.ledger[&StepPath::from("all")].unknown.values().sum::<u64>(), unknown, "{place}");
    }
}

/// Returns a lab whose run creates one thing, after one step.
fn create_after_a_step(name: &str) -> Lab {
    let steps = json!([
        call("first", "thing.look", json!({ "name": "first" })),
        call("make", "thing.make", json!({ "name": "x" }))
    ]);
    Lab::new(name, &flow(steps), json!({}))
}

#[tokio::test(start_paused = true)]
async fn a_create_that_a_crash_has_interrupted_is_looked_up_and_made_once() {
    let played = create_after_a_step("interrupted").play().await;
    assert_eq!(played.world.created(), ["x"]);
    // The process dies when the thing is made, before that is recorded.
    let played = create_after_a_step("interrupted").once("interrupted make", std::iter::once(2)).await;
    assert_eq!((played.lives, played.world.calls("make x")), (2, 1));
    assert_eq!(played.world.created(), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_record_of_its_start_an_interrupted_create_would_be_made_twice() {
    let mut lab = create_after_a_step("start forgotten");
    lab.forgets = |event| matches!(event, RunEvent::StepStarted { .. });
    let played = lab.once("start forgotten", std::iter::once(2)).await;
    assert_eq!((played.lives, played.world.calls("make x")), (2, 2), "the test above can fail");
    assert_eq!(played.world.created(), ["x", "x"]);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_fails_leaves_the_create_unknown_and_never_repeats_it() {
    use ErrorKind::{Auth, Config, Internal, NotFound, Unavailable};
    let mut make = call("make", "thing.make", json!({ "name": "{{ item }}", "fault": "lost" }));
    make["retry"] = json!({ "tries": 4 });
    let flow = flow(json!([{ "id": "all", "each": ["x"], "key": "{{ item }}", "steps": [make] }]));
    for kind in [Auth, Config, Internal, NotFound, Unavailable] {
        let (place, (engine, _)) = (format!("failing look-up {kind:?}"), engine());
        let world = world(&place);
        world.fail_look_up(Some(kind));
        let first = engine.start(&flow, json!({}), slots(&place)).await.unwrap().wait().await.unwrap();
        let counted = (world.calls("make x"), first.ledger[&StepPath::from("all")].unknown.values().sum::<u64>());
        assert_eq!(counted, (1, 1), "{place}: {:?}", first.error);
        // Once the look-up works, it finds the outcome of the create.
        world.fail_look_up(None);
        let second = engine.rerun_failed(&first.id, None, slots(&place), true).await.unwrap().wait().await.unwrap();
        let done = second.ledger[&StepPath::from("all")].done;
        assert_eq!((done, world.calls("make x"), world.created().len()), (1, 1, 1), "{place}");
    }
}

#[tokio::test]
async fn an_error_that_concerns_the_whole_run_stops_it_and_a_resumed_run_repeats_no_recorded_step() {
    let steps = json!([
        call("first", "thing.make_blindly", json!({ "name": "first" })),
        { "id": "all", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "concurrency": 1, "steps": [
            call("look", "thing.look", json!({ "name": "{{ item }}" })),
            { "id": "sick", "if": "{{ item == 'c' }}", "then": [
                call("make", "thing.make_blindly", json!({ "name": "made", "fault": "down" }))] } ] }
    ]);
    let (engine, journal) = engine();
    let world = world("resumed");
    world.set_down(true);
    let running = engine.start(&flow(steps), json!({}), slots("resumed")).await.unwrap();
    let id = running.id().clone();
    let run = running.wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().step(), Some("all/c/make"));
    assert_eq!(world.calls("look d"), 0, "nothing new is started");

    world.set_down(false);
    let run = engine.resume(&id, slots("resumed")).await.unwrap().wait().await.unwrap();
    assert_eq!((run.status, run.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 4));
    let calls = ["make first", "look a", "look b", "look c", "make made", "look d"].map(|what| world.calls(what));
    assert_eq!(calls, [1, 1, 1, 1, 2, 1], "only the step that failed was called again");
    assert_eq!(engine.resume(&id, slots("resumed")).await.err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(journal.runs().await.unwrap()[0].items["done"], 4);
}

#[tokio::test]
async fn a_lack_of_local_resources_fails_no_item_and_a_resumed_run_completes() {
    let faulty = |action: &str, fault: &str| {
        let input = json!({ "name": "{{ item }}", "fault": fault });
        flow(json!([{ "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}", "concurrency": 1, "steps": [
            call("look", "thing.look", input.clone()), call("make", action, input) ] }]))
    };
    let (engine, journal) = engine();
    // Two cases: a call that could not be made, and the look-up of a create with a lost response that could not be
    // made.
    for (place, flow, stops) in
        [("starved", faulty("thing.make_blindly", "starved 1"), 6), ("unseen", faulty("thing.make", "lost"), 1)]
    {
        let world = world(place);
        world.set_down(place == "unseen");
        let mut running = engine.start(&flow, json!({}), slots(place)).await.unwrap();
        let id = running.id().clone();
        for stop in 1..=stops {
            let error = running.wait().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store, "{place} {stop}");
            assert_eq!(journal.runs().await.unwrap()[0].status, RunStatus::Running, "{place} {stop}");
            world.set_down(false);
            running = engine.resume(&id, slots(place)).await.unwrap();
        }
        let run = running.wait().await.unwrap();
        assert_eq!((run.status, run.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 3), "{place}");
        assert_eq!(world.created(), ["a", "b", "c"], "{place}: each is created once");
    }
}

#[tokio::test]
async fn a_draining_engine_finishes_the_steps_in_flight_and_another_engine_continues_the_run() {
    let steps = json!([{ "id": "all", "each": (0..200).collect::<Vec<_>>(), "concurrency": 2, "steps": [
        call("look", "thing.look", json!({ "name": "{{ item }}x" })) ] }]);
    let (engine, journal) = engine();
    let world = world("drained");
    let running = engine.start(&flow(steps), json!({}), slots("drained")).await.unwrap();
    let id = running.id().clone();
    while world.calls("look 3x") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.drain();
    let drained = running.wait().await.unwrap();
    assert_eq!((drained.status, drained.finished_at), (RunStatus::Running, None));
    assert_eq!(journal.runs().await.unwrap()[0].status, RunStatus::Running);
    assert_eq!((world.working(), world.calls("look 199x")), (0, 0), "no step is interrupted, and none is started");

    let again = Engine::new(journal.clone()).resume(&id, slots("drained")).await.unwrap().wait().await.unwrap();
    assert_eq!((again.status, again.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 200));
    let calls = (0..200).map(|item| world.calls(&format!("look {item}x"))).max();
    assert_eq!(calls, Some(1), "a finished step is not called again");
}

#[tokio::test]
async fn a_run_is_suspended_during_any_wait_and_that_never_counts_as_a_failure() {
    let handler = |name: &str| json!([call(name, "thing.look", json!({ "name": name }))]);
    let inner = Flow::from_value(json!({
        "name": "inner", "connections": { "shop": "shop" }, "on_failure": handler("inner_failed"),
        "steps": [{ "id": "ok", "wait": { "signal": "go" }, "on_error": handler("wait_failed") }]
    }));
    let outer = Flow::from_value(json!({
        "name": "outer", "connections": { "shop": "shop" }, "on_failure": handler("outer_failed"), "steps": [
            { "id": "both", "on_error": handler("both_failed"), "parallel": {
                "call": [{ "id": "sub", "call": "inner" }],
                "wait": [{ "id": "pause", "wait": { "for": "300ms" } }, call("paused", "thing.look", json!({ "name": "paused" }))],
            } },
            call("after", "thing.look", json!({ "name": "after" }))
        ]
    }));
    let inner = inner.unwrap();
    let outer = outer.unwrap().link(&|_| Some(inner.clone())).unwrap();
    let (engine, journal) = engine();
    let world = world("waiting");
    let running = engine.start(&outer, json!({}), slots("waiting")).await.unwrap();
    let id = running.id().clone();
    while engine.run(&id).await.unwrap().waiting.len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.drain();
    assert_eq!(running.wait().await.unwrap().status, RunStatus::Running);
    assert_eq!(world.calls("paused"), 0);

    let again = Engine::new(journal.clone());
    again.signal(&id, "go", json!({})).await.unwrap();
    let run = again.resume(&id, slots("waiting")).await.unwrap().wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.error);
    let calls = ["look paused", "look after", "look inner_failed", "look wait_failed", "look both_failed"];
    assert_eq!(calls.map(|what| world.calls(what)), [1, 1, 0, 0, 0]);
    assert_eq!(world.calls("look outer_failed"), 0);
}

#[tokio::test]
async fn a_run_is_cancelled_through_the_journal_and_its_steps_are_interrupted() {
    let flow = flow(json!([call("wait", "thing.look", json!({ "name": "w", "fault": "forever" }))]));
    let (engine, _) = engine();
    let running = engine.start(&flow, json!({}), slots("cancelled")).await.unwrap();
    let id = running.id().clone();
    let twice = engine.resume(&id, slots("cancelled")).await.err().unwrap();
    assert_eq!(twice.kind(), ErrorKind::Conflict, "only one process at a time can work on a run");
    engine.cancel(&id).await.unwrap();
    assert_eq!(running.wait().await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test]
async fn each_step_of_each_item_has_an_idempotency_key_of_its_own() {
    let flow = flow(json!([{ "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [
        call("look", "thing.look", json!({ "name": "{{ item }}" })),
        call("again", "thing.look", json!({ "name": "{{ steps.look.key }}" })) ] }]));
    let (engine, _) = engine();
    engine.start(&flow, json!({}), slots("keys")).await.unwrap().wait().await.unwrap();
    let calls = world("keys").all_calls();
    let keys: Vec<_> = calls.keys().filter(|name| name.starts_with("look ") && name.len() > 10).collect();
    assert_eq!(keys.len(), 2, "{calls:?}");
}

#[test]
fn every_mistake_in_a_flow_is_reported_at_its_position() {
    let text = r#"{
  "name": "faulty",
  "connections": { "shop": "shop", "other": "nowhere" },
  "steps": [
    { "id": "a", "action": "thing.lok", "connection": "shop" },
    { "id": "b", "action": "thing.look", "connection": "shop", "input": { "nam": "x" } },
    { "id": "c", "if": "{{ steps.later.x }}", "skip": "{{ item.x }}" },
    { "id": "d", "each": { "action": "thing.look", "connection": "shop", "input": { "name": "x" } }, "key": "k", "steps": [] },
    { "id": "e", "action": "thing.look", "connection": "shop", "input": { "name": 7 } },
    { "id": "later", "set": { "y": "{{ steps.e.nothing }} {{ stepz.e }}" } }
  ]
}"#;
    let found = Flow::findings("faulty.json", text, &registry());
    let places: Vec<_> = found.iter().map(|one| (one.pointer.as_str(), one.place.as_ref().unwrap().line)).collect();
    let expected = [
        ("/connections/other", 3),
        ("/connections/other", 3),
        ("/steps/0/action", 5),
        ("/steps/1/input/nam", 6),
        ("/steps/1/input/name", 6),
        ("/steps/2/if", 7),
        ("/steps/2/skip", 7),
        ("/steps/3/each/action", 8),
        ("/steps/3/key", 8),
        ("/steps/4/input/name", 9),
        ("/steps/5/set/y", 10),
        ("/steps/5/set/y", 10),
    ];
    let mut places = places;
    places.sort();
    assert_eq!(places, expected, "{found:#?}");
    assert_eq!(
        found.iter().find(|one| one.pointer == "/steps/0/action").unwrap().advice().as_deref(),
        Some("did you mean thing.look?")
    );

    let broken = r#"{ "name": "x", "stepz": [], "steps": [ { "id": "1a", "set": {} }, { "id": "b" },
        { "id": "c", "action": "x", "connection": "no", "extra": 1 }, { "id": "d", "set": { "a": "{{ 1 + }}" } } ] }"#;
    let found = Flow::parse("broken.json", broken).unwrap_err();
    assert!(found.iter().any(|one| one.pointer == "/stepz"), "{found:#?}");
    let fixed = broken.replace("\"stepz\": [], ", "");
    let found = Flow::parse("broken.json", &fixed).unwrap_err();
    let places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
    assert_eq!(
        places,
        ["/steps/0/id", "/steps/1", "/steps/2/extra", "/steps/2/connection", "/steps/3/set/a"],
        "{found:#?}"
    );

    let found = Flow::parse("text.json", "{\n  \"name\": }").unwrap_err();
    assert_eq!(found[0].place.as_ref().unwrap().to_string(), "text.json:2:11");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "was recorded, and called again")]
async fn the_lab_detects_a_recorded_step_that_is_called_again() {
    let steps =
        json!([call("a", "thing.look", json!({ "name": "a" })), call("b", "thing.look", json!({ "name": "b" }))]);
    let mut lab = Lab::new("forgets", &flow(steps), json!({}));
    lab.forgets = |event| matches!(event, RunEvent::StepFinished { .. });
    lab.play().await;
}

#[tokio::test(start_paused = true)]
async fn the_main_job_survives_a_crash_at_every_position() {
    let flow = flow(json!([
        call("first", "thing.make", json!({ "name": "first" })),
        { "id": "all", "key": "{{ item.name }}", "concurrency": 3,
          "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 2 } },
          "steps": [
            call("look", "thing.look", json!({ "name": "{{ item.name }}" })),
            { "id": "gate", "if": "{{ item.name == 't1' }}", "skip": "not {{ item.name }}" },
            { "id": "bad", "if": "{{ item.name == 't2' }}", "fail": "no {{ item.name }}" },
            { "id": "inner", "each": ["x", "y"], "key": "{{ item }}",
              "steps": [call("make", "thing.make", json!({ "name": "{{ steps.look.name }}{{ item }}", "fault": "lost" }))] }
          ] }
    ]));
    let played = Lab::new("main job", &flow, json!({})).play().await;
    let mut made = played.world.created();
    made.sort();
    assert_eq!(made, ["first", "t0x", "t0y", "t3x", "t3y", "t4x", "t4y"]);
    let ledger = &played.run.ledger[&StepPath::from("all")];
    assert_eq!((played.run.status, ledger.done, ledger.total()), (RunStatus::Partial, 3, 6));
}

#[tokio::test]
async fn a_run_that_a_service_has_stopped_continues_at_the_failed_step() {
    for (place, fault, resumes) in [("outage", "busy 1", true), ("missing thing", "missing", false)] {
        let (engine, _) = engine();
        let flow = flow(json!([
            call("first", "thing.look", json!({ "name": "a" })),
            { "id": "inside", "if": true, "then": [call("second", "thing.look", json!({ "name": "b", "fault": fault }))] },
            call("third", "thing.look", json!({ "name": "c" })),
        ]));
        let run = engine.start(&flow, json!({}), slots(place)).await.unwrap().wait().await.unwrap();
        assert_eq!((run.status, run.is_stopped_by_connection()), (RunStatus::Failed, resumes), "{place}");
        let run = engine.resume(&run.id, slots(place)).await.unwrap().wait().await.unwrap();
        let calls = ["a", "b", "c"].map(|name| world(place).calls(&format!("look {name}")));
        // The twin: an error of the step itself is not tried again.
        let expected = if resumes { (RunStatus::Succeeded, [1, 2, 1]) } else { (RunStatus::Failed, [1, 1, 0]) };
        assert_eq!((run.status, calls), expected, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_without_retry_waits_as_long_as_a_service_asks() {
    let flow = flow(json!([call("one", "thing.look", json!({ "name": "q", "fault": "later 2" }))]));
    let (engine, _) = engine();
    let handle = engine.start(&flow, json!({}), slots("quota")).await.unwrap();
    // The wait is shown with its end.
    let waiting = loop {
        let run = engine.run(handle.id()).await.unwrap();
        match run.waiting.get(&StepPath::from("one")) {
            Some(wait) => break wait.until.since(run.started_at),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(waiting >= Duration::from_secs(2400), "{waiting:?}");
    let run = handle.wait().await.unwrap();
    assert_eq!((run.status, world("quota").calls("look q")), (RunStatus::Succeeded, 3));
    assert!(run.waiting.is_empty());
}

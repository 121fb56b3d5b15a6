//! Each kind of step and each of its members, run with a process that dies at every position of the journal.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::{call, fact, flow, lab::Lab, registry, world};
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, ErrorKind, StepPath};
use trunkline_engine::{Engine, MemoryJournal, RunStatus};
use trunkline_flow::Flow;

/// A flow with these steps and more members. It must be valid.
fn document(more: Value, steps: Value) -> Flow {
    let mut document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Flow::from_value(document).unwrap()
}

fn look(id: &str, fault: &str) -> Value {
    call(id, "thing.look", json!({ "name": id, "fault": fault }))
}

/// Adds members to a step.
fn with(mut step: Value, more: Value) -> Value {
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn warnings(flow: &Flow) -> Vec<String> {
    flow.check(&registry()).iter().map(Diagnostic::to_string).collect()
}

/// An expression for a member of the output of a step that may not have run.
fn or_dash(path: &str) -> String {
    let (id, name) = path.split_once('.').unwrap();
    format!("{{{{ (steps.{id} | default({{}})).{name} | default('-') }}}}")
}

#[tokio::test(start_paused = true)]
async fn a_step_is_retried_as_often_as_it_says_and_only_after_transient_errors() {
    for (place, fault, tries, calls, status) in [
        ("passes", "busy 2", 3, 3, RunStatus::Succeeded),
        ("gives up", "busy 9", 3, 3, RunStatus::Failed),
        ("for good", "missing", 3, 1, RunStatus::Failed),
    ] {
        let retry = json!({ "retry": { "tries": tries, "wait": "2s", "longest": "3s" } });
        let lab = Lab::new(&format!("tries {place}"), &flow(json!([with(look("a", fault), retry)])), json!({}));
        let before = tokio::time::Instant::now();
        let played = lab.once(&lab.name, std::iter::empty()).await;
        assert_eq!((played.run.status, played.world.calls("look a")), (status, calls), "{place}");
        // Two seconds, then three: four would exceed `longest`.
        let waited = before.elapsed().as_secs();
        assert_eq!(waited, if calls == 3 { 5 } else { 0 }, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_during_backoff_loses_neither_the_tries_nor_the_time() {
    let retry = json!({ "retry": { "tries": 3, "wait": "1h", "longest": "1d" } });
    let lab = Lab::new("backoff", &flow(json!([with(look("a", "busy 9"), retry)])), json!({}));
    let before = tokio::time::Instant::now();
    // Each process records one event and dies.
    let played = lab.once("backoff", std::iter::once(1).chain(std::iter::repeat_n(2, 50))).await;
    // A try whose end was not recorded does not count.
    assert_eq!((played.run.status, played.count("step_failed")), (RunStatus::Failed, 3));
    assert_eq!((before.elapsed().as_secs() / 60, played.count("step_retried")), (180, 2));
    assert!(played.lives >= 5, "{}", played.lives);
}

#[tokio::test(start_paused = true)]
async fn a_create_is_retried_after_a_clear_failure_and_never_after_an_unknown_outcome() {
    let retry = json!({ "retry": { "tries": 5, "wait": "1s" } });
    for (place, action, fault, calls, kind) in [
        ("clear", "thing.make_blindly", "busy 2", 3, None),
        ("unclear", "thing.make_blindly", "lost", 1, Some(ErrorKind::UnknownOutcome)),
    ] {
        let steps = json!([with(call("a", action, json!({ "name": "a", "fault": fault })), retry.clone())]);
        let lab = Lab::new(&format!("create {place}"), &flow(steps), json!({}));
        let played = lab.once(&lab.name, std::iter::empty()).await;
        assert_eq!(
            (played.world.calls("make a"), played.run.error.map(|error| error.kind())),
            (calls, kind),
            "{place}"
        );
        assert_eq!(played.world.created().len(), 1, "{place}");
    }
    // The same holds if a step around it is retried: the unknown outcome stays unknown.
    let unclear = call("a", "thing.make_blindly", json!({ "name": "a", "fault": "lost" }));
    let steps =
        json!([with(json!({ "id": "both", "parallel": { "x": [look("busy", "busy 9")], "y": [unclear] } }), retry)]);
    let lab = Lab::new("create around", &flow(steps), json!({}));
    let played = lab.once(&lab.name, std::iter::empty()).await;
    assert_eq!((played.world.calls("make a"), played.world.calls("look busy")), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_ignored_or_handled_and_a_crash_does_not_change_the_path_after_it() {
    let handler = json!([
        { "id": "report", "set": { "text": "{{ error.kind }} in {{ error.step }}: {{ error.message }}" } },
        call("seen", "thing.look", json!({ "name": "{{ error.kind }}" }))
    ]);
    let steps = json!([
        with(look("a", "missing"), json!({ "on_error": "continue" })),
        with(look("b", "missing"), json!({ "on_error": handler })),
        with(look("c", ""), json!({ "on_error": [look("never", "")] })),
        call("end", "thing.look", json!({ "name": or_dash("report.text") })),
    ]);
    let output =
        json!({ "a": or_dash("a.name"), "report": or_dash("report.text"), "never": "{{ steps.never | default(0) }}" });
    let hasty = json!({ "a": "{{ steps.a.name }}", "end": "{{ steps.end.name }}" });
    let warned = warnings(&document(json!({ "output": hasty }), steps.clone())).join("\n");
    assert!(warned.contains("refers to the step a, which may not have run"), "{warned}");
    assert!(!warned.contains("step end"), "{warned}");
    let flow = document(json!({ "output": output }), steps);
    assert_eq!(warnings(&flow), [""; 0]);
    let played = Lab::new("on error", &flow, json!({})).play().await;
    let expected = json!({ "a": "-", "report": "not_found in b: no such thing", "never": 0 });
    assert_eq!((played.run.status, &played.run.output), (RunStatus::Succeeded, &Some(expected)));
    assert_eq!((played.world.calls("look not_found"), played.world.calls("look never")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handled_error_stays_handled_although_it_would_not_occur_again() {
    let all = |more: Value| {
        let list = json!({ "action": "thing.list", "connection": "shop", "input": { "pages": 2, "failures": 1 } });
        let look = call("look", "thing.look", json!({ "name": "{{ item.name }}" }));
        with(json!({ "id": "all", "each": list, "key": "{{ item.name }}", "steps": [look] }), more)
    };
    let handled = json!([all(json!({ "on_error": [look("instead", "")] })), look("after", "")]);
    // The first process records the error and that it was handled, and dies. Now the list would have a page.
    let played =
        Lab::new("no page", &document(json!({}), handled), json!({})).once("no page", std::iter::once(2)).await;
    let calls = ["look instead", "look after", "look t0"].map(|what| played.world.calls(what));
    assert_eq!((played.run.status, calls), (RunStatus::Succeeded, [1, 2, 0]));
    // A retry continues where the list was.
    let again = json!([all(json!({ "retry": { "tries": 2 } }))]);
    let played = Lab::new("a page later", &flow(again), json!({})).play().await;
    assert_eq!((played.run.status, played.run.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 5));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_concerns_the_whole_run_is_not_handled_by_a_step() {
    let steps =
        json!([with(look("a", "auth"), json!({ "on_error": "continue", "retry": { "tries": 3 } })), look("b", "")]);
    let played = Lab::new("auth", &document(json!({}), steps), json!({})).play().await;
    assert_eq!(
        (played.run.status, played.world.calls("look a"), played.world.calls("look b")),
        (RunStatus::Failed, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_fails_the_step() {
    let steps = json!([with(
        look("a", "missing"),
        json!({ "on_error": [{ "id": "no", "fail": "because {{ error.kind }}" }] })
    )]);
    let played = Lab::new("handler fails", &document(json!({}), steps), json!({})).play().await;
    assert_eq!(played.run.error.unwrap().message(), "because not_found");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_exceeds_its_timeout_is_stopped() {
    for (place, action, effect) in
        [("read", "thing.look", ErrorKind::Timeout), ("create", "thing.make_blindly", ErrorKind::UnknownOutcome)]
    {
        let slow = call("a", action, json!({ "name": "a", "fault": "sleep 60000" }));
        let steps = json!([with(slow, json!({ "timeout": "5s", "retry": { "tries": 3 } }))]);
        let lab = Lab::new(&format!("slow {place}"), &flow(steps), json!({}));
        let before = tokio::time::Instant::now();
        let played = lab.once(&lab.name, std::iter::empty()).await;
        let error = played.run.error.unwrap();
        assert_eq!((error.kind(), before.elapsed().as_secs()), (effect, 5), "{place}: {error:?}");
        assert!(format!("{error:?}").contains("step a took longer than its timeout of 5s"), "{error:?}");
    }
    // An action with `reconcile` is looked up: it may have taken effect although the call was stopped.
    let slow = call("a", "thing.make", json!({ "name": "a", "fault": "sleep 60000" }));
    let lab = Lab::new("slow but done", &flow(json!([with(slow, json!({ "timeout": "5s" }))])), json!({}));
    let played = lab.once(&lab.name, std::iter::empty()).await;
    assert_eq!((played.run.status, played.world.calls("make a")), (RunStatus::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn an_outer_timeout_is_not_handled_by_inner_steps() {
    let items = json!({ "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}", "timeout": "30s", "on_error": "continue",
        "steps": [with(call("look", "thing.look", json!({ "name": "{{ item }}", "fault": "sleep 20000" })),
            json!({ "on_error": "continue" }))] });
    let flow = document(
        json!({ "output": { "all": "{{ steps.all | default('late') }}" } }),
        json!([items, look("after", "")]),
    );
    let played = Lab::new("around", &flow, json!({})).once("around", std::iter::empty()).await;
    assert_eq!((played.run.status, &played.run.output), (RunStatus::Succeeded, &Some(json!({ "all": "late" }))));
    let calls = ["a", "b", "c", "after"].map(|name| played.world.calls(&format!("look {name}")));
    assert_eq!(calls, [1, 1, 0, 1], "no item begins after the timeout");
    assert_eq!(played.run.ledger[&StepPath::from("all")].total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_survives_a_crash() {
    let slow = call("a", "thing.look", json!({ "name": "a", "fault": "sleep 40000" }));
    let lab = Lab::new("deadline", &flow(json!([with(slow, json!({ "timeout": "60s" }))])), json!({}));
    let before = tokio::time::Instant::now();
    // The first process dies when the call ends after 40 s. The second one has 20 s left.
    let played = lab.once("deadline", [1].into_iter()).await;
    assert_eq!(played.run.error.unwrap().kind(), ErrorKind::Timeout);
    assert_eq!((before.elapsed().as_secs(), played.world.calls("look a")), (60, 2));
}

#[tokio::test(start_paused = true)]
async fn the_failure_handler_runs_after_the_timeout_of_the_run() {
    let more =
        json!({ "timeout": "1m", "on_failure": [call("notify", "thing.look", json!({ "name": "{{ error.kind }}" }))] });
    let steps = json!([
        with(look("a", "sleep 50000"), json!({ "on_error": "continue" })),
        with(
            call("b", "thing.look", json!({ "name": "b", "fault": "sleep 50000" })),
            json!({ "on_error": "continue" })
        )
    ]);
    let flow = document(more, steps);
    let lab = Lab::new("run timeout", &flow, json!({}));
    let played = lab.once("run timeout", std::iter::empty()).await;
    let error = played.run.error.unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "the run took longer than its timeout of 60s"));
    assert_eq!(played.world.calls("look timeout"), 1);
    // It cannot be resumed, because its time is over.
    let engine = lab.engine(std::sync::Arc::new(trunkline_engine::MemoryJournal::default()));
    let running = engine.start(&flow, json!({}), crate::support::slots("run timeout again")).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let error = engine.resume(&id, crate::support::slots("run timeout again")).await.err().unwrap();
    let message = format!("run {id} cannot be resumed: the run took longer than its timeout of 60s");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Conflict, message.as_str()));
}

#[tokio::test(start_paused = true)]
async fn the_failure_handler_runs_once_for_each_failure_of_a_resumed_run() {
    let more = json!({ "on_failure": [
        call("notify", "thing.make", json!({ "name": "{{ error.kind }} in {{ error.step }}" })),
        call("broken", "thing.look", json!({ "name": "x", "fault": "missing" }))
    ] });
    let flow = document(more, json!([look("a", ""), look("b", "auth")]));
    assert_eq!(warnings(&flow), [""; 0]);
    let lab = Lab::new("on failure", &flow, json!({}));
    let played = lab.play().await;
    let error = played.run.error.unwrap();
    assert_eq!((error.kind(), fact(&error, "on_failure")), (ErrorKind::Auth, Some("no such thing")));
    assert_eq!(played.world.created(), ["auth in b"]);

    let journal = std::sync::Arc::new(trunkline_engine::MemoryJournal::default());
    let engine = lab.engine(journal);
    let slots = || crate::support::slots("on failure twice");
    let running = engine.start(&flow, json!({}), slots()).await.unwrap();
    let id = running.id().clone();
    running.wait().await.unwrap();
    let run = engine.resume(&id, slots()).await.unwrap().wait().await.unwrap();
    let world = world("on failure twice");
    assert_eq!((run.status, world.calls("look b"), world.calls("look a")), (RunStatus::Failed, 2, 1));
    assert_eq!(world.created().len(), 2, "it failed twice, and the handler ran twice");
}

#[tokio::test(start_paused = true)]
async fn branches_run_concurrently_and_later_steps_see_their_outputs() {
    let both = json!({ "id": "both", "parallel": {
        "left": [look("a", "sleep 1000"), call("b", "thing.make", json!({ "name": "{{ steps.a.name }}2" }))],
        "right": [look("c", "sleep 1500"), { "id": "all", "each": ["x", "y"], "key": "{{ item }}",
            "steps": [call("d", "thing.make", json!({ "name": "{{ item }}" }))] }]
    } });
    let output = json!({ "b": "{{ steps.b.name }}", "c": "{{ steps.c.name }}", "all": "{{ steps.all.done }}" });
    let flow = document(json!({ "output": output }), json!([both]));
    assert_eq!(warnings(&flow), [""; 0]);
    let before = tokio::time::Instant::now();
    let lab = Lab::new("parallel", &flow, json!({}));
    let first = lab.once("parallel time", std::iter::empty()).await;
    assert_eq!(before.elapsed().as_millis() / 100, 15, "at the same time");
    assert_eq!(first.run.ledger[&StepPath::from("both/all")].done, 2);
    let played = lab.play().await;
    assert_eq!(played.run.output, Some(json!({ "b": "a2", "c": "c", "all": 2 })));
    // A branch cannot refer to the steps of another one.
    let wrong = json!([{ "id": "both", "parallel": { "l": [look("a", "")], "r": [{ "id": "s", "set": { "x": "{{ steps.a.name }}" } }] } }]);
    assert!(warnings(&document(json!({}), wrong)).join("").contains("no step a runs before this one"));
}

#[tokio::test(start_paused = true)]
async fn all_branches_end_before_the_step_fails_with_the_first_error_in_document_order() {
    let both = |on_error: Value| {
        json!([with(json!({ "id": "both", "parallel": {
            "slow": [look("a", "sleep 1000"), { "id": "no", "fail": "slow" }],
            "fast": [{ "id": "never", "fail": "fast" }],
            "good": [look("b", "sleep 3000"), call("c", "thing.make", json!({ "name": "c" }))]
        } }), json!({ "on_error": on_error })), { "id": "end", "set": { "x": 1 } }])
    };
    let played = Lab::new("branches fail", &document(json!({}), both(json!("fail"))), json!({})).play().await;
    let error = played.run.error.unwrap();
    assert_eq!((error.message(), fact(&error, "branch fast failed too")), ("slow", Some("fast")));
    assert_eq!(played.world.created(), ["c"], "no branch is cut off");

    let handled =
        json!([{ "id": "report", "set": { "why": "{{ error.message }} {{ steps.b | default('unseen') }}" } }]);
    let output = json!({ "output": { "why": or_dash("report.why") } });
    let played = Lab::new("branches handled", &document(output, both(handled)), json!({})).play().await;
    assert_eq!(played.run.output, Some(json!({ "why": "slow unseen" })));
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_branches_does_not_repeat_steps_that_succeeded() {
    let both = json!({ "id": "both", "retry": { "tries": 4, "wait": "1s" }, "parallel": {
        "left": [call("a", "thing.make", json!({ "name": "a" })), look("b", "busy 2")],
        "right": [call("c", "thing.make", json!({ "name": "c" }))]
    } });
    let played = Lab::new("branch again", &flow(json!([both])), json!({})).play().await;
    let calls = ["make a", "look b", "make c"].map(|what| played.world.calls(what));
    assert_eq!((played.run.status, calls), (RunStatus::Succeeded, [1, 3, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_processes_many_items_at_once_and_all_get_its_outcome() {
    let steps = json!([{ "id": "all", "key": "{{ item.name }}", "batch": 2, "concurrency": 2,
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 2 } },
        "steps": [
            { "id": "gate", "if": "{{ items[0].name == 't3' }}", "skip": "not these" },
            call("look", "thing.look", json!({ "name": "{{ items | map('name') | join('+') }}", "items": "{{ items | map('name') }}" })),
            call("make", "thing.make", json!({ "name": "{{ items | map('name') | join('+') }}" })),
            { "id": "bad", "if": "{{ items | length == 1 and items[0].name == 't2' }}", "fail": "alone" }
        ] }]);
    let flow = flow(steps);
    let played = Lab::new("batch", &flow, json!({})).play().await;
    // Pages are t0 t1 t2 and t2 t3 t4. A batch does not span pages, and t2 is processed once.
    let ledger = &played.run.ledger[&StepPath::from("all")];
    assert_eq!(
        (ledger.done, ledger.skipped.get("not these"), ledger.failed.get("alone")),
        (2, Some(&2), Some(&1)),
        "{ledger:?}"
    );
    let mut made = played.world.created();
    made.sort();
    assert_eq!(made, ["t0+t1", "t2"]);
    assert_eq!(played.count("batch_finished"), 3);
    let found = warnings(&document(
        json!({}),
        json!([{ "id": "all", "each": [1], "batch": 2, "steps": [
        { "id": "s", "set": { "x": "{{ item }}" } }] }, { "id": "t", "set": { "x": "{{ items }}" } }]),
    ));
    assert!(found[0].contains("a batch has only items") && found[1].contains("only inside"), "{found:?}");
}

#[tokio::test]
async fn data_that_looks_like_an_expression_stays_data() {
    let flow = Flow::from_value(json!({
        "name": "literal",
        "steps": [
            { "id": "copy", "set": { "title": "{{ input.title }}", "in": ["x {{ input.title }}", { "a": "{{ input.nested }}" }] } },
            { "id": "again", "set": { "title": "{{ steps.copy.title }}", "all": "{{ steps.copy }}" } },
            { "id": "same", "if": "{{ steps.again.title != input.title or steps.again.all.in[0] != 'x ' ~ input.title }}",
              "fail": "{{ steps.again }}" },
            { "id": "each", "each": "{{ input.titles }}", "key": "{{ item }}", "steps": [
                { "id": "end", "skip": "because {{ item }}" }
            ] }
        ]
    }));
    let titles = ["{{ 7*7 }}", "{% for x in y %}", "{{ steps }}", "}}", "{{", "{{ input | upper }}"];
    let input = json!({ "title": titles[0], "nested": { "{{ 1 }}": ["{{ 2 }}"] }, "titles": titles });
    let engine = Engine::new(Arc::new(MemoryJournal::default()));
    let running = engine.start(&flow.unwrap(), input, Default::default()).await.unwrap();
    let run = tokio::time::timeout(std::time::Duration::from_secs(60), running.wait()).await.unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.error);
    let reasons: Vec<_> = run.ledger[&StepPath::from("each")].skipped.keys().cloned().collect();
    let mut expected: Vec<_> = titles.iter().map(|title| format!("because {title}")).collect();
    expected.sort();
    assert_eq!(reasons, expected);
}

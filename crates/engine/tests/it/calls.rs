//! Flows that call other flows. They are linked before a run, the run is pinned to their versions, and each flow has a
//! name space of its own.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::{
    call, fact,
    lab::{Lab, Mortal, nothing},
    registry, slots,
};
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, ErrorKind, Severity, StepPath};
use trunkline_engine::{FlowVersions, ItemOutcome, Journal, MemoryJournal, RunEvent, RunStatus};
use trunkline_flow::Flow;

fn flow(name: &str, more: Value) -> Flow {
    let mut document = json!({ "name": name, "connections": { "shop": "shop" } });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Flow::from_value(document).unwrap()
}

fn linked(flow: &Flow, others: &[Flow]) -> Result<Flow, Vec<Diagnostic>> {
    flow.link(&|name| others.iter().find(|one| one.name() == name).cloned())
}

/// Returns a flow that creates a thing, unless its name is `skip` or `bad`.
fn maker() -> Flow {
    flow(
        "maker",
        json!({
            "connections": { "into": "shop" },
            "input": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
            "steps": [
                { "id": "gate", "if": "{{ input.name == 'skip' }}", "skip": "as asked" },
                { "id": "bad", "if": "{{ input.name == 'bad' }}", "fail": "bad name" },
                { "id": "made", "action": "thing.make", "connection": "into", "input": { "name": "{{ input.name }}" } }
            ],
            "output": { "name": "{{ steps.made.name }}!" }
        }),
    )
}

fn main_flow() -> Flow {
    flow(
        "main",
        json!({
            "steps": [
                { "id": "one", "call": "maker", "input": { "name": "one" }, "connections": { "into": "shop" } },
                { "id": "all", "each": ["a", "skip", "bad"], "key": "{{ item }}", "concurrency": 2, "steps": [
                    { "id": "sub", "call": "twice", "input": { "name": "{{ item }}" } }
                ] }
            ],
            "output": { "one": "{{ steps.one.name }}", "done": "{{ steps.all.done }}" }
        }),
    )
}

fn twice() -> Flow {
    let into = json!({ "into": "shop" });
    flow(
        "twice",
        json!({
            "steps": [
                { "id": "one", "call": "maker", "input": { "name": "{{ input.name }}" }, "connections": into },
                { "id": "two", "call": "maker", "input": { "name": "{{ (steps.one | default({})).name | default('nothing') }}" },
                  "connections": into }
            ]
        }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_flow_calls_other_flows_and_gets_their_outputs() {
    let flow = linked(&main_flow(), &[twice(), maker()]).unwrap();
    assert_eq!(flow.check(&registry()), []);
    // Outputs and inputs of called flows are type-checked.
    let wrong = json!({ "steps": [
        { "id": "one", "call": "maker", "input": { "name": "{{ 3 + 4 }}" }, "connections": { "into": "shop" } },
        { "id": "two", "set": { "more": "{{ steps.one.name - 1 }} {{ steps.one.size }}" } }
    ] });
    let found = linked(&self::flow("wrong", wrong), &[maker()]).unwrap().check(&registry());
    let places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
    assert_eq!(places, ["/steps/0/input/name", "/steps/1/set/more", "/steps/1/set/more"], "{found:#?}");
    let played = Lab::new("calls", &flow, json!({})).play().await;
    let mut made = played.world.created();
    made.sort();
    assert_eq!(made, ["a", "a!", "nothing", "one"]);
    let ledger = &played.run.ledger[&StepPath::from("all")];
    assert_eq!((ledger.done, ledger.failed["bad name"]), (2, 1));
    assert_eq!(played.run.output, Some(json!({ "one": "one!", "done": 2 })));
    let item = |event: &RunEvent| match event {
        RunEvent::ItemFinished { outcome: ItemOutcome::Failed { error }, .. } => Some(error.clone()),
        _ => None,
    };
    let error = played.events.iter().find_map(item).unwrap();
    let place = ["flow", "pointer", "step"].map(|key| fact(&error, key).unwrap());
    assert_eq!(place, ["maker", "/steps/1", "all/bad/sub/one/bad"], "the position in the called flow");
    assert_eq!(played.run.calls.keys().collect::<Vec<_>>(), ["maker", "twice"]);
}

/// Returns the schema of an input with defaults at several depths.
fn with_defaults() -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": ["name"], "properties": {
        "name": { "type": "string", "default": "chair" },
        "size": { "type": "object", "properties": { "unit": { "type": "object", "properties": {
            "name": { "type": "string", "default": "cm" } } } } },
        "items": { "type": "array", "items": { "type": "object", "properties": { "n": { "type": "integer", "default": 1 } } } }
    } })
}

#[tokio::test(start_paused = true)]
async fn the_defaults_of_an_input_are_filled_in_for_a_run_and_for_a_called_flow() {
    let output = json!({ "got": "{{ input }}" });
    let inner = flow("inner", json!({ "input": with_defaults(), "steps": [], "output": output }));
    let steps = json!([{ "id": "sub", "call": "inner", "input": "{{ input }}" }]);
    for (given, filled) in [
        (json!({}), json!({ "name": "chair", "size": { "unit": { "name": "cm" } } })),
        (Value::Null, json!({ "name": "chair", "size": { "unit": { "name": "cm" } } })),
        (json!({ "name": "table" }), json!({ "name": "table", "size": { "unit": { "name": "cm" } } })),
        (json!({ "size": {} }), json!({ "name": "chair", "size": { "unit": { "name": "cm" } } })),
        (
            json!({ "size": { "unit": { "name": "m" } } }),
            json!({ "name": "chair", "size": { "unit": { "name": "m" } } }),
        ),
        (
            json!({ "items": [{}, { "n": 2 }] }),
            json!({ "name": "chair", "items": [{ "n": 1 }, { "n": 2 }], "size": { "unit": { "name": "cm" } } }),
        ),
    ] {
        let played = Lab::new("defaults", &inner, given.clone()).play().await;
        assert_eq!((&played.run.input, &played.run.output), (&filled, &Some(json!({ "got": filled }))), "{given}");
        // As the input of a step that calls the flow.
        let mut steps = steps.clone();
        steps[0]["input"] = if given.is_null() { json!({}) } else { given.clone() };
        let outer = flow("outer", json!({ "steps": steps, "output": { "got": "{{ steps.sub.got }}" } }));
        let outer = linked(&outer, std::slice::from_ref(&inner)).unwrap();
        let found: Vec<_> =
            outer.check(&registry()).into_iter().filter(|one| one.severity == Severity::Error).collect();
        assert_eq!(found, [], "{given}");
        let played = Lab::new("called with defaults", &outer, json!({})).play().await;
        assert_eq!(played.run.output, Some(json!({ "got": filled })), "{given}");
    }
    // A value that is given is checked, and null is a value.
    for wrong in [json!({ "name": null }), json!({ "name": 7 }), json!({ "size": null })] {
        let engine = Lab::new("not a default", &inner, wrong.clone()).engine(Arc::new(MemoryJournal::default()));
        let started = engine.start(&inner, wrong, slots("wrong")).await;
        assert_eq!(started.err().map(|error| error.kind()), Some(ErrorKind::InvalidInput));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_pinned_to_the_flows_it_calls() {
    let wait = |text: &str| {
        flow("called", json!({ "steps": [{ "id": "w", "wait": { "signal": "go" } }], "output": { "text": text } }))
    };
    let main =
        flow("main", json!({ "steps": [{ "id": "s", "call": "called" }], "output": { "text": "{{ steps.s.text }}" } }));
    let journal = Arc::new(MemoryJournal::default());
    let linked_old = linked(&main, &[wait("old")]).unwrap();
    let lab = Lab::new("pinned", &linked_old, json!({}));
    let dying = lab.engine(Mortal::journal(journal.clone(), 1, nothing));
    let running = dying.start(&linked_old, json!({}), slots("pinned")).await.unwrap();
    let id = running.id().clone();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    running.cancel();
    running.wait().await.unwrap_err();
    // The called flow changes. New runs use the new version, and this run keeps its own.
    let engine = lab.engine(journal.clone());
    let new = engine.start(&linked(&main, &[wait("new")]).unwrap(), json!({}), slots("pinned")).await.unwrap();
    let old = engine.resume(&id, slots("pinned")).await.unwrap();
    for (text, running) in [("old", old), ("new", new)] {
        engine.signal(running.id(), "go", json!(null)).await.unwrap();
        let run = running.wait().await.unwrap();
        assert_eq!((run.status, run.output), (RunStatus::Succeeded, Some(json!({ "text": text }))));
        assert_eq!(run.calls["called"], wait(text).version());
    }
    assert_eq!(journal.flow(wait("old").version()).await.unwrap(), *wait("old").document());
}

#[tokio::test(start_paused = true)]
async fn a_call_has_the_policies_of_a_step_and_the_called_flow_has_its_own() {
    let called = flow(
        "called",
        json!({
            "timeout": "10s",
            "steps": [
                call("made", "thing.make", json!({ "name": "made" })),
                call("slow", "thing.look", json!({ "name": "slow", "fault": "{{ input.fault }}" }))
            ],
            "on_failure": [call("report", "thing.look", json!({ "name": "reported {{ error.kind }}" }))]
        }),
    );
    let main = |more: Value| {
        let mut sub = json!({ "id": "sub", "call": "called", "input": { "fault": "{{ input.fault }}" } });
        sub.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        linked(&flow("main", json!({ "steps": [sub] })), std::slice::from_ref(&called)).unwrap()
    };
    let passed = main(json!({ "on_error": "continue" }));
    let lab = Lab::new("late sub-flow", &passed, json!({ "fault": "sleep 60000" }));
    let played = lab.once("late sub-flow", std::iter::empty()).await;
    assert_eq!((played.run.status, played.world.calls("look reported timeout")), (RunStatus::Succeeded, 1));

    let again = main(json!({ "retry": { "tries": 3, "wait": "1s" } }));
    let played = Lab::new("sub-flow again", &again, json!({ "fault": "busy 2" })).play().await;
    let calls = ["make made", "look slow", "look reported unavailable"].map(|what| played.world.calls(what));
    assert_eq!(
        (played.run.status, calls),
        (RunStatus::Succeeded, [1, 3, 2]),
        "its failure handler ran after each of the two failures"
    );
}

#[tokio::test]
async fn a_flow_that_was_not_linked_does_not_run() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let error =
        trunkline_engine::Engine::new(journal).start(&twice(), json!({}), slots("unlinked")).await.err().unwrap();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Config, "the flow twice calls maker, and was not linked with it")
    );
}

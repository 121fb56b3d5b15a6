//! Limits of flows and runs, when results are flushed to disk, and the same flow as JSON and as YAML.
#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::{
    between::{Asked, Watcher, watched},
    call, flow,
    lab::Lab,
    registry, slots,
};
use serde_json::{Value, json};
use trunkline_core::{Effect, ErrorKind, Result};
use trunkline_engine::{Engine, Flush, MemoryJournal, RunEvent, RunLimits, RunStatus, VALUE_NESTING};
use trunkline_flow::Flow;
use trunkline_testkit::fake::{Fake, FakeAction};

fn look(fault: &str) -> Value {
    call("a", "thing.look", json!({ "name": "a", "fault": fault }))
}

#[tokio::test(start_paused = true)]
async fn the_resources_of_a_run_are_limited_and_each_error_has_the_limit() {
    let on_error = |mut step: Value| {
        step["on_error"] = json!("continue");
        step
    };
    let many = json!(["a", "b", "c"].map(|id| on_error(call(id, "thing.look", json!({ "name": id })))));
    let list = json!([{ "id": "all", "each": "{{ input.list }}", "steps": [] }]);
    let limits = RunLimits { items: 3, payload: 1000, run_time: std::time::Duration::from_secs(3600), recorded: 2 };
    for (place, steps, input, words) in [
        ("items", list, json!({ "list": [1, 2, 3, 4] }), "the list has 4 items; the limit is 3"),
        (
            "output",
            json!([look("big 2000")]),
            json!({}),
            "the output of step a is 2020 bytes of JSON; the limit is 1000",
        ),
        ("recorded", many, json!({}), "the run has recorded 2 steps, the limit"),
        ("run time", json!([look("sleep 7200000")]), json!({}), "the run took longer than its timeout of 3600s"),
    ] {
        let document = json!({ "name": "x", "connections": { "shop": "shop" }, "steps": steps });
        let mut lab = Lab::new(&format!("limit {place}"), &Flow::from_value(document).unwrap(), input);
        lab.limits = limits.clone();
        let error = lab.once(&lab.name, std::iter::empty()).await.run.error.unwrap();
        assert_eq!(error.message(), words);
        let expected = if place == "run time" { ErrorKind::Timeout } else { ErrorKind::Limit };
        assert_eq!(error.kind(), expected, "{place}");
    }
    // Inputs and signals are checked before the run starts or receives them.
    let engine = Engine::new(Arc::new(MemoryJournal::default())).with_limits(limits);
    let flow = flow(json!([{ "id": "a", "wait": { "signal": "x" } }]));
    let big = json!({ "text": "x".repeat(1000) });
    let error = engine.start(&flow, big.clone(), slots("limit input")).await.err().unwrap();
    assert_eq!(error.message(), "the input of flow test is 1011 bytes of JSON; the limit is 1000");
    let running = engine.start(&flow, json!({}), slots("limit input")).await.unwrap();
    let error = engine.signal(running.id(), "x", big).await.unwrap_err();
    assert_eq!(error.message(), "the payload of the signal x is 1011 bytes of JSON; the limit is 1000");
    for name in ["", &"x".repeat(201)] {
        let error = engine.signal(running.id(), name, json!(null)).await.unwrap_err();
        assert_eq!(error.message(), format!("a signal's name has 1 to 200 bytes, not {}", name.len()));
    }
    let long = Flow::from_value(json!({ "name": "long", "timeout": "2h", "steps": [] })).unwrap();
    let error = engine.start(&long, json!({}), Default::default()).await.err().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Limit, "the flow long may take 7200s; the limit is 3600s"));
}

#[tokio::test(start_paused = true)]
async fn values_that_are_nested_too_deep_to_be_read_again_are_refused_with_the_number() {
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!({ "a": inner }));
    let refused = |what: &str| format!("{what} is nested more than 100 levels deep, which is the limit");
    let engine = Engine::new(Arc::new(MemoryJournal::default()));
    let flow = flow(json!([{ "id": "a", "wait": { "signal": "x" } }, { "id": "b", "wait": { "signal": "y" } }]));
    for levels in [VALUE_NESTING + 1, 125, 127, 1000] {
        let error = engine.start(&flow, nested(levels), slots("deep")).await.err().unwrap();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Limit, &*refused("the input of flow test")),
            "{levels}"
        );
    }
    let running = engine.start(&flow, nested(VALUE_NESTING), slots("deep")).await.unwrap();
    let error = engine.signal(running.id(), "x", nested(VALUE_NESTING + 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Limit, &*refused("the payload of the signal x")));
    engine.signal(running.id(), "x", nested(VALUE_NESTING)).await.unwrap();
    // The output of an action, and one that an expression builds around it.
    for (wrapped, levels, is_refused) in
        [(0, VALUE_NESTING, false), (0, VALUE_NESTING + 1, true), (1, VALUE_NESTING, true), (9, 120, true)]
    {
        let shop = Fake::new("shop").with(FakeAction::new("deep.get", Effect::Read, move |_| async move {
            Ok((1..levels).fold(json!([]), |inner, _| json!([inner])))
        }));
        let around = (0..wrapped).fold(json!("{{ steps.a }}"), |inner, _| json!({ "b": inner }));
        let output = if wrapped == 0 { Value::Null } else { around };
        let flow = json!({
            "name": "deep", "connections": { "shop": "shop" }, "output": output,
            "steps": [{ "id": "a", "action": "deep.get", "connection": "shop", "input": {} }],
        });
        let flow = Flow::from_value(flow).unwrap();
        let bindings = [("shop".to_owned(), shop.connected())].into();
        let ended = engine.start(&flow, json!({}), bindings).await.unwrap().wait().await.unwrap();
        let message = ended.error.map(|error| error.message().to_owned());
        let found = message.as_ref().map(|one| one.contains("more than 100 levels deep"));
        assert_eq!(found, is_refused.then_some(true), "{wrapped} {levels}: {message:?}");
    }
}

/// Returns a lab whose run may record two of its three steps. All of them fail, and the flow continues.
fn two_of_three(name: &str) -> Lab {
    let failing = |id: &str| {
        let mut step = call(id, "thing.look", json!({ "name": id, "fault": "missing" }));
        step["on_error"] = json!("continue");
        step
    };
    let mut lab = Lab::new(name, &flow(json!(["a", "b", "c"].map(failing))), json!({}));
    lab.limits = RunLimits { recorded: 2, ..RunLimits::default() };
    lab
}

#[tokio::test(start_paused = true)]
async fn steps_recorded_before_a_restart_count_towards_the_limit() {
    let played = two_of_three("two of three").play().await;
    assert_eq!(played.run.error.unwrap().message(), "the run has recorded 2 steps, the limit");
    assert_eq!((played.world.calls("look b"), played.world.calls("look c")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn without_the_recorded_steps_a_restart_would_lift_the_limit() {
    let mut lab = two_of_three("limit forgotten");
    lab.forgets = |event| matches!(event, RunEvent::StepFailed { step, .. } if step.as_str() == "a");
    // The process dies after it has recorded the first step.
    let played = lab.once("limit forgotten", std::iter::once(1)).await;
    assert_eq!((played.run.status, played.world.calls("look a")), (RunStatus::Failed, 2), "the test above can fail");
}

/// Counts the appends that do not wait for the disk, and collects the kinds of the events.
#[derive(Default)]
struct Counting {
    later: AtomicUsize,
    kinds: Mutex<Vec<String>>,
}

impl Watcher for Counting {
    fn before(&self, asked: Asked<'_>) -> Result<()> {
        let Asked::Append(events, flush) = asked else { return Ok(()) };
        self.later.fetch_add(usize::from(flush == Flush::Later), Ordering::SeqCst);
        let kind = |event: &RunEvent| json!(event)["event"].as_str().unwrap().to_owned();
        self.kinds.lock().unwrap().extend(events.iter().map(kind));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_can_require_each_step_on_disk_before_the_next() {
    for (durability, later) in [(json!("by_effect"), true), (json!("every_step"), false)] {
        let steps = json!([look(""), { "id": "all", "each": [1, 2], "steps": [call("b", "thing.look", json!({ "name": "b" }))] }]);
        let document =
            json!({ "name": "x", "connections": { "shop": "shop" }, "durability": durability, "steps": steps });
        let watcher = Arc::new(Counting::default());
        let journal = watched(Arc::new(MemoryJournal::default()), watcher.clone());
        let (engine, flow) = (Engine::new(journal), Flow::from_value(document).unwrap());
        let running = engine.start(&flow, json!({}), slots("flushed")).await.unwrap();
        assert_eq!(running.wait().await.unwrap().status, RunStatus::Succeeded);
        assert_eq!(watcher.later.load(Ordering::SeqCst) > 0, later, "{durability}");
        assert_eq!(watcher.kinds.lock().unwrap().len(), 8, "three results, a list, two items, a page, the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_is_the_same_as_json_and_as_yaml() {
    let yaml = r#"
# As an author writes it.
name: greet
about: Looks at things, and waits in between.
connections: { shop: shop }
input:
  type: object
  properties: { names: { type: array, items: { type: string } } }
  required: [names]
steps:
  - id: all
    each: "{{ input.names }}"
    key: "{{ item }}"
    steps:
      - id: look
        action: thing.look
        connection: shop
        input:
          name: "{{ item }}"
      - { id: pause, wait: { for: 10s } }
      - id: gate
        if: "{{ item == 'no' }}"
        skip: not this one
output:
  done: "{{ steps.all.done }}"
"#;
    let json = json!({
        "name": "greet", "about": "Looks at things, and waits in between.", "connections": { "shop": "shop" },
        "input": { "type": "object", "properties": { "names": { "type": "array", "items": { "type": "string" } } },
            "required": ["names"] },
        "steps": [{ "id": "all", "each": "{{ input.names }}", "key": "{{ item }}", "steps": [
            { "id": "look", "action": "thing.look", "connection": "shop", "input": { "name": "{{ item }}" } },
            { "id": "pause", "wait": { "for": "10s" } },
            { "id": "gate", "if": "{{ item == 'no' }}", "skip": "not this one" }
        ] }],
        "output": { "done": "{{ steps.all.done }}" }
    });
    let as_yaml = Flow::parse("greet.yaml", yaml).unwrap();
    let as_json = Flow::parse("greet.json", &json.to_string()).unwrap();
    assert_eq!((as_yaml.document(), as_yaml.version()), (as_json.document(), as_json.version()));
    // "no" is a string, as in JSON, and not a boolean as in YAML 1.1.
    let played = Lab::new("yaml", &as_yaml, json!({ "names": ["a", "no"] })).play().await;
    assert_eq!(played.run.output, Some(json!({ "done": 1 })));

    let broken = yaml.replace("thing.look", "thing.lok").replace("skip: not", "skip: \"{{ itm }}\" #");
    let mut findings: Vec<_> =
        Flow::findings("greet.yaml", &broken, &registry()).iter().map(ToString::to_string).collect();
    findings.sort();
    assert!(findings[0].starts_with("greet.yaml:16:17: /steps/0/steps/0/action"), "{findings:?}");
    assert!(findings[1].starts_with("greet.yaml:23:15: /steps/0/steps/2/skip"), "{findings:?}");
}

//! Faults of documents: where each is reported, and the limits of a flow.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_flow::{Flow, OnError, Step};

fn look(id: &str) -> Value {
    json!({ "id": id, "action": "thing.look", "connection": "shop", "input": { "name": id } })
}

/// Adds members to a step.
fn with(mut step: Value, more: Value) -> Value {
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

/// The pointers and messages of the findings about an invalid document.
fn faults(more: Value, steps: Value) -> Vec<(String, String)> {
    let mut document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let found = Flow::from_value(document).unwrap_err();
    found.into_iter().map(|one| (one.pointer, one.message)).collect()
}

#[test]
fn every_fault_in_a_step_is_reported_with_its_pointer() {
    let found = faults(json!({ "timeout": "soon", "durability": "never", "on_failure": {} }), json!([]));
    assert_eq!(
        found.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(),
        ["/timeout", "/durability", "/on_failure"],
        "{found:?}"
    );
    let found = faults(
        json!({ "timeout": "1 eon", "on_failure": [{ "id": "x", "skip": "" }, { "id": "x" }] }),
        json!([
            with(look("a"), json!({ "timeout": "400d", "retry": { "tries": 2, "wait": "5 x" } })),
            with(look("b"), json!({ "retry": { "tries": 0 } })),
            with(look("c"), json!({ "on_error": "ignore" })),
            { "id": "d", "wait": { "for": "10m", "signal": "x" } },
            { "id": "e", "wait": { "until": "tomorrow" } },
            { "id": "f", "wait": { "for": "1h" }, "retry": { "tries": 2 } },
            { "id": "g", "parallel": {} },
            { "id": "h", "parallel": { "1": [] } },
            { "id": "i", "call": "other", "connections": { "x": "nowhere" } },
            { "id": "j", "each": [1], "steps": [], "batch": 0 },
            { "id": "k", "set": {}, "retry": { "tries": 2 } },
            { "id": "l", "parallel": { "x": [{ "id": "a", "skip": "" }] } },
            with(look("m"), json!({ "on_error": [{ "id": "n" }] })),
        ]),
    );
    let places: Vec<_> = found.iter().map(|one| one.0.as_str()).collect();
    let expected = [
        "/steps/0/retry/wait",
        "/steps/0/timeout",
        "/steps/1/retry/tries",
        "/steps/2/on_error",
        "/steps/3/wait",
        "/steps/4/wait/until",
        "/steps/5/retry",
        "/steps/6/parallel",
        "/steps/7/parallel",
        "/steps/8/connections/x",
        "/steps/9/batch",
        "/steps/10/retry",
        "/steps/11/parallel/x/0/id",
        "/steps/12/on_error/0",
        "/on_failure/1",
        "/timeout",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

/// Tries, timeout in seconds, and whether the run goes on after a failure, for each step by its id.
fn policies(steps: &[Step], found: &mut BTreeMap<String, (Option<u32>, Option<u64>, bool)>) {
    let mut visit = |step: &Step| {
        let policy = &step.policy;
        let continues = matches!(policy.on_error, OnError::Continue);
        let retry = policy.retry.map(|retry| retry.tries);
        found.insert(step.id.to_string(), (retry, policy.timeout.map(|timeout| timeout.as_secs()), continues));
    };
    steps.iter().for_each(|step| step.visit(&mut visit));
}

#[test]
fn a_step_has_the_defaults_of_the_innermost_block_that_says_something() {
    let document = json!({
        "name": "test", "connections": { "shop": "shop" },
        "defaults": { "retry": { "tries": 3 }, "timeout": "2m" },
        "steps": [
            look("plain"),
            with(look("own"), json!({ "retry": { "tries": 7 }, "timeout": "5s", "on_error": "continue" })),
            with(look("once"), json!({ "retry": { "tries": 1 } })),
            { "id": "wait", "wait": { "for": "1h" } },
            { "id": "each", "each": [1], "defaults": { "on_error": "continue", "timeout": "1m" }, "steps": [
                look("inner"),
                with(look("strict"), json!({ "on_error": "fail" })),
                { "id": "if", "if": "{{ item > 0 }}", "defaults": { "retry": { "tries": 9 }, "on_error": "fail" },
                    "then": [look("then")], "else": [{ "id": "pause", "wait": { "for": "1s" } }] },
                { "id": "pause2", "wait": { "for": "1s" } },
            ] },
            { "id": "both", "parallel": { "a": [look("left")] }, "defaults": { "timeout": "3s" } },
            look("after"),
        ],
        "on_failure": [look("notify")],
    });
    let flow = Flow::from_value(document).unwrap();
    let mut found = BTreeMap::new();
    policies(flow.steps(), &mut found);
    policies(flow.on_failure(), &mut found);
    for (step, expected) in [
        ("plain", (Some(3), Some(120), false)),
        ("own", (Some(7), Some(5), true)),
        ("once", (Some(1), Some(120), false)),
        ("wait", (None, None, false)),
        ("each", (None, None, false)),
        ("inner", (Some(3), Some(60), true)),
        ("strict", (Some(3), Some(60), false)),
        ("then", (Some(9), Some(60), false)),
        ("pause", (None, None, false)),
        ("pause2", (None, None, true)),
        ("both", (None, None, false)),
        ("left", (Some(3), Some(3), false)),
        ("after", (Some(3), Some(120), false)),
        ("notify", (Some(3), Some(120), false)),
    ] {
        assert_eq!(found[step], expected, "{step}");
    }
    let wrong = json!({ "retry": { "tries": 2, "wait": "soon" }, "timeout": "never", "on_error": [] });
    let found = faults(json!({ "defaults": wrong }), json!([{ "id": "a", "set": {}, "defaults": {} }]));
    let places: Vec<_> = found.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(
        places,
        ["/defaults/retry/wait", "/defaults/timeout", "/defaults/on_error", "/steps/0/defaults"],
        "{found:?}"
    );
}

/// Returns pointer and message of the first finding for a flow with these steps.
fn rejection(steps: Value) -> String {
    let found =
        Flow::from_value(json!({ "name": "x", "connections": { "shop": "shop" }, "steps": steps })).unwrap_err();
    format!("{} {}", found[0].pointer, found[0].message)
}

#[test]
fn the_size_of_a_flow_is_limited_and_each_error_has_the_limit() {
    let many: Vec<_> = (0..10_001).map(|n| json!({ "id": format!("s{n}"), "set": {} })).collect();
    assert_eq!(rejection(many.into()), "/steps/10000 the flow has more than 10000 steps");
    let deep = (0..17).fold(json!([]), |inner, n| json!([{ "id": format!("s{n}"), "parallel": { "x": inner } }]));
    assert!(rejection(deep).ends_with("steps are nested more than 16 levels deep"));
    let each = |member: &str, value: u64| {
        let mut step = json!({ "id": "a", "each": [1], "steps": [] });
        step[member] = value.into();
        rejection(json!([step]))
    };
    assert!(each("concurrency", 65).contains("64") && each("batch", 1001).contains("1000"), "{}", each("batch", 1001));
    let branches: serde_json::Map<_, _> = (0..33).map(|n| (format!("b{n}"), json!([]))).collect();
    assert!(rejection(json!([{ "id": "a", "parallel": branches }])).contains("32"));
    assert!(rejection(json!([{ "id": "a", "wait": { "for": "400d" } }])).contains("366 days"));
}

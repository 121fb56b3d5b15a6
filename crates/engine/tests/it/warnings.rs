//! The warnings of the steps of an item, which are the reason of its outcome, wherever the process dies.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline_engine::{RunEvent, RunStatus};
use trunkline_testkit::fake::FakeSystem;

use crate::support::{call, flow, lab::Lab};

/// Returns a step that deletes the thing of an item. Those whose names begin with `x` are gone.
fn delete(id: &str, name: &str) -> Value {
    let fault = format!("{{{{ 'gone' if ({name}) | first == 'x' else '' }}}}");
    call(id, "thing.drop", json!({ "name": format!("{{{{ {name} }}}}"), "fault": fault }))
}

fn gone(names: &[&str]) -> Option<String> {
    let texts: Vec<_> = names.iter().map(|name| format!("{name} was already gone")).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_delete_found_nothing_says_so_in_its_outcome() {
    let steps = json!([
        delete("outside", "'x0'"),
        { "id": "all", "each": ["a", "xb", "c"], "key": "{{ item }}", "concurrency": 2, "steps": [
            delete("one", "item"),
            { "id": "some", "if": "{{ item != 'a' }}", "then": [delete("two", "'x ' ~ item"), delete("again", "item")] },
            { "id": "inner", "each": ["x1", "y2"], "key": "{{ item }}", "steps": [delete("three", "item")] },
        ] },
        { "id": "many", "each": ["x", "y", "z"], "key": "{{ item }}", "batch": 2, "steps": [
            delete("four", "items[0]"),
        ] },
        { "id": "skipped", "each": ["x"], "key": "{{ item }}", "steps": [
            delete("five", "item"),
            { "id": "end", "skip": "on purpose" },
        ] },
    ]);
    let played = Lab::new("already gone", &flow(steps), json!({})).play().await;
    let mut expected = std::collections::BTreeMap::new();
    for (path, names) in [
        ("all/a", vec![]),
        ("all/xb", vec!["x xb", "xb"]),
        ("all/c", vec!["x c"]),
        ("many/x", vec!["x"]),
        ("many/y", vec!["x"]),
        ("many/z", vec![]),
    ] {
        expected.insert(path.to_owned(), gone(&names));
    }
    for outer in ["a", "xb", "c"] {
        expected.insert(format!("all/{outer}/inner/x1"), gone(&["x1"]));
        expected.insert(format!("all/{outer}/inner/y2"), None);
    }
    let mut done = played.done();
    // A warning that occurs twice is written once.
    let both = done.get_mut("all/xb").unwrap().as_mut().unwrap();
    let mut parts: Vec<_> = both.split("; ").map(str::to_owned).collect();
    parts.sort();
    *both = parts.join("; ");
    assert_eq!(done, expected);
    assert_eq!(played.run.warnings["x0 was already gone"], 1, "a step outside a list: {:?}", played.run.warnings);
    assert_eq!(played.run.ledger[&"skipped".into()].skipped["on purpose"], 1);
}

fn close(world: &FakeSystem) {
    world.refuse(["x".to_owned()]);
}

fn open(world: &FakeSystem) {
    world.refuse_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_rerun_that_repeats_no_delete_keeps_its_warning() {
    let steps = json!([{ "id": "all", "each": ["x"], "key": "{{ item }}", "steps": [
        delete("drop", "item"),
        call("make", "thing.make", json!({ "name": "{{ item }}", "fault": "door" })),
    ] }]);
    let mut lab = Lab::new("rerun of a delete", &flow(steps), json!({}));
    lab.again = Some((close, open));
    let played = lab.play().await;
    assert_eq!(played.run.status, RunStatus::Succeeded);
    let deletes =
        |event: &RunEvent| matches!(event, RunEvent::StepStarted { step, .. } if step.as_str() == "all/x/drop");
    assert!(!played.events.iter().any(deletes), "it is not repeated");
    assert_eq!(played.done()["all/x"], gone(&["x"]));
}

//! All readers of numbers against each other: a number is the same one everywhere, or refused everywhere, and a run hands
//! it on as it is.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use trunkline_core::{RepeatedMember, read_json};
use trunkline_engine::{Engine, MemoryJournal, RunStatus};
use trunkline_flow::{Flow, Scope};

use crate::support::slots;

/// Reads a number, and returns what it read as JSON, or nothing if it refuses the number.
type Reader = fn(&str) -> Option<String>;

/// The readers of numbers, by name.
const READERS: &[(&str, Reader)] = &[
    ("responses and webhooks", |text| of_json(text, RepeatedMember::AcceptedIfEqual)),
    ("inputs and connections", |text| of_json(text, RepeatedMember::Refused)),
    ("flows in JSON", |text| {
        of_flow("x.json", &format!("{{\"name\":\"x\",\"steps\":[],\"output\":{{\"v\":{text}}}}}"))
    }),
    ("flows in YAML", |text| of_flow("x.yaml", &format!("name: x\nsteps: []\noutput:\n  v: {text}\n"))),
    ("lists in YAML", |text| of_flow("x.yaml", &format!("{{name: x, steps: [], output: {{v: {text} }} }}"))),
    ("the filter number", |text| of_expression(&format!("\"{text}\" | number"))),
];

fn of_json(text: &str, repeated: RepeatedMember) -> Option<String> {
    Some(read_json(format!("[{text}]").as_bytes(), repeated).ok()?[0].to_string())
}

fn of_flow(file: &str, text: &str) -> Option<String> {
    let flow = Flow::parse(file, text).ok()?;
    let output = flow.output().unwrap().render(&Scope::new(&json!({}), "r", &json!({}))).ok()?;
    Some(output["v"].to_string())
}

fn of_expression(expression: &str) -> Option<String> {
    of_flow("x.yaml", &format!("name: x\nsteps: []\noutput:\n  v: '{{{{ {expression} }}}}'\n"))
}

fn hold_against_each_other(text: &str) {
    let found: Vec<_> = READERS.iter().map(|(name, read)| (name, read(text))).collect();
    assert!(found.iter().all(|(_, value)| *value == found[0].1), "{text}: {found:#?}");
    // In an expression, - is an operator.
    if !text.starts_with('-') {
        assert_eq!(of_expression(text), found[0].1, "{text} in an expression");
    }
}

#[test]
fn readers_of_numbers_agree() {
    for text in [
        "0",
        "-0",
        "1.10",
        "1e2",
        "1E+2",
        "1e-7",
        "100",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "0.30000000000000004",
        "10.000000000000000000",
        "1e20",
        "5e-324",
        "18446744073709551616",
        "12345678901234567890",
        "123456789012345678901",
        "-9223372036854775809",
        "12345678901234567.89",
        "9007199254740993.0",
        "0.1000000000000000055511151231257827",
        "1e400",
        "-1e400",
        "1e-400",
    ] {
        hold_against_each_other(text);
    }
}

proptest! {
    #[test]
    fn readers_of_generated_numbers_agree(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
        hold_against_each_other(&text);
    }
}

#[tokio::test]
async fn a_run_records_and_returns_a_number_as_it_was_read() {
    let numbers = json!([
        -0.0,
        1.1,
        100.0,
        9_007_199_254_740_993_u64,
        u64::MAX,
        i64::MIN,
        0.1,
        0.300_000_000_000_000_04,
        5e-324,
        1.797_693_134_862_315_7e308
    ]);
    let document = json!({ "name": "x", "connections": { "shop": "shop" }, "input": { "type": "object" },
        "steps": [{ "id": "kept", "set": { "all": "{{ input.v }}", "first": "{{ input.v[4] }}", "text": "id {{ input.v[4] }}" } }],
        "output": { "all": "{{ steps.kept.all }}", "first": "{{ steps.kept.first }}", "text": "{{ steps.kept.text }}" } });
    let flow = Flow::from_value(document).unwrap();
    let engine = Engine::new(Arc::new(MemoryJournal::default()));
    let run = engine.start(&flow, json!({ "v": numbers }), slots("numbers")).await.unwrap().wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.error);
    let expected = json!({ "all": numbers, "first": u64::MAX, "text": "id 18446744073709551615" });
    assert_eq!(run.output.unwrap().to_string(), expected.to_string());
}

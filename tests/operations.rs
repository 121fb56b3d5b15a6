//! Checks the operations: each has a name, a sentence, a closed input, and a role that fits its effect; each route of the
//! HTTP API carries out one; and no door shapes JSON of its own.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use trunkline::operations::{OperationSpec, Role, operations};
use trunkline_core::Effect;
use trunkline_tests::project;

use super::{errors::code, layout::files, prose::rust::Token};

fn specs() -> Vec<OperationSpec> {
    operations().iter().map(|one| one.spec().clone()).collect()
}

/// The verbs that change nothing. Every other verb changes something, or may.
const READING: [&str; 13] = [
    "check",
    "discover",
    "events",
    "export",
    "get",
    "get_retention",
    "items",
    "list",
    "list_items",
    "log",
    "timeline",
    "validate",
    "watch",
];

/// Returns whether a schema allows only the members that it lists.
fn is_closed(schema: &Value) -> bool {
    let branches = ["oneOf", "anyOf"].iter().find_map(|of| schema.get(*of)?.as_array());
    match branches {
        Some(branches) => branches.iter().all(is_closed),
        None => schema["type"] == "object" && schema["additionalProperties"] == false,
    }
}

/// Returns what is wrong with an operation by itself.
fn faults_of(spec: &OperationSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{}: {what}", spec.name));
        }
    };
    let lower = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let (noun, verb) = spec.name.split_once('.').unwrap_or_default();
    check(lower(noun) && noun.ends_with('s') && lower(verb), "its name is not noun.verb");
    let is_sentence = spec.about.starts_with(char::is_uppercase) && spec.about.ends_with('.');
    check(is_sentence && spec.about.len() > 20, "what it does is not a sentence");
    check(is_closed(&spec.input), "its input takes unknown members");
    let reads = spec.effect == Effect::Read;
    check(reads == READING.contains(&verb), "its effect does not fit its verb");
    check((spec.effect == Effect::Delete) == ["remove", "prune"].contains(&verb), "what removes is a delete");
    check(reads || spec.role > Role::Viewer, "a viewer may change something");
    check(spec.role < Role::Owner, "no operation needs the owner");
    let properties = spec.input.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        check(property.get("description").is_some(), &format!("its input {name} has no description"));
    }
    found
}

#[test]
fn every_operation_is_described_and_its_role_fits_its_effect() {
    let specs = specs();
    let names: BTreeSet<_> = specs.iter().map(|one| one.name).collect();
    assert!(names.len() == specs.len() && names.len() > 20, "{names:?}");
    assert_eq!(specs.iter().flat_map(faults_of).collect::<Vec<_>>(), [""; 0]);
    // The sabotage twins: each kind of fault is found.
    let good = specs.iter().find(|one| one.name == "connections.remove").unwrap();
    type Break = fn(&mut OperationSpec);
    let breaks: [(Break, &str); 9] = [
        (|one| one.name = "remove", "its name is not noun.verb"),
        (|one| one.about = "Removes it", "what it does is not a sentence"),
        (|one| one.input["additionalProperties"] = true.into(), "its input takes unknown members"),
        (|one| one.input = Value::Bool(true), "its input takes unknown members"),
        (|one| one.effect = Effect::Read, "its effect does not fit its verb"),
        (|one| one.effect = Effect::Idempotent, "what removes is a delete"),
        (|one| one.role = Role::Viewer, "a viewer may change something"),
        (|one| one.role = Role::Owner, "no operation needs the owner"),
        (
            |one| drop(one.input["properties"]["name"].as_object_mut().unwrap().remove("description")),
            "its input name has no description",
        ),
    ];
    for (break_one, expected) in breaks {
        let mut broken = good.clone();
        break_one(&mut broken);
        let found = faults_of(&broken);
        assert!(found.iter().any(|fault| fault.ends_with(expected)), "{expected}: {found:?}");
    }
}

/// The routes that carry out no operation, as the sources of the server name them, with the reason.
const NOT_OPERATIONS: [(&str, &str); 4] = [
    ("CALLBACK", "a browser comes from a login server, and the `state` in the URL decides what it may do"),
    ("OUTCOME", "a browser comes from the callback, and sees how its sign-in has ended"),
    (
        "/webhooks/{flow}/{token}",
        "the sender dictates the form of the call, and the token in the URL is all that it has",
    ),
    ("HEALTH", "it is asked without a token, and answers from what the server knows of its store"),
];

/// Returns the routes of a router that are added by themselves, not by a row.
fn plain_routes(source: &str) -> Vec<String> {
    let all = code(source);
    let is_route = |four: &&[Token]| match four {
        [Token::Mark('.'), Token::Word { text, .. }, Token::Mark('('), _] => text == "route",
        _ => false,
    };
    let named = |four: &[Token]| match &four[3] {
        Token::Text(lines) => lines.iter().map(|(_, line)| line.as_str()).collect(),
        Token::Word { text, .. } => text.clone(),
        _ => String::new(),
    };
    all.windows(4).filter(is_route).map(named).collect()
}

#[test]
fn every_route_carries_out_an_operation_or_has_a_reason_why_not() {
    let source = fs::read_to_string(project().join("crates/server/src/routes.rs")).unwrap();
    let excepted = NOT_OPERATIONS.map(|(route, _)| route);
    assert_eq!(plain_routes(&source), excepted);
    let names: BTreeSet<_> = specs().iter().map(|one| one.name).collect();
    let rows = trunkline_server::api_routes();
    let distinct: BTreeSet<_> = rows.iter().map(|row| (row.method, row.path)).collect();
    assert!(distinct.len() == rows.len() && rows.len() > 15, "{rows:?}");
    for row in &rows {
        assert!(row.path.starts_with("/rest/v1/") && names.contains(row.operation), "{row:?}");
        let reads = specs().iter().any(|one| one.name == row.operation && one.effect == Effect::Read);
        assert_eq!(row.method == "GET", reads, "{row:?}");
        assert!(row.status == 200 || (row.status == 202 && !reads), "{row:?}");
    }
    // The sabotage twin: a route beside the rows is found.
    let more =
        "fn router() -> Router { Router::new().route(\"/rest/v1/secrets\", get(secrets)).route(HIDDEN, get(hidden)) }";
    assert_eq!(plain_routes(more), ["/rest/v1/secrets", "HIDDEN"]);
}

/// The sources of doors that write JSON of their own, with the reason.
const OWN_JSON: [(&str, &str); 8] = [
    ("cli/src/demo.rs", "`demo` is not an operation"),
    ("cli/src/sandbox.rs", "`sandbox` is not an operation"),
    ("server/src/delivery.rs", "webhooks are not operations"),
    ("server/src/health.rs", "`/health` is not an operation"),
    ("server/src/look.rs", "the inputs of runs that a trigger starts"),
    ("server/src/next_step.rs", "how the HTTP API words errors"),
    ("server/src/response.rs", "how the HTTP API frames errors"),
    ("server/src/webhook.rs", "webhooks are not operations"),
];

/// Returns the number of calls of `json!`.
fn own_json(source: &str) -> usize {
    let is_call = |two: &&[Token]| match two {
        [Token::Word { text, .. }, Token::Mark('!')] => text == "json",
        _ => false,
    };
    code(source).windows(2).filter(is_call).count()
}

#[test]
fn no_door_shapes_json_of_its_own() {
    let folder = project().join("crates");
    let mut paths = Vec::new();
    ["cli/src", "server/src"].iter().for_each(|door| files(&folder.join(door), &mut paths));
    paths.retain(|path| !path.ends_with("test_app.rs") && !path.to_string_lossy().ends_with("tests.rs"));
    paths.sort();
    assert!(paths.len() > 30, "{paths:?}");
    let shapes = |path: &PathBuf| own_json(&fs::read_to_string(path).unwrap()) > 0;
    let found = paths.iter().filter(|path| shapes(path)).map(|path| path.strip_prefix(&folder).unwrap());
    let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
    assert_eq!(found, OWN_JSON.map(|(path, _)| path));
    // The sabotage twin: a call is found, but not in a comment, in a text, or in tests.
    let source = "fn a() { ok(&json!({ \"run\": id })) } // json!(1)\nconst T: &str = \"json!(2)\";\n\
        #[cfg(test)]\nmod tests {\n    fn b() { json!(3); }\n}";
    assert_eq!(own_json(source), 1);
}

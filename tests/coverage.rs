//! Compares every operation table with the vendor's list of operations (`operations/upstream.txt`): each operation has
//! a row, or a reason in `operations/waivers.txt`.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use trunkline as _;
use trunkline_core::{ActionSpec, Registered, Registry};
use trunkline_tests::project;

/// The most operations of a connector without a row. These numbers may only decrease.
const MOST_WAIVERS: &[(&str, usize)] = &[("mediaflow", 8)];

/// Returns the lines of a file of a connector's table without comments, or `None` if there is no such file.
fn lines(connector: &str, file: &str) -> Option<Vec<String>> {
    let path = project().join("connectors").join(connector).join("operations").join(file);
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// Returns the path of the connector's default endpoint, such as `/1`. Vendors write it before their paths, rows do
/// not.
fn base(connector: &Registered) -> String {
    let endpoint = &connector.spec().connection["properties"]["endpointUrl"]["default"];
    let (_, rest) = endpoint.as_str().unwrap().split_once("://").unwrap();
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/')).to_owned()
}

/// Returns a route in the form of the rows, from the form of the vendor.
fn normal(base: &str, route: &str) -> String {
    let (method, path) = route.split_once(' ').unwrap_or_else(|| panic!("{route:?} is not `METHOD /path`"));
    let path = path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    format!("{method} {path}")
}

/// Returns the contradictions between a vendor's list, the rows and the waivers.
fn gaps(upstream: &[String], rows: &BTreeSet<String>, waivers: &BTreeMap<String, String>) -> Vec<String> {
    let known: BTreeSet<_> = upstream.iter().collect();
    let mut found = Vec::new();
    for route in &known {
        match (rows.contains(*route), waivers.contains_key(*route)) {
            (false, false) => found.push(format!("{route} has neither a row nor a waiver")),
            (true, true) => found.push(format!("{route} has a row: remove its waiver")),
            _ => {}
        }
    }
    let strange = rows.iter().filter(|route| !known.contains(route));
    found.extend(strange.map(|route| format!("{route} has a row but is not an operation of the vendor")));
    for (route, reason) in waivers {
        if !known.contains(route) {
            found.push(format!("{route} is waived but is not an operation of the vendor"));
        }
        if reason.len() < 10 {
            found.push(format!("{route} is waived without a reason"));
        }
    }
    found
}

fn waivers(connector: &str, base: &str) -> BTreeMap<String, String> {
    let split = |line: String| {
        let (route, reason) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is not `METHOD /path: reason`"));
        (normal(base, route), reason.to_owned())
    };
    lines(connector, "waivers.txt").unwrap_or_default().into_iter().map(split).collect()
}

#[test]
fn every_operation_of_the_vendor_has_a_row_or_a_reason() {
    let registry = Registry::discover().unwrap();
    let mut found = Vec::new();
    for connector in registry.connectors() {
        let name = &*connector.spec().name;
        let Some(upstream) = lines(name, "upstream.txt") else { continue };
        let base = base(connector);
        let rows: BTreeSet<_> =
            connector.actions().filter_map(|one| Some(normal(&base, one.route.as_deref()?))).collect();
        let waivers = waivers(name, &base);
        println!("{name}: {} operations, {} rows, {} waivers", upstream.len(), rows.len(), waivers.len());
        if !upstream.is_sorted() || upstream.windows(2).any(|two| two[0] == two[1]) {
            found.push(format!("{name}: upstream.txt is not sorted, or has a line twice"));
        }
        let upstream: Vec<_> = upstream.iter().map(|route| normal(&base, route)).collect();
        found.extend(gaps(&upstream, &rows, &waivers).into_iter().map(|gap| format!("{name}: {gap}")));
        let most = MOST_WAIVERS.iter().find(|(one, _)| *one == name).map_or(0, |(_, most)| *most);
        if waivers.len() != most {
            let advice = if waivers.len() > most { "write a row instead" } else { "lower MOST_WAIVERS" };
            found.push(format!("{name}: {} waivers, not {most}: {advice}", waivers.len()));
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

#[test]
fn gaps_are_found() {
    let set = |routes: &[&str]| routes.iter().map(|&route| route.to_owned()).collect::<BTreeSet<_>>();
    let upstream: Vec<_> = set(&["GET /a", "GET /b", "GET /c"]).into_iter().collect();
    let waived = |reason: &str| BTreeMap::from([("GET /b".to_owned(), reason.to_owned())]);
    assert_eq!(gaps(&upstream, &set(&["GET /a", "GET /c"]), &waived("answers a zip file")), [""; 0]);
    let count = |rows: &[&str], reason| gaps(&upstream, &set(rows), &waived(reason)).len();
    assert_eq!(count(&["GET /a"], "answers a zip file"), 1, "neither row nor waiver");
    assert_eq!(count(&["GET /a", "GET /b", "GET /c"], "answers a zip file"), 1, "row and waiver");
    assert_eq!(count(&["GET /a", "GET /c", "GET /d"], "answers a zip file"), 1, "a row without an operation");
    assert_eq!(count(&["GET /a", "GET /c"], ""), 1, "no reason");
    assert_eq!(gaps(&[], &set(&[]), &waived("answers a zip file")).len(), 1, "a waiver without an operation");
    assert_eq!(normal("/1", "GET /1/files/{id}"), "GET /files/{id}");
    assert_eq!(normal("/1", "GET /10/files"), "GET /10/files");
    assert_eq!(normal("", "GET /files"), "GET /files");
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    name.split('.').all(is_word)
}

/// Returns the parts that a row lacks.
fn lacks(action: &ActionSpec) -> Vec<String> {
    let mut found = Vec::new();
    if !is_name(&action.name) {
        found.push("a name of the form resource.verb, or verb".to_owned());
    }
    if action.title.trim().is_empty() {
        found.push("a title".to_owned());
    }
    if action.group.trim().is_empty() {
        found.push("a group".to_owned());
    }
    let inputs = action.input["properties"].as_object().into_iter().flatten();
    let untitled = inputs.filter(|(_, input)| input["title"].as_str().is_none_or(|title| title.trim().is_empty()));
    found.extend(untitled.map(|(name, _)| format!("a title of the input {name}")));
    found
}

#[test]
fn every_row_has_a_name_a_title_a_group_and_titled_inputs() {
    let registry = Registry::discover().unwrap();
    let mut found = Vec::new();
    for connector in registry.connectors() {
        for action in connector.actions().filter(|action| action.route.is_some()) {
            let name = format!("{}.{}", connector.spec().name, action.name);
            found.extend(lacks(action).into_iter().map(|what| format!("{name} lacks {what}")));
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    // The sabotage twin: the lack of each part is found.
    let mut action = registry.connector("mediavalet").unwrap().action_spec("asset.get").unwrap().clone();
    (action.name, action.title, action.group) = ("Asset".into(), " ".into(), String::new());
    action.input["properties"]["assetId"]["title"] = Value::Null;
    assert_eq!(lacks(&action).len(), 4);
}

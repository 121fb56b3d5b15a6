//! Mutation test of the flow check: code puts one fault at a time into valid flows. The check before a run finds the
//! fault at its place, and finds nothing in the valid flows.
#![allow(clippy::unwrap_used)]

mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use faults::{Fault, faults};
use serde_json::{Value, json};
use trunkline as _;
use trunkline_core::{Diagnostic, Registry, Severity};
use trunkline_flow::Flow;
use trunkline_tests::{fixture, project, shipped_flow};

/// Percentage of all faults that have to be found.
const SHARE: usize = 98;
/// Percentage of the faults of each kind that have to be found.
const LEAST: usize = 85;
fn good_flows() -> BTreeMap<String, Value> {
    let folder = fs::read_dir(fixture("good")).unwrap().map(|entry| entry.unwrap().path());
    let files = folder.chain([shipped_flow(), fixture("copy.json"), fixture("mixed.json")]);
    let read = |path: std::path::PathBuf| {
        let name = path.strip_prefix(project()).unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    files.map(read).collect()
}

fn findings(document: &Value, registry: &Registry) -> Vec<Diagnostic> {
    Flow::findings("flow.json", &serde_json::to_string_pretty(document).unwrap(), registry)
}

#[test]
fn valid_flows_have_no_findings() {
    let registry = Registry::discover().unwrap();
    let flows = good_flows();
    assert!(flows.len() >= 7, "{:?}", flows.keys());
    for (name, flow) in flows {
        assert_eq!(findings(&flow, &registry), [], "{name}");
    }
}

/// Number of tried faults and descriptions of missed ones, by kind.
type Tried = BTreeMap<&'static str, (usize, Vec<String>)>;

/// Puts faults into a flow, at most `most` of each kind, spread over the flow.
fn try_all(name: &str, flow: &Value, registry: &Registry, most: usize) -> Tried {
    let mut kinds: BTreeMap<_, Vec<Fault>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for fault in faults(flow, registry) {
        if fault.document != *flow && seen.insert(fault.document.to_string()) {
            kinds.entry(fault.kind).or_default().push(fault);
        }
    }
    let mut tried = Tried::new();
    for (kind, faults) in kinds {
        let step = faults.len().div_ceil(most);
        let (count, missed) = tried.entry(kind).or_default();
        for fault in faults.into_iter().step_by(step) {
            let found = findings(&fault.document, registry);
            let inside = |one: &Diagnostic, place: &String| {
                one.pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            *count += 1;
            if !found.iter().any(|one| one.place.is_some() && fault.places.iter().any(|place| inside(one, place))) {
                let pointers: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
                missed.push(format!("{name}: {kind}: {}; pointers: {pointers:?}", fault.what));
            }
        }
    }
    tried
}

fn most_faults_are_found(most: usize) {
    let registry = Registry::discover().unwrap();
    let flows = good_flows();
    let mut kinds = Tried::new();
    let tried: Vec<_> = std::thread::scope(|scope| {
        let tasks: Vec<_> =
            flows.iter().map(|(name, flow)| scope.spawn(|| try_all(name, flow, &registry, most))).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    for (kind, (count, missed)) in tried.into_iter().flatten() {
        let all = kinds.entry(kind).or_default();
        all.0 += count;
        all.1.extend(missed);
    }
    let (count, missed) = kinds.values().fold((0, 0), |sum, (count, missed)| (sum.0 + count, sum.1 + missed.len()));
    println!("{count} faults, {missed} missed");
    for (kind, (count, missed)) in &kinds {
        println!("{:>5} of {count:>5} found: {kind}", count - missed.len());
        missed.iter().for_each(|missed| println!("        {missed}"));
        // Each kind has its own limit.
        assert!(missed.len() * 100 <= count * (100 - LEAST), "{kind}: {} of {count} are missed", missed.len());
    }
    assert!(count >= 300, "only {count} faults were tried");
    assert!(missed * 100 <= count * (100 - SHARE), "{missed} of {count} are missed");
}

#[test]
fn at_least_98_percent_of_single_faults_are_found_at_their_place() {
    most_faults_are_found(4);
}

#[test]
#[ignore = "takes minutes: every fault in every place"]
fn at_least_98_percent_of_all_possible_single_faults_are_found_at_their_place() {
    most_faults_are_found(usize::MAX);
}

/// Returns the findings for steps that follow a step which searches assets.
fn findings_after_a_search(steps: Value) -> Vec<String> {
    let mut document = json!({ "name": "x", "connections": { "dam": "mediavalet" }, "steps": [
        { "id": "found", "action": "asset.search", "connection": "dam", "input": {} },
        { "id": "one", "set": { "first": "{{ steps.found.items | first }}", "sizes": [1, 2] } }
    ] });
    document["steps"].as_array_mut().unwrap().extend(steps.as_array().unwrap().iter().cloned());
    let found = findings(&document, &Registry::discover().unwrap());
    found.iter().map(|one| format!("{:?} {}: {}", one.severity, one.pointer, one.message)).collect()
}

#[test]
fn faults_that_are_not_about_types_are_found() {
    let skip = |id: &str| json!({ "id": id, "skip": "x" });
    let upload = |input: Value| json!([{ "id": "up", "action": "asset.upload", "connection": "dam", "input": input }]);
    let categories = json!(["11111111-1111-4111-8111-111111111111"]);
    for (steps, expected) in [
        (json!([skip("a"), { "id": "b", "set": {} }]), "Error /steps/3: this step can never run: the step a"),
        (
            json!([{ "id": "c", "if": "{{ steps.found.items == [] }}", "then": [skip("a")], "else": [skip("b")] }, skip("d")]),
            "Error /steps/3: this step can never run: the step c",
        ),
        (json!([{ "id": "c", "if": true, "then": [skip("a")] }]), "Warning /steps/2/if: this is always true"),
        (
            json!([{ "id": "c", "if": "{{ 1 > 2 }}", "skip": "x" }]),
            "Warning /steps/2/if: this is always false: some of",
        ),
        (
            json!([{ "id": "c", "fail": "{{ steps.one.sizes }} of {{ steps.found.next | default(0) }}" }]),
            "puts a list into a text",
        ),
        (
            json!([{ "id": "e", "each": "{{ steps.one.sizes }}", "key": "{{ steps.found.next }}", "steps": [] }]),
            "same for every",
        ),
        (upload(json!({ "file": "{{ steps.one.first }}", "categories": categories })), ""),
        (upload(json!({ "file": "{{ steps.one }}", "categories": categories })), "an object without name"),
        (upload(json!({ "file": "{{ {'name': 'x'} }}", "categories": categories })), "an object without connection"),
        (
            upload(json!({ "file": { "name": 7, "connection": "x", "source": {} }, "categories": categories })),
            "/file/name: name must be",
        ),
        (
            upload(
                json!({ "file": { "name": "x", "connection": "{{ run.id }}", "source": {}, "sise": 3 }, "categories": categories }),
            ),
            "Warning /steps/2/input/file/sise: sise is not declared here",
        ),
        (
            upload(json!({ "file": "{{ steps.one.first }}", "categories": ["{{ run.id }}", 7] })),
            "/categories/1: item 1 of categories must be a string",
        ),
        (
            upload(json!({ "file": "{{ steps.one.first }}", "categories": "{{ steps.one.sizes }}" })),
            "in an item of the list, it yields",
        ),
        (
            upload(json!({ "file": "{{ steps.one.first }}", "categories": "{{ [run.id] if true else 7 }}" })),
            "it yields a whole number",
        ),
    ] {
        let findings_after_a_search = findings_after_a_search(steps.clone());
        match expected {
            "" => assert_eq!(findings_after_a_search, [""; 0]),
            _ => assert!(
                findings_after_a_search.len() == 1 && findings_after_a_search[0].contains(expected),
                "{steps}: {findings_after_a_search:#?}"
            ),
        }
    }
}

#[test]
fn a_fault_does_not_hide_the_others() {
    let registry = Registry::discover().unwrap();
    let text = fs::read_to_string(shipped_flow()).unwrap();
    let faulty = text
        .replace("\"concurrency\": 8", "\"concurrency\": \"8\"")
        .replace("steps.rights.allowDownload", "steps.rights.allowDownlod")
        .replace("\"asset.search\"", "\"asset.serch\"")
        .replace("| map('file.fileName')", "| mapp('file.fileName')")
        .replace("\"title\": \"{{ item.name }}\"", "\"titel\": \"{{ item.name }}\"")
        .replace("[\"{{ input.category }}\"]", "\"{{ input.category }}\"")
        .replace("\"steps\": [\n    {", "\"extra\": 1,\n  \"steps\": [\n    {");
    let found = Flow::findings("flow.json", &faulty, &registry);
    let mut places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
    places.sort_unstable();
    let step = |rest: &str| format!("/steps/0{rest}");
    let expected = [
        "/concurrency",
        "/steps/2/if",
        "/steps/3/action",
        "/steps/4/if",
        "/steps/6/input/categories",
        "/steps/6/input/titel",
    ]
    .map(step);
    assert_eq!(places, [&["/extra".to_owned()][..], &expected[..]].concat(), "{found:#?}");
    for one in &found {
        let place = one.place.as_ref().unwrap();
        assert!(place.line > 1 && place.column > 1, "{one:?}");
        assert!(one.advice().is_some(), "{one:?}");
    }
    let warnings = found.iter().filter(|one| one.severity == Severity::Warning).map(|one| &one.pointer);
    assert_eq!(warnings.collect::<Vec<_>>(), ["/steps/0/steps/2/if"], "an open object may have more members");
}

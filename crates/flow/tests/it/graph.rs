//! The graph of a flow, and completions in a flow that is being written.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_core::Registry;
use trunkline_flow::{Flow, FlowGraph};
use trunkline_testkit::fake::Fake;

/// Returns lists of steps of every kind, nested. Ids are given later.
fn lists() -> impl Strategy<Value = Vec<Value>> {
    let leaf = prop::sample::select(vec![
        json!({ "set": {} }),
        json!({ "skip": "no" }),
        json!({ "fail": "no" }),
        json!({ "wait": { "for": "1s" } }),
        json!({ "call": "other" }),
        json!({ "action": "thing.look", "connection": "shop" }),
        json!({ "action": "thing.look", "connection": "shop", "on_error": "continue", "retry": { "tries": 3 } }),
        json!({ "if": "{{ true }}", "skip": "short" }),
    ]);
    let step = leaf.prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner, 0..4);
        prop_oneof![
            list.clone().prop_map(|steps| json!({ "each": [1], "steps": steps })),
            (list.clone(), list.clone())
                .prop_map(|(then, other)| json!({ "if": "{{ true }}", "then": then, "else": other })),
            (list.clone(), list.clone()).prop_map(|(a, b)| json!({ "parallel": { "a": a, "b/c": b } })),
            list.prop_map(|steps| json!({ "action": "thing.look", "connection": "shop", "on_error": steps })),
        ]
    });
    prop::collection::vec(step, 0..5)
}

/// Gives each step an id, and returns how many steps there are.
fn name(value: &mut Value, next: &mut usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| name(item, next)),
        Value::Object(members) => {
            let kinds = ["set", "skip", "fail", "wait", "call", "action", "if", "each", "parallel"];
            if kinds.iter().any(|kind| members.contains_key(*kind)) {
                *next += 1;
                members.insert("id".to_owned(), format!("s{next}").into());
            }
            members.values_mut().for_each(|member| name(member, next));
        }
        _ => {}
    }
}

/// Returns what is wrong with a graph of this number of steps.
fn faults(graph: &FlowGraph, steps: usize) -> Vec<String> {
    let mut found = Vec::new();
    let at: BTreeMap<_, _> = graph.nodes.iter().enumerate().map(|(at, node)| (node.pointer.as_str(), at)).collect();
    let paths: BTreeSet<_> = graph.nodes.iter().map(|node| &node.step).collect();
    if graph.nodes.len() != steps || at.len() != steps || paths.len() != steps {
        found.push(format!("{steps} steps, {} nodes, {} paths", graph.nodes.len(), paths.len()));
    }
    for edge in &graph.edges {
        match (at.get(edge.from.as_str()), at.get(edge.to.as_str())) {
            // So there is no circle.
            (Some(from), Some(to)) if from < to => {}
            _ => found.push(format!("{edge:?}")),
        }
    }
    let groups: BTreeMap<_, _> = graph.groups.iter().map(|group| (group.pointer.as_str(), group)).collect();
    let inside: usize = graph.groups.iter().map(|group| group.steps.len()).sum();
    if groups.len() != graph.groups.len() || inside != steps {
        found.push(format!("{} groups with {inside} steps", graph.groups.len()));
    }
    for node in &graph.nodes {
        if !groups.get(node.group.as_str()).is_some_and(|group| group.steps.contains(&node.pointer)) {
            found.push(format!("{} is not in its group", node.pointer));
        }
    }
    for group in &graph.groups {
        let of = group.of.as_ref().and_then(|of| graph.nodes.iter().find(|node| node.pointer == *of));
        if of.map(|of| &of.group) != group.within.as_ref() || group.role.is_some() != of.is_some() {
            found.push(format!("{} is not inside the group of its step", group.pointer));
        }
    }
    found
}

fn graph(steps: Vec<Value>, on_failure: Vec<Value>) -> (FlowGraph, usize) {
    let (mut document, mut count) = (json!({ "steps": steps, "on_failure": on_failure }), 0);
    name(&mut document, &mut count);
    document["name"] = "drawn".into();
    document["connections"] = json!({ "shop": "shop" });
    let flow = Flow::read_value(document).0.unwrap();
    (flow.graph(&Fake::of_things("shop").registry()), count)
}

proptest! {
    #[test]
    fn every_step_is_one_node_and_groups_nest(steps in lists(), on_failure in lists()) {
        let (graph, count) = graph(steps, on_failure);
        prop_assert_eq!(faults(&graph, count), Vec::<String>::new());
    }
}

#[test]
fn a_wrong_graph_is_noticed() {
    let steps = vec![json!({ "each": [1], "steps": [{ "set": {} }, { "set": {} }] }), json!({ "set": {} })];
    let (good, count) = graph(steps, Vec::new());
    assert_eq!(faults(&good, count), [""; 0]);
    let sabotage: [fn(&mut FlowGraph); 6] = [
        |graph| drop(graph.nodes.remove(0)),
        |graph| graph.nodes[1].step = graph.nodes[0].step.clone(),
        |graph| graph.edges[0].to = "/absent".to_owned(),
        |graph| graph.edges[0].to = graph.edges[0].from.clone(),
        |graph| graph.nodes[1].group = "/steps".to_owned(),
        |graph| graph.groups[1].within = None,
    ];
    for break_one in sabotage {
        let mut broken = good.clone();
        break_one(&mut broken);
        assert!(!faults(&broken, count).is_empty(), "{broken:?}");
    }
}

#[test]
fn edges_lead_into_lists_and_out_of_them() {
    let step = |id: &str| json!({ "id": id, "set": {} });
    let flow = Flow::from_value(json!({ "name": "drawn", "connections": { "shop": "shop" }, "steps": [
        { "id": "if", "if": "{{ true }}", "then": [step("then")] },
        { "id": "end", "if": "{{ true }}", "skip": "no" },
        { "id": "each", "each": [1], "steps": [step("item")] },
        { "id": "call", "action": "thing.make", "connection": "shop", "on_error": [step("repair")] },
        { "id": "both", "parallel": { "a": [step("left")], "b": [step("right")] } },
        step("last")
    ], "on_failure": [step("report")] }))
    .unwrap();
    let graph = flow.graph(&Fake::of_things("shop").registry());
    let ids: BTreeMap<_, _> = graph.nodes.iter().map(|node| (&node.pointer, node.step.as_str())).collect();
    let role = |edge: &trunkline_flow::GraphEdge| edge.role.map(|role| serde_json::to_value(role).unwrap());
    let edges: Vec<_> = graph
        .edges
        .iter()
        .map(|edge| {
            let role = role(edge).map_or(String::new(), |role| format!(" ({})", role.as_str().unwrap()));
            format!("{} > {}{role}", ids[&edge.from], ids[&edge.to])
        })
        .collect();
    assert_eq!(
        edges,
        [
            "if > then (then)",
            "then > end",
            "if > end (else)",
            "end > each (else)",
            "each > each/*/item (item)",
            "each > call",
            "call > repair (on_error)",
            "call > both",
            "repair > both",
            "both > both/left (branch)",
            "both > both/right (branch)",
            "both/left > last",
            "both/right > last"
        ]
    );
    let node = |step: &str| graph.nodes.iter().find(|node| node.step == step).unwrap();
    assert_eq!(node("call").action.as_deref(), Some("shop.thing.make"));
    assert_eq!((node("end").ends.as_deref(), node("~flow/report").group.as_str()), (Some("skip"), "/on_failure"));
    // A step is found by its id, its path and its pointer.
    for named in ["item", "each/*/item", "/steps/2/steps/0"] {
        let (found, outer) = flow.find_step(named).unwrap();
        assert_eq!((&*found.id, outer.as_str()), ("item", "each/*"));
    }
    assert!(flow.find_step("absent").is_none());
}

fn labels(flow: &Value, registry: &Registry, at: &str, text: &str) -> Vec<String> {
    let (flow, _) = Flow::read_value(flow.clone());
    let found = flow.unwrap().complete(registry, at, text, text.chars().count());
    found.into_iter().map(|one| one.label).collect()
}

#[test]
fn a_flow_with_faults_elsewhere_is_completed_with_the_names_of_the_place() {
    let registry = Fake::of_things("shop").registry();
    let flow = json!({
        "name": "half", "connections": { "shop": "shop" }, "unknown": 1,
        "input": { "type": "object", "properties": { "what": { "type": "string" } } },
        "steps": [
            { "id": "a", "set": { "x": { "deep": 1 }, "y": "{{ nothing | absent }}" } },
            { "id": "broken", "action": 7 },
            { "id": "all", "each": [{ "name": "n" }], "key": "{{ ite", "steps": [
                { "id": "b", "set": { "z": "{{ it" } },
                { "id": "c", "action": "thing.look", "connection": "absent", "input": {} }
            ], "result": "{{" },
            { "id": "d", "set": {} }
        ],
        "output": { "of": "{{" }
    });
    for (at, text, expected) in [
        ("/steps/2/steps/0/set/z", "{{ steps.", vec!["a", "broken"]),
        ("/steps/2/steps/0/set/z", "{{ steps.a.", vec!["x", "y"]),
        ("/steps/2/steps/0/set/z", "{{ steps.a.x.", vec!["deep"]),
        ("/steps/2/steps/0/set/z", "{{ item.", vec!["name"]),
        ("/steps/2/key", "{{ item.", vec!["name"]),
        ("/steps/2/result", "{{ steps.b.", vec!["z"]),
        // A member that the document does not have yet.
        ("/steps/2/steps/1/input/name", "{{ steps.b.", vec!["z"]),
        ("/steps/2/each", "{{ it", vec![]),
        ("/output/of", "{{ steps.", vec!["a", "all", "broken", "d"]),
        ("b", "{{ item.", vec!["name"]),
        ("all/*/b", "{{ input.", vec!["what"]),
        ("d", "{{ steps.all.d", vec!["done"]),
        // Nothing is known about a place that is not one of expressions.
        ("/steps/0/id", "{{ steps.", vec![]),
    ] {
        assert_eq!(labels(&flow, &registry, at, text), expected, "{at} {text}");
    }
}

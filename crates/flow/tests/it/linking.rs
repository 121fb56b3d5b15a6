//! Flows that call other flows: they are linked before a run, and a fault is reported at the call that leads to it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Registry};
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

#[test]
fn a_flow_that_cannot_be_called_is_reported_at_the_calling_step() {
    let call = |name: &str, callee: &str| flow(name, json!({ "steps": [{ "id": "s", "call": callee }] }));
    let found = |flow: &Flow, others: &[Flow]| {
        let found = linked(flow, others).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].pointer.clone(), found[0].message.clone())
    };
    assert_eq!(
        found(&call("a", "b"), &[]),
        ("/steps/0/call".into(), "a calls b, and there is no flow of that name".into())
    );
    let (_, message) = found(&call("a", "b"), &[call("b", "c"), call("c", "a")]);
    assert_eq!(message, "a calls b calls c calls a: a flow cannot call itself");
    assert!(found(&call("a", "a"), &[]).1.contains("cannot call itself"));
    assert!(found(&call("a", "b"), &[call("b", "nowhere")]).1.contains("b calls nowhere"));
    assert!(
        found(&call("a", "maker"), &[maker()]).1.contains("needs a connection to shop for its connection binding into")
    );
    let named = flow("a", json!({ "steps": [{ "id": "s", "call": "b", "connections": { "x": "shop" } }] }));
    assert_eq!(found(&named, &[flow("b", json!({ "steps": [] }))]).1, "the flow b has no connection binding x");
    // Calls may be eight deep, not nine. Several paths to the same flow do not add depth.
    let chain = |length: usize| -> Vec<Flow> {
        let last = flow(&format!("f{length}"), json!({ "steps": [] }));
        (1..length)
            .map(|n| {
                let next = format!("f{}", n + 1);
                flow(&format!("f{n}"), json!({ "steps": [{ "id": "s", "call": next }, { "id": "t", "call": next }] }))
            })
            .chain([last])
            .collect()
    };
    assert!(linked(&call("f0", "f1"), &chain(8)).is_ok());
    assert_eq!(found(&call("f0", "f1"), &chain(9)).1, "flows call flows more than 8 levels deep, by way of f9");
    // The input of a called flow is checked too.
    let wrong = flow(
        "a",
        json!({ "steps": [{ "id": "s", "call": "maker", "connections": { "into": "shop" }, "input": { "nam": 1 } },
        { "id": "t", "set": { "x": "{{ steps.s.size }}" } }] }),
    );
    let found = linked(&wrong, &[maker()]).unwrap().check(&Registry::empty());
    let findings: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(
        findings.iter().any(|one| one.contains("/steps/0/input"))
            && findings.iter().any(|one| one.contains("no member size")),
        "{findings:?}"
    );
}

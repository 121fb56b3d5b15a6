//! Maps a path of a run to its position in the flow: the step, and the items around it.
//!
//! A path consists of step ids and keys of items, and only the flow distinguishes the two.

use std::sync::Arc;

use trunkline_core::{StepPath, pointer_name};

use crate::{
    document::flow::Flow,
    steps::step::{OnError, Over, Step, StepKind},
};

/// The position of a path in its flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPosition {
    /// The path with `*` in place of keys: the same for all items.
    pub step: String,
    /// The items around it, from the outermost to the innermost.
    pub items: Vec<EnclosingItem>,
}

/// An item, or a batch, that a path leads through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclosingItem {
    /// The path of the item.
    pub path: StepPath,
    /// The key of the item, or the name of the batch.
    pub key: String,
}

impl StepPosition {
    /// Returns the keys of the items around it, separated by `/`.
    pub fn item(&self) -> Option<String> {
        let keys: Vec<_> = self.items.iter().map(|item| item.key.as_str()).collect();
        (!keys.is_empty()).then(|| keys.join("/"))
    }
}

/// A step of a flow, as lists of steps show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutline {
    /// The path with `*` in place of keys.
    pub path: String,
    /// The member of its document that says what it does: `action`, `each`, `if` or another one.
    pub kind: &'static str,
    /// The action that it calls, or that lists its items.
    pub action: Option<String>,
}

impl Flow {
    /// Returns all steps of the flow and of the flows that it calls, in their order.
    pub fn outline(&self) -> Vec<StepOutline> {
        let mut found = Vec::new();
        outline(self, self.steps(), "", &mut found);
        outline(self, self.on_failure(), "~flow/", &mut found);
        found
    }

    /// Returns the position of a path of a run of this flow. Parts that the flow does not know are kept as they are.
    pub fn position(&self, path: &StepPath) -> StepPosition {
        let parts: Vec<_> = path.as_str().split('/').filter(|part| !part.is_empty()).collect();
        let mut position = StepPosition::default();
        follow(self, &[self.steps()], &parts, 0, &mut position);
        position
    }
}

/// Adds steps, and the steps inside them. Their paths begin with `before`.
fn outline(flow: &Flow, steps: &[Step], before: &str, found: &mut Vec<StepOutline>) {
    for step in steps {
        let path = format!("{before}{}", step.id);
        let action = match &step.kind {
            StepKind::Action(call) => Some(call),
            StepKind::Each { over, .. } => {
                if let Over::Action(call) = &**over {
                    Some(call)
                } else {
                    None
                }
            }
            _ => None,
        };
        let action = action.map(|call| call.action.clone());
        found.push(StepOutline { path: path.clone(), kind: step.kind.name(), action });
        match &step.kind {
            StepKind::Each { steps, .. } => outline(flow, steps, &format!("{path}/*/"), found),
            StepKind::If { then, otherwise, .. } => {
                // The `skip` or `fail` of an `if` is the same step.
                let is_own = then.first().is_some_and(|inner| inner.pointer == step.pointer);
                outline(flow, if is_own { &[] } else { &then[..] }, before, found);
                outline(flow, otherwise, before, found);
            }
            StepKind::Parallel(branches) => {
                branches.iter().for_each(|(_, steps)| outline(flow, steps, &format!("{path}/"), found));
            }
            StepKind::Call(sub) => {
                let callee = flow.callee(&sub.called.flow);
                callee.iter().for_each(|callee| outline(callee, callee.steps(), &format!("{path}/"), found));
            }
            _ => {}
        }
        if let OnError::Steps(steps) = &step.policy.on_error {
            outline(flow, steps, before, found);
        }
    }
}

impl Flow {
    /// Returns the step that has this id, this path in the flow (with `*` in place of keys) or this JSON pointer, with the
    /// path of the list that it is in.
    pub fn find_step(&self, named: &str) -> Option<(&Step, String)> {
        let in_order = search(self.steps(), "", named);
        in_order.or_else(|| search(self.on_failure(), "~flow", named))
    }
}

fn search<'a>(steps: &'a [Step], outer: &str, named: &str) -> Option<(&'a Step, String)> {
    steps.iter().find_map(|step| {
        let path = if outer.is_empty() { step.id.to_string() } else { format!("{outer}/{}", step.id) };
        if [&*step.id, &path, &step.pointer].contains(&named) {
            return Some((step, outer.to_owned()));
        }
        step.inner().into_iter().find_map(|list| search(list.steps, &list.path(outer, &path), named))
    })
}

fn follow(flow: &Flow, lists: &[&Arc<[Step]>], parts: &[&str], at: usize, position: &mut StepPosition) {
    let Some(id) = parts.get(at) else { return };
    push(&mut position.step, id);
    if *id == "~flow" {
        return follow(flow, &[flow.on_failure()], parts, at + 1, position);
    }
    let step = lists.iter().find_map(|steps| find(steps, id));
    match step.map(|step| &step.kind) {
        Some(StepKind::Each { steps, .. }) => {
            let Some(key) = parts.get(at + 1) else { return };
            push(&mut position.step, "*");
            let path = StepPath::from(&*parts[..at + 2].join("/"));
            position.items.push(EnclosingItem { path, key: pointer_name(key) });
            follow(flow, &[steps], parts, at + 2, position);
        }
        Some(StepKind::Parallel(branches)) => {
            let branches: Vec<_> = branches.iter().map(|(_, steps)| steps).collect();
            follow(flow, &branches, parts, at + 1, position);
        }
        Some(StepKind::Call(sub)) => match flow.callee(&sub.called.flow) {
            Some(callee) => follow(&callee, &[callee.steps()], parts, at + 1, position),
            None => parts[at + 1..].iter().for_each(|part| push(&mut position.step, part)),
        },
        _ => parts[at + 1..].iter().for_each(|part| push(&mut position.step, part)),
    }
}

fn push(path: &mut String, part: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(part);
}

/// Returns the step of this id among these steps, the steps that replace them when they fail, and the steps under their
/// conditions: all of these have the same parent path.
fn find<'a>(steps: &'a [Step], id: &str) -> Option<&'a Step> {
    steps.iter().find_map(|step| {
        if &*step.id == id {
            return Some(step);
        }
        let handler = match &step.policy.on_error {
            OnError::Steps(steps) => find(steps, id),
            _ => None,
        };
        handler.or_else(|| match &step.kind {
            StepKind::If { then, otherwise, .. } => find(then, id).or_else(|| find(otherwise, id)),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_distinguished_from_steps() {
        let called = Flow::from_value(json!({ "name": "sub", "steps": [
            { "id": "all", "each": [1], "steps": [{ "id": "one", "set": {} }] }
        ], "on_failure": [{ "id": "report", "set": {} }] }));
        let called = called.unwrap();
        let flow = Flow::from_value(json!({ "name": "f", "steps": [
            { "id": "if", "if": "{{ true }}", "then": [{ "id": "files", "each": [1], "steps": [
                { "id": "both", "parallel": { "a": [{ "id": "left", "set": {} }],
                    "b": [{ "id": "parts", "each": [1], "steps": [{ "id": "put", "set": {} }] }] },
                  "on_error": [{ "id": "repair", "each": [1], "steps": [{ "id": "by", "set": {} }] }] }
            ] }] },
            { "id": "sub", "call": "sub" }, { "id": "odd", "if": "{{ true }}", "skip": "odd" }
        ] }));
        let flow = flow.unwrap().link(&|_| Some(called.clone())).unwrap();
        for (path, step, item) in [
            ("", "", None),
            ("files", "files", None),
            ("files/a~1b", "files/*", Some("a/b")),
            ("files/both", "files/*", Some("both")),
            ("files/both/both/left", "files/*/both/left", Some("both")),
            ("files/7/both/parts/~0flow/put", "files/*/both/parts/*/put", Some("7/~flow")),
            ("files/7/repair/by/by", "files/*/repair/*/by", Some("7/by")),
            ("sub/all/1/one", "sub/all/*/one", Some("1")),
            ("sub/~flow/report", "sub/~flow/report", None),
            ("gone/7/one", "gone/7/one", None),
        ] {
            let position = flow.position(&path.into());
            assert_eq!((&*position.step, position.item().as_deref()), (step, item), "{path}");
        }
        // Every step of the outline is at its own path.
        let outline = flow.outline();
        let paths: Vec<_> = outline.iter().map(|step| step.path.as_str()).collect();
        let all = [
            "if",
            "files",
            "files/*/both",
            "files/*/both/left",
            "files/*/both/parts",
            "files/*/both/parts/*/put",
            "files/*/repair",
            "files/*/repair/*/by",
            "sub",
            "sub/all",
            "sub/all/*/one",
            "odd",
        ];
        assert_eq!(paths, all);
        assert_eq!((outline[0].kind, outline[1].kind, outline[8].kind), ("if", "each", "call"));
        for path in paths {
            assert_eq!(flow.position(&path.replace('*', "7").as_str().into()).step, path);
        }
        let position = flow.position(&"files/7/both/parts/8/put".into());
        let paths: Vec<_> = position.items.iter().map(|item| item.path.as_str()).collect();
        assert_eq!(paths, ["files/7", "files/7/both/parts/8"]);
    }
}

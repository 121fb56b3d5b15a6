//! Maps a path of a run to its position in the flow: the step, and the items around it.
//!
//! A path consists of step ids and keys of items, and only the flow distinguishes the two.

use std::sync::Arc;

use trunkline_core::{StepPath, pointer_name};

use crate::{
    document::flow::Flow,
    steps::step::{BoundAction, OnError, Step, StepKind},
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
    /// The action that it calls, or that lists its items, such as `mediavalet.asset.get`.
    pub action: Option<String>,
}

impl Flow {
    /// Returns the name of an action with that of its connector, such as `mediavalet.asset.get`, if the flow declares the
    /// connection that it is called on.
    pub(super) fn name_of(&self, call: &BoundAction) -> String {
        match self.connections().get(&call.binding) {
            Some(connector) => format!("{connector}.{}", call.action),
            None => call.action.clone(),
        }
    }

    /// Returns all steps of the flow and of the flows that it calls, in their order.
    pub fn outline(&self) -> Vec<StepOutline> {
        let mut found = Vec::new();
        outline(self, self.steps(), "", &mut found);
        outline(self, self.on_failure(), "~flow", &mut found);
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

/// Adds the steps of a list at this path, and the steps inside them.
fn outline(flow: &Flow, steps: &[Step], outer: &str, found: &mut Vec<StepOutline>) {
    for step in steps {
        let path = path_of(step, outer);
        let action = step.kind.action().map(|call| flow.name_of(call));
        found.push(StepOutline { path: path.clone(), kind: step.kind.name(), action });
        if let StepKind::Call(sub) = &step.kind
            && let Some(callee) = flow.callee(&sub.called.flow)
        {
            outline(&callee, callee.steps(), &path, found);
        }
        for list in step.inner().into_iter().filter(|list| !list.is_part_of(step)) {
            outline(flow, list.steps, &list.path(outer, &path), found);
        }
    }
}

/// Returns the path of a step in a list at this path.
pub(super) fn path_of(step: &Step, outer: &str) -> String {
    if outer.is_empty() { step.id.to_string() } else { format!("{outer}/{}", step.id) }
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
        let path = path_of(step, outer);
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

    /// The registry finds the action by this name: its title, and what is secret in its output.
    #[test]
    fn the_outline_names_an_action_with_its_connector() {
        let flow = Flow::from_value(json!({ "name": "f", "connections": { "dam": "mediavalet" }, "steps": [
            { "id": "all", "each": { "action": "asset.list", "connection": "dam", "input": {} }, "key": "{{ item.id }}",
              "steps": [{ "id": "one", "action": "asset.get", "connection": "dam", "input": {} }] },
            { "id": "plain", "each": [1], "steps": [{ "id": "kept", "set": {} }] }
        ] }));
        let actions: Vec<_> = flow.unwrap().outline().into_iter().map(|step| step.action).collect();
        let named = |name: &str| Some(format!("mediavalet.{name}"));
        assert_eq!(actions, [named("asset.list"), named("asset.get"), None, None]);
    }

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

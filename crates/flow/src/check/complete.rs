//! Completes an expression of a flow that is being written: the check of the flow knows the names at each place.

use serde_json::{Map, Value};
use trunkline_core::{Registry, pointer_name};

use crate::{
    check::{GrantedScopes, called_flows::CalledFlows, checker::Checker},
    document::Flow,
    expression::complete,
    typing::{completion::Completion, names::Names},
};

/// A function that is called with the names at one place of a flow.
pub(super) struct Watched<'a> {
    /// The pointer of a step, or of a text with expressions.
    pub(super) pointer: &'a str,
    pub(super) reached: &'a mut dyn FnMut(&Names<'_>),
}

impl Flow {
    /// Returns what the word at a place in a text can be. `at` is the JSON pointer of the text in the document, or names the
    /// step that it belongs to, see [`Flow::find_step`]; what stands there in the document does not count. `offset` is the
    /// place in the text, in characters. Faults in other parts of the flow do not matter. Where the names at that place are
    /// not known, names and filters are offered, and no members.
    pub fn complete(&self, registry: &Registry, at: &str, text: &str, offset: usize) -> Vec<Completion> {
        let (mut document, step) = (self.document().clone(), self.find_step(at));
        let pointer = match step {
            Some((step, _)) => &step.pointer,
            None => {
                // The half of an expression would keep the step from being read.
                put(&mut document, at, "{{ run.id }}".into());
                at
            }
        };
        let (flow, _) = Flow::read_value(document);
        let flow = flow.map(|flow| flow.link_readable(&|name| self.linked().get(name).cloned()).0);
        let granted = GrantedScopes::new();
        let called = CalledFlows::new(registry, &granted);
        let mut found = None;
        if let Some(flow) = &flow {
            let mut reached = |names: &Names<'_>| found = Some(complete(text, offset, Some(names)));
            let mut checker = Checker::new(flow, &called);
            checker.watched = Some(Watched { pointer, reached: &mut reached });
            checker.flow();
        }
        found.unwrap_or_else(|| complete(text, offset, None))
    }
}

/// Puts a value at a JSON pointer, if there is or can be a member there.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for part in pointer.split('/').skip(1).map(pointer_name) {
        if at.is_null() {
            *at = Map::new().into();
        }
        at = match at {
            Value::Object(members) => members.entry(part).or_insert(Value::Null),
            Value::Array(items) => match part.parse().ok().and_then(|at: usize| items.get_mut(at)) {
                Some(item) => item,
                None => return,
            },
            _ => return,
        };
    }
    *at = value;
}

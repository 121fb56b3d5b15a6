//! The flows that a flow calls. Each is checked once, however many steps call it.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Registry};

use crate::{
    check::{GrantedScopes, checker::Checker},
    document::Flow,
};

/// What the checks of one flow share, and the called flows that were checked.
pub(super) struct CalledFlows<'a> {
    pub(super) registry: &'a Registry,
    pub(super) granted: &'a GrantedScopes,
    checked: RefCell<BTreeMap<String, CheckedFlow>>,
}

#[derive(Clone)]
struct CheckedFlow {
    /// The shape of the output of a step that calls it.
    output: Arc<Value>,
    found: Vec<Diagnostic>,
}

impl<'a> CalledFlows<'a> {
    pub(super) fn new(registry: &'a Registry, granted: &'a GrantedScopes) -> Self {
        CalledFlows { registry, granted, checked: RefCell::default() }
    }

    /// Returns the shape of the output of a step that calls this flow.
    pub(super) fn output(&self, name: &str, flow: &Flow) -> Arc<Value> {
        self.check(name, flow).output
    }

    /// Returns what is wrong with a called flow.
    pub(super) fn found(&self, name: &str, flow: &Flow) -> Vec<Diagnostic> {
        self.check(name, flow).found
    }

    fn check(&self, name: &str, flow: &Flow) -> CheckedFlow {
        if let Some(known) = self.checked.borrow().get(name) {
            return known.clone();
        }
        let mut checker = Checker::new(flow, self);
        let output = checker.flow();
        // The output is null if one of its steps ends the run as skipped.
        let output = Arc::new(json!({ "anyOf": [output, { "type": "null" }] }));
        let checked = CheckedFlow { output, found: checker.found };
        self.checked.borrow_mut().insert(name.to_owned(), checked.clone());
        checked
    }
}

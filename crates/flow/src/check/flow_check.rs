//! The checks of a flow: of a text, of a flow, and of a flow on connections with known scopes.

use std::collections::BTreeSet;

use trunkline_core::{Diagnostic, Registry, Severity};

use crate::{
    check::{GrantedScopes, StepYield, called_flows::CalledFlows, checker::Checker, literal_braces, retried_creates},
    document::{Flow, syntax},
    steps::reader::{Reader, unknown_binding},
};

impl Flow {
    /// Reads a flow from the text of a file and checks it against the connectors of `registry`. Returns all findings:
    /// a fault in one part of the document does not hide those in other parts. Called flows are not looked at: see
    /// [`Flow::link`].
    pub fn findings(file: &str, text: &str, registry: &Registry) -> Vec<Diagnostic> {
        let document = match syntax::read(file, text) {
            Ok(document) => document,
            Err(found) => return vec![found],
        };
        let mut reader = Reader::default();
        let checked = Flow::read(document, &mut reader)
            .map(|flow| flow.check_readable(registry, &GrantedScopes::new(), &reader.invalid_steps));
        let mut found = reader.found;
        found.extend(checked.into_iter().flatten());
        Flow::locate(file, text, Diagnostic::bounded(found))
    }

    /// Checks the flow against the connectors of `registry`, and returns all findings: unknown connectors and actions,
    /// inputs that do not fit, references to steps that have not run, values of the wrong type, steps that can never
    /// run.
    pub fn check(&self, registry: &Registry) -> Vec<Diagnostic> {
        self.check_granted(registry, &GrantedScopes::new())
    }

    /// Like [`Flow::check`], and also reports actions that need OAuth scopes which their connection was not granted. A
    /// narrower scope (`files:read` for `files`) is accepted: only the service knows what it allows.
    pub fn check_granted(&self, registry: &Registry, granted: &GrantedScopes) -> Vec<Diagnostic> {
        self.check_readable(registry, granted, &BTreeSet::new())
    }

    /// Returns what each step yields to the steps after it, in the order in which they run. Steps that yield nothing are
    /// left out.
    pub fn outputs(&self, registry: &Registry) -> Vec<StepYield> {
        let granted = GrantedScopes::new();
        let called = CalledFlows::new(registry, &granted);
        let mut checker = Checker::new(self, &called);
        checker.flow(&BTreeSet::new());
        checker.yields
    }

    /// Returns an error for each of these connection bindings that the flow does not declare.
    pub fn unknown_bindings<'a>(&self, bindings: impl IntoIterator<Item = &'a String>) -> Vec<Diagnostic> {
        let known = self.connections();
        let unknown = bindings.into_iter().filter(|binding| !known.contains_key(*binding));
        let found = |binding| unknown_binding(&format!("the flow {}", self.name()), binding, known.keys());
        unknown.map(|binding| Diagnostic { pointer: "/connections".into(), ..found(binding) }).collect()
    }

    /// Like [`Flow::check_granted`], for a flow some of whose steps could not be read. Nothing is known about the
    /// outputs of these steps.
    pub(crate) fn check_readable(
        &self,
        registry: &Registry,
        granted: &GrantedScopes,
        invalid_steps: &BTreeSet<String>,
    ) -> Vec<Diagnostic> {
        let called_flows = CalledFlows::new(registry, granted);
        let mut checker = Checker::new(self, &called_flows);
        checker.flow(invalid_steps);
        checker.report(literal_braces::find(self.document()));
        checker.report(retried_creates::find(self, registry));
        for (name, called) in self.linked().keys().filter_map(|name| Some((name, self.callee(name)?))) {
            let inner = called_flows.found(name, &called).into_iter().chain(literal_braces::find(called.document()));
            checker.report(inner.filter(|one| one.severity == Severity::Error).map(|one| Diagnostic {
                pointer: String::new(),
                message: format!("in the called flow {name}: {one}"),
                ..one
            }));
        }
        Diagnostic::bounded(checker.found)
    }
}

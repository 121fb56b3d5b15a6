//! The checks of a flow: of a text, of a flow, and of a flow on connections with known scopes.

use trunkline_core::{Diagnostic, Registry, Severity};

use crate::{
    check::{GrantedScopes, StepYield, called_flows::CalledFlows, checker::Checker, literal_braces, retried_creates},
    document::Flow,
    steps::reader::unknown_binding,
};

impl Flow {
    /// Reads a flow from the text of a file and checks it against the connectors of `registry`. Returns all findings:
    /// a fault in one part of the document does not hide those in other parts. Called flows are not looked at: see
    /// [`Flow::link`].
    pub fn findings(file: &str, text: &str, registry: &Registry) -> Vec<Diagnostic> {
        let (flow, mut found) = Flow::read_text(file, text);
        if let Some(flow) = flow {
            found.extend(Flow::locate(file, text, flow.check(registry)));
        }
        Diagnostic::bounded(found)
    }

    /// Checks the flow against the connectors of `registry`, and returns all findings: unknown connectors and actions,
    /// inputs that do not fit, references to steps that have not run, values of the wrong type, steps that can never
    /// run.
    pub fn check(&self, registry: &Registry) -> Vec<Diagnostic> {
        self.check_granted(registry, &GrantedScopes::new())
    }

    /// Like [`Flow::check`], and also reports actions that need OAuth scopes which their connection was not granted. A
    /// narrower scope (`files:read` for `files`) is accepted: only the service knows what it allows.
    /// Nothing is known about the outputs of steps that could not be read, see [`Flow::read_text`].
    pub fn check_granted(&self, registry: &Registry, granted: &GrantedScopes) -> Vec<Diagnostic> {
        let called_flows = CalledFlows::new(registry, granted);
        let mut checker = Checker::new(self, &called_flows);
        checker.flow();
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

    /// Returns what each step yields to the steps after it, in the order in which they run. Steps that yield nothing are
    /// left out.
    pub fn outputs(&self, registry: &Registry) -> Vec<StepYield> {
        let granted = GrantedScopes::new();
        let called = CalledFlows::new(registry, &granted);
        let mut checker = Checker::new(self, &called);
        checker.flow();
        checker.yields
    }

    /// Returns an error for each of these connection bindings that the flow does not declare.
    pub fn unknown_bindings<'a>(&self, bindings: impl IntoIterator<Item = &'a String>) -> Vec<Diagnostic> {
        let known = self.connections();
        let unknown = bindings.into_iter().filter(|binding| !known.contains_key(*binding));
        let found = |binding| unknown_binding(&format!("the flow {}", self.name()), binding, known.keys());
        unknown.map(|binding| Diagnostic { pointer: "/connections".into(), ..found(binding) }).collect()
    }
}

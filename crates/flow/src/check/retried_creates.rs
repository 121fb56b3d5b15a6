//! Warns of creates without a look-up in steps that are repeated as a whole.
//!
//! After an unclear failure, a create with a look-up is repeated if it had no effect. Without one, no `retry` around it
//! repeats it: the run waits for an operator. An author who wrote `retry` expects otherwise.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use trunkline_core::{Diagnostic, Effect, Registry};

use crate::{
    document::Flow,
    steps::step::{BoundAction, OnError, Step, StepKind},
};

/// Returns a warning for each create without a look-up inside a step with `retry`.
pub(super) fn find(flow: &Flow, registry: &Registry) -> Vec<Diagnostic> {
    let called = RefCell::default();
    let mut walk = Walk { flow, registry, called: &called, found: Vec::new() };
    walk.steps(flow.steps(), None);
    walk.steps(flow.on_failure(), None);
    walk.found
}

struct Walk<'a> {
    flow: &'a Flow,
    registry: &'a Registry,
    /// The warnings in called flows, by their names: each flow is looked at once, however many steps call it.
    called: &'a RefCell<BTreeMap<String, Vec<Diagnostic>>>,
    found: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// Looks at steps; `retried` says in a message which step around them is repeated. More warnings than are shown are
    /// not looked for.
    fn steps(&mut self, steps: &Arc<[Step]>, retried: Option<&str>) {
        for step in steps.iter() {
            if self.found.len() > Diagnostic::MOST {
                return;
            }
            let own = step.policy.retry.as_ref().map(|_| format!("of {}", step.id));
            let inside = own.as_deref().or(retried);
            match &step.kind {
                // Its own `retry` repeats only this call, and says so beside it.
                StepKind::Action(call) => self.call(call, &step.pointer, retried),
                StepKind::Each { steps, .. } => self.steps(steps, inside),
                StepKind::If { then, otherwise, .. } => {
                    self.steps(then, inside);
                    self.steps(otherwise, inside);
                }
                StepKind::Parallel(branches) => branches.iter().for_each(|(_, steps)| self.steps(steps, inside)),
                StepKind::Call(sub) => {
                    let name = &sub.called.flow;
                    if let (Some(_), Some(called)) = (inside, self.flow.callee(name)) {
                        let found = self.in_called(name, &called);
                        let pointer = format!("{}/call", step.pointer);
                        let at_call = |one: Diagnostic| Diagnostic {
                            pointer: pointer.clone(),
                            message: format!("in the called flow {name}: {}", one.message),
                            ..one
                        };
                        self.found.extend(found.into_iter().map(at_call));
                    }
                }
                StepKind::Set(_) | StepKind::Wait(_) | StepKind::Skip(_) | StepKind::Fail(_) => {}
            }
            if let OnError::Steps(steps) = &step.policy.on_error {
                self.steps(steps, retried);
            }
        }
    }

    fn in_called(&self, name: &str, flow: &Flow) -> Vec<Diagnostic> {
        if let Some(known) = self.called.borrow().get(name) {
            return known.clone();
        }
        let mut walk = Walk { flow, registry: self.registry, called: self.called, found: Vec::new() };
        walk.steps(flow.steps(), Some("around the call"));
        self.called.borrow_mut().insert(name.to_owned(), walk.found.clone());
        walk.found
    }

    fn call(&mut self, call: &BoundAction, pointer: &str, retried: Option<&str>) {
        let connector = self.flow.connections().get(&call.binding).and_then(|name| self.registry.connector(name).ok());
        let (Some(retried), Some(connector)) = (retried, connector) else { return };
        let creates = connector.effect(&call.action, call.input.source()).is_ok_and(|effect| effect == Effect::Create);
        if creates && connector.looks_up(&call.action).is_ok_and(|looks_up| !looks_up) {
            let message = format!(
                "{} creates something, and cannot find out whether an earlier attempt did: the `retry` {retried} does \
                 not repeat it after an unclear failure",
                call.action
            );
            let found = Diagnostic::warning(format!("{pointer}/action"), message);
            self.found.push(found.hint(
                "such a run waits until an operator resolves the step; move the step out of the one with `retry`, or use \
                 an action that can be repeated",
            ));
        }
    }
}

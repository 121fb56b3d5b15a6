//! The values that a run has recorded, as the expressions of one step see them.
//!
//! The journal has the outputs of calls. What `set` steps and lists yield is computed again from them, in the order of the
//! steps.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Redactor, Result, RunId, StepPath};
use trunkline_flow::{Flow, ItemTemplates, ListRole, OnError, Over, Scope, Step, StepKind};

use crate::{
    interpreter::error_value,
    run::{ItemKey, Run, RunEvent, Verdict},
    supervisor::Engine,
};

impl Engine {
    /// Returns the scope of a step of a flow with the values of a run, which may be of another version of the flow: what
    /// the steps before it have yielded there. `keys` are those of the items around the step, from the outermost to the
    /// innermost. An item that an action has listed is not in the journal, so `item` does not exist then. With a redactor,
    /// the values have no secrets that it knows.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run or step, `invalid_input` if there are not as many keys as lists around the step.
    pub async fn recorded_scope(
        &self,
        id: &RunId,
        flow: &Flow,
        step: &str,
        keys: &[String],
        redactor: Option<&Redactor>,
    ) -> Result<Scope> {
        let (step, outer) = flow
            .find_step(step)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the flow {} has no step {step}", flow.name())))?;
        let lists = outer.split('/').filter(|part| *part == "*").count();
        if lists != keys.len() {
            let message =
                format!("the step {} is inside the items of {lists} lists, but {} keys are given", step.id, keys.len());
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .hint("give the key of an item of each list, from the outermost"));
        }
        let _one = self.reading.lock().await;
        let mut recorded = Recorded {
            run: Run::new(id.clone()),
            outputs: BTreeMap::new(),
            failed: BTreeMap::new(),
            step,
            keys: keys.to_vec().into(),
            redactor,
        };
        let within = at_keys(&outer, keys);
        self.journal
            .replay(id, &mut |event| {
                recorded.keep(&event, flow, &within);
                recorded.run.apply(event);
            })
            .await?;
        let scope = Scope::new(&recorded.shown(&recorded.run.input), id.as_str(), flow.tables());
        let root = StepPath::default();
        let found = match recorded.fill(flow.steps(), &root, &scope.branch()) {
            Some(found) => Some(found),
            None => recorded.fill(flow.on_failure(), &root.of_flow(), &scope),
        };
        Ok(found.unwrap_or(scope))
    }
}

/// Returns the path of a run for a path of a flow, with these keys in the place of `*`.
pub(super) fn at_keys(path: &str, keys: &[String]) -> StepPath {
    let mut keys = keys.iter();
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.fold(StepPath::default(), |path, part| match part {
        "*" => path.join(keys.next().map_or("*", String::as_str)),
        "~flow" => path.of_flow(),
        id => path.join(id),
    })
}

struct Recorded<'a> {
    run: Run,
    outputs: BTreeMap<StepPath, Value>,
    failed: BTreeMap<StepPath, Error>,
    /// The step whose scope is looked for.
    step: &'a Step,
    keys: VecDeque<String>,
    redactor: Option<&'a Redactor>,
}

impl Recorded<'_> {
    /// Keeps the output of a step that is not inside another item than the path `within`.
    fn keep(&mut self, event: &RunEvent, flow: &Flow, within: &StepPath) {
        let (step, output) = match event {
            RunEvent::StepFinished { step, output, .. } => (step, Ok(output)),
            RunEvent::StepResolved { step, output, verdict: Verdict::Done, .. } => (step, Ok(output)),
            RunEvent::StepFailed { step, error, .. } => (step, Err(error)),
            _ => return,
        };
        if !flow.position(step).items.iter().all(|item| within.is_within(&item.path)) {
            return;
        }
        match output {
            Ok(output) => {
                self.failed.remove(step);
                self.outputs.insert(step.clone(), self.shown(output));
            }
            Err(error) => drop(self.failed.insert(step.clone(), error.clone())),
        }
    }

    fn shown(&self, value: &Value) -> Value {
        self.redactor.map_or_else(|| value.clone(), |redactor| redactor.redact_json(value))
    }

    /// Adds what the steps of a list have yielded, up to the step. Returns its scope, if it is in the list.
    fn fill(&mut self, steps: &[Step], path: &StepPath, scope: &Scope) -> Option<Scope> {
        for step in steps {
            if std::ptr::eq(step, self.step) {
                return Some(scope.clone());
            }
            if step.holds(&self.step.id) {
                return self.enter(step, path, scope);
            }
            self.pass(step, path, scope);
        }
        None
    }

    /// Continues in the list inside a step that has the step.
    fn enter(&mut self, step: &Step, path: &StepPath, scope: &Scope) -> Option<Scope> {
        let (at, id) = (path.join(&step.id), self.step.id.clone());
        let list = step.inner().into_iter().find(|list| list.steps.iter().any(|step| step.holds(&id)))?;
        match (list.role, &step.kind) {
            (ListRole::Item, StepKind::Each { over, templates, .. }) => {
                let key = self.keys.pop_front()?;
                let item = self.item(over, templates, scope, &key);
                let inside = item.map_or_else(|| scope.branch(), |item| scope.with("item", &item));
                self.fill(list.steps, &at.join(&key), &inside)
            }
            (ListRole::Branch, _) => self.fill(list.steps, &at, &scope.branch()),
            (ListRole::OnError, _) => {
                let error = self.failed.get(&at).map(|error| error_value(error, self.run.failures(&at)));
                let inside = error.map_or_else(|| scope.branch(), |error| scope.with("error", &error));
                self.fill(list.steps, path, &inside)
            }
            _ => self.fill(list.steps, path, scope),
        }
    }

    /// Returns the item of this key, if an expression yields the list.
    fn item(&self, over: &Over, templates: &ItemTemplates, scope: &Scope, key: &str) -> Option<Value> {
        let Over::List(list) = over else { return None };
        let Value::Array(items) = list.render(scope).ok()? else { return None };
        let has_key = |(index, item): &(usize, Value)| {
            let found = match &templates.key {
                Some(template) => ItemKey::evaluate(template, &scope.with("item", item)),
                None => ItemKey::of(&(*index).into()),
            };
            found.is_ok_and(|found| found.in_form(self.run.keys) == key)
        };
        items.into_iter().enumerate().find(has_key).map(|(_, item)| item)
    }

    /// Adds what a step has yielded, and the steps inside it.
    fn pass(&self, step: &Step, path: &StepPath, scope: &Scope) {
        let at = path.join(&step.id);
        let all = |steps: &[Step], path: &StepPath| steps.iter().for_each(|step| self.pass(step, path, scope));
        let output = match &step.kind {
            StepKind::Set(values) => values.render(scope).ok(),
            StepKind::Each { templates, .. } if self.run.ledger.contains_key(&at) => {
                Some(self.shown(&self.run.list_output(&at, templates.collect.is_some())))
            }
            StepKind::If { condition, then, otherwise } => {
                match condition.render(scope) {
                    Ok(Value::Bool(true)) => all(then, path),
                    Ok(Value::Bool(false)) => all(otherwise, path),
                    _ => {}
                }
                None
            }
            StepKind::Parallel(branches) => {
                branches.iter().for_each(|(_, steps)| all(steps, &at));
                None
            }
            _ => self.outputs.get(&at).cloned(),
        };
        output.iter().for_each(|output| scope.set_step(&step.id, output));
        if let (OnError::Steps(steps), true) = (&step.policy.on_error, self.failed.contains_key(&at)) {
            all(steps, path);
        }
    }
}

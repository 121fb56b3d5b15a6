//! Holds a flow against the connectors it uses, before anything runs: every action, input and reference.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Effect, Registered, Registry, Schema};

use crate::{
    Flow, Step, Template, Trigger,
    expression::{ROOTS, Reference},
    flow::{Call, Over, StepKind},
};

/// What is known of the value of a step: its schema, and whether it may be missing because its branch may not run.
#[derive(Clone)]
struct Known {
    schema: Value,
    certain: bool,
}

/// What expressions at one place can refer to.
#[derive(Clone)]
struct Names {
    input: Value,
    item: Option<Value>,
    steps: BTreeMap<String, Known>,
}

struct Checker<'a> {
    registry: &'a Registry,
    flow: &'a Flow,
    found: Vec<Diagnostic>,
}

impl Flow {
    /// Everything that is wrong with the flow in the light of these connectors: unknown connectors and actions, inputs that
    /// do not fit, references to what no step before them yields.
    pub fn check(&self, registry: &Registry) -> Vec<Diagnostic> {
        let mut checker = Checker { registry, flow: self, found: Vec::new() };
        for (slot, connector) in self.connections() {
            if let Err(error) = registry.connector(connector) {
                let one = Diagnostic::from(&error);
                checker.found.push(Diagnostic { pointer: format!("/connections/{slot}"), ..one });
            }
        }
        let input = checker.run_input();
        checker.steps(self.steps(), &mut Names { input, item: None, steps: BTreeMap::new() });
        checker.found
    }
}

impl Checker<'_> {
    /// The schema of what runs get: as the flow says, and from its trigger.
    fn run_input(&mut self) -> Value {
        let declared = self.flow.input().map(|schema| schema.value().clone());
        let Some(trigger) = self.flow.trigger() else { return declared.unwrap_or(Value::Bool(true)) };
        let mut item = Value::Bool(true);
        if let Trigger::Poll(poll) = trigger {
            let nothing = Names { input: json!({ "properties": {} }), item: None, steps: BTreeMap::new() };
            item = self.list(&poll.call, "/trigger/poll", &nothing);
            self.template(&poll.key, &Names { item: Some(item.clone()), ..nothing });
        }
        let mut input = declared.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(trigger.input(item));
        }
        input
    }

    fn steps(&mut self, steps: &[Step], names: &mut Names) {
        for step in steps {
            let schema = match &step.kind {
                StepKind::Action(call) => self.call(call, &step.pointer, names),
                StepKind::Set(values) => {
                    self.template(values, names);
                    let members = values.source().as_object().into_iter().flatten();
                    let properties: serde_json::Map<_, _> =
                        members.map(|(name, _)| (name.clone(), Value::Bool(true))).collect();
                    json!({ "type": "object", "properties": properties })
                }
                StepKind::Skip(reason) | StepKind::Fail(reason) => {
                    self.template(reason, names);
                    continue;
                }
                StepKind::If { condition, then, otherwise } => {
                    self.template(condition, names);
                    for branch in [then, otherwise] {
                        let mut inside = names.clone();
                        self.steps(branch, &mut inside);
                        for (id, known) in inside.steps {
                            names.steps.entry(id).or_insert(Known { certain: false, ..known });
                        }
                    }
                    continue;
                }
                StepKind::Each { over, key, steps, .. } => {
                    let item = self.over(over, &step.pointer, names);
                    let mut inside = Names { item: Some(item), ..names.clone() };
                    if let Some(key) = key {
                        self.template(key, &inside);
                    }
                    self.steps(steps, &mut inside);
                    let count = json!({ "type": "integer" });
                    json!({ "type": "object", "properties": {
                        "done": count, "skipped": count, "failed": count, "unknown": count } })
                }
            };
            names.steps.insert(step.id.to_string(), Known { schema, certain: true });
        }
    }

    /// The schema of one item.
    fn over(&mut self, over: &Over, pointer: &str, names: &Names) -> Value {
        match over {
            Over::List(list) => {
                self.template(list, names);
                Value::Bool(true)
            }
            Over::Action(call) => self.list(call, &format!("{pointer}/each"), names),
        }
    }

    /// The schema of one item of what an action lists.
    fn list(&mut self, call: &Call, pointer: &str, names: &Names) -> Value {
        let output = self.call(call, pointer, names);
        if let Ok(spec) = self.connector(call).and_then(|connector| connector.action_spec(&call.action).ok()).ok_or(())
        {
            let lists = spec.lists || spec.output.get("type") == Some(&"array".into());
            if !lists || spec.effect != Effect::Read {
                let message = format!("{} does not list anything", call.action);
                let found = Diagnostic::error(format!("{pointer}/action"), message);
                self.found.push(found.hint("use an action that lists, or an expression that yields a list"));
            }
        }
        let items = output.pointer("/properties/items/items").or_else(|| output.get("items"));
        items.cloned().unwrap_or(Value::Bool(true))
    }

    fn connector(&self, call: &Call) -> Option<&Registered> {
        let connector = self.flow.connections().get(&call.slot)?;
        self.registry.connector(connector).ok().map(|registered| &**registered)
    }

    /// The schema of what the call yields.
    fn call(&mut self, call: &Call, pointer: &str, names: &Names) -> Value {
        self.template(&call.input, names);
        let Some(connector) = self.connector(call) else { return Value::Bool(true) };
        let spec = match connector.action_spec(&call.action) {
            Ok(spec) => spec.clone(),
            Err(error) => {
                let one = Diagnostic::from(&error);
                self.found.push(Diagnostic { pointer: format!("{pointer}/action"), ..one });
                return Value::Bool(true);
            }
        };
        self.input(&call.input, &spec.input, &format!("{pointer}/input"));
        spec.output
    }

    /// What can be said of an input before its expressions have values: its names, and the literals in it.
    fn input(&mut self, input: &Template, schema: &Value, pointer: &str) {
        let (Some(given), Some(known)) =
            (input.source().as_object(), schema.get("properties").and_then(Value::as_object))
        else {
            return;
        };
        // Expressions stand for any value of their property: only names and literals are checked.
        let mut open = schema.clone();
        for (name, value) in given {
            if has_expression(value)
                && let Some(property) = open.pointer_mut("/properties").and_then(|all| all.get_mut(name))
                && known.contains_key(name)
            {
                *property = Value::Bool(true);
            }
        }
        let faults = Schema::from(open).check(input.source());
        self.found
            .extend(faults.into_iter().map(|one| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one }));
    }

    fn template(&mut self, template: &Template, names: &Names) {
        for reference in template.references() {
            if let Some(found) = refer(&reference, names) {
                self.found.push(found);
            }
        }
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(members) => members.values().any(has_expression),
        _ => false,
    }
}

/// What is wrong with a reference, if anything.
fn refer(reference: &Reference, names: &Names) -> Option<Diagnostic> {
    let whole = reference.path.join(".");
    let error = |message: String| Diagnostic::error(&reference.pointer, message);
    let (root, path) = reference.path.split_first()?;
    match root.as_str() {
        "input" => missing(&names.input, path).map(|name| {
            error(format!("{{{{ {whole} }}}}: the flow's input has no {name}")).hint("declare it in the flow's `input`")
        }),
        "item" => match &names.item {
            None => Some(error(format!("{{{{ {whole} }}}}: there is an item only inside the steps of an `each`"))),
            Some(item) => missing(item, path)
                .map(|name| error(format!("{{{{ {whole} }}}}: the items of this list have no {name}"))),
        },
        "run" => path
            .first()
            .filter(|name| *name != "id")
            .map(|name| error(format!("{{{{ {whole} }}}}: a run has no {name}")).hint("{{ run.id }} is all there is")),
        "steps" => {
            let (id, path) = path.split_first()?;
            let Some(known) = names.steps.get(id) else {
                let known: Vec<_> = names.steps.keys().map(String::as_str).collect();
                let hint = match known.is_empty() {
                    true => "no step runs before this one".to_owned(),
                    false => format!("steps before this one: {}", known.join(", ")),
                };
                return Some(error(format!("{{{{ {whole} }}}}: no step {id} runs before this one")).hint(hint));
            };
            if let Some(name) = missing(&known.schema, path) {
                return Some(error(format!("{{{{ {whole} }}}}: the output of step {id} has no {name}")));
            }
            (!known.certain).then(|| {
                Diagnostic::warning(&reference.pointer, format!("{{{{ {whole} }}}}: step {id} may not have run"))
                    .hint("its branch depends on a condition: use the filter default(..)")
            })
        }
        _ => {
            let hint = format!("expressions begin with one of: {}", ROOTS.join(", "));
            Some(error(format!("{{{{ {whole} }}}}: there is no {root}")).hint(hint))
        }
    }
}

/// The first name on the path that the schema rules out. Where the schema does not say, nothing is ruled out.
fn missing<'a>(schema: &Value, path: &'a [String]) -> Option<&'a str> {
    let mut schema = schema;
    for name in path {
        let properties = schema.get("properties")?.as_object()?;
        match properties.get(name) {
            Some(property) => schema = property,
            None => {
                let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
                return (!open).then_some(name);
            }
        }
    }
    None
}

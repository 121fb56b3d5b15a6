//! Checks a flow against the connectors it uses, before anything runs: every action, input, reference and type.
//!
//! The checker visits the steps in the order in which they run, and adds the shape of each step's output to the names
//! that later expressions can use. [`Checker::step`] has the rules for each kind of step.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use trunkline_core::{ActionSpec, Diagnostic, Effect, Registered, Registry, Schema, Severity, closest, pointer_part};

use crate::{
    check::{GrantedScopes, open_schema::open},
    document::Flow,
    expression::{Compiled, Node, Piece, Template},
    steps::{
        reader::KEY_HINT,
        step::{BoundAction, OnError, Over, Step, StepKind, SubFlow, Wait},
    },
    trigger::Trigger,
    typing::{
        infer::{self, Names, StepOutput, TO_TEXT_HINT},
        schema_algebra::{self, Member, kinds, list_of, of_kinds},
    },
    values::json_kinds::Kinds,
};

const ONCE_HINT: &str = "without it, no change of an item is seen: write true without quotes, for the whole item, or \
                         an expression such as \"{{ item.modified }}\"";

/// A check of one flow.
pub(super) struct Checker<'a> {
    registry: &'a Registry,
    flow: &'a Flow,
    granted: &'a GrantedScopes,
    pub(super) found: Vec<Diagnostic>,
    /// The connection bindings that steps use.
    used: BTreeSet<&'a str>,
    /// The names that the latest expressions begin with.
    roots: BTreeSet<String>,
    /// The value of the latest expression, if it is constant.
    constant: Option<Value>,
}

/// Returns whether these steps always end the list they are in: steps after them can never run.
fn ends(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.kind {
        StepKind::Skip(_) | StepKind::Fail(_) => true,
        StepKind::If { then, otherwise, .. } => ends(then) && ends(otherwise),
        StepKind::Parallel(branches) => branches.iter().any(|(_, steps)| ends(steps)),
        _ => false,
    })
}

/// Returns a function that moves findings on a part of the document to the place of that part.
fn under(pointer: &str) -> impl Fn(Diagnostic) -> Diagnostic {
    move |one| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one }
}

impl<'a> Checker<'a> {
    pub(super) fn new(registry: &'a Registry, flow: &'a Flow, granted: &'a GrantedScopes) -> Self {
        let (used, roots) = (BTreeSet::new(), BTreeSet::new());
        Checker { registry, flow, granted, found: Vec::new(), used, roots, constant: None }
    }

    /// Checks the whole flow, and returns the shape of its output.
    pub(super) fn flow(&mut self, invalid_steps: &BTreeSet<String>) -> Value {
        let flow = self.flow;
        for (binding, connector) in flow.connections() {
            if let Err(error) = self.registry.connector(connector) {
                let one = Diagnostic::from(&error);
                self.found.push(Diagnostic { pointer: format!("/connections/{}", pointer_part(binding)), ..one });
            }
        }
        let no_names = Names {
            input: json!({ "properties": {} }),
            item: None,
            items: None,
            error: false,
            steps: BTreeMap::new(),
            tables: flow.tables().clone(),
        };
        self.found.extend(flow.input().into_iter().flat_map(Schema::default_faults).map(under("/input")));
        let input = self.run_input(&no_names);
        self.required(&input);
        let any_output = |id: &String| (id.clone(), StepOutput { shape: Value::Bool(true), certain: true });
        let steps: BTreeMap<_, _> = invalid_steps.iter().map(any_output).collect();
        let names = Names { input, steps, ..no_names };
        let mut at_end = names.clone();
        self.steps(flow.steps(), &mut at_end);
        self.steps(flow.on_failure(), &mut Names { error: true, ..names });
        let output = flow.output().map(|output| self.template(output, &Value::Bool(true), &at_end));
        // A called flow may use a binding, and so may a step that could not be read.
        let all_uses_known = invalid_steps.is_empty() && flow.calls().next().is_none();
        for binding in flow.connections().keys().filter(|_| all_uses_known) {
            if !self.used.contains(binding.as_str()) {
                let pointer = format!("/connections/{}", pointer_part(binding));
                let found = Diagnostic::warning(pointer, format!("no step uses the connection binding {binding}"));
                self.found.push(found.hint("use it in a step, or remove it"));
            }
        }
        output.unwrap_or_else(|| of_kinds(Kinds::NULL))
    }

    /// Returns the shape of a run's input: what the flow declares, and what its trigger adds. Checks the trigger.
    fn run_input(&mut self, no_names: &Names) -> Value {
        let flow = self.flow;
        let declared = flow.input().map(|schema| schema.value().clone());
        let Some(trigger) = flow.trigger() else { return declared.unwrap_or(Value::Bool(true)) };
        if let Trigger::Webhook(webhook) = trigger {
            self.found.extend(webhook.replay_warnings());
        }
        let mut item = Value::Bool(true);
        if let Trigger::Poll(poll) = trigger {
            let no_names = &Names { tables: json!({}), ..no_names.clone() };
            item = self.list(poll.action(), "/trigger/poll", no_names);
            let names = Names { item: Some(item.clone()), ..no_names.clone() };
            self.key(poll.key(), "/trigger/poll", &names);
        }
        let mut input = declared.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(trigger.input(item).into_iter().filter(|(name, _)| flow.input_may_have(name)));
        }
        input
    }

    /// Checks a list of steps, and adds their outputs to `names`.
    fn steps(&mut self, steps: &'a [Step], names: &mut Names) {
        let mut ended: Option<&Step> = None;
        for step in steps {
            if let Some(last) = ended.take() {
                let message =
                    format!("this step can never run: the step {} before it always ends the item or the run", last.id);
                let hint = format!("move it before the step {}, or remove it", last.id);
                self.found.push(Diagnostic::error(&step.pointer, message).hint(hint));
            }
            let before = names.clone();
            let shape = self.step(step, names);
            self.on_error(step, before, names);
            if let Some(shape) = shape {
                let certain = matches!(step.policy.on_error, OnError::Fail);
                names.steps.insert(step.id.to_string(), StepOutput { shape, certain });
            }
            if ends(std::slice::from_ref(step)) {
                ended = Some(step);
            }
        }
    }

    /// Checks a step, and returns the shape of its output, if it has one.
    fn step(&mut self, step: &'a Step, names: &mut Names) -> Option<Value> {
        match &step.kind {
            StepKind::Action(call) => Some(self.call(call, &step.pointer, names)),
            StepKind::Set(values) => Some(self.template(values, &Value::Bool(true), names)),
            StepKind::Skip(reason) | StepKind::Fail(reason) => {
                self.template(reason, &Value::Bool(true), names);
                None
            }
            StepKind::If { condition, then, otherwise } => {
                self.condition(condition, &step.pointer, (then, otherwise), names);
                for branch in [then, otherwise] {
                    let mut inside = names.clone();
                    self.steps(branch, &mut inside);
                    names.add_branch(inside, false);
                }
                None
            }
            StepKind::Parallel(branches) => {
                let before = names.clone();
                for (_, branch) in branches {
                    let mut inside = before.clone();
                    self.steps(branch, &mut inside);
                    names.add_branch(inside, matches!(step.policy.on_error, OnError::Fail));
                }
                None
            }
            StepKind::Call(sub) => Some(self.sub_flow(sub, &step.pointer, names)),
            StepKind::Wait(wait) => {
                match wait {
                    Wait::For(_) => {}
                    Wait::Until(time) => drop(self.template(time, &of_kinds(Kinds::TEXT.or(Kinds::INTEGER)), names)),
                    Wait::Signal(name) => drop(self.template(name, &of_kinds(Kinds::TEXT), names)),
                }
                Some(Value::Bool(true))
            }
            StepKind::Each { over, key, once, steps, batch, .. } => {
                let item = self.over(over, &step.pointer, names);
                let mut inside = Names { item: Some(item.clone()), ..names.clone() };
                if let Some(key) = key {
                    self.key(key, &step.pointer, &inside);
                }
                if let Some(once) = once {
                    let found = Diagnostic::error(format!("{}/once", step.pointer), "`once` does not read the item");
                    let found = found.hint(ONCE_HINT);
                    self.of_item(once, &Value::Bool(true), &inside, found);
                }
                if batch.is_some() {
                    inside = Names { item: None, items: Some(list_of(item)), ..inside };
                }
                self.steps(steps, &mut inside);
                let count = |name: &str| (name.to_owned(), of_kinds(Kinds::INTEGER));
                let counts = ["done", "skipped", "failed", "unknown"].map(count);
                let changed = ("maybe_incomplete".to_owned(), of_kinds(Kinds::BOOLEAN));
                Some(schema_algebra::object_of(counts.into_iter().chain([changed]).collect()))
            }
        }
    }

    /// Checks the steps that run in place of a failed step. They can refer to the steps before it.
    fn on_error(&mut self, step: &'a Step, before: Names, names: &mut Names) {
        if let OnError::Steps(steps) = &step.policy.on_error {
            let mut inside = Names { error: true, ..before };
            self.steps(steps, &mut inside);
            names.add_branch(inside, false);
        }
    }

    /// Checks a call of another flow, and returns the shape of its output.
    fn sub_flow(&mut self, sub: &SubFlow, pointer: &str, names: &Names) -> Value {
        let Some(flow) = self.flow.callee(&sub.called.flow) else {
            self.template(&sub.input, &Value::Bool(true), names);
            return Value::Bool(true);
        };
        let wanted = flow.input().map_or(Value::Bool(true), Schema::before_defaults);
        self.input(&sub.input, &wanted, &format!("{pointer}/input"), names);
        // The output is null if one of its steps ends the run as skipped.
        let output = Checker::new(self.registry, &flow, self.granted).flow(&BTreeSet::new());
        json!({ "anyOf": [output, { "type": "null" }] })
    }

    /// Checks the condition of an `if`, and warns if it is constant.
    fn condition(&mut self, condition: &Template, pointer: &str, branches: (&[Step], &[Step]), names: &Names) {
        self.constant = condition.literal().cloned();
        self.template(condition, &of_kinds(Kinds::BOOLEAN), names);
        if let Some(Value::Bool(always)) = self.constant.take() {
            let (member, never) = if always { ("else", branches.1) } else { ("then", branches.0) };
            let effect = if never.is_empty() { "the `if` has no effect" } else { "some of its steps can never run" };
            let found = Diagnostic::warning(format!("{pointer}/if"), format!("this is always {always}: {effect}"));
            self.found.push(found.hint(format!("compare with a value that varies, or remove the `if` and `{member}`")));
        }
    }

    /// Checks a key of items, and reports one that does not depend on the item.
    fn key(&mut self, key: &Template, pointer: &str, names: &Names) {
        let scalar = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);
        let found = Diagnostic::error(format!("{pointer}/key"), "the key is the same for every item");
        self.of_item(key, &of_kinds(scalar), names, found.hint(KEY_HINT));
    }

    /// Checks a template that has to read the item, and reports `otherwise` if it is right but for that.
    fn of_item(&mut self, template: &Template, wanted: &Value, names: &Names, otherwise: Diagnostic) {
        self.roots.clear();
        let before = self.errors();
        self.template(template, wanted, names);
        if self.errors() == before && !self.roots.contains("item") {
            self.found.push(otherwise);
        }
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// Checks the source of an `each`, and returns the shape of one item.
    fn over(&mut self, over: &'a Over, pointer: &str, names: &Names) -> Value {
        match over {
            Over::List(list) => schema_algebra::item(&self.template(list, &list_of(Value::Bool(true)), names)),
            Over::Action(call) => self.list(call, &format!("{pointer}/each"), names),
        }
    }

    /// Checks a call of an action that lists, and returns the shape of one item.
    fn list(&mut self, call: &'a BoundAction, pointer: &str, names: &Names) -> Value {
        let output = self.call(call, pointer, names);
        let connector = self.connector(call);
        if let Some(spec) = connector.and_then(|connector| connector.action_spec(&call.action).ok()) {
            let lists = spec.lists || spec.output.get("type") == Some(&"array".into());
            if !lists || spec.effect != Effect::Read {
                let message = format!("{} is not an action that lists items", call.action);
                let found = Diagnostic::error(format!("{pointer}/action"), message);
                self.found.push(found.hint("use an action that lists, or an expression that yields a list"));
            }
        }
        let items = output.pointer("/properties/items/items").or_else(|| output.get("items"));
        items.cloned().unwrap_or(Value::Bool(true))
    }

    /// The connector of a call, if it is registered.
    fn connector(&self, call: &BoundAction) -> Option<&'a Registered> {
        let connector = self.flow.connections().get(&call.binding)?;
        self.registry.connector(connector).ok().map(|registered| &**registered)
    }

    /// Checks a call of an action, and returns the shape of its output.
    fn call(&mut self, call: &'a BoundAction, pointer: &str, names: &Names) -> Value {
        self.used.insert(&call.binding);
        let spec = match self.connector(call).map(|connector| connector.action_spec(&call.action)) {
            Some(Ok(spec)) => spec,
            Some(Err(error)) => {
                let one = Diagnostic::from(&error);
                self.found.push(Diagnostic { pointer: format!("{pointer}/action"), ..one });
                self.template(&call.input, &Value::Bool(true), names);
                return Value::Bool(true);
            }
            None => {
                self.template(&call.input, &Value::Bool(true), names);
                return Value::Bool(true);
            }
        };
        self.input(&call.input, &spec.input, &format!("{pointer}/input"), names);
        self.scopes(call, spec, pointer);
        spec.output.clone()
    }

    /// Reports the OAuth scopes that an action needs and its connection was not granted.
    fn scopes(&mut self, call: &BoundAction, spec: &ActionSpec, pointer: &str) {
        let (Some(granted), Some(connector)) = (self.granted.get(&call.binding), self.connector(call)) else { return };
        let narrower = |one: &str, scope: &str| one.strip_prefix(scope).is_some_and(|rest| rest.starts_with(':'));
        let is_granted = |scope: &str| granted.iter().any(|one| one == scope || narrower(one, scope));
        let needed = connector.spec().scopes.iter().chain(&spec.scopes).map(String::as_str);
        let missing: Vec<_> = needed.filter(|scope| !is_granted(scope)).collect();
        if !missing.is_empty() {
            let granted = granted.iter().map(String::as_str).collect::<Vec<_>>();
            let message = format!(
                "{} needs the scope {}, but the connection bound to {} has {}",
                call.action,
                missing.join(" "),
                call.binding,
                if granted.is_empty() { "none".to_owned() } else { granted.join(" ") }
            );
            let found = Diagnostic::error(format!("{pointer}/action"), message);
            self.found.push(found.hint(
                "add it to the `scopes` of the connection, and sign in again if the connection needs that; the vendor may \
                 also have to allow it for the client",
            ));
        }
    }

    /// Checks an input against its schema, as far as that is possible without the values of its expressions.
    fn input(&mut self, input: &Template, wanted: &Value, pointer: &str, names: &Names) {
        let faults = Schema::from(open(wanted, input.node())).check(input.source());
        self.found.extend(faults.into_iter().map(under(pointer)));
        self.misspelt(input.source(), wanted, pointer);
        self.template(input, wanted, names);
    }

    /// Warns of members of open objects that are probably misspelt: a declared name differs by one letter.
    fn misspelt(&mut self, given: &Value, wanted: &Value, pointer: &str) {
        let closed = ["additionalProperties", "unevaluatedProperties"];
        let closed = closed.iter().any(|name| wanted.get(name) == Some(&Value::Bool(false)));
        for (name, value) in given.as_object().into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_part(name));
            match schema_algebra::member(wanted, name) {
                Member::Is(shape) => self.misspelt(value, &shape, &pointer),
                Member::Missing { declared, .. } if !closed => {
                    if let Some(intended) = schema_algebra::intended_name(name, true, &declared) {
                        let found = Diagnostic::warning(pointer, format!("{name} is not declared here"));
                        self.found.push(found.hint(format!("did you mean {intended}?")));
                    }
                }
                _ => {}
            }
        }
        for (index, value) in given.as_array().into_iter().flatten().enumerate() {
            self.misspelt(value, &schema_algebra::item(wanted), &format!("{pointer}/{index}"));
        }
    }

    /// Returns the shape of a template's result, and reports expressions in it whose result does not fit `wanted`.
    fn template(&mut self, template: &Template, wanted: &Value, names: &Names) -> Value {
        self.node(template.node(), wanted, names)
    }

    fn node(&mut self, node: &Node, wanted: &Value, names: &Names) -> Value {
        match node {
            Node::Literal(value) => json!({ "const": value }),
            Node::Invalid => Value::Bool(true),
            Node::Expression(expression) => {
                let before = self.errors();
                let shape = self.infer(expression, names);
                if self.errors() == before {
                    self.fit(expression, &shape, wanted);
                }
                shape
            }
            Node::Text(pieces) => {
                let expressions = pieces.iter().filter_map(|piece| match piece {
                    Piece::Expression(expression) => Some(expression),
                    Piece::Literal(_) => None,
                });
                for (index, expression) in expressions.enumerate() {
                    let shape = self.infer(expression, names);
                    self.check_joined(expression, &shape);
                    if index == 0 {
                        self.fit(expression, &of_kinds(Kinds::TEXT), wanted);
                    }
                }
                self.constant = None;
                of_kinds(Kinds::TEXT)
            }
            Node::Array(items) => {
                let wanted = schema_algebra::item(wanted);
                let shapes: Vec<_> = items.iter().map(|item| self.node(item, &wanted, names)).collect();
                list_of(schema_algebra::either(shapes))
            }
            Node::Object(members) => {
                let mut shapes = Map::new();
                for (name, member) in members {
                    let wanted = match schema_algebra::member(wanted, name) {
                        Member::Is(shape) => shape,
                        _ => Value::Bool(true),
                    };
                    shapes.insert(name.clone(), self.node(member, &wanted, names));
                }
                schema_algebra::object_of(shapes)
            }
        }
    }

    /// Returns the shape of an expression's result, and reports what is wrong in it.
    fn infer(&mut self, expression: &Compiled, names: &Names) -> Value {
        let inferred = infer::infer(&expression.source, &expression.pointer, names);
        self.found.extend(inferred.found);
        self.roots.extend(inferred.roots);
        self.constant = inferred.constant;
        inferred.shape
    }

    /// Warns of a list or object that becomes part of a text.
    fn check_joined(&mut self, expression: &Compiled, shape: &Value) {
        let known = kinds(shape);
        if known.within(Kinds::LIST.or(Kinds::OBJECT)) {
            let message = format!("{{{{ {} }}}} puts {known} into a text", expression.source);
            let found = Diagnostic::warning(&expression.pointer, message);
            self.found.push(found.hint(TO_TEXT_HINT));
        }
    }

    /// Reports an expression whose result does not fit `wanted`.
    fn fit(&mut self, expression: &Compiled, shape: &Value, wanted: &Value) {
        if let Some(reason) = schema_algebra::mismatch(shape, wanted) {
            let name = expression.pointer.rsplit('/').next().unwrap_or_default();
            let message = format!("{{{{ {} }}}} does not fit {name}: {reason}", expression.source);
            let found = Diagnostic::error(&expression.pointer, message);
            let hint = wanted.get("description").and_then(Value::as_str);
            self.found.push(hint.into_iter().fold(found, |found, hint| found.hint(hint)));
        }
    }

    /// Warns of members that the flow's input requires and does not declare.
    fn required(&mut self, input: &Value) {
        let (Some(required), Some(declared)) =
            (input.get("required").and_then(Value::as_array), input.get("properties").and_then(Value::as_object))
        else {
            return;
        };
        for (index, name) in required.iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            if !declared.contains_key(name) {
                let message = format!("the input requires {name}, which its `properties` do not declare");
                let found = Diagnostic::warning(format!("/input/required/{index}"), message);
                self.found.push(match closest(name, declared.keys().map(String::as_str)) {
                    Some(close) => found.hint(format!("did you mean {close}?")),
                    None => found.hint("declare it in `properties`"),
                });
            }
        }
    }
}

//! Holds a flow against the connectors it uses, before anything runs: every action, input, reference and type.
//!
//! Steps are gone through in the order they run in; after each, what it yields is known to those after it. What a kind of
//! step yields and what it may hold is said in [`Checker::step`]: a new kind has its place there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use trunkline_core::{ActionSpec, Diagnostic, Effect, Registered, Registry, Schema, Severity, closest, pointer_part};

use crate::{
    Flow, Step, Template, Trigger,
    json_kinds::Kinds,
    schema_algebra::{self, Member, kinds, list_of, of_kinds},
    step::{Call, OnError, Over, StepKind, SubFlow, Wait},
    template::{Compiled, Node, Piece},
    typing::{self, Known, Names},
};

/// The OAuth scopes of the connections in a flow's slots; a slot of which nothing is known is left out.
pub type GrantedScopes = BTreeMap<String, BTreeSet<String>>;

struct Checker<'a> {
    registry: &'a Registry,
    flow: &'a Flow,
    granted: &'a GrantedScopes,
    found: Vec<Diagnostic>,
    used: BTreeSet<&'a str>,
    /// The names that the expressions looked at last begin with.
    roots: BTreeSet<String>,
    /// The value of the expression looked at last, if it is always the same.
    constant: Option<Value>,
}

impl Flow {
    /// Everything that is wrong with the flow in the light of these connectors: unknown connectors and actions, inputs that
    /// do not fit, references to what no step before them yields, values of another type than is wanted, steps that can
    /// never run.
    pub fn check(&self, registry: &Registry) -> Vec<Diagnostic> {
        self.check_granted(registry, &GrantedScopes::new())
    }

    /// The same, and the actions that need scopes which the connection in their slot was not granted. A narrower scope
    /// (`files:read` for `files`) is let pass: what it allows is for the service to say.
    pub fn check_granted(&self, registry: &Registry, granted: &GrantedScopes) -> Vec<Diagnostic> {
        self.check_beside(registry, granted, &BTreeSet::new())
    }

    /// The same where these steps could not be read: nothing is said of what they yield.
    pub(crate) fn check_beside(
        &self,
        registry: &Registry,
        granted: &GrantedScopes,
        unread: &BTreeSet<String>,
    ) -> Vec<Diagnostic> {
        let mut checker = Checker::new(registry, self, granted);
        checker.flow(unread);
        for (name, called) in self.linked().keys().filter_map(|name| Some((name, self.callee(name)?))) {
            let mut inner = Checker::new(registry, &called, granted);
            inner.flow(&BTreeSet::new());
            checker.found.extend(inner.found.into_iter().filter(|one| one.severity == Severity::Error).map(|one| {
                Diagnostic { pointer: String::new(), message: format!("the flow {name}, which it calls: {one}"), ..one }
            }));
        }
        checker.found
    }
}

/// Whether steps after these can run.
fn ends(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.kind {
        StepKind::Skip(_) | StepKind::Fail(_) => true,
        StepKind::If { then, otherwise, .. } => ends(then) && ends(otherwise),
        StepKind::Parallel(branches) => branches.iter().any(|(_, steps)| ends(steps)),
        _ => false,
    })
}

impl<'a> Checker<'a> {
    fn new(registry: &'a Registry, flow: &'a Flow, granted: &'a GrantedScopes) -> Self {
        let (used, roots) = (BTreeSet::new(), BTreeSet::new());
        Checker { registry, flow, granted, found: Vec::new(), used, roots, constant: None }
    }

    /// Goes through the whole flow; the shape of its output.
    fn flow(&mut self, unread: &BTreeSet<String>) -> Value {
        let flow = self.flow;
        for (slot, connector) in flow.connections() {
            if let Err(error) = self.registry.connector(connector) {
                let one = Diagnostic::from(&error);
                self.found.push(Diagnostic { pointer: format!("/connections/{}", pointer_part(slot)), ..one });
            }
        }
        let nothing = Names {
            input: json!({ "properties": {} }),
            item: None,
            items: None,
            error: false,
            steps: BTreeMap::new(),
            tables: flow.tables().clone(),
        };
        let input = self.run_input(&nothing);
        self.required(&input);
        let known = |id: &String| (id.clone(), Known { shape: Value::Bool(true), certain: true });
        let steps: BTreeMap<_, _> = unread.iter().map(known).collect();
        let names = Names { input, steps, ..nothing };
        let mut at_end = names.clone();
        self.steps(flow.steps(), &mut at_end);
        self.steps(flow.on_failure(), &mut Names { error: true, ..names });
        let output = flow.output().map(|output| self.template(output, &Value::Bool(true), &at_end));
        // A flow that is called may use slots, and so may a step that could not be read.
        let all = unread.is_empty() && flow.calls().next().is_none();
        for slot in flow.connections().keys().filter(|_| all) {
            if !self.used.contains(slot.as_str()) {
                let pointer = format!("/connections/{}", pointer_part(slot));
                let found = Diagnostic::warning(pointer, format!("no step uses the slot {slot}"));
                self.found.push(found.hint("remove it, or use it"));
            }
        }
        output.unwrap_or_else(|| of_kinds(Kinds::NULL))
    }

    /// The shape of what runs get: as the flow says, and from its trigger.
    fn run_input(&mut self, nothing: &Names) -> Value {
        let flow = self.flow;
        let declared = flow.input().map(|schema| schema.value().clone());
        let Some(trigger) = flow.trigger() else { return declared.unwrap_or(Value::Bool(true)) };
        let mut item = Value::Bool(true);
        if let Trigger::Poll(poll) = trigger {
            let nothing = &Names { tables: json!({}), ..nothing.clone() };
            item = self.list(&poll.call, "/trigger/poll", nothing);
            let names = Names { item: Some(item.clone()), ..nothing.clone() };
            self.key(&poll.key, "/trigger/poll", &names);
        }
        let mut input = declared.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(trigger.input(item));
        }
        input
    }

    fn steps(&mut self, steps: &'a [Step], names: &mut Names) {
        let mut ended: Option<&Step> = None;
        for step in steps {
            if let Some(last) = ended.take() {
                let message = format!("this step can never run: {} ends what it stands in", last.id);
                self.found.push(Diagnostic::error(&step.pointer, message).hint("put it before that, or remove it"));
            }
            let before = names.clone();
            let shape = self.step(step, names);
            self.on_error(step, before, names);
            if let Some(shape) = shape {
                let certain = matches!(step.guard.on_error, OnError::Fail);
                names.steps.insert(step.id.to_string(), Known { shape, certain });
            }
            if ends(std::slice::from_ref(step)) {
                ended = Some(step);
            }
        }
    }

    /// The shape of what the step yields, if it yields anything.
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
                    names.learn(inside, false);
                }
                None
            }
            StepKind::Parallel(branches) => {
                let before = names.clone();
                for (_, branch) in branches {
                    let mut inside = before.clone();
                    self.steps(branch, &mut inside);
                    names.learn(inside, matches!(step.guard.on_error, OnError::Fail));
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
                    self.template(once, &Value::Bool(true), &inside);
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

    /// The steps that stand in for one that failed, which see what was there before it.
    fn on_error(&mut self, step: &'a Step, before: Names, names: &mut Names) {
        if let OnError::Steps(steps) = &step.guard.on_error {
            let mut inside = Names { error: true, ..before };
            self.steps(steps, &mut inside);
            names.learn(inside, false);
        }
    }

    /// The shape of what a flow that is called yields.
    fn sub_flow(&mut self, sub: &SubFlow, pointer: &str, names: &Names) -> Value {
        let Some(flow) = self.flow.callee(&sub.called.flow) else {
            self.template(&sub.input, &Value::Bool(true), names);
            return Value::Bool(true);
        };
        let wanted = flow.input().map_or(Value::Bool(true), |schema| schema.value().clone());
        self.input(&sub.input, &wanted, &format!("{pointer}/input"), names);
        // It ends without output where one of its steps skips.
        let output = Checker::new(self.registry, &flow, self.granted).flow(&BTreeSet::new());
        json!({ "anyOf": [output, { "type": "null" }] })
    }

    fn condition(&mut self, condition: &Template, pointer: &str, branches: (&[Step], &[Step]), names: &Names) {
        self.constant = condition.literal().cloned();
        self.template(condition, &of_kinds(Kinds::BOOLEAN), names);
        if let Some(Value::Bool(always)) = self.constant.take() {
            let (member, never) = if always { ("else", branches.1) } else { ("then", branches.0) };
            let what = if never.is_empty() { "it decides nothing" } else { "some of its steps can never run" };
            let found = Diagnostic::warning(format!("{pointer}/if"), format!("this is always {always}: {what}"));
            self.found
                .push(found.hint(format!("compare with something that differs, or leave out the if and `{member}`")));
        }
    }

    fn key(&mut self, key: &Template, pointer: &str, names: &Names) {
        self.roots.clear();
        let scalar = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);
        let before = self.errors();
        self.template(key, &of_kinds(scalar), names);
        if self.errors() == before && !self.roots.contains("item") {
            let found = Diagnostic::error(format!("{pointer}/key"), "the key is the same for every item");
            self.found.push(found.hint("say what tells the items apart, such as {{ item.id }}"));
        }
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// The shape of one item.
    fn over(&mut self, over: &'a Over, pointer: &str, names: &Names) -> Value {
        match over {
            Over::List(list) => schema_algebra::item(&self.template(list, &list_of(Value::Bool(true)), names)),
            Over::Action(call) => self.list(call, &format!("{pointer}/each"), names),
        }
    }

    /// The shape of one item of what an action lists.
    fn list(&mut self, call: &'a Call, pointer: &str, names: &Names) -> Value {
        let output = self.call(call, pointer, names);
        let connector = self.connector(call);
        if let Some(spec) = connector.and_then(|connector| connector.action_spec(&call.action).ok()) {
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

    fn connector(&self, call: &Call) -> Option<&'a Registered> {
        let connector = self.flow.connections().get(&call.slot)?;
        self.registry.connector(connector).ok().map(|registered| &**registered)
    }

    /// The shape of what the call yields.
    fn call(&mut self, call: &'a Call, pointer: &str, names: &Names) -> Value {
        self.used.insert(&call.slot);
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

    fn scopes(&mut self, call: &Call, spec: &ActionSpec, pointer: &str) {
        let (Some(granted), Some(connector)) = (self.granted.get(&call.slot), self.connector(call)) else { return };
        let narrower = |one: &str, scope: &str| one.strip_prefix(scope).is_some_and(|rest| rest.starts_with(':'));
        let is_there = |scope: &str| granted.iter().any(|one| one == scope || narrower(one, scope));
        let needed = connector.spec().scopes.iter().chain(&spec.scopes).map(String::as_str);
        let missing: Vec<_> = needed.filter(|scope| !is_there(scope)).collect();
        if !missing.is_empty() {
            let granted = granted.iter().map(String::as_str).collect::<Vec<_>>();
            let message = format!(
                "{} needs the scope {}; the connection in the slot {} has {}",
                call.action,
                missing.join(" "),
                call.slot,
                if granted.is_empty() { "none".to_owned() } else { granted.join(" ") }
            );
            let found = Diagnostic::error(format!("{pointer}/action"), message);
            self.found.push(found.hint(
                "put it into the `scopes` of the connection, and sign in again where a person has to; the vendor may have to allow it to the client",
            ));
        }
    }

    /// What is wrong with an input, before its expressions have values.
    fn input(&mut self, input: &Template, wanted: &Value, pointer: &str, names: &Names) {
        let faults = Schema::from(schema_algebra::open(wanted, input.node())).check(input.source());
        let place = |one: Diagnostic| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one };
        self.found.extend(faults.into_iter().map(place));
        self.unmeant(input.source(), wanted, pointer);
        self.template(input, wanted, names);
    }

    /// Members of an open object that are all but the same as declared ones.
    fn unmeant(&mut self, given: &Value, wanted: &Value, pointer: &str) {
        let closed = ["additionalProperties", "unevaluatedProperties"];
        let closed = closed.iter().any(|name| wanted.get(name) == Some(&Value::Bool(false)));
        for (name, value) in given.as_object().into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_part(name));
            match schema_algebra::member(wanted, name) {
                Member::Is(shape) => self.unmeant(value, &shape, &pointer),
                Member::Missing { declared, .. } if !closed => {
                    if let Some(meant) = schema_algebra::meant(name, true, &declared) {
                        let found = Diagnostic::warning(pointer, format!("{name} is not declared here"));
                        self.found.push(found.hint(format!("did you mean {meant}?")));
                    }
                }
                _ => {}
            }
        }
        for (index, value) in given.as_array().into_iter().flatten().enumerate() {
            self.unmeant(value, &schema_algebra::item(wanted), &format!("{pointer}/{index}"));
        }
    }

    /// The shape of what the template yields; expressions in it that cannot yield what is wanted are told.
    fn template(&mut self, template: &Template, wanted: &Value, names: &Names) -> Value {
        self.node(template.node(), wanted, names)
    }

    fn node(&mut self, node: &Node, wanted: &Value, names: &Names) -> Value {
        match node {
            Node::Literal(value) => json!({ "const": value }),
            Node::Unread => Value::Bool(true),
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
                    self.spoken(expression, &shape);
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

    fn infer(&mut self, expression: &Compiled, names: &Names) -> Value {
        let inferred = typing::infer(&expression.source, &expression.pointer, names);
        self.found.extend(inferred.found);
        self.roots.extend(inferred.roots);
        self.constant = inferred.constant;
        inferred.shape
    }

    /// An expression that is part of a text.
    fn spoken(&mut self, expression: &Compiled, shape: &Value) {
        let known = kinds(shape);
        if known.within(Kinds::LIST.or(Kinds::OBJECT)) {
            let message = format!("{{{{ {} }}}} puts {known} into a text", expression.source);
            let found = Diagnostic::warning(&expression.pointer, message);
            self.found.push(found.hint("say how: with join(', '), or json"));
        }
    }

    fn fit(&mut self, expression: &Compiled, shape: &Value, wanted: &Value) {
        if let Some(why) = schema_algebra::mismatch(shape, wanted) {
            let name = expression.pointer.rsplit('/').next().unwrap_or_default();
            let message = format!("{{{{ {} }}}} does not fit {name}: {why}", expression.source);
            let found = Diagnostic::error(&expression.pointer, message);
            let hint = wanted.get("description").and_then(Value::as_str);
            self.found.push(hint.into_iter().fold(found, |found, hint| found.hint(hint)));
        }
    }

    /// What the flow's input has to have, and may not.
    fn required(&mut self, input: &Value) {
        let (Some(required), Some(declared)) =
            (input.get("required").and_then(Value::as_array), input.get("properties").and_then(Value::as_object))
        else {
            return;
        };
        for (index, name) in required.iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            if !declared.contains_key(name) {
                let message = format!("the input needs {name}, which its properties do not declare");
                let found = Diagnostic::warning(format!("/input/required/{index}"), message);
                self.found.push(match closest(name, declared.keys().map(String::as_str)) {
                    Some(close) => found.hint(format!("did you mean {close}?")),
                    None => found.hint("declare it"),
                });
            }
        }
    }
}

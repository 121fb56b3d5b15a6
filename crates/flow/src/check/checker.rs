//! Checks a flow against the connectors it uses, before anything runs: every action, input, reference and type.
//!
//! The checker visits the steps in the order in which they run, and adds the shape of each step's output to the names
//! that later expressions can use. [`Checker::step`] has the rules for each kind of step.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};
use trunkline_core::{ActionSpec, Diagnostic, Effect, Registered, Registry, Schema, Severity, closest, pointer_part};

use crate::{
    check::{called_flows::CalledFlows, complete::Watched, step_yield::StepYield},
    document::Flow,
    expression::Template,
    steps::{
        reader::KEY_HINT,
        step::{BoundAction, OnError, Over, Step, StepKind, SubFlow, Wait},
    },
    trigger::Trigger,
    typing::{
        names::{Names, StepOutput, StepOutputs},
        schema_algebra::{self, Shape, count, kinds, list_of, of_kinds},
    },
    values::json_kinds::Kinds,
};

/// The largest number of values in the shapes of all outputs that `set` makes of other shapes. Of further outputs, only
/// the kinds are known: otherwise a flow whose steps repeat each other's outputs could need any amount of memory.
const MAX_SHAPES: usize = 250_000;

/// A check of one flow. It takes time and memory in proportion to the flow: names are not copied, an action and a called
/// flow are looked at once, and after a number of errors the expressions are left.
pub(super) struct Checker<'a> {
    pub(super) registry: &'a Registry,
    flow: &'a Flow,
    called: &'a CalledFlows<'a>,
    pub(super) found: Vec<Diagnostic>,
    /// The number of errors and of warnings.
    counts: [usize; 2],
    /// The connection bindings that steps use.
    used: BTreeSet<&'a str>,
    /// The names that the latest expressions begin with.
    pub(super) roots: BTreeSet<String>,
    /// The value of the latest expression, if it is constant.
    pub(super) constant: Option<Value>,
    /// The shapes of the outputs of actions, and of their items, by binding and action.
    outputs: BTreeMap<(&'a str, &'a str), ActionShapes>,
    /// Compiled schemas of inputs: most calls of an action have the same members.
    pub(super) schemas: HashMap<Value, Arc<Schema>>,
    /// The number of values that outputs may still copy from other shapes, see [`MAX_SHAPES`].
    pub(super) left: usize,
    /// What each step yields, in the order in which they run.
    pub(super) yields: Vec<StepYield>,
    /// The place whose names are looked for. Then nothing is reported.
    pub(super) watched: Option<Watched<'a>>,
}

#[derive(Clone)]
struct ActionShapes {
    output: Arc<Value>,
    item: Arc<Value>,
}

/// Branches of a step: their outputs, and whether they certainly run.
type Branches = Vec<(StepOutputs, bool)>;

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
pub(super) fn under(pointer: &str) -> impl Fn(Diagnostic) -> Diagnostic {
    move |one| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one }
}

impl<'a> Checker<'a> {
    pub(super) fn new(flow: &'a Flow, called: &'a CalledFlows<'a>) -> Self {
        Checker {
            registry: called.registry,
            flow,
            called,
            found: Vec::new(),
            counts: [0, 0],
            used: BTreeSet::new(),
            roots: BTreeSet::new(),
            constant: None,
            outputs: BTreeMap::new(),
            schemas: HashMap::new(),
            left: MAX_SHAPES,
            yields: Vec::new(),
            watched: None,
        }
    }

    /// Adds findings, up to the number that is shown and one more, which says that there are more.
    pub(super) fn report(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        for one in found.into_iter().filter(|_| self.watched.is_none()) {
            let count = &mut self.counts[usize::from(one.severity == Severity::Warning)];
            *count += 1;
            if *count <= Diagnostic::MOST + 1 {
                self.found.push(one);
            }
        }
    }

    /// Passes the names at a place to the function that waits for them.
    pub(super) fn reach(&mut self, pointer: &str, names: &Names<'_>) {
        if let Some(watched) = self.watched.as_mut().filter(|watched| watched.pointer == pointer) {
            (watched.reached)(names);
        }
    }

    /// Returns the number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.counts[0]
    }

    /// Checks the whole flow, and returns the shape of its output.
    pub(super) fn flow(&mut self) -> Value {
        let (flow, unread) = (self.flow, &self.flow.inner.unread);
        for (binding, connector) in flow.connections() {
            if let Err(error) = self.registry.connector(connector) {
                let one = Diagnostic::from(&error);
                self.report([Diagnostic { pointer: format!("/connections/{}", pointer_part(binding)), ..one }]);
            }
        }
        self.report(flow.input().into_iter().flat_map(Schema::default_faults).map(under("/input")));
        let known = self.run_input();
        let input = if unread.input { Value::Bool(true) } else { known };
        self.required(&input);
        let unknown = Arc::new(Value::Bool(true));
        let any_output = |id: &String| (id.clone(), StepOutput { shape: unknown.clone(), certain: true });
        let steps = unread.steps.iter().map(any_output).collect();
        let names = Names { steps, ..Names::new(Cow::Owned(input), flow.tables()) };
        let mut at_end = names.inside();
        self.steps(flow.steps(), &mut at_end);
        self.steps(flow.on_failure(), &mut Names { error: true, ..names.inside() });
        let output = flow.output().map(|output| self.output(output, &at_end));
        // A called flow may use a binding, and so may a step that could not be read.
        let all_uses_known = !unread.any && flow.calls().next().is_none();
        for binding in flow.connections().keys().filter(|_| all_uses_known) {
            if !self.used.contains(binding.as_str()) {
                let pointer = format!("/connections/{}", pointer_part(binding));
                let found = Diagnostic::warning(pointer, format!("no step uses the connection binding {binding}"));
                self.report([found.hint("use it in a step, or remove it")]);
            }
        }
        output.unwrap_or_else(|| of_kinds(Kinds::NULL))
    }

    /// Returns the shape of a run's input: what the flow declares, and what its trigger adds. Checks the trigger.
    fn run_input(&mut self) -> Value {
        let flow = self.flow;
        let declared = flow.input().map(|schema| schema.value().clone());
        let Some(trigger) = flow.trigger() else { return declared.unwrap_or(Value::Bool(true)) };
        if let Trigger::Webhook(webhook) = trigger {
            self.found.extend(webhook.replay_warnings());
        }
        let mut item = Value::Bool(true);
        if let Trigger::Poll(poll) = trigger {
            let no_names = Names::new(Cow::Owned(json!({ "properties": {} })), &Value::Null);
            let listed = self.list(poll.action(), "/trigger/poll", &no_names);
            let names = Names { item: Some(Cow::Borrowed(&listed)), ..no_names.inside() };
            self.key(poll.key(), "/trigger/poll", &names);
            item = Value::clone(&listed);
        }
        if let Trigger::Event(event) = trigger {
            self.used.insert(event.binding());
            item = self.event(flow, event);
        }
        let mut input = declared.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        self.trigger_members(flow, trigger, item, &mut input);
        input
    }

    /// Returns a copy of a shape for the output of a step. If outputs have copied too much, only its kinds are known.
    pub(super) fn own(&mut self, shape: Shape<'_>) -> Value {
        match self.left.checked_sub(count(&shape, self.left)) {
            Some(left) => {
                self.left = left;
                shape.into_owned()
            }
            None => of_kinds(kinds(&shape)),
        }
    }

    /// Checks a list of steps, and adds their outputs to `names`.
    pub(super) fn steps(&mut self, steps: &'a [Step], names: &mut Names<'_>) {
        let mut ended: Option<&Step> = None;
        for step in steps {
            if let Some(last) = ended.take() {
                let message =
                    format!("this step can never run: the step {} before it always ends the item or the run", last.id);
                let hint = format!("move it before the step {}, or remove it", last.id);
                self.report([Diagnostic::error(&step.pointer, message).hint(hint)]);
            }
            self.reach(&step.pointer, names);
            let mut branches = Branches::new();
            let shape = self.step(step, names, &mut branches);
            if let OnError::Steps(steps) = &step.policy.on_error {
                // They run in place of the failed step, and can refer to the steps before it.
                branches.push((self.inner_steps(steps, Names { error: true, ..names.inside() }), false));
            }
            branches.into_iter().for_each(|(outputs, runs)| names.add_branch(outputs, runs));
            if let Some(shape) = shape {
                let certain = matches!(step.policy.on_error, OnError::Fail);
                self.yields.push(StepYield::new(step, &shape));
                names.steps.insert(step.id.to_string(), StepOutput { shape, certain });
            }
            if ends(std::slice::from_ref(step)) {
                ended = Some(step);
            }
        }
    }

    /// Checks an inner list of steps, and returns their outputs.
    fn inner_steps(&mut self, steps: &'a [Step], mut names: Names<'_>) -> StepOutputs {
        self.steps(steps, &mut names);
        names.steps
    }

    /// Checks a step, and returns the shape of its output, if it has one. Adds the branches inside it.
    fn step(&mut self, step: &'a Step, names: &Names<'_>, branches: &mut Branches) -> Option<Arc<Value>> {
        match &step.kind {
            StepKind::Action(call) => Some(self.call(call, &step.pointer, names).output),
            StepKind::Set(values) => Some(Arc::new(self.output(values, names))),
            StepKind::Skip(reason) | StepKind::Fail(reason) => {
                self.template(reason, &Value::Bool(true), names);
                None
            }
            StepKind::If { condition, then, otherwise } => {
                self.condition(condition, &step.pointer, (then, otherwise), names);
                let mut between = names.inside();
                between.add_branch(self.inner_steps(then, names.inside()), false);
                branches.push((self.inner_steps(otherwise, between.inside()), false));
                branches.push((between.steps, false));
                None
            }
            StepKind::Parallel(lists) => {
                let certain = matches!(step.policy.on_error, OnError::Fail);
                branches.extend(lists.iter().map(|(_, list)| (self.inner_steps(list, names.inside()), certain)));
                None
            }
            StepKind::Call(sub) => Some(self.sub_flow(sub, &step.pointer, names)),
            StepKind::Wait(wait) => {
                match wait {
                    Wait::For(_) => {}
                    Wait::Until(time) => self.template(time, &of_kinds(Kinds::TEXT.or(Kinds::INTEGER)), names),
                    Wait::Signal(name) => self.template(name, &of_kinds(Kinds::TEXT), names),
                }
                Some(Arc::new(Value::Bool(true)))
            }
            StepKind::Each { .. } => Some(Arc::new(self.each(step, names))),
        }
    }

    /// Checks a call of another flow, and returns the shape of its output.
    fn sub_flow(&mut self, sub: &SubFlow, pointer: &str, names: &Names<'_>) -> Arc<Value> {
        let name = &sub.called.flow;
        let Some(flow) = self.flow.callee(name) else {
            self.template(&sub.input, &Value::Bool(true), names);
            return Arc::new(Value::Bool(true));
        };
        let wanted = flow.input().map_or(Value::Bool(true), Schema::before_defaults);
        self.input(&sub.input, &wanted, &format!("{pointer}/input"), names);
        self.called.output(name, &flow)
    }

    /// Checks the condition of an `if`, and warns if it is constant.
    fn condition(&mut self, condition: &Template, pointer: &str, branches: (&[Step], &[Step]), names: &Names<'_>) {
        self.constant = condition.literal().cloned();
        self.template(condition, &of_kinds(Kinds::BOOLEAN), names);
        if let Some(Value::Bool(always)) = self.constant.take() {
            let (member, never) = if always { ("else", branches.1) } else { ("then", branches.0) };
            let effect = if never.is_empty() { "the `if` has no effect" } else { "some of its steps can never run" };
            let found = Diagnostic::warning(format!("{pointer}/if"), format!("this is always {always}: {effect}"));
            self.report([found.hint(format!("compare with a value that varies, or remove the `if` and `{member}`"))]);
        }
    }

    /// Checks a key of items, and reports one that does not depend on the item.
    pub(super) fn key(&mut self, key: &Template, pointer: &str, names: &Names<'_>) {
        let scalar = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);
        let found = Diagnostic::error(format!("{pointer}/key"), "the key is the same for every item");
        self.of_item(key, &of_kinds(scalar), names, found.hint(KEY_HINT));
    }

    /// Checks a template that has to read the item, and reports `otherwise` if it is right but for that.
    pub(super) fn of_item(&mut self, template: &Template, wanted: &Value, names: &Names<'_>, otherwise: Diagnostic) {
        self.roots.clear();
        let before = self.errors();
        self.template(template, wanted, names);
        if self.errors() == before && !self.roots.contains("item") {
            self.report([otherwise]);
        }
    }

    /// Checks the source of an `each`, and returns the shape of one item.
    pub(super) fn over(&mut self, over: &'a Over, pointer: &str, names: &Names<'_>) -> Arc<Value> {
        match over {
            Over::List(list) => {
                let shape = self.node(list.node(), &list_of(Value::Bool(true)), names, true);
                Arc::new(self.own(schema_algebra::item(&shape)))
            }
            Over::Action(call) => self.list(call, &format!("{pointer}/each"), names),
        }
    }

    /// Checks a call of an action that lists, and returns the shape of one item.
    fn list(&mut self, call: &'a BoundAction, pointer: &str, names: &Names<'_>) -> Arc<Value> {
        let shapes = self.call(call, pointer, names);
        let connector = self.connector(call);
        if let Some(spec) = connector.and_then(|connector| connector.action_spec(&call.action).ok()) {
            let lists = spec.lists || spec.output.get("type") == Some(&"array".into());
            if !lists || spec.effect != Effect::Read {
                let message = format!("{} is not an action that lists items", call.action);
                let found = Diagnostic::error(format!("{pointer}/action"), message);
                self.report([found.hint("use an action that lists, or an expression that yields a list")]);
            }
        }
        shapes.item
    }

    /// The connector of a call, if it is registered.
    fn connector(&self, call: &BoundAction) -> Option<&'a Registered> {
        let connector = self.flow.connections().get(&call.binding)?;
        self.registry.connector(connector).ok().map(|registered| &**registered)
    }

    /// Checks a call of an action, and returns the shapes of its output.
    fn call(&mut self, call: &'a BoundAction, pointer: &str, names: &Names<'_>) -> ActionShapes {
        self.used.insert(&call.binding);
        let connector = self.connector(call).filter(|_| !call.action.is_empty());
        let found = connector.map(|connector| connector.action_spec(&call.action));
        if let Some(Err(error)) = &found {
            let one = Diagnostic::from(error);
            self.report([Diagnostic { pointer: format!("{pointer}/action"), ..one }]);
        }
        let Some(Ok(spec)) = found else {
            self.template(&call.input, &Value::Bool(true), names);
            let unknown = Arc::new(Value::Bool(true));
            return ActionShapes { output: unknown.clone(), item: unknown };
        };
        self.input(&call.input, &spec.input, &format!("{pointer}/input"), names);
        self.scopes(call, spec, pointer);
        let shapes = || {
            let items = spec.output.pointer("/properties/items/items").or_else(|| spec.output.get("items"));
            let item = Arc::new(items.cloned().unwrap_or(Value::Bool(true)));
            ActionShapes { output: Arc::new(spec.output.clone()), item }
        };
        self.outputs.entry((&call.binding, &call.action)).or_insert_with(shapes).clone()
    }

    /// Reports the OAuth scopes that an action needs and its connection was not granted.
    fn scopes(&mut self, call: &BoundAction, spec: &ActionSpec, pointer: &str) {
        let (Some(granted), Some(connector)) = (self.called.granted.get(&call.binding), self.connector(call)) else {
            return;
        };
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
            self.report([found.hint(
                "add it to the `scopes` of the connection, and sign in again if the connection needs that; the vendor may \
                 also have to allow it for the client",
            )]);
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
                self.report([match closest(name, declared.keys().map(String::as_str)) {
                    Some(close) => found.hint(format!("did you mean {close}?")),
                    None => found.hint("declare it in `properties`"),
                }]);
            }
        }
    }
}

//! Reads the steps, durations and expressions of a flow document.
//!
//! Reading does not stop at the first fault: what cannot be read is left out, and a finding with its JSON pointer is
//! collected, so that a user sees all faults of a document at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Schema, closest, pointer_name, pointer_part};

use crate::{
    expression::Template,
    steps::{
        duration::{self, moment},
        step::{BoundAction, FlowCall, ItemTemplates, OnError, Over, Step, StepKind, StepPolicy, SubFlow, Tries, Wait},
        step_document::{
            ActionDocument, CallDocument, DefaultOnError, DefaultsDocument, EachDocument, FailDocument, IfDocument,
            KINDS, ListActionDocument, ParallelDocument, PolicyDocument, RetryDocument, SetDocument, SkipDocument,
            WaitDocument, WaitForDocument,
        },
    },
};

/// The deepest nesting of steps.
const MAX_DEPTH: usize = 16;
/// The largest number of steps in a flow, inner ones included.
const MAX_STEPS: usize = 10_000;

/// Reads the parts of a document, and collects findings about them.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) found: Vec<Diagnostic>,
    /// The names of the flow's connection bindings. `None` while they are not known: then references are not checked.
    pub(crate) bindings: Option<BTreeSet<String>>,
    /// The calls of other flows.
    pub(crate) calls: Vec<FlowCall>,
    /// The ids of steps that could not be read.
    pub(crate) invalid_steps: BTreeSet<String>,
    /// Whether some member or step could not be read.
    pub(crate) incomplete: bool,
    ids: BTreeSet<String>,
    defaults: Defaults,
}

/// What holds for steps that do not say it themselves.
#[derive(Clone, Copy, Default)]
struct Defaults {
    retry: Option<Tries>,
    timeout: Option<Duration>,
    continues: bool,
}

impl Reader {
    /// Reads a document of one type. Members that do not fit the schema are reported and left out, and a required one is
    /// empty, so that the rest can still be read; `None` if too little is left.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, schema: &Schema, document: &Value, pointer: &str) -> Option<T> {
        let faults = schema.check(document);
        // A document is copied only if it has faults: all levels of nested steps would be copied for each level.
        let read = match faults.is_empty() {
            true => T::deserialize(document),
            false => {
                let mut valid_part = document.clone();
                faults.iter().for_each(|fault| remove(&mut valid_part, &fault.pointer));
                T::deserialize(&valid_part).or_else(|_| {
                    faults.iter().for_each(|fault| empty(&mut valid_part, schema.value(), &fault.pointer));
                    T::deserialize(&valid_part)
                })
            }
        };
        self.incomplete |= !faults.is_empty() || read.is_err();
        if let (Err(error), true) = (&read, faults.is_empty()) {
            self.found.push(Diagnostic::error(pointer, error.to_string()));
        }
        let locate = |one: Diagnostic| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one };
        self.found.extend(faults.into_iter().map(locate));
        read.ok()
    }

    /// Reads a list of steps, without those that cannot be read. `depth` is the number of lists of steps around it.
    pub(crate) fn steps(&mut self, documents: &[Value], pointer: &str, depth: usize) -> Arc<[Step]> {
        if depth > MAX_DEPTH {
            let found = Diagnostic::over_limit(pointer, format!("steps are nested more than {MAX_DEPTH} levels deep"));
            self.found.push(found.hint("move the inner steps into a flow of their own, and call it"));
            return Arc::new([]);
        }
        let all = documents.iter().enumerate();
        let read = |(index, document): (usize, &Value)| {
            let step = self.step(document, &format!("{pointer}/{index}"), depth);
            let is_unnamed = step.as_ref().is_none_or(|step| step.id.is_empty());
            self.incomplete |= step.is_none();
            if let (true, Some(id)) = (is_unnamed, document.get("id").and_then(Value::as_str)) {
                self.invalid_steps.insert(id.to_owned());
            }
            self.found.truncate(Diagnostic::MOST + 1);
            step
        };
        all.filter_map(read).collect()
    }

    /// Reads a block whose steps have these defaults, beside those of the blocks around it.
    pub(crate) fn with_defaults<T>(
        &mut self,
        document: Option<DefaultsDocument>,
        pointer: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let outer = self.defaults;
        if let Some(DefaultsDocument { retry, timeout, on_error }) = document {
            let pointer = format!("{pointer}/defaults");
            self.defaults = Defaults {
                retry: retry.and_then(|retry| self.tries(&retry, &pointer)).or(outer.retry),
                timeout: timeout
                    .and_then(|timeout| self.duration(&timeout, format!("{pointer}/timeout")))
                    .or(outer.timeout),
                continues: on_error.map_or(outer.continues, |on_error| on_error == DefaultOnError::Continue),
            };
        }
        let block = read(self);
        self.defaults = outer;
        block
    }

    fn step(&mut self, document: &Value, pointer: &str, depth: usize) -> Option<Step> {
        let Some((member, schema)) = KINDS.iter().find(|(member, _)| document.get(member).is_some()) else {
            let kinds: Vec<_> = KINDS.iter().map(|(member, _)| *member).collect();
            let found = Diagnostic::error(pointer, "this step has no member that says what to do");
            self.found.push(found.hint(format!("add one of: {}", kinds.join(", "))));
            return None;
        };
        let (id, kind) = match *member {
            "each" => self.each(schema, document, pointer, depth)?,
            "if" => self.condition(schema, document, pointer, depth)?,
            "action" => {
                let read: ActionDocument = self.read(schema, document, pointer)?;
                let call = self.call(read.action, read.connection, read.input, pointer);
                (read.id, StepKind::Action(call))
            }
            "parallel" => {
                let read: ParallelDocument = self.read(schema, document, pointer)?;
                let lists = document.get("parallel").and_then(Value::as_object).into_iter().flatten();
                let branches = self.with_defaults(read.defaults, pointer, |reader| {
                    let branches = lists.map(|(name, steps)| {
                        let pointer = format!("{pointer}/parallel/{}", pointer_part(name));
                        (name.clone(), reader.steps(list(Some(steps)), &pointer, depth + 1))
                    });
                    branches.collect()
                });
                (read.id, StepKind::Parallel(branches))
            }
            "call" => {
                let read: CallDocument = self.read(schema, document, pointer)?;
                for (theirs, ours) in &read.connections {
                    self.check_binding(ours, format!("{pointer}/connections/{}", pointer_part(theirs)));
                }
                let input = self.template(read.input.into(), &format!("{pointer}/input"));
                let called = FlowCall::new(pointer, read.call, read.connections);
                self.calls.extend(Some(called.clone()).filter(|called| !called.flow.is_empty()));
                (read.id, StepKind::Call(SubFlow { called, input }))
            }
            "wait" => {
                let read: WaitDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Wait(self.wait(read.wait, &format!("{pointer}/wait"))?))
            }
            "set" => {
                let read: SetDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Set(self.template(read.set.into(), &format!("{pointer}/set"))))
            }
            "skip" => {
                let read: SkipDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Skip(self.template(read.skip.into(), &format!("{pointer}/skip"))))
            }
            _ => {
                let read: FailDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Fail(self.template(read.fail.into(), &format!("{pointer}/fail"))))
            }
        };
        let has_policy = schema.value().pointer("/properties/on_error").is_some();
        let policy = if has_policy { self.policy(member, document, pointer, depth) } else { StepPolicy::default() };
        if self.ids.len() >= MAX_STEPS {
            let found = Diagnostic::over_limit(pointer, format!("the flow has more than {MAX_STEPS} steps"));
            self.found.push(found.hint("move some of them into a flow of their own, and call it"));
            return None;
        }
        if !id.is_empty() && !self.ids.insert(id.clone()) {
            let found =
                Diagnostic::error(format!("{pointer}/id"), format!("the flow has another step with the id {id}"));
            self.found.push(found.hint("give every step of the flow an id of its own"));
        }
        Some(Step { id: id.into(), pointer: pointer.to_owned(), kind, policy })
    }

    /// Reads the members that say what happens when the step fails or takes too long. `kind` is the member that
    /// identifies the kind of step.
    fn policy(&mut self, kind: &str, document: &Value, pointer: &str, depth: usize) -> StepPolicy {
        // The schema of the step has reported what cannot be read.
        let read = PolicyDocument::deserialize(document).unwrap_or_default();
        let retry = match read.retry {
            Some(retry) => self.tries(&retry, pointer),
            None => self.defaults.retry.filter(|_| kind == "action"),
        };
        let timeout = match read.timeout {
            Some(timeout) => self.duration(&timeout, format!("{pointer}/timeout")),
            None => self.defaults.timeout.filter(|_| kind == "action"),
        };
        let on_error = match document.get("on_error") {
            Some(Value::Array(steps)) => OnError::Steps(self.steps(steps, &format!("{pointer}/on_error"), depth + 1)),
            Some(word) if word == "continue" => OnError::Continue,
            None if self.defaults.continues && kind != "parallel" => OnError::Continue,
            _ => OnError::Fail,
        };
        StepPolicy { retry, timeout, on_error }
    }

    /// Reads a `retry`. `pointer` is that of the object that has it.
    fn tries(&mut self, retry: &RetryDocument, pointer: &str) -> Option<Tries> {
        let wait = self.duration(&retry.wait, format!("{pointer}/retry/wait"))?;
        let longest = self.duration(&retry.longest, format!("{pointer}/retry/longest"))?;
        Some(Tries { tries: retry.tries, wait, longest })
    }

    fn wait(&mut self, read: WaitForDocument, pointer: &str) -> Option<Wait> {
        if let Some(text) = read.duration {
            return self.duration(&text, format!("{pointer}/for")).map(Wait::For);
        }
        if let Some(name) = read.signal {
            return Some(Wait::Signal(self.template(name.into(), &format!("{pointer}/signal"))));
        }
        let pointer = format!("{pointer}/until");
        let until = self.template(read.until?, &pointer);
        if let Some(Err(error)) = until.literal().map(moment) {
            self.found.push(Diagnostic { pointer, ..Diagnostic::from(&error) });
        }
        Some(Wait::Until(until))
    }

    /// Reads a length of time, and reports a text that is not one.
    pub(crate) fn duration(&mut self, text: &str, pointer: String) -> Option<Duration> {
        let read = duration::parse(text);
        let report =
            |message| self.found.push(Diagnostic::error(pointer, message).hint("write it like 90s, 10m or 3d"));
        read.map_err(report).ok()
    }

    fn each(&mut self, schema: &Schema, document: &Value, pointer: &str, depth: usize) -> Option<(String, StepKind)> {
        let read: EachDocument = self.read(schema, document, pointer)?;
        let list_pointer = format!("{pointer}/each");
        let over = match read.each {
            Value::Null => Over::List(Template::invalid()),
            Value::Object(_) => {
                if read.key.is_none() {
                    let message = "key is missing: a list may shift while it is read, so each item needs an identity";
                    self.found.push(Diagnostic::error(format!("{pointer}/key"), message).hint(KEY_HINT));
                }
                match serde_json::from_value::<ListActionDocument>(read.each) {
                    Ok(over) => Over::Action(self.call(over.action, over.connection, over.input, &list_pointer)),
                    // The schema of the step has reported what is wrong.
                    Err(_) => Over::List(Template::invalid()),
                }
            }
            list => {
                let list = self.template(list, &list_pointer);
                if list.literal().is_some_and(|list| !list.is_array()) {
                    let found = Diagnostic::error(list_pointer, "each needs a list, or an expression that yields one");
                    self.found.push(found.hint("write an expression in braces: {{ .. }}"));
                }
                Over::List(list)
            }
        };
        let once = match read.once {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some("{{ item }}".into()),
            once => once,
        };
        let mut template =
            |value: Option<Value>, name: &str| value.map(|value| self.template(value, &format!("{pointer}/{name}")));
        let templates = ItemTemplates {
            key: template(read.key.map(Value::from), "key"),
            once: template(once, "once"),
            label: template(read.label.map(Value::from), "label"),
            result: template(read.result, "result"),
            collect: template(read.collect, "collect"),
        };
        if templates.once.is_some() && templates.key.is_none() {
            let found = Diagnostic::error(format!("{pointer}/key"), "key is missing: `once` remembers items by it");
            self.found.push(found.hint(KEY_HINT));
        }
        let steps = self.with_defaults(read.defaults, pointer, |reader| {
            reader.steps(list(document.get("steps")), &format!("{pointer}/steps"), depth + 1)
        });
        let (concurrency, batch) = (read.concurrency, read.batch);
        let (over, templates) = (Box::new(over), Box::new(templates));
        Some((read.id, StepKind::Each { over, templates, concurrency, batch, steps }))
    }

    fn condition(
        &mut self,
        schema: &Schema,
        document: &Value,
        pointer: &str,
        depth: usize,
    ) -> Option<(String, StepKind)> {
        let read: IfDocument = self.read(schema, document, pointer)?;
        let condition = self.template(read.condition, &format!("{pointer}/if"));
        if condition.literal().is_some_and(|value| !value.is_boolean()) {
            let found = Diagnostic::error(format!("{pointer}/if"), "if needs an expression that yields true or false");
            self.found.push(found.hint("write it in braces: {{ .. }}"));
        }
        let mut then = Vec::new();
        let end = |kind| Step {
            id: read.id.as_str().into(),
            pointer: pointer.to_owned(),
            kind,
            policy: StepPolicy::default(),
        };
        if let Some(reason) = &read.skip {
            then.push(end(StepKind::Skip(self.template(reason.as_str().into(), &format!("{pointer}/skip")))));
        }
        if let Some(reason) = &read.fail {
            then.push(end(StepKind::Fail(self.template(reason.as_str().into(), &format!("{pointer}/fail")))));
        }
        let (if_true, if_false) = (list(document.get("then")), list(document.get("else")));
        let alternatives = then.len() + usize::from(!if_true.is_empty());
        if alternatives > 1 || (alternatives == 0 && if_false.is_empty()) {
            let found = Diagnostic::error(pointer, "if needs exactly one of: then, skip, fail");
            self.found.push(found.hint("`else` may be added to any of them, or used alone"));
        }
        let (then, otherwise) = self.with_defaults(read.defaults, pointer, |reader| {
            let then = match then.is_empty() {
                true => reader.steps(if_true, &format!("{pointer}/then"), depth + 1),
                false => then.into(),
            };
            (then, reader.steps(if_false, &format!("{pointer}/else"), depth + 1))
        });
        Some((read.id, StepKind::If { condition, then, otherwise }))
    }

    /// Reads a call of an action on a connection binding. `pointer` is that of the object with the call's members.
    pub(crate) fn call(
        &mut self,
        action: String,
        binding: String,
        input: Map<String, Value>,
        pointer: &str,
    ) -> BoundAction {
        self.check_binding(&binding, format!("{pointer}/connection"));
        BoundAction { action, binding, input: self.template(input.into(), &format!("{pointer}/input")) }
    }

    /// Reports a reference to a connection binding that the flow does not have.
    pub(crate) fn check_binding(&mut self, binding: &str, pointer: String) {
        if let Some(bindings) = &self.bindings
            && !binding.is_empty()
            && !bindings.contains(binding)
        {
            let found = unknown_binding("the flow", binding, bindings);
            self.found.push(Diagnostic { pointer, ..found });
        }
    }

    /// Compiles a value with expressions, and reports those that do not compile.
    pub(crate) fn template(&mut self, value: Value, pointer: &str) -> Template {
        Template::compile(value, pointer, &mut self.found)
    }
}

/// The items of a value, if it is a list.
pub(crate) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The hint where a key is missing, or does not identify items.
pub(crate) const KEY_HINT: &str = "set `key` to what identifies an item, such as {{ item.id }}";

/// Returns the error that a flow has no connection binding of this name. The hint has the names that it has.
pub(crate) fn unknown_binding<'a>(
    flow: &str,
    binding: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> Diagnostic {
    let known: Vec<_> = known.into_iter().map(String::as_str).collect();
    let hint = match (closest(binding, known.iter().copied()), &known[..]) {
        (Some(close), _) => format!("did you mean {close}?"),
        (None, []) => "it has none: declare it in its `connections`".to_owned(),
        (None, known) => format!("use one of its `connections`: {}", known.join(", ")),
    };
    Diagnostic::error("", format!("{flow} has no connection binding {binding}")).hint(hint)
}

/// Removes the member of a document in which there is a fault. One that `schema` requires is empty then.
fn empty(document: &mut Value, schema: &Value, pointer: &str) {
    let Some(name) = pointer.split('/').nth(1).map(pointer_name) else { return };
    let Some(members) = document.as_object_mut() else { return };
    members.shift_remove(&name);
    if list(schema.get("required")).iter().any(|one| *one == *name) {
        let empty = match schema["properties"][&name]["type"].as_str() {
            Some("string") => "".into(),
            Some("object") => Map::new().into(),
            Some("array") => Vec::<Value>::new().into(),
            _ => Value::Null,
        };
        members.insert(name, empty);
    }
}

/// Removes the value at a JSON pointer, if it is there.
fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.shift_remove(&pointer_name(name));
        }
        Some(Value::Array(items)) => {
            if let Some(at) = name.parse().ok().filter(|at| *at < items.len()) {
                let _: Value = items.remove(at);
            }
        }
        _ => {}
    }
}

//! Reads steps from a flow's document: every fault is found, each at its JSON pointer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Schema, pointer_part};

use crate::{
    Step, Template,
    document::{
        ActionDocument, CallDocument, EachDocument, FailDocument, GuardDocument, IfDocument, KINDS, OverDocument,
        ParallelDocument, SetDocument, SkipDocument, WaitDocument, WaitForDocument,
    },
    limits::{MAX_DEPTH, MAX_STEPS},
    step::{Call, Called, OnError, Over, StepKind, StepPolicy, SubFlow, Tries, Wait},
    time,
};

/// Reads the parts of a document, and collects what is wrong with them.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) slots: Option<BTreeSet<String>>,
    /// The steps that call flows.
    pub(crate) calls: Vec<Called>,
    /// The ids of steps that could not be read.
    pub(crate) unread: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Reader {
    /// Reads a document; what is faulty in it is told and left out, so that the rest can be looked at.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, schema: &Schema, document: &Value, pointer: &str) -> Option<T> {
        let faults = schema.check(document);
        let mut sound = document.clone();
        for fault in &faults {
            leave_out(&mut sound, &fault.pointer);
        }
        let read = serde_json::from_value(sound);
        if let (Err(error), true) = (&read, faults.is_empty()) {
            self.found.push(Diagnostic::error(pointer, error.to_string()));
        }
        let place = |one: Diagnostic| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one };
        self.found.extend(faults.into_iter().map(place));
        read.ok()
    }

    pub(crate) fn steps(&mut self, documents: &[Value], pointer: &str, depth: usize) -> Arc<[Step]> {
        if depth > MAX_DEPTH {
            self.found.push(Diagnostic::error(pointer, format!("steps are nested more than {MAX_DEPTH} deep")));
            return Arc::new([]);
        }
        let all = documents.iter().enumerate();
        let read = |(index, document): (usize, &Value)| {
            let step = self.step(document, &format!("{pointer}/{index}"), depth);
            if let (None, Some(id)) = (&step, document.get("id").and_then(Value::as_str)) {
                self.unread.insert(id.to_owned());
            }
            step
        };
        all.filter_map(read).collect()
    }

    fn step(&mut self, document: &Value, pointer: &str, depth: usize) -> Option<Step> {
        let Some((member, schema)) = KINDS.iter().find(|(member, _)| document.get(member).is_some()) else {
            let kinds: Vec<_> = KINDS.iter().map(|(member, _)| *member).collect();
            let found = Diagnostic::error(pointer, "this step does not say what to do");
            self.found.push(found.hint(format!("give it one of: {}", kinds.join(", "))));
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
                let branches = read.parallel.iter().map(|(name, steps)| {
                    let steps = steps.as_array().map(Vec::as_slice).unwrap_or_default();
                    (name.clone(), self.steps(steps, &format!("{pointer}/parallel/{name}"), depth + 1))
                });
                (read.id, StepKind::Parallel(branches.collect()))
            }
            "call" => {
                let read: CallDocument = self.read(schema, document, pointer)?;
                for (slot, own) in &read.connections {
                    self.slot(own, format!("{pointer}/connections/{}", pointer_part(slot)));
                }
                let input = self.template(&read.input.into(), &format!("{pointer}/input"));
                let called = Called::new(pointer, read.call, read.connections);
                self.calls.push(called.clone());
                (read.id, StepKind::Call(SubFlow { called, input }))
            }
            "wait" => {
                let read: WaitDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Wait(self.wait(read.wait, &format!("{pointer}/wait"))?))
            }
            "set" => {
                let read: SetDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Set(self.template(&read.set.into(), &format!("{pointer}/set"))))
            }
            "skip" => {
                let read: SkipDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Skip(self.template(&read.skip.into(), &format!("{pointer}/skip"))))
            }
            _ => {
                let read: FailDocument = self.read(schema, document, pointer)?;
                (read.id, StepKind::Fail(self.template(&read.fail.into(), &format!("{pointer}/fail"))))
            }
        };
        let guarded = schema.value().pointer("/properties/on_error").is_some();
        let guard = if guarded { self.guard(document, pointer, depth)? } else { StepPolicy::default() };
        if self.ids.len() >= MAX_STEPS {
            self.found.push(Diagnostic::error(pointer, format!("the flow has more than {MAX_STEPS} steps")));
            return None;
        }
        if !self.ids.insert(id.clone()) {
            let found = Diagnostic::error(format!("{pointer}/id"), format!("there is a step {id} already"));
            self.found.push(found.hint("every step of a flow needs an id of its own"));
        }
        Some(Step { id: id.into(), pointer: pointer.to_owned(), kind, guard })
    }

    fn guard(&mut self, document: &Value, pointer: &str, depth: usize) -> Option<StepPolicy> {
        let read: GuardDocument = serde_json::from_value(document.clone()).ok()?;
        let retry = read.retry.and_then(|retry| {
            let wait = self.duration(&retry.wait, format!("{pointer}/retry/wait"))?;
            let longest = self.duration(&retry.longest, format!("{pointer}/retry/longest"))?;
            Some(Tries { tries: retry.tries, wait, longest })
        });
        let timeout = read.timeout.and_then(|timeout| self.duration(&timeout, format!("{pointer}/timeout")));
        let on_error = match read.on_error {
            Some(Value::Array(steps)) => OnError::Steps(self.steps(&steps, &format!("{pointer}/on_error"), depth + 1)),
            Some(word) if word == "continue" => OnError::Continue,
            _ => OnError::Fail,
        };
        Some(StepPolicy { retry, timeout, on_error })
    }

    fn wait(&mut self, read: WaitForDocument, pointer: &str) -> Option<Wait> {
        if let Some(text) = read.duration {
            return self.duration(&text, format!("{pointer}/for")).map(Wait::For);
        }
        if let Some(name) = read.signal {
            return Some(Wait::Signal(self.template(&name.into(), &format!("{pointer}/signal"))));
        }
        let pointer = format!("{pointer}/until");
        let until = self.template(&read.until?, &pointer);
        if let Some(Err(error)) = until.literal().map(time::moment) {
            self.found.push(Diagnostic { pointer, ..Diagnostic::from(&error) });
        }
        Some(Wait::Until(until))
    }

    /// A length of time; a finding at the pointer if it is none.
    pub(crate) fn duration(&mut self, text: &str, pointer: String) -> Option<Duration> {
        let read = time::duration(text);
        read.map_err(|fault| self.found.push(Diagnostic::error(pointer, fault).hint("such as 90s, 10m or 3d"))).ok()
    }

    fn each(&mut self, schema: &Schema, document: &Value, pointer: &str, depth: usize) -> Option<(String, StepKind)> {
        let read: EachDocument = self.read(schema, document, pointer)?;
        let place = format!("{pointer}/each");
        let over = match read.each {
            Value::Object(_) => {
                let over: OverDocument = serde_json::from_value(read.each).ok()?;
                if read.key.is_none() {
                    let found = Diagnostic::error(format!("{pointer}/key"), "key is missing");
                    let hint = "say what tells the items apart, such as {{ item.id }}: lists shift while they are read";
                    self.found.push(found.hint(hint));
                }
                Over::Action(self.call(over.action, over.connection, over.input, &place))
            }
            list => {
                let list = self.template(&list, &place);
                if list.literal().is_some_and(|list| !list.is_array()) {
                    self.found.push(Diagnostic::error(place, "each needs a list, or an expression that yields one"));
                }
                Over::List(list)
            }
        };
        let key = read.key.map(|key| self.template(&key.into(), &format!("{pointer}/key")));
        let once = match read.once {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(self.template(&"{{ item }}".into(), &format!("{pointer}/once"))),
            Some(once) => Some(self.template(&once, &format!("{pointer}/once"))),
        };
        if once.is_some() && key.is_none() {
            let found = Diagnostic::error(format!("{pointer}/key"), "key is missing: `once` remembers items by it");
            self.found.push(found.hint("say what tells the items apart, such as {{ item.id }}"));
        }
        let steps = self.steps(&read.steps, &format!("{pointer}/steps"), depth + 1);
        let (concurrency, batch) = (read.concurrency, read.batch);
        Some((
            read.id,
            StepKind::Each { over: Box::new(over), key, once: once.map(Box::new), concurrency, batch, steps },
        ))
    }

    fn condition(
        &mut self,
        schema: &Schema,
        document: &Value,
        pointer: &str,
        depth: usize,
    ) -> Option<(String, StepKind)> {
        let read: IfDocument = self.read(schema, document, pointer)?;
        let condition = self.template(&read.condition, &format!("{pointer}/if"));
        if condition.literal().is_some_and(|value| !value.is_boolean()) {
            let found = Diagnostic::error(format!("{pointer}/if"), "if needs an expression that yields true or false");
            self.found.push(found.hint("write it in braces: {{ .. }}"));
        }
        let mut then = Vec::new();
        let end = |kind| Step {
            id: read.id.as_str().into(),
            pointer: pointer.to_owned(),
            kind,
            guard: StepPolicy::default(),
        };
        if let Some(reason) = &read.skip {
            then.push(end(StepKind::Skip(self.template(&reason.as_str().into(), &format!("{pointer}/skip")))));
        }
        if let Some(reason) = &read.fail {
            then.push(end(StepKind::Fail(self.template(&reason.as_str().into(), &format!("{pointer}/fail")))));
        }
        let ways = then.len() + usize::from(!read.then.is_empty());
        if ways > 1 || (ways == 0 && read.otherwise.is_empty()) {
            let found = Diagnostic::error(pointer, "if needs exactly one of: then, skip, fail");
            self.found.push(found.hint("`else` may stand beside any of them, or alone"));
        }
        let then = match then.is_empty() {
            true => self.steps(&read.then, &format!("{pointer}/then"), depth + 1),
            false => then.into(),
        };
        let otherwise = self.steps(&read.otherwise, &format!("{pointer}/else"), depth + 1);
        Some((read.id, StepKind::If { condition, then, otherwise }))
    }

    pub(crate) fn call(&mut self, action: String, slot: String, input: Map<String, Value>, pointer: &str) -> Call {
        self.slot(&slot, format!("{pointer}/connection"));
        Call { action, slot, input: self.template(&input.into(), &format!("{pointer}/input")) }
    }

    fn slot(&mut self, slot: &str, pointer: String) {
        if let Some(slots) = &self.slots
            && !slots.contains(slot)
        {
            let known: Vec<_> = slots.iter().map(String::as_str).collect();
            let found = Diagnostic::error(pointer, format!("the flow has no slot {slot}"));
            self.found.push(found.hint(format!("its slots are: {}", known.join(", "))));
        }
    }

    pub(crate) fn template(&mut self, value: &Value, pointer: &str) -> Template {
        Template::compile(value, pointer, &mut self.found)
    }
}

/// Removes the value a JSON pointer names.
fn leave_out(document: &mut Value, pointer: &str) {
    let Some((holder, name)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(holder) {
        Some(Value::Object(members)) => {
            members.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(at) = name.parse().ok().filter(|at| *at < items.len()) {
                let _: Value = items.remove(at);
            }
        }
        _ => {}
    }
}

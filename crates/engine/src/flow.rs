//! The document a user writes: steps in order, and which connections they need.
//!
//! A flow is read into [`Flow`] with every fault reported at once, each with its JSON pointer and, where it came from a
//! file, its line and column. What refers to connectors is checked by [`Flow::check`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};
use trunkline_core::{Diagnostic, Place, Schema};
use uuid::Uuid;

use crate::{
    Overlap, Trigger,
    document::{
        self, ActionDocument, EachDocument, FLOW, FailDocument, FlowDocument, IfDocument, KINDS, OverDocument,
        SetDocument, SkipDocument,
    },
    expression::Template,
    trigger,
};

/// How deep steps may be nested.
const MAX_DEPTH: usize = 16;
/// How many steps a flow may have in all.
const MAX_STEPS: usize = 10_000;
/// How many items an `each` may work on at the same time.
const MAX_CONCURRENCY: usize = 64;

/// A flow that can be run: read, compiled, pinned to a version.
#[derive(Clone, Debug)]
pub struct Flow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    version: String,
    document: Value,
    connections: BTreeMap<String, String>,
    trigger: Option<Trigger>,
    overlap: Overlap,
    input: Option<Schema>,
    steps: Arc<[Step]>,
}

/// One step: an id that later steps refer to, and what it does.
#[derive(Debug)]
pub struct Step {
    pub(crate) id: Arc<str>,
    /// JSON pointer of the step in the document.
    pub(crate) pointer: String,
    pub(crate) kind: StepKind,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum StepKind {
    /// Calls an action.
    Action(Call),
    /// Runs steps for each item of a list.
    Each { over: Box<Over>, key: Option<Template>, concurrency: usize, steps: Arc<[Step]> },
    /// Runs one list of steps or the other.
    If { condition: Template, then: Arc<[Step]>, otherwise: Arc<[Step]> },
    /// Gives names to values.
    Set(Template),
    /// Ends the item, or the run, as skipped.
    Skip(Template),
    /// Ends the item, or the run, as failed.
    Fail(Template),
}

/// An action, the slot of the connection it runs on, and its input.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) slot: String,
    pub(crate) input: Template,
}

/// What an `each` goes over.
#[derive(Debug)]
pub(crate) enum Over {
    /// A list that an expression yields.
    List(Template),
    /// What an action lists, page by page.
    Action(Call),
}

impl Flow {
    /// The JSON Schema of flow documents.
    pub fn schema() -> Value {
        document::schema()
    }

    /// Reads a flow from the text of a file; findings carry its line and column.
    pub fn parse(file: &str, text: &str) -> Result<Flow, Vec<Diagnostic>> {
        let document: Value = serde_json::from_str(text).map_err(|error| {
            let place = Place { file: file.to_owned(), line: error.line(), column: error.column() };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            vec![Diagnostic::error("", format!("this is not JSON: {message}")).at(place)]
        })?;
        Flow::from_value(document).map_err(|found| Flow::locate(file, text, found))
    }

    /// Adds file, line and column to findings about the document in this text.
    pub fn locate(file: &str, text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let place = |one: Diagnostic| match offset(text, &one.pointer) {
            Some(offset) => one.at(Place::of(file, text, offset)),
            None => one,
        };
        found.into_iter().map(place).collect()
    }

    /// Reads a flow from a document; every fault of its own is reported, with its JSON pointer.
    pub fn from_value(document: Value) -> Result<Flow, Vec<Diagnostic>> {
        let mut reader = Reader::default();
        let Some(flow) = reader.read::<FlowDocument>(&FLOW, &document, "") else { return Err(reader.found) };
        reader.slots = Some(flow.connections.keys().cloned().collect());
        let trigger = flow.trigger.and_then(|trigger| Trigger::read(trigger, &mut reader));
        let steps = reader.steps(&flow.steps, "/steps", 0);
        let input = flow.input.map(Schema::from);
        if let Some(schema) = &input {
            let broken =
                schema.check(&Value::Null).into_iter().find(|one| one.message.starts_with("the schema itself"));
            reader.found.extend(broken.map(|one| Diagnostic { pointer: "/input".into(), ..one }));
        }
        if !reader.found.is_empty() {
            return Err(reader.found);
        }
        let text = document.to_string();
        let version = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()[..12].to_owned();
        let (connections, overlap) = (flow.connections, flow.overlap);
        Ok(Flow(Arc::new(Inner { name: flow.name, version, document, connections, trigger, overlap, input, steps })))
    }

    /// What the flow is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Made of the document: the same document has the same version, another one another.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The document it was read from.
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// The slots and the connector each one needs.
    pub fn connections(&self) -> &BTreeMap<String, String> {
        &self.0.connections
    }

    /// What starts runs beside a person.
    pub fn trigger(&self) -> Option<&Trigger> {
        self.0.trigger.as_ref()
    }

    /// What happens when a run is to begin while another one is at work.
    pub fn overlap(&self) -> Overlap {
        self.0.overlap
    }

    /// What a run takes, if the flow says so.
    pub fn input(&self) -> Option<&Schema> {
        self.0.input.as_ref()
    }

    pub(crate) fn steps(&self) -> &Arc<[Step]> {
        &self.0.steps
    }
}

#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) found: Vec<Diagnostic>,
    slots: Option<BTreeSet<String>>,
    ids: BTreeSet<String>,
}

impl Reader {
    fn read<T: DeserializeOwned>(&mut self, schema: &Schema, document: &Value, pointer: &str) -> Option<T> {
        let faults = schema.check(document);
        if faults.is_empty() {
            match serde_json::from_value(document.clone()) {
                Ok(read) => return Some(read),
                Err(error) => self.found.push(Diagnostic::error(pointer, error.to_string())),
            }
        }
        let place = |one: Diagnostic| Diagnostic { pointer: format!("{pointer}{}", one.pointer), ..one };
        self.found.extend(faults.into_iter().map(place));
        None
    }

    fn steps(&mut self, documents: &[Value], pointer: &str, depth: usize) -> Arc<[Step]> {
        if depth > MAX_DEPTH {
            self.found.push(Diagnostic::error(pointer, format!("steps are nested more than {MAX_DEPTH} deep")));
            return Arc::new([]);
        }
        let all = documents.iter().enumerate();
        all.filter_map(|(index, document)| self.step(document, &format!("{pointer}/{index}"), depth)).collect()
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
        if self.ids.len() >= MAX_STEPS {
            self.found.push(Diagnostic::error(pointer, format!("the flow has more than {MAX_STEPS} steps")));
            return None;
        }
        if !self.ids.insert(id.clone()) {
            let found = Diagnostic::error(format!("{pointer}/id"), format!("there is a step {id} already"));
            self.found.push(found.hint("every step of a flow needs an id of its own"));
        }
        Some(Step { id: id.into(), pointer: pointer.to_owned(), kind })
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
        let steps = self.steps(&read.steps, &format!("{pointer}/steps"), depth + 1);
        let concurrency = read.concurrency.clamp(1, MAX_CONCURRENCY);
        Some((read.id, StepKind::Each { over: Box::new(over), key, concurrency, steps }))
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
        let end = |kind| Step { id: read.id.as_str().into(), pointer: pointer.to_owned(), kind };
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
        if let Some(slots) = &self.slots
            && !slots.contains(&slot)
        {
            let known: Vec<_> = slots.iter().map(String::as_str).collect();
            let found = Diagnostic::error(format!("{pointer}/connection"), format!("the flow has no slot {slot}"));
            self.found.push(found.hint(format!("its slots are: {}", known.join(", "))));
        }
        Call { action, slot, input: self.template(&input.into(), &format!("{pointer}/input")) }
    }

    /// A length of time, such as `5m`.
    pub(crate) fn duration(&mut self, text: &str, pointer: &str) -> Option<Duration> {
        let read = trigger::duration(text);
        if read.is_none() {
            let found = Diagnostic::error(pointer, format!("{text} is no length of time of at least a second"));
            self.found.push(found.hint("write it as in 90s, 5m or 1h 30m"));
        }
        read
    }

    pub(crate) fn template(&mut self, value: &Value, pointer: &str) -> Template {
        Template::compile(value, pointer, &mut self.found)
    }
}

/// The byte at which the value a JSON pointer names begins; where it is missing, that of what should hold it.
fn offset(text: &str, pointer: &str) -> Option<usize> {
    let mut raw: &RawValue = serde_json::from_str(text).ok()?;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let inner = match raw.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()).ok()?.get(&part).copied(),
            Some(b'[') => {
                serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.get(part.parse::<usize>().ok()?).copied()
            }
            _ => None,
        };
        match inner {
            Some(inner) => raw = inner,
            None => break,
        }
    }
    Some(raw.get().as_ptr() as usize - text.as_ptr() as usize)
}

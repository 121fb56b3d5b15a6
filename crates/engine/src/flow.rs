//! The document a user writes: steps in order, and which connections they need.
//!
//! A flow is read into [`Flow`] with every fault reported at once, each with its JSON pointer and, where it came from a
//! file, its line and column. What refers to connectors is checked by [`Flow::check`]; a flow that calls others is linked
//! with them by [`Flow::link`], so that a run is pinned to all of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Registry, Schema};
use uuid::Uuid;

use crate::{
    Overlap, Step, Template, Trigger,
    check::GrantedScopes,
    document::{self, FLOW, FlowDocument, Flushing},
    limits::MAX_CALLS,
    process_log::Logging,
    reader::Reader,
    step::Called,
    syntax,
};

/// A flow that can be run: read, compiled, pinned to a version.
#[derive(Clone, Debug)]
pub struct Flow {
    inner: Arc<Inner>,
    /// The flows that it and these call, by their names.
    linked: Arc<BTreeMap<String, Flow>>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    version: String,
    document: Value,
    connections: BTreeMap<String, String>,
    trigger: Option<Trigger>,
    overlap: Overlap,
    input: Option<Schema>,
    tables: Value,
    steps: Arc<[Step]>,
    calls: Vec<Called>,
    output: Option<Template>,
    timeout: Option<Duration>,
    on_failure: Arc<[Step]>,
    durability: Flushing,
    log: Logging,
}

impl Flow {
    /// The JSON Schema of flow documents.
    pub fn schema() -> Value {
        document::schema()
    }

    /// Reads a flow from the text of a file, JSON or YAML; findings carry its line and column.
    pub fn parse(file: &str, text: &str) -> Result<Flow, Vec<Diagnostic>> {
        let document = syntax::read(file, text).map_err(|found| vec![found])?;
        Flow::from_value(document).map_err(|found| Flow::locate(file, text, found))
    }

    /// Adds file, line and column to findings about the document in this text.
    pub fn locate(file: &str, text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        syntax::locate(file, text, found)
    }

    /// Reads a flow from a document; every fault of its own is reported, with its JSON pointer.
    pub fn from_value(document: Value) -> Result<Flow, Vec<Diagnostic>> {
        let mut reader = Reader::default();
        match Flow::read(document, &mut reader) {
            Some(flow) if reader.found.is_empty() => Ok(flow),
            _ => Err(reader.found),
        }
    }

    /// Everything that is wrong with a flow in the text of a file, in the light of these connectors: faults of its own do
    /// not hide the others. The flows it calls are not looked at: see [`Flow::link`].
    pub fn findings(file: &str, text: &str, registry: &Registry) -> Vec<Diagnostic> {
        let document = match syntax::read(file, text) {
            Ok(document) => document,
            Err(found) => return vec![found],
        };
        let mut reader = Reader::default();
        let checked = Flow::read(document, &mut reader)
            .map(|flow| flow.check_beside(registry, &GrantedScopes::new(), &reader.unread));
        let mut found = reader.found;
        found.extend(checked.into_iter().flatten());
        Flow::locate(file, text, found)
    }

    fn read(document: Value, reader: &mut Reader) -> Option<Flow> {
        let flow: FlowDocument = reader.read(&FLOW, &document, "")?;
        reader.slots = Some(flow.connections.keys().cloned().collect());
        let trigger = flow.trigger.and_then(|trigger| Trigger::read(trigger, reader));
        let steps = reader.steps(&flow.steps, "/steps", 0);
        let on_failure = reader.steps(&flow.on_failure, "/on_failure", 0);
        let output = flow.output.map(|output| reader.template(&output.into(), "/output"));
        let timeout = flow.timeout.and_then(|timeout| reader.duration(&timeout, "/timeout".to_owned()));
        let input = flow.input.map(Schema::from);
        if let Some(schema) = &input {
            let broken =
                schema.check(&Value::Null).into_iter().find(|one| one.message.starts_with("the schema itself"));
            reader.found.extend(broken.map(|one| Diagnostic { pointer: "/input".into(), ..one }));
        }
        let text = document.to_string();
        let version = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()[..12].to_owned();
        let (name, connections, tables) = (flow.name, flow.connections, json!(flow.tables));
        let (overlap, durability, calls) =
            (Overlap::from(flow.overlap), flow.durability, std::mem::take(&mut reader.calls));
        let inner = Inner {
            name,
            version,
            document,
            connections,
            trigger,
            overlap,
            input,
            tables,
            steps,
            calls,
            output,
            timeout,
            on_failure,
            durability,
            log: flow.log,
        };
        Some(Flow { inner: Arc::new(inner), linked: Arc::default() })
    }

    /// The flow together with the flows it calls, and those that these call; `find` gives a flow by its name. What cannot be
    /// called is found at the step that calls it.
    pub fn link(&self, find: &dyn Fn(&str) -> Option<Flow>) -> Result<Flow, Vec<Diagnostic>> {
        let mut linker = Linker { find, chain: Vec::new(), depths: BTreeMap::new(), linked: BTreeMap::new() };
        let mut found = Vec::new();
        linker.chain.push(self.name().to_owned());
        for called in &self.inner.calls {
            if let Err(one) = linker.call(self, called) {
                found.push(Diagnostic { pointer: format!("{}{}", called.pointer, one.pointer), ..one });
            }
        }
        match found.is_empty() {
            true => Ok(Flow { inner: self.inner.clone(), linked: Arc::new(linker.linked) }),
            false => Err(found),
        }
    }

    /// The names of the flows it calls itself.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.inner.calls.iter().map(|called| called.flow.as_str())
    }

    /// The flows it was linked with, by their names.
    pub fn linked(&self) -> &BTreeMap<String, Flow> {
        &self.linked
    }

    /// One of the flows it was linked with, which may call the others.
    pub(crate) fn callee(&self, name: &str) -> Option<Flow> {
        let flow = self.linked.get(name)?;
        Some(Flow { inner: flow.inner.clone(), linked: self.linked.clone() })
    }

    /// What the flow is called.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Made of the document: the same document has the same version, another one another.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// The document it was read from.
    pub fn document(&self) -> &Value {
        &self.inner.document
    }

    /// The slots and the connector each one needs.
    pub fn connections(&self) -> &BTreeMap<String, String> {
        &self.inner.connections
    }

    /// What starts runs beside a person.
    pub fn trigger(&self) -> Option<&Trigger> {
        self.inner.trigger.as_ref()
    }

    /// What happens when a run is to begin while another one is at work.
    pub fn overlap(&self) -> Overlap {
        self.inner.overlap
    }

    /// What a run takes, if the flow says so.
    pub fn input(&self) -> Option<&Schema> {
        self.inner.input.as_ref()
    }

    /// The tables of the filter `lookup`.
    pub(crate) fn tables(&self) -> &Value {
        &self.inner.tables
    }

    pub(crate) fn steps(&self) -> &Arc<[Step]> {
        &self.inner.steps
    }

    pub(crate) fn output(&self) -> Option<&Template> {
        self.inner.output.as_ref()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.inner.timeout
    }

    pub(crate) fn on_failure(&self) -> &Arc<[Step]> {
        &self.inner.on_failure
    }

    pub(crate) fn flushes_every_step(&self) -> bool {
        self.inner.durability == Flushing::EveryStep
    }

    pub(crate) fn logging(&self) -> Logging {
        self.inner.log
    }
}

/// Follows calls from flow to flow.
struct Linker<'a> {
    find: &'a dyn Fn(&str) -> Option<Flow>,
    /// The flows on the way here.
    chain: Vec<String>,
    /// How deep each flow that has been followed to its ends calls.
    depths: BTreeMap<String, usize>,
    linked: BTreeMap<String, Flow>,
}

impl Linker<'_> {
    /// Follows a call; the finding's pointer is below the step of the first flow.
    fn call(&mut self, caller: &Flow, called: &Called) -> Result<usize, Diagnostic> {
        let name = &called.flow;
        let fault = |pointer: &str, message: String| {
            // A fault further down is shown at the call that leads there.
            let pointer = if self.chain.len() == 1 { pointer } else { "/call" };
            Diagnostic::error(pointer, message)
        };
        if self.chain.contains(name) {
            let way = self.chain.join(" calls ");
            return Err(fault("/call", format!("{way} calls {name}: a flow cannot call itself")));
        }
        let Some(flow) = self.linked.get(name).cloned().or_else(|| (self.find)(name)) else {
            let message = format!("{} calls {name}, and there is no flow of that name", caller.name());
            return Err(fault("/call", message));
        };
        for its in called.named() {
            if !flow.connections().contains_key(its) {
                return Err(fault("/connections", format!("the flow {name} has no slot {its}")));
            }
        }
        for (its, connector) in flow.connections() {
            let ours = called.slot(its);
            if caller.connections().get(ours) != Some(connector) {
                let message = format!("the flow {name} needs a connection to {connector} for its slot {its}");
                let hint = format!("name one of the slots of {}: \"connections\": {{ \"{its}\": .. }}", caller.name());
                return Err(fault("/call", message).hint(hint));
            }
        }
        if !self.depths.contains_key(name) {
            self.chain.push(name.clone());
            let mut deepest = 0;
            for called in &flow.inner.calls {
                deepest = deepest.max(self.call(&flow, called)?);
            }
            self.chain.pop();
            self.depths.insert(name.clone(), deepest);
            self.linked.insert(name.clone(), flow);
        }
        let depth = 1 + self.depths.get(name).copied().unwrap_or_default();
        if depth + self.chain.len() > MAX_CALLS + 1 {
            let message = format!("flows call flows more than {MAX_CALLS} deep, by way of {name}");
            return Err(Diagnostic::error("/call", message));
        }
        Ok(depth)
    }
}

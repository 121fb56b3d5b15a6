//! [`Flow`]: a flow document that was read, compiled and pinned to a version.
//!
//! Reading reports all faults at once, each with its JSON pointer and, if the document came from a file, its line and
//! column. Two later stages need more than the document: [`Flow::check`] compares it with the registered connectors,
//! and [`Flow::link`] adds the flows that it calls, so that a run is pinned to the versions of all of them.

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
    reader::{Reader, bindings_hint},
    step::FlowCall,
    syntax,
};

/// A flow that can be run: read, compiled, and pinned to a version. Cheap to clone.
///
/// ```
/// use trunkline_engine::Flow;
///
/// let text = "name: greet\nsteps:\n- id: hello\n  set:\n    text: Hello {{ inputs.name }}\n";
/// let findings = Flow::parse("greet.yaml", text).unwrap_err();
/// assert!(findings[0].to_string().starts_with("greet.yaml:5:11: /steps/0/set/text: {{ inputs.name }} "));
/// ```
#[derive(Clone, Debug)]
pub struct Flow {
    inner: Arc<Inner>,
    /// The flows that this one calls, directly or through others, by their names.
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
    calls: Vec<FlowCall>,
    output: Option<Template>,
    timeout: Option<Duration>,
    on_failure: Arc<[Step]>,
    durability: Flushing,
    log: Logging,
}

impl Flow {
    /// Returns the JSON Schema of flow documents.
    pub fn schema() -> Value {
        document::schema()
    }

    /// Reads a flow from the text of a file. The extension of `file` selects JSON or YAML; without one, a text that
    /// begins with `{` is JSON.
    ///
    /// # Errors
    ///
    /// Every fault of the document, with file, line and column. Connectors and called flows are not looked at here: see
    /// [`Flow::check`] and [`Flow::link`].
    pub fn parse(file: &str, text: &str) -> Result<Flow, Vec<Diagnostic>> {
        let document = syntax::read(file, text).map_err(|found| vec![found])?;
        Flow::from_value(document).map_err(|found| Flow::locate(file, text, found))
    }

    /// Adds file, line and column to findings about the document in `text`.
    pub fn locate(file: &str, text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        syntax::locate(file, text, found)
    }

    /// Reads a flow from a document.
    ///
    /// # Errors
    ///
    /// Every fault of the document, with its JSON pointer. Connectors and called flows are not looked at here: see
    /// [`Flow::check`] and [`Flow::link`].
    pub fn from_value(document: Value) -> Result<Flow, Vec<Diagnostic>> {
        let mut reader = Reader::default();
        match Flow::read(document, &mut reader) {
            Some(flow) if reader.found.is_empty() => Ok(flow),
            _ => Err(reader.found),
        }
    }

    /// Reads a flow from the text of a file and checks it against the connectors of `registry`. Returns all findings:
    /// a fault in one part of the document does not hide those in other parts. Called flows are not looked at: see
    /// [`Flow::link`].
    pub fn findings(file: &str, text: &str, registry: &Registry) -> Vec<Diagnostic> {
        let document = match syntax::read(file, text) {
            Ok(document) => document,
            Err(found) => return vec![found],
        };
        let mut reader = Reader::default();
        let checked = Flow::read(document, &mut reader)
            .map(|flow| flow.check_readable(registry, &GrantedScopes::new(), &reader.invalid_steps));
        let mut found = reader.found;
        found.extend(checked.into_iter().flatten());
        Flow::locate(file, text, found)
    }

    fn read(document: Value, reader: &mut Reader) -> Option<Flow> {
        let flow: FlowDocument = reader.read(&FLOW, &document, "")?;
        reader.bindings = Some(flow.connections.keys().cloned().collect());
        let trigger = flow.trigger.and_then(|trigger| Trigger::read(trigger, reader));
        let steps = reader.steps(&flow.steps, "/steps", 0);
        let on_failure = reader.steps(&flow.on_failure, "/on_failure", 0);
        let output = flow.output.map(|output| reader.template(&output.into(), "/output"));
        let timeout = flow.timeout.and_then(|timeout| reader.duration(&timeout, "/timeout".to_owned()));
        let input = flow.input.map(Schema::from);
        if let Some(schema) = &input {
            reader.found.extend(schema.fault().map(|one| Diagnostic { pointer: "/input".into(), ..one }));
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

    /// Returns the flow together with the flows that it calls, directly or through others. `find` returns a flow by
    /// name.
    ///
    /// # Errors
    ///
    /// A finding at each step whose call cannot work: `find` has no flow of that name, flows call each other in a
    /// circle or too deep, or a connection binding of the called flow has no counterpart of the same connector.
    pub fn link(&self, find: &dyn Fn(&str) -> Option<Flow>) -> Result<Flow, Vec<Diagnostic>> {
        let mut linker = Linker { find, chain: Vec::new(), depths: BTreeMap::new(), linked: BTreeMap::new() };
        let mut found = Vec::new();
        linker.chain.push(self.name().to_owned());
        for call in &self.inner.calls {
            if let Err(one) = linker.follow(self, call) {
                found.push(Diagnostic { pointer: format!("{}{}", call.pointer, one.pointer), ..one });
            }
        }
        match found.is_empty() {
            true => Ok(Flow { inner: self.inner.clone(), linked: Arc::new(linker.linked) }),
            false => Err(found),
        }
    }

    /// The names of the flows that its own steps call.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.inner.calls.iter().map(|call| call.flow.as_str())
    }

    /// The flows that it was linked with, by their names; empty before [`Flow::link`].
    pub fn linked(&self) -> &BTreeMap<String, Flow> {
        &self.linked
    }

    /// One of the flows that it was linked with, itself linked with all the others.
    pub(crate) fn callee(&self, name: &str) -> Option<Flow> {
        let flow = self.linked.get(name)?;
        Some(Flow { inner: flow.inner.clone(), linked: self.linked.clone() })
    }

    /// The flow's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A hash of the document in twelve hexadecimal digits: equal documents have equal versions.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// The document it was read from.
    pub fn document(&self) -> &Value {
        &self.inner.document
    }

    /// The connection bindings by name, each with the connector that it needs.
    pub fn connections(&self) -> &BTreeMap<String, String> {
        &self.inner.connections
    }

    /// What starts runs automatically, if anything does.
    pub fn trigger(&self) -> Option<&Trigger> {
        self.inner.trigger.as_ref()
    }

    /// What happens when a run is due while another run of this flow is active.
    pub fn overlap(&self) -> Overlap {
        self.inner.overlap
    }

    /// The schema of a run's input, if the flow declares one.
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
    /// The names of the flows from the first one down to the caller.
    chain: Vec<String>,
    /// For each flow whose calls have all been followed, how many levels of calls are below it.
    depths: BTreeMap<String, usize>,
    linked: BTreeMap<String, Flow>,
}

impl Linker<'_> {
    /// Follows a call and returns how many levels of calls it leads to. A finding's pointer is relative to the step of
    /// the first flow.
    fn follow(&mut self, caller: &Flow, call: &FlowCall) -> Result<usize, Diagnostic> {
        let name = &call.flow;
        let error = |pointer: &str, message: String| {
            // A fault further down is shown at the call that leads there.
            let pointer = if self.chain.len() == 1 { pointer } else { "/call" };
            Diagnostic::error(pointer, message)
        };
        if self.chain.contains(name) {
            let message = format!("{} calls {name}: a flow cannot call itself", self.chain.join(" calls "));
            return Err(error("/call", message).hint("remove one of these calls"));
        }
        let Some(flow) = self.linked.get(name).cloned().or_else(|| (self.find)(name)) else {
            let message = format!("{} calls {name}, and there is no flow of that name", caller.name());
            return Err(error("/call", message));
        };
        for binding in call.named_bindings() {
            if !flow.connections().contains_key(binding) {
                let known: Vec<_> = flow.connections().keys().map(String::as_str).collect();
                let message = format!("the flow {name} has no connection binding {binding}");
                return Err(error("/connections", message).hint(bindings_hint(&known)));
            }
        }
        for (binding, connector) in flow.connections() {
            let bound_to = call.slot(binding);
            if caller.connections().get(bound_to) != Some(connector) {
                let message =
                    format!("the flow {name} needs a connection to {connector} for its connection binding {binding}");
                let hint = format!(
                    "bind it to a binding of {} with that connector: \"connections\": {{ \"{binding}\": .. }}",
                    caller.name()
                );
                return Err(error("/call", message).hint(hint));
            }
        }
        if !self.depths.contains_key(name) {
            self.chain.push(name.clone());
            let mut deepest = 0;
            for call in &flow.inner.calls {
                deepest = deepest.max(self.follow(&flow, call)?);
            }
            self.chain.pop();
            self.depths.insert(name.clone(), deepest);
            self.linked.insert(name.clone(), flow);
        }
        let depth = 1 + self.depths.get(name).copied().unwrap_or_default();
        if depth + self.chain.len() > MAX_CALLS + 1 {
            let message = format!("flows call flows more than {MAX_CALLS} levels deep, by way of {name}");
            return Err(
                Diagnostic::error("/call", message).hint("put the steps of one of them into the flow that calls it")
            );
        }
        Ok(depth)
    }
}

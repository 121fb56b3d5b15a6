//! [`Flow`]: a flow document that was read, compiled and pinned to a version.
//!
//! Reading reports all faults at once, each with its JSON pointer and, if the document came from a file, its line and
//! column. Two later stages need more than the document: [`Flow::check`] compares it with the registered connectors,
//! and [`Flow::link`] adds the flows that it calls, so that a run is pinned to the versions of all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use trunkline_core::{Diagnostic, Schema};
use uuid::Uuid;

use crate::{
    document::{
        flow_document::{self, FLOW, FlowDocument, Flushing, Logging},
        retention::Retention,
        syntax,
    },
    expression::Template,
    steps::{
        reader::{Reader, list},
        step::{FlowCall, Step},
    },
    trigger::{Overlap, Trigger},
};

/// A flow that can be run: read, compiled, and pinned to a version. Cheap to clone.
///
/// ```
/// use trunkline_flow::Flow;
///
/// let text = "name: greet\nsteps:\n- id: hello\n  set:\n    text: Hello {{ inputs.name }}\n";
/// let findings = Flow::parse("greet.yaml", text).unwrap_err();
/// assert!(findings[0].to_string().starts_with("greet.yaml:5:11: /steps/0/set/text: {{ inputs.name }} "));
/// ```
#[derive(Clone, Debug)]
pub struct Flow {
    pub(crate) inner: Arc<Inner>,
    /// The flows that this one calls, directly or through others, by their names.
    pub(super) linked: Arc<BTreeMap<String, Flow>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    version: String,
    document: Value,
    connections: BTreeMap<String, String>,
    trigger: Option<Trigger>,
    overlap: Overlap,
    input: Option<Schema>,
    steps: Arc<[Step]>,
    pub(super) calls: Vec<FlowCall>,
    output: Option<Template>,
    timeout: Option<Duration>,
    retention: Option<Retention>,
    on_failure: Arc<[Step]>,
    durability: Flushing,
    log: Logging,
    pub(crate) unread: Unread,
}

/// What could not be read of a flow. Such a flow is only checked, for faults in its other parts.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// Whether some member or step could not be read.
    pub(crate) any: bool,
    /// Whether the members of a run's input are not known.
    pub(crate) input: bool,
    /// The ids of the steps whose outputs are not known.
    pub(crate) steps: BTreeSet<String>,
}

impl Flow {
    /// Returns the JSON Schema of flow documents.
    pub fn schema() -> Value {
        flow_document::schema()
    }

    /// Reads a flow from the text of a file. The extension of `file` selects JSON or YAML; without one, a text that
    /// begins with `{` is JSON.
    ///
    /// # Errors
    ///
    /// Every fault of the document, with file, line and column. Connectors and called flows are not looked at here: see
    /// [`Flow::check`] and [`Flow::link`].
    pub fn parse(file: &str, text: &str) -> Result<Flow, Vec<Diagnostic>> {
        let (flow, found) = Flow::read_text(file, text);
        flow.filter(|_| found.is_empty()).ok_or(found)
    }

    /// Reads as much of a flow as possible, and returns it with every fault of the document. A flow whose document has
    /// faults must not be run: it is there to be linked and checked, for the faults that only this shows.
    pub fn read_text(file: &str, text: &str) -> (Option<Flow>, Vec<Diagnostic>) {
        match syntax::read(file, text).map(Flow::read_value) {
            Ok((flow, found)) => (flow, Flow::locate(file, text, found)),
            Err(found) => (None, vec![found]),
        }
    }

    /// Like [`Flow::read_text`], for a document without a text.
    pub fn read_value(document: Value) -> (Option<Flow>, Vec<Diagnostic>) {
        let mut reader = Reader::default();
        (Flow::read(document, &mut reader), Diagnostic::bounded(reader.found))
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
        let (flow, found) = Flow::read_value(document);
        flow.filter(|_| found.is_empty()).ok_or(found)
    }

    fn read(document: Value, reader: &mut Reader) -> Option<Flow> {
        let flow: FlowDocument = reader.read(&FLOW, &document, "")?;
        // A binding whose connector cannot be read is known all the same.
        reader.bindings = match document.get("connections") {
            None => Some(BTreeSet::new()),
            Some(bindings) => bindings.as_object().map(|bindings| bindings.keys().cloned().collect()),
        };
        let trigger = flow.trigger.and_then(|trigger| Trigger::read(trigger, flow.output.as_ref(), reader));
        let (steps, on_failure) = reader.with_defaults(flow.defaults, "", |reader| {
            let steps = reader.steps(list(document.get("steps")), "/steps", 0);
            (steps, reader.steps(list(document.get("on_failure")), "/on_failure", 0))
        });
        let output = flow.output.map(|output| reader.template(output.into(), "/output"));
        let timeout = flow.timeout.and_then(|timeout| reader.duration(&timeout, "/timeout".to_owned()));
        let retention = flow.retention.and_then(|text| {
            let fault = |message: String| reader.found.push(Diagnostic::error("/retention", message));
            text.parse().map_err(fault).ok()
        });
        let mut input = flow.input.map(Schema::from);
        if let Some(fault) = input.as_ref().and_then(Schema::fault) {
            reader.found.push(Diagnostic { pointer: "/input".into(), ..fault });
            // Nothing else is asked of a schema that is broken or has no end.
            input = None;
        }
        let given = |member: &str| document.get(member).is_some();
        let is_input_unread = given("trigger") && trigger.is_none() || given("input") && input.is_none();
        let unread = Unread {
            any: reader.incomplete || is_input_unread,
            input: is_input_unread,
            steps: std::mem::take(&mut reader.invalid_steps),
        };
        let text = document.to_string();
        let version = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()[..12].to_owned();
        let (name, connections) = (flow.name, flow.connections);
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
            steps,
            calls,
            output,
            timeout,
            retention,
            on_failure,
            durability,
            log: flow.log,
            unread,
        };
        Some(Flow { inner: Arc::new(inner), linked: Arc::default() })
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
    pub fn callee(&self, name: &str) -> Option<Flow> {
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

    /// Returns the input of a run with the defaults of the input schema in place of missing values.
    pub fn with_defaults(&self, input: Value) -> Value {
        match self.input() {
            Some(schema) => schema.with_defaults(input),
            None => input,
        }
    }

    /// Returns whether a run's input may have this member: the declared schema names it, or allows others.
    pub fn input_may_have(&self, member: &str) -> bool {
        self.input()
            .map(Schema::value)
            .is_none_or(|schema| schema["additionalProperties"] != false || schema["properties"].get(member).is_some())
    }

    /// The tables of the filter `lookup`; null if it has none.
    pub fn tables(&self) -> &Value {
        const NONE: &Value = &Value::Null;
        self.inner.document.get("tables").unwrap_or(NONE)
    }

    /// Passes all steps of this flow, and of the flows it was linked with, to a function.
    pub fn visit_steps(&self, visit: &mut dyn FnMut(&Step)) {
        for flow in [self].into_iter().chain(self.linked.values()) {
            flow.steps().iter().chain(flow.on_failure().iter()).for_each(|step| step.visit(visit));
        }
    }

    /// The steps of a run, in order.
    pub fn steps(&self) -> &Arc<[Step]> {
        &self.inner.steps
    }

    /// The output of a run, if the flow declares one.
    pub fn output(&self) -> Option<&Template> {
        self.inner.output.as_ref()
    }

    /// The longest time of a run, if the flow limits it.
    pub fn timeout(&self) -> Option<Duration> {
        self.inner.timeout
    }

    /// How long its runs are kept after they have ended, if the flow decides it.
    pub fn retention(&self) -> Option<Retention> {
        self.inner.retention
    }

    /// The steps to run after a run has failed.
    pub fn on_failure(&self) -> &Arc<[Step]> {
        &self.inner.on_failure
    }

    /// Returns whether each result is written to disk before the next step begins.
    pub fn flushes_every_step(&self) -> bool {
        self.inner.durability == Flushing::EveryStep
    }

    /// The calls that are recorded in the process log.
    pub fn logging(&self) -> Logging {
        self.inner.log
    }
}

//! Flows that callers give with a request instead of by the name of a saved flow.

use std::{cell::RefCell, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Registry, Result, Severity};
use trunkline_flow::{Flow, StepYield};

use crate::Runtime;

/// The document of a flow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowText {
    /// The name of the document in the locations of findings, such as the path of its file. Its extension says whether
    /// the text is JSON or YAML.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The document: an object, or its text in JSON or YAML. Only findings in a text have a line and a column.
    #[serde(deserialize_with = "object_or_text")]
    #[schemars(extend("type" = ["object", "string"]))]
    pub document: Value,
}

/// A flow that is not saved, with the flows that it calls.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowFile {
    /// The name of the document in the locations of findings, such as the path of its file. Its extension says whether
    /// the text is JSON or YAML.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The document: an object, or its text in JSON or YAML. Only findings in a text have a line and a column.
    #[serde(deserialize_with = "object_or_text")]
    #[schemars(extend("type" = ["object", "string"]))]
    pub document: Value,
    /// The flows that it calls, directly or through others, by their names.
    #[serde(default)]
    pub called: BTreeMap<String, FlowText>,
}

/// A saved flow, by its name, or one that is given.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FlowChoice {
    /// The name of a saved flow.
    Saved(String),
    /// A flow that is not saved.
    File(FlowFile),
}

pub(super) fn object_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let document = Value::deserialize(deserializer)?;
    if document.is_object() || document.is_string() {
        return Ok(document);
    }
    Err(D::Error::custom("a document is an object, or a text in JSON or YAML"))
}

fn unnamed() -> String {
    "the flow".to_owned()
}

impl FlowText {
    /// Reads the flow as far as possible, see [`Flow::read_text`].
    pub(super) fn read(&self) -> (Option<Flow>, Vec<Diagnostic>) {
        match &self.document {
            Value::String(text) => Flow::read_text(&self.file, text),
            document => Flow::read_value(document.clone()),
        }
    }

    /// Adds locations to findings on the document.
    pub(super) fn located(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        match &self.document {
            Value::String(text) => Flow::locate(&self.file, text, found),
            _ => found,
        }
    }

    /// Returns a flow of this document if nothing that was found is worse than a warning, with the warnings.
    pub(super) fn accept<T>(&self, flow: Option<T>, found: Vec<Diagnostic>) -> Result<(T, Vec<Diagnostic>)> {
        Diagnostic::accept(&self.file, &found)?;
        let unread = || Error::new(ErrorKind::Config, format!("{} is not a flow", self.file));
        Ok((flow.ok_or_else(unread)?, found))
    }
}

impl FlowFile {
    /// Returns the document without the flows that it calls.
    fn text(&self) -> FlowText {
        FlowText { file: self.file.clone(), document: self.document.clone() }
    }

    /// Links the flow with the flows that it calls. Returns it with what is wrong with the calls and the called flows.
    fn link(&self, flow: &Flow) -> (Flow, Vec<Diagnostic>) {
        let (text, faults) = (self.text(), RefCell::new(BTreeMap::new()));
        let find = |name: &str| {
            let called = self.called.get(name)?;
            let (flow, mut found) = called.read();
            if let Some(other) = flow.as_ref().map(Flow::name).filter(|other| !other.is_empty() && *other != name) {
                let message = format!("the flow in this file has the name {other}, but {name} is expected");
                found.extend(called.located(vec![Diagnostic::error("/name", message)]));
            }
            faults.borrow_mut().insert(name.to_owned(), (flow.is_some(), found));
            flow
        };
        let (linked, mut found) = flow.link_readable(&find);
        let faults = faults.into_inner();
        // That a flow cannot be read at all is more useful than the report that there is no such flow.
        if faults.values().any(|(is_flow, _)| !is_flow) {
            found.clear();
        }
        let hint = "give the called flow too: for a flow in a file, as NAME.json or NAME.yaml in its folder";
        let hinted = |one: Diagnostic| if one.next.is_empty() { one.hint(hint) } else { one };
        let mut found = text.located(found.into_iter().map(hinted).collect());
        found.extend(faults.into_values().flat_map(|(_, found)| found));
        (linked, found)
    }

    /// Returns what each step of the flow yields.
    ///
    /// # Errors
    ///
    /// `config` with what is wrong with a flow that cannot be read.
    pub(super) fn outputs(&self, registry: &Registry) -> Result<Vec<StepYield>> {
        let (flow, found) = self.draft()?;
        let (flow, _) = self.text().accept(Some(flow), found)?;
        Ok(flow.outputs(registry))
    }

    /// Returns the flow as far as it can be read, linked with the flows that it calls, and what is wrong with it.
    ///
    /// # Errors
    ///
    /// `config` with what is wrong with a document of which nothing can be read.
    pub(super) fn draft(&self) -> Result<(Flow, Vec<Diagnostic>)> {
        let text = self.text();
        let (flow, mut found) = text.read();
        let Some(flow) = flow else { return text.accept(None, found) };
        let (flow, calls) = self.link(&flow);
        found.extend(calls);
        Ok((flow, found))
    }

    /// Like [`FlowFile::draft`], with everything that a check finds. A connection that is not bound is not a fault.
    ///
    /// # Errors
    ///
    /// As [`FlowFile::draft`], or `store`.
    pub(super) async fn examined(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
    ) -> Result<(Flow, Vec<Diagnostic>)> {
        match self.examine(runtime, bindings, false).await? {
            (Some(flow), found) => Ok((flow, found)),
            (None, found) => self.text().accept(None, found),
        }
    }

    /// Reads, links and checks the flow, with these bindings and the only connections that fit for others. Returns it as
    /// far as it could be read, and everything that is wrong. `required` is whether all connections have to be bound.
    async fn examine(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
        required: bool,
    ) -> Result<(Option<Flow>, Vec<Diagnostic>)> {
        let text = self.text();
        let (flow, mut found) = text.read();
        let Some(flow) = flow else { return Ok((None, found)) };
        let (flow, calls) = self.link(&flow);
        found.extend(calls);
        let bindings = runtime.all_bindings(&flow, bindings.clone()).await?;
        let mut checked = runtime.check_flow(&flow, &bindings).await?;
        checked.extend(runtime.binding_faults(&flow, &bindings, required, None).await?);
        found.extend(text.located(checked));
        Ok((Some(flow), Diagnostic::bounded(found)))
    }

    /// Returns the flow that is run with these bindings, with the warnings.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for everything that is wrong with it.
    pub(super) async fn checked(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
    ) -> Result<(Flow, Vec<Diagnostic>)> {
        let (flow, found) = self.examine(runtime, bindings, true).await?;
        self.text().accept(flow, found)
    }

    /// Returns everything that is wrong with the flow. A connection that is not bound is not a fault.
    pub(super) async fn validate(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
    ) -> Result<Vec<Diagnostic>> {
        let (flow, mut found) = self.examine(runtime, bindings, false).await?;
        // What is missing can be saved with the flow.
        let missing = flow.iter().flat_map(|flow| flow.check_saved_input(&Map::new()));
        let missing = missing.map(|one| Diagnostic { severity: Severity::Warning, ..one }).collect();
        found.extend(self.text().located(missing));
        Ok(Diagnostic::bounded(found))
    }
}

impl FlowChoice {
    /// Returns a flow for a rerun, linked and checked, with the warnings.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such saved flow, or `config` with everything that is wrong with a given flow.
    pub(super) async fn corrected(&self, runtime: &Runtime) -> Result<(Flow, Vec<Diagnostic>)> {
        match self {
            FlowChoice::Saved(name) => {
                let (_, flow) = runtime.saved_flow(name).await?;
                Ok((runtime.link(&flow).await?, Vec::new()))
            }
            FlowChoice::File(file) => {
                let (flow, found) = file.examine(runtime, &BTreeMap::new(), false).await?;
                file.text().accept(flow, found)
            }
        }
    }
}

//! Flows that callers give with a request instead of by the name of a saved flow.

use std::{cell::RefCell, collections::BTreeMap};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Registry, Result, Severity};
use trunkline_flow::Flow;

use crate::Runtime;

/// The document of a flow.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowText {
    /// The name of the document in the locations of findings, such as the path of its file. Its extension says whether
    /// the text is JSON or YAML.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The document: an object, or its text in JSON or YAML. Only findings in a text have a line and a column.
    pub document: Value,
}

/// A flow that is not saved, with the flows that it calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowFile {
    /// The name of the document in the locations of findings, such as the path of its file. Its extension says whether
    /// the text is JSON or YAML.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The document: an object, or its text in JSON or YAML. Only findings in a text have a line and a column.
    pub document: Value,
    /// The flows that it calls, directly or through others, by their names.
    #[serde(default)]
    pub called: BTreeMap<String, FlowText>,
}

/// A saved flow or one that is given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowChoice {
    /// The name of a saved flow.
    Saved(String),
    /// A flow that is not saved.
    File(FlowFile),
}

fn unnamed() -> String {
    "the flow".to_owned()
}

impl FlowText {
    /// Parses the flow. It is not linked with the flows that it calls.
    pub(super) fn parse(&self) -> Result<Flow, Vec<Diagnostic>> {
        match &self.document {
            Value::String(text) => Flow::parse(&self.file, text),
            document => Flow::from_value(document.clone()),
        }
    }

    /// Adds locations to findings on the document.
    pub(super) fn located(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        match &self.document {
            Value::String(text) => Flow::locate(&self.file, text, found),
            _ => found,
        }
    }

    /// Returns everything that is wrong with the document, whether or not it can be read.
    fn findings(&self, registry: &Registry) -> Vec<Diagnostic> {
        match &self.document {
            Value::String(text) => Flow::findings(&self.file, text, registry),
            document => {
                let found = Flow::findings(&self.file, &document.to_string(), registry);
                found.into_iter().map(|one| Diagnostic { place: None, ..one }).collect()
            }
        }
    }

    /// Turns findings into one error.
    pub(super) fn error(&self, found: &[Diagnostic]) -> Error {
        Diagnostic::into_error(&self.file, found)
            .unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{} is not a flow", self.file)))
    }

    /// Checks a flow that was read from this document, with these bindings. Returns the warnings.
    pub(super) async fn check(
        &self,
        runtime: &Runtime,
        flow: &Flow,
        bindings: &BTreeMap<String, String>,
    ) -> Result<Vec<Diagnostic>> {
        let found = self.located(runtime.check_flow(flow, bindings).await?);
        match found.iter().any(|one| one.severity == Severity::Error) {
            true => Err(self.error(&found)),
            false => Ok(found),
        }
    }
}

impl FlowFile {
    /// Returns the document without the flows that it calls.
    fn text(&self) -> FlowText {
        FlowText { file: self.file.clone(), document: self.document.clone() }
    }

    /// Parses the flow, and links it with the flows that it calls.
    fn read(&self) -> Result<Flow, Vec<Diagnostic>> {
        let (text, faulty) = (self.text(), RefCell::new(Vec::new()));
        let flow = text.parse()?;
        let find = |name: &str| {
            let called = self.called.get(name)?;
            match called.parse() {
                Ok(flow) if flow.name() == name => Some(flow),
                Ok(flow) => {
                    let message = format!("the flow in this file has the name {}, but {name} is expected", flow.name());
                    faulty.borrow_mut().extend(called.located(vec![Diagnostic::error("/name", message)]));
                    None
                }
                Err(found) => {
                    faulty.borrow_mut().extend(found);
                    None
                }
            }
        };
        let linked = flow.link(&find);
        // A fault in a called flow is more useful than the report that there is no such flow.
        match (linked, faulty.take()) {
            (Err(found), faulty) if faulty.is_empty() => {
                let hint = "give the called flow too: for a flow in a file, as NAME.json or NAME.yaml in its folder";
                let hinted = |one: Diagnostic| if one.next.is_empty() { one.hint(hint) } else { one };
                Err(text.located(found.into_iter().map(hinted).collect()))
            }
            (Err(_), faulty) => Err(faulty),
            (linked, _) => linked,
        }
    }

    /// Parses, links and checks the flow, with these bindings. Returns it with the warnings.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for everything that is wrong with it.
    pub(super) async fn checked(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
    ) -> Result<(Flow, Vec<Diagnostic>)> {
        let text = self.text();
        let flow = self.read().map_err(|found| text.error(&found))?;
        let bindings = runtime.all_bindings(&flow, bindings.clone()).await?;
        let warnings = text.check(runtime, &flow, &bindings).await?;
        Ok((flow, warnings))
    }

    /// Returns everything that is wrong with the flow, see [`Runtime::check_flow`].
    pub(super) async fn validate(
        &self,
        runtime: &Runtime,
        bindings: &BTreeMap<String, String>,
    ) -> Result<Vec<Diagnostic>> {
        let text = self.text();
        match self.read() {
            Ok(flow) => {
                for name in bindings.values() {
                    runtime.connections().masked_connection(name).await?;
                }
                let bindings = runtime.all_bindings(&flow, bindings.clone()).await?;
                let mut found = runtime.check_flow(&flow, &bindings).await?;
                // What is missing can be saved with the flow.
                let missing = flow.check_saved_input(&Map::new()).into_iter();
                found.extend(missing.map(|one| Diagnostic { severity: Severity::Warning, ..one }));
                Ok(text.located(found))
            }
            Err(faults) => {
                // A fault in the flow or in a flow that it calls does not hide the others.
                let mut found = text.findings(runtime.registry());
                let others: Vec<_> = faults.into_iter().filter(|one| !found.contains(one)).collect();
                found.extend(others);
                Ok(found)
            }
        }
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
            FlowChoice::File(file) => file.checked(runtime, &BTreeMap::new()).await,
        }
    }
}

//! Saved flows in the form in which they are read, as the caller has seen them.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result};

use super::{
    FlowText,
    flow_file::object_or_text,
    flows::{FlowAdded, FlowDraft, save_over},
    operation_table,
    precondition::{Precondition, tag_of_flow},
};
use crate::Runtime;

operation_table! {
    /// Saves a flow under its name in the form in which `flows.get` returns it, as the caller has seen it.
    PutFlow: "flows.put", put(FlowToPut) -> FlowPut, Editor, Idempotent, etag;
}

/// A flow to save, in the form in which `flows.get` returns it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowToPut {
    /// The flow, which its document names too.
    pub name: String,
    /// The document: an object, or its text in JSON or YAML. Only findings in a text have a line and a column.
    #[serde(deserialize_with = "object_or_text")]
    #[schemars(extend("type" = ["object", "string"]))]
    pub document: Value,
    /// The connection for each connection that the flow declares, see `flows.save`.
    #[serde(default)]
    pub connections: BTreeMap<String, String>,
    /// The default input, see `flows.save`.
    #[serde(default)]
    pub input: Option<Map<String, Value>>,
    /// Whether its trigger starts runs, see `flows.save`.
    #[serde(default)]
    pub active: Option<bool>,
    /// The entity tag of the flow as the caller has seen it, written as in the header `If-Match`. A flow is replaced only
    /// with it.
    #[serde(default)]
    #[schemars(regex(pattern = super::precondition::ENTITY_TAGS))]
    pub if_match: Option<String>,
    /// `*` saves the flow only if there is none of this name, as in the header `If-None-Match`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\*$"))]
    pub if_none_match: Option<String>,
    /// The version, which follows from the document.
    #[serde(default)]
    pub version: ReadOnly,
    /// The time up to which the trigger has handled everything.
    #[serde(default)]
    pub through: ReadOnly,
    /// Whether the secret of a signed webhook is saved.
    #[serde(default)]
    pub has_secret: ReadOnly,
    /// What was found about the trigger.
    #[serde(default)]
    pub findings: ReadOnly,
    /// What the trigger has started.
    #[serde(default)]
    pub starts: ReadOnly,
    /// When it was first saved.
    #[serde(default)]
    pub created_at: ReadOnly,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: ReadOnly,
    /// When a run is due next.
    #[serde(default)]
    pub next: ReadOnly,
}

/// A member that a document has when it is read, and that is not looked at when it is saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

impl<'de> Deserialize<'de> for ReadOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadOnly, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| ReadOnly)
    }
}

impl JsonSchema for ReadOnly {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReadOnly".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "readOnly": true })
    }
}

/// The saved flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowPut {
    /// Whether there was no flow of this name.
    pub created: bool,
    /// The saved flow, as `flows.save` returns it.
    #[serde(flatten)]
    pub saved: FlowAdded,
    /// Its entity tag.
    #[serde(skip)]
    pub etag: String,
}

async fn put(runtime: &Runtime, input: FlowToPut) -> Result<FlowPut> {
    let FlowToPut { name, document, connections, input, active, if_match, if_none_match, .. } = input;
    let expected = Precondition::read(if_match.as_deref(), if_none_match.as_deref())?;
    let flow = FlowText { file: format!("flow {name}"), document };
    if let Some(other) = flow.read().0.filter(|flow| flow.name() != name) {
        let message = format!("the document is that of flow {}, and not of {name}", other.name());
        return Err(Error::new(ErrorKind::InvalidInput, message).hint("give the document the name of the request"));
    }
    let previous = runtime.previous(&name).await?;
    if previous.is_some() && !expected.is_given() {
        return Err(Error::new(ErrorKind::Conflict, format!("flow {name} exists, and would be replaced unseen"))
            .hint("get the flow, and pass its entity tag in `If-Match`")
            .with_detail(ErrorDetail::ExpectationMissing));
    }
    expected.check(&format!("flow {name}"), previous.as_ref().map(tag_of_flow).as_deref())?;
    let (created, replace) = (previous.is_none(), previous.is_some());
    let saved = save_over(runtime, FlowDraft { flow, connections, input, active, replace }, previous).await?;
    Ok(FlowPut { created, etag: tag_of_flow(&saved.added), saved })
}

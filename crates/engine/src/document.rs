//! The flow document as a person writes it: closed members, a kind of step for each type. The schema of flows is derived
//! from these types; what a document *means* is the business of [`Flow`](crate::Flow).

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, Schema as Schemars, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::{Schema, schema_of};

use crate::{Overlap, trigger::TriggerDocument};

/// A flow document.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Flow")]
#[allow(dead_code)]
pub(crate) struct FlowDocument {
    /// Where an editor finds the schema of flows.
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    /// What the flow is called: letters, digits, dots, dashes and underscores.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub(crate) name: String,
    /// What the flow is for.
    pub(crate) about: Option<String>,
    /// The slots for connections and the connector each one needs; which connection fills a slot is said at run time.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, String>,
    /// What starts runs beside a person, once the flow is kept and served.
    pub(crate) trigger: Option<TriggerDocument>,
    /// What happens when a run is to begin while another one of this flow is at work.
    #[serde(default)]
    pub(crate) overlap: Overlap,
    /// JSON Schema of the input that a run takes.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) input: Option<Value>,
    /// What to do, in order.
    #[schemars(schema_with = "steps_schema")]
    pub(crate) steps: Vec<Value>,
}

/// Calls an action of a connector.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Action")]
pub(crate) struct ActionDocument {
    /// What later steps call this one.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// The action, such as `asset.upload`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The slot of the connection to run it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input; texts may hold `{{ expressions }}`.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
}

/// Runs steps for each item of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Each")]
pub(crate) struct EachDocument {
    /// What later steps call this one.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// A list, an expression that yields one, or an action that lists: its items are fetched page by page as they are
    /// worked on.
    #[schemars(schema_with = "over_schema")]
    pub(crate) each: Value,
    /// What tells the items apart, such as `{{ item.id }}`: an item whose key has an outcome in this run is not worked on
    /// again. Needed where an action lists.
    pub(crate) key: Option<String>,
    /// How many items are worked on at the same time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub(crate) concurrency: usize,
    /// What to do with each item, in order; expressions call it `item`.
    #[schemars(schema_with = "steps_schema")]
    pub(crate) steps: Vec<Value>,
}

/// Where the items of an `each` come from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverDocument {
    /// An action that lists, such as `folder.files`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The slot of the connection to run it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
}

/// Runs one list of steps or another; `skip` or `fail` stand for a list with just that.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "If")]
pub(crate) struct IfDocument {
    /// What this step is called.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// An expression that yields true or false.
    #[serde(rename = "if")]
    pub(crate) condition: Value,
    /// What to do if it is true.
    #[serde(default)]
    #[schemars(schema_with = "steps_schema")]
    pub(crate) then: Vec<Value>,
    /// What to do if it is false.
    #[serde(default, rename = "else")]
    #[schemars(schema_with = "steps_schema")]
    pub(crate) otherwise: Vec<Value>,
    /// If it is true, ends the item, or the run, as skipped for this reason.
    pub(crate) skip: Option<String>,
    /// If it is true, ends the item, or the run, as failed for this reason.
    pub(crate) fail: Option<String>,
}

/// Gives names to values: `{{ steps.ID.NAME }}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Set")]
pub(crate) struct SetDocument {
    /// What later steps call this one.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// The values by name; texts may hold `{{ expressions }}`.
    pub(crate) set: Map<String, Value>,
}

/// Ends the item, or the run, as skipped.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Skip")]
pub(crate) struct SkipDocument {
    /// What this step is called.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// Why.
    pub(crate) skip: String,
}

/// Ends the item, or the run, as failed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fail")]
pub(crate) struct FailDocument {
    /// What this step is called.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// Why.
    pub(crate) fail: String,
}

fn one() -> usize {
    1
}

fn steps_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "type": "array", "items": { "$ref": "#/$defs/step" } })
}

fn over_schema(generator: &mut SchemaGenerator) -> Schemars {
    let action = generator.subschema_for::<OverDocument>();
    json_schema!({ "anyOf": [{ "type": ["string", "array"] }, action] })
}

/// The kinds of step by the member that tells them apart. `each` and `if` come first: their steps may have the others' too.
pub(crate) static KINDS: LazyLock<[(&str, Schema); 6]> = LazyLock::new(|| {
    [
        ("each", checkable::<EachDocument>()),
        ("if", checkable::<IfDocument>()),
        ("action", checkable::<ActionDocument>()),
        ("set", checkable::<SetDocument>()),
        ("skip", checkable::<SkipDocument>()),
        ("fail", checkable::<FailDocument>()),
    ]
});
/// The flow itself.
pub(crate) static FLOW: LazyLock<Schema> = LazyLock::new(checkable::<FlowDocument>);

/// The schema of one document, its nested steps aside: those are checked on their own, so that each fault is told once.
fn checkable<T: JsonSchema>() -> Schema {
    let mut schema = schema_of::<T>();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$defs".into(), json!({ "step": true }));
    }
    schema.into()
}

/// The JSON Schema of flow documents.
pub(crate) fn schema() -> Value {
    let kind = |schema: &Schema| {
        let mut schema = schema.value().clone();
        if let Some(object) = schema.as_object_mut() {
            object.remove("$defs");
            object.remove("$schema");
        }
        schema
    };
    let mut flow = kind(&FLOW);
    let steps: Vec<_> = KINDS.iter().map(|(_, schema)| kind(schema)).collect();
    if let Some(object) = flow.as_object_mut() {
        object.shift_insert(0, "$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("$defs".into(), json!({ "step": { "oneOf": steps } }));
    }
    flow
}

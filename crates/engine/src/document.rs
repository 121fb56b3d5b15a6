//! The flow document as a person writes it: closed members, a kind of step for each type. The schema of flows is derived
//! from these types; what a document *means* is the business of [`Flow`](crate::Flow).

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, Schema as Schemars, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::{Schema, schema_of};

use crate::{
    process_log::Logging,
    trigger::{OverlapDocument, TriggerDocument},
};

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
    /// What happens when a run is to begin while another one of this flow is at work: `queue` (it waits), `skip` (it does not
    /// begin), `parallel` (it begins), or `{ "parallel": 4 }` (so many at once, others wait).
    pub(crate) overlap: Option<OverlapDocument>,
    /// JSON Schema of the input that a run takes.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) input: Option<Value>,
    /// Tables for the filter `lookup`: by name, what a key stands for.
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, Map<String, Value>>,
    /// What to do, in order.
    #[schemars(schema_with = "steps_schema")]
    pub(crate) steps: Vec<Value>,
    /// What a run, or a step that calls the flow, yields; texts may hold `{{ expressions }}`.
    pub(crate) output: Option<Map<String, Value>>,
    /// How long a run may take in all, such as `6h`.
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) timeout: Option<String>,
    /// What to do when a run has failed; expressions see `error`, `input` and `run`. The run has failed all the same.
    #[serde(default)]
    #[schemars(schema_with = "steps_schema")]
    pub(crate) on_failure: Vec<Value>,
    /// How soon results are safe from a power cut.
    #[serde(default)]
    pub(crate) durability: Flushing,
    /// Which calls are kept in the process log with their inputs and outputs, for `trunkline runs log`. Secrets are left out,
    /// but values may be about people.
    #[serde(default)]
    pub(crate) log: Logging,
}

/// How soon results are safe from a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flushing {
    /// Those of calls that create or delete at once, all others some milliseconds later.
    #[default]
    ByEffect,
    /// Each before the next step begins.
    EveryStep,
}

/// What happens to a step that fails, or takes too long.
#[derive(Default, Deserialize, JsonSchema)]
#[allow(dead_code)]
pub(crate) struct GuardDocument {
    /// Tries the step again if it fails in a way that may pass. A call whose outcome nobody knows is never repeated.
    pub(crate) retry: Option<RetryDocument>,
    /// How long the step may take in all, with all tries and the time between them, such as `10m`.
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) timeout: Option<String>,
    /// If it fails for good: `fail` lets the steps around it fail too, `continue` goes on without its output, and steps run
    /// in its place; their expressions see `error`.
    #[schemars(schema_with = "on_error_schema")]
    pub(crate) on_error: Option<Value>,
}

/// How often a step is tried.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RetryDocument {
    /// How often in all.
    #[schemars(range(min = 2, max = 100))]
    pub(crate) tries: u32,
    /// How long to wait before the second try; it doubles with each one. A longer time that the service asks for is obeyed.
    #[serde(default = "one_second")]
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) wait: String,
    /// How long it grows at most.
    #[serde(default = "one_minute")]
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) longest: String,
}

/// Calls an action of a connector.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Action")]
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
#[schemars(deny_unknown_fields, title = "Each")]
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
    /// Remembers across the runs of this flow which items are done: one that has not changed since is skipped. What an item
    /// is like is said by an expression, such as `{{ item.version }}`, or by all of the item as it is listed (`true`). It is
    /// remembered by the flow's name, the connections of the run, this step's path, and the key; an edited flow remembers it
    /// too. What else decides whether an item is to be done again has to be in the expression, such as
    /// `{{ item.version }} {{ input.category }}`. An item of which an earlier run does not know whether it was done is not
    /// done again before that is settled.
    #[serde(default)]
    #[schemars(schema_with = "once_schema")]
    pub(crate) once: Option<Value>,
    /// How many items are worked on at the same time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub(crate) concurrency: usize,
    /// Runs the steps once for up to so many items of a page: expressions call the list of them `items`, and all get the same
    /// outcome.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) batch: Option<usize>,
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

/// Runs several lists of steps at the same time, and ends when all have ended.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Parallel")]
pub(crate) struct ParallelDocument {
    /// What this step is called.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// The lists by name. The steps of one do not see those of another; later steps see them all.
    #[schemars(schema_with = "branches_schema")]
    pub(crate) parallel: Map<String, Value>,
}

/// Runs another flow.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Call")]
pub(crate) struct CallDocument {
    /// What later steps call this one; its value is the flow's `output`.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// The flow's name.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub(crate) call: String,
    /// The flow's input; texts may hold `{{ expressions }}`.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
    /// Which slot of this flow fills which slot of that one; one that is not named is filled by the slot of the same name.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, String>,
}

/// Waits, also while no process is there: for some time, until a time, or for a signal.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Wait")]
pub(crate) struct WaitDocument {
    /// What later steps call this one; its value is what came with the signal.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"))]
    pub(crate) id: String,
    /// What to wait for.
    pub(crate) wait: WaitForDocument,
}

/// What to wait for: one of these.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct WaitForDocument {
    /// So long, such as `90s`, `10m` or `3d`.
    #[serde(rename = "for")]
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) duration: Option<String>,
    /// Until a time: `2026-11-21T08:00:00Z`, or milliseconds since 1970.
    #[schemars(with = "Option<Moment>")]
    pub(crate) until: Option<Value>,
    /// Until somebody sends the run a signal of this name, with `trunkline runs signal`. How long at most is said by the
    /// step's `timeout`.
    #[schemars(length(min = 1))]
    pub(crate) signal: Option<String>,
}

/// A time as it may be written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Moment {
    Text(String),
    Milliseconds(u64),
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

fn one_second() -> String {
    "1s".into()
}

fn one_minute() -> String {
    "1m".into()
}

fn on_error_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "anyOf": [
        { "type": "string", "enum": ["fail", "continue"] },
        { "type": "array", "items": { "$ref": "#/$defs/step" }, "minItems": 1 }
    ] })
}

fn branches_schema(generator: &mut SchemaGenerator) -> Schemars {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 32,
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$" },
        "additionalProperties": steps_schema(generator)
    })
}

fn steps_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "type": "array", "items": { "$ref": "#/$defs/step" } })
}

fn once_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "type": ["boolean", "string", "null"] })
}

fn over_schema(generator: &mut SchemaGenerator) -> Schemars {
    let action = generator.subschema_for::<OverDocument>();
    json_schema!({ "anyOf": [{ "type": ["string", "array"] }, action] })
}

/// The kinds of step by the member that tells them apart. `each` and `if` come first: their steps may have the others' too.
pub(crate) static KINDS: LazyLock<[(&str, Schema); 9]> = LazyLock::new(|| {
    let all = &["retry", "timeout", "on_error"][..];
    [
        ("each", checkable::<EachDocument>(all)),
        ("if", checkable::<IfDocument>(&[])),
        ("action", checkable::<ActionDocument>(all)),
        ("parallel", checkable::<ParallelDocument>(all)),
        ("call", checkable::<CallDocument>(all)),
        ("wait", checkable::<WaitDocument>(&all[1..])),
        ("set", checkable::<SetDocument>(&[])),
        ("skip", checkable::<SkipDocument>(&[])),
        ("fail", checkable::<FailDocument>(&[])),
    ]
});
/// The flow itself.
pub(crate) static FLOW: LazyLock<Schema> = LazyLock::new(|| checkable::<FlowDocument>(&[]));

/// The schema of one document with these members of [`GuardDocument`], its nested steps aside: those are checked on their
/// own, so that each fault is told once.
fn checkable<T: JsonSchema>(guards: &[&str]) -> Schema {
    let (mut schema, guard) = (schema_of::<T>(), schema_of::<GuardDocument>());
    for name in guards {
        schema["properties"][name] = guard["properties"][name].clone();
    }
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

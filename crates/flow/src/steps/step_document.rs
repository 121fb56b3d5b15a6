//! The steps of a flow document as a user writes them: one Rust type for each kind of step, with a closed set of
//! members.
//!
//! The JSON Schema of steps is derived from these types, and documents are checked against it. The types hold what the
//! document *says*; [`Step`](crate::Step) is what it *means*: compiled, and with references resolved.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, Schema as Schemars, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::{Schema, schema_of};

/// A part of a document that is read where it stands: a copy of the steps at each level would take as much memory as the
/// document for each level.
pub(crate) type InPlace = serde::de::IgnoredAny;

/// What happens when a step fails or takes too long.
#[derive(Default, Deserialize, JsonSchema)]
#[allow(dead_code)]
pub(crate) struct PolicyDocument {
    /// Repeats the step if it failed in a way that may pass. A call with an unknown outcome is never repeated.
    pub(crate) retry: Option<RetryDocument>,
    /// The longest time the step may take in all, with every try and the waits between them, such as `10m`.
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) timeout: Option<String>,
    /// What happens when the step has finally failed: `fail` fails the steps around it too, `continue` goes on without
    /// its output, and a list of steps runs in its place. The expressions of those steps can use `error`.
    #[schemars(schema_with = "on_error_schema")]
    pub(crate) on_error: Option<InPlace>,
}

/// What holds for the steps inside that do not say it themselves. The innermost block that says something comes first.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultsDocument {
    /// For steps that call an action.
    pub(crate) retry: Option<RetryDocument>,
    /// For steps that call an action.
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) timeout: Option<String>,
    /// For steps of the kinds `action`, `call`, `each` and `wait`. `continue` goes on without the output of a step that
    /// failed.
    pub(crate) on_error: Option<DefaultOnError>,
}

/// What happens by default when a step has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DefaultOnError {
    /// The steps around it fail too.
    Fail,
    /// The run goes on without its output.
    Continue,
}

/// How often a step is tried, and how long it waits in between.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RetryDocument {
    /// The number of tries in all, the first one included. 1 does not repeat the step, whatever the `defaults` say.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) tries: u32,
    /// The wait before the second try. It doubles with each further try. A longer wait that the service asks for is
    /// obeyed.
    #[serde(default = "one_second")]
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) wait: String,
    /// The longest wait that doubling can lead to.
    #[serde(default = "one_minute")]
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) longest: String,
}

/// Calls an action of a connector.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Action")]
pub(crate) struct ActionDocument {
    /// The step's id, by which later steps refer to it.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The action, such as `asset.upload`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The connection binding to call it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input; texts may hold `{{ expressions }}`.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
}

/// Runs steps for each item of a list.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Each")]
#[allow(dead_code)]
pub(crate) struct EachDocument {
    /// The step's id, by which later steps refer to it.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// A list, an expression that yields one, or an action that lists. The items of an action are fetched page by page
    /// while earlier ones are processed.
    #[schemars(schema_with = "each_schema")]
    pub(crate) each: Value,
    /// The identity of an item, such as `{{ item.id }}`. An item whose key already has an outcome in this run is not
    /// processed again. Required where an action lists.
    pub(crate) key: Option<String>,
    /// Remembers across the runs of this flow which items are done, and skips an item that has not changed since. The
    /// state of an item is the value of an expression, such as `{{ item.version }}`, or the whole item as it is listed
    /// (`true`). It is stored under the flow's name, the connections of the run, this step's path and the item's key,
    /// so it survives an edit of the flow. Anything else that should make an item run again belongs into the
    /// expression, such as `{{ item.version }} {{ input.category }}`. An item with an unknown outcome in an earlier run
    /// is not processed again before that outcome is resolved.
    #[serde(default)]
    #[schemars(schema_with = "once_schema")]
    pub(crate) once: Option<Value>,
    /// What people call an item, such as `{{ item.name }}`: it stands beside the key where items are shown, and the item
    /// is found by it in all runs.
    pub(crate) label: Option<String>,
    /// What an item has become when its steps are done: a value, or a small object of ids, such as
    /// `{{ steps.upload.assetId }}`. It is kept with the item's outcome, and the item is found by it in all runs.
    pub(crate) result: Option<Value>,
    /// A value of each item whose steps are done, for the steps after the `each`: the list `steps.ID.collected`, in the
    /// order of the items. It holds at most 10,000 values and 1 MiB.
    pub(crate) collect: Option<Value>,
    /// The number of items that are processed at the same time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub(crate) concurrency: usize,
    /// Runs the steps once for up to this number of items of a page. Expressions use the list `items`, and all items of
    /// a batch get the same outcome.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) batch: Option<usize>,
    /// What holds for the steps inside that do not say it themselves.
    pub(crate) defaults: Option<DefaultsDocument>,
    /// The steps for each item, in order. Expressions use `item`.
    #[schemars(schema_with = "steps_schema")]
    pub(crate) steps: InPlace,
}

/// The action that lists the items of an `each`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListActionDocument {
    /// An action that lists, such as `folder.files`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The connection binding to call it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
}

/// Runs one of two lists of steps. `skip` or `fail` in place of `then` is short for a list with just that step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "If")]
#[allow(dead_code)]
pub(crate) struct IfDocument {
    /// The step's id.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// An expression that yields true or false.
    #[serde(rename = "if")]
    pub(crate) condition: Value,
    /// What holds for the steps inside that do not say it themselves.
    pub(crate) defaults: Option<DefaultsDocument>,
    /// The steps to run if it is true.
    #[serde(default)]
    #[schemars(schema_with = "steps_schema", extend("default" = []))]
    pub(crate) then: InPlace,
    /// The steps to run if it is false.
    #[serde(default, rename = "else")]
    #[schemars(schema_with = "steps_schema", extend("default" = []))]
    pub(crate) otherwise: InPlace,
    /// The reason to end the item, or the run, as skipped if it is true.
    pub(crate) skip: Option<String>,
    /// The reason to end the item, or the run, as failed if it is true.
    pub(crate) fail: Option<String>,
}

/// Runs several lists of steps at the same time, and ends when all of them have ended.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Parallel")]
#[allow(dead_code)]
pub(crate) struct ParallelDocument {
    /// The step's id.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// What holds for the steps inside that do not say it themselves.
    pub(crate) defaults: Option<DefaultsDocument>,
    /// The lists of steps by name. Steps of one list cannot refer to steps of another; later steps can refer to all.
    #[schemars(schema_with = "branches_schema")]
    pub(crate) parallel: InPlace,
}

/// Runs another flow.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Call")]
pub(crate) struct CallDocument {
    /// The step's id, by which later steps refer to it. Its value is the flow's `output`.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The name of the flow to run.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), extend("examples" = ["nightly-copy"]))]
    pub(crate) call: String,
    /// The flow's input; texts may hold `{{ expressions }}`.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
    /// The connection bindings of the called flow, each with the binding of this flow to use for it. A binding that is
    /// not listed uses the binding of the same name.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, String>,
}

/// Waits for some time, until a time, or for a signal. The wait continues while no process runs.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Wait")]
pub(crate) struct WaitDocument {
    /// The step's id, by which later steps refer to it. Its value is the payload of the signal.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The end of the wait.
    pub(crate) wait: WaitForDocument,
}

/// The end of a wait: one of these.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct WaitForDocument {
    /// A length of time, such as `90s`, `10m` or `3d`.
    #[serde(rename = "for")]
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) duration: Option<String>,
    /// A time: `2026-11-21T08:00:00Z`, or milliseconds since 1970.
    #[schemars(with = "Option<TimeDocument>")]
    pub(crate) until: Option<Value>,
    /// The name of a signal, as it is sent to the run. The step's `timeout` limits the wait.
    #[schemars(length(min = 1))]
    pub(crate) signal: Option<String>,
}

/// The two ways to write a time.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum TimeDocument {
    Text(String),
    Milliseconds(u64),
}

/// Gives names to values: `{{ steps.ID.NAME }}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Set")]
pub(crate) struct SetDocument {
    /// The step's id, by which later steps refer to it.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The values by name; texts may hold `{{ expressions }}`.
    pub(crate) set: Map<String, Value>,
}

/// Ends the item, or the run, as skipped.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Skip")]
pub(crate) struct SkipDocument {
    /// The step's id.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The reason.
    pub(crate) skip: String,
}

/// Ends the item, or the run, as failed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fail")]
pub(crate) struct FailDocument {
    /// The step's id.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"), extend("examples" = ["copy_file"]))]
    pub(crate) id: String,
    /// The reason.
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

pub(crate) fn steps_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "type": "array", "items": { "$ref": "#/$defs/step" } })
}

fn once_schema(_: &mut SchemaGenerator) -> Schemars {
    json_schema!({ "type": ["boolean", "string", "null"] })
}

fn each_schema(generator: &mut SchemaGenerator) -> Schemars {
    let action = generator.subschema_for::<ListActionDocument>();
    json_schema!({ "anyOf": [{ "type": ["string", "array"] }, action] })
}

/// The kinds of step, each with the member that identifies it and its schema. `each` and `if` come first because steps
/// of these kinds may also have the members of others.
pub(crate) static KINDS: LazyLock<[(&str, Schema); 9]> = LazyLock::new(|| {
    let policies = &["retry", "timeout", "on_error"][..];
    [
        ("each", checkable::<EachDocument>(policies)),
        ("if", checkable::<IfDocument>(&[])),
        ("action", checkable::<ActionDocument>(policies)),
        ("parallel", checkable::<ParallelDocument>(policies)),
        ("call", checkable::<CallDocument>(policies)),
        ("wait", checkable::<WaitDocument>(&policies[1..])),
        ("set", checkable::<SetDocument>(&[])),
        ("skip", checkable::<SkipDocument>(&[])),
        ("fail", checkable::<FailDocument>(&[])),
    ]
});

/// Returns the schema of one document, with these members of [`PolicyDocument`]. Nested steps are left open: each is
/// checked on its own, so that a fault in one is reported once.
pub(crate) fn checkable<T: JsonSchema>(policies: &[&str]) -> Schema {
    let (mut schema, policy) = (schema_of::<T>(), schema_of::<PolicyDocument>());
    for name in policies {
        schema["properties"][name] = policy["properties"][name].clone();
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$defs".into(), json!({ "step": true }));
    }
    schema.into()
}

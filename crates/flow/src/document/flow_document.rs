//! The flow document as a user writes it, and its JSON Schema.
//!
//! The types hold what the document *says*; [`Flow`](crate::Flow) is what it *means*: compiled, and with references
//! resolved.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::Schema;

use crate::{
    steps::step_document::{DefaultsDocument, InPlace, KINDS, checkable, steps_schema},
    trigger::{OverlapDocument, TriggerDocument},
};

/// A flow document.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Flow")]
#[allow(dead_code)]
pub(crate) struct FlowDocument {
    /// The schema of flow documents, for editors that look for it here.
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    /// The flow's name: letters, digits, dots, dashes and underscores.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), extend("examples" = ["nightly-copy"]))]
    pub(crate) name: String,
    /// The purpose of the flow.
    pub(crate) about: Option<String>,
    /// The connection bindings by name, each with the connector that it needs. A run binds a connection to each of
    /// them.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, String>,
    /// What starts runs automatically, once the flow is saved and the server runs.
    pub(crate) trigger: Option<TriggerDocument>,
    /// What happens when a run is due while another run of this flow is active: `queue` (it waits), `skip` (it does not
    /// start), `parallel` (it starts), or `{ "parallel": 4 }` (at most 4 runs are active at once; further runs wait).
    pub(crate) overlap: Option<OverlapDocument>,
    /// The JSON Schema of a run's input. A `default` in it, at any depth, stands for a value that is missing. Given values
    /// come first, then those that are saved with the flow, then defaults. `null` is a value.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) input: Option<Value>,
    /// Tables for the filter `lookup`, by name. Each maps keys to values.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Map<String, Value>>", extend("default" = {}))]
    pub(crate) tables: InPlace,
    /// What holds for the steps of the flow that do not say it themselves, those of `on_failure` included.
    pub(crate) defaults: Option<DefaultsDocument>,
    /// The steps of a run, in order.
    #[schemars(schema_with = "steps_schema")]
    pub(crate) steps: InPlace,
    /// The output of a run, and of a step that calls the flow. Texts may hold `{{ expressions }}`.
    pub(crate) output: Option<Map<String, Value>>,
    /// The longest time a run may take in all, such as `6h`.
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) timeout: Option<String>,
    /// Steps to run after a run has failed. Their expressions can use `error`, `input` and `run`. The run stays failed.
    #[serde(default)]
    #[schemars(schema_with = "steps_schema", extend("default" = []))]
    pub(crate) on_failure: InPlace,
    /// How long runs are kept after they have ended, such as `30d`, or `forever`. Without it, the setting of the store
    /// holds. Runs with an unknown outcome are kept.
    #[schemars(regex(pattern = "^([0-9]|forever$)"), extend("examples" = ["30d"]))]
    pub(crate) retention: Option<String>,
    /// When results are written to disk, so that they survive a power cut.
    #[serde(default)]
    pub(crate) durability: Flushing,
    /// Which calls are recorded in the process log with their inputs and outputs, which is kept for each run. Secrets
    /// are left out, but values may contain personal data.
    #[serde(default)]
    pub(crate) log: Logging,
}

/// When results are written to disk, so that they survive a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flushing {
    /// Results of calls that create or delete at once, all others some milliseconds later.
    #[default]
    ByEffect,
    /// Each result before the next step begins.
    EveryStep,
}

/// The calls that a flow logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Logging {
    /// All calls.
    All,
    /// Failed calls, also if they are tried again.
    #[default]
    Failures,
    /// No calls.
    None,
}

impl Logging {
    /// Returns whether a call with this end is logged.
    pub fn includes(self, ok: bool) -> bool {
        match self {
            Logging::All => true,
            Logging::Failures => !ok,
            Logging::None => false,
        }
    }
}

/// The schema of the flow itself.
pub(crate) static FLOW: LazyLock<Schema> = LazyLock::new(|| checkable::<FlowDocument>(&[]));

/// Returns the JSON Schema of flow documents, with every kind of step in its `$defs`.
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

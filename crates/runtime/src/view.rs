//! Values as doors show them.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use trunkline_core::{Redactor, StepPath, Timestamp};
use trunkline_engine::{ListProgress, QuotaUse, Run, RunState, RunStatus, RunSummary};

/// A run, with the progress of its lists while it is running.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunView {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The progress of the lists of a running run, by the path of their `each` step.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub progress: BTreeMap<StepPath, ListProgress>,
    /// What a run does that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

/// A run in a list of runs, with what it does.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedRun {
    /// The run.
    #[serde(flatten)]
    pub run: RunSummary,
    /// What a run does that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

impl RunView {
    /// Returns a run as it is shown at this time, with the secrets that the redactor knows redacted in its input and its
    /// output. All else of a run was redacted when it was recorded.
    pub fn new(
        mut run: Run,
        state: Option<RunState>,
        quota: Option<&QuotaUse>,
        now: Timestamp,
        redactor: &Redactor,
    ) -> RunView {
        run.input = redactor.redact_json(&run.input);
        run.output = run.output.map(|output| redactor.redact_json(&output));
        let mut progress = if run.status == RunStatus::Running { run.progress(now) } else { BTreeMap::new() };
        if let Some((quota, list)) = quota.and_then(|quota| Some((quota, progress.get_mut(&quota.list)?))) {
            list.quota = quota.share(list);
        }
        RunView { run, progress, state }
    }
}

/// A value that contains texts of other systems. Its JSON and the text that a door words from it have the secrets of a
/// runtime redacted.
#[derive(Clone, Debug)]
pub struct Redacted<T> {
    value: T,
    redactor: Redactor,
}

impl<T> Redacted<T> {
    /// Wraps a value, with the redactor of the runtime that it comes from.
    pub fn new(value: T, redactor: &Redactor) -> Redacted<T> {
        Redacted { value, redactor: redactor.clone() }
    }

    /// Returns the value itself, for decisions. A text for people is worded with [`Redacted::text`].
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Returns a text about the value, with known secrets redacted.
    pub fn text(&self, word: impl FnOnce(&T) -> String) -> String {
        self.redactor.redact(&word(&self.value)).into_owned()
    }
}

impl<T: Serialize> Serialize for Redacted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redactor.redact_json(&self.value).serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Redacted<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

//! Values as doors show them.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::Value;
use trunkline_core::{StepPath, Timestamp, redact};
use trunkline_engine::{ListProgress, Run, RunStatus};

/// A run, with the progress of its lists while it is running.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunView {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The progress of the lists of a running run, by the path of their `each` step.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub progress: BTreeMap<StepPath, ListProgress>,
}

impl RunView {
    /// Returns a run as it is shown at this time.
    pub fn new(run: Run, now: Timestamp) -> RunView {
        let progress = if run.status == RunStatus::Running { run.progress(now) } else { BTreeMap::new() };
        RunView { run, progress }
    }
}

/// A value that contains texts of other systems. Its JSON and the text that a door words from it have known secrets
/// redacted.
#[derive(Clone, Debug, PartialEq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Redacted<T> {
        Redacted(value)
    }

    /// Returns the value itself, for decisions. A text for people is worded with [`Redacted::text`].
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Returns a text about the value, with known secrets redacted.
    pub fn text(&self, word: impl FnOnce(&T) -> String) -> String {
        redact(&word(&self.0)).into_owned()
    }
}

impl<T: Serialize> Serialize for Redacted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        redacted(&self.0).serialize(serializer)
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

/// Returns a value as JSON with known secrets redacted. Each text is redacted by itself: in the serialized JSON a secret
/// would be escaped, and not be found.
pub fn redacted(value: &impl Serialize) -> Value {
    fn redact_all(value: &mut Value) {
        match value {
            Value::String(text) => *text = redact(text).into_owned(),
            Value::Array(all) => all.iter_mut().for_each(redact_all),
            Value::Object(all) => all.values_mut().for_each(redact_all),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    redact_all(&mut value);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_core::Secret;

    use super::*;

    #[test]
    fn json_and_texts_of_a_redacted_value_show_no_secret() {
        let secret = Secret::from("a secret \"in quotes\"");
        let value = json!({ "said": [format!("it was {}", secret.expose())] });
        assert_eq!(value["said"][0], "it was a secret \"in quotes\"");
        let shown = Redacted::new(value);
        assert_eq!(serde_json::to_value(&shown).unwrap(), json!({ "said": ["it was ***"] }));
        assert_eq!(shown.text(|value| value["said"][0].as_str().unwrap().to_owned()), "it was ***");
    }
}

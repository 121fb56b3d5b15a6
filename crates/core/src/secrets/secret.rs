//! Secrets as a type: a [`Secret`] can be deserialized but not serialized, and its memory is wiped after its last use.
//!
//! A [`Redactor`](crate::Redactor) replaces the secrets that were added to it in texts that they should not have reached.
//!
//! ```
//! use trunkline_core::Secret;
//! let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
//! assert_eq!(format!("{secret:?} {secret}"), "*** ***");
//! assert_eq!(secret.expose(), "hunter2");
//! ```

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;

/// A string that must not be shown. It can be deserialized but not serialized, and it prints as `***`.
#[derive(Clone)]
pub struct Secret(pub(crate) Arc<SecretString>);

impl Secret {
    /// Returns the secret itself, for the one place that needs it. Never put it into a log, an error or a URL.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns whether the secret is the empty string, which some login servers send instead of omitting a token.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Returns the secret in the text of a file or an environment variable: without a byte order mark at its start, and
    /// without one line break at its end. `None` if there is nothing else but white space.
    pub fn of_text(text: &str) -> Option<Secret> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        (!text.trim().is_empty()).then(|| text.into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(Arc::new(text.into()))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(Arc::new(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::from)
    }
}

/// The source of a secret that the settings only refer to: `{"env": "NAME"}` or `{"file": "path"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// The name of an environment variable of the host.
    Env(String),
    /// The path of a file that the host can read. One line break at its end is ignored.
    File(String),
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let elsewhere = |title: &str, member: &str, name: &str, example: &str| {
            let name = json!({ "type": "string", "title": name, "minLength": 1, "examples": [example] });
            json!({ "type": "object", "title": title, "required": [member], "additionalProperties": false,
                "properties": { member: name } })
        };
        json_schema!({
            "type": ["string", "object"],
            "anyOf": [
                { "type": "string", "title": "The secret itself", "format": "password", "minLength": 1 },
                elsewhere("From an environment variable", "env", "Name of the variable", "CLIENT_SECRET"),
                elsewhere("From a file", "file", "Path of the file", "/run/secrets/client_secret")
            ],
            "writeOnly": true,
            "format": "password"
        })
    }
}

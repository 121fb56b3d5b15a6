//! A secret is a type, not a flag: it is read, never written, and wiped when nobody has it any more.
//!
//! It is also known to [`redact`](crate::redact), which finds it in texts that it should never have come into; for that,
//! the latest few hundred are kept a while longer.
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

use crate::redact::remember;

/// A text that must not be seen: it can be deserialized but not serialized, and prints as `***`.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// The text itself, for the one place that needs it: never for a log, an error or a URL.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// True for the empty text, as some login servers send instead of no token.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(remember(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(remember(text.to_owned()))
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

/// Where a secret that is not written out comes from: `{"env": "NAME"}` or `{"file": "path"}` in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// An environment variable of the host.
    Env(String),
    /// A file the host can read; one line break at its end does not count.
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
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1 },
                {
                    "type": "object", "title": "From an environment variable", "required": ["env"],
                    "additionalProperties": false, "properties": { "env": { "type": "string", "minLength": 1 } }
                },
                {
                    "type": "object", "title": "From a file", "required": ["file"],
                    "additionalProperties": false, "properties": { "file": { "type": "string", "minLength": 1 } }
                }
            ],
            "writeOnly": true,
            "format": "password"
        })
    }
}

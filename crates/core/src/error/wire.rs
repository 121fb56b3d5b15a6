//! Errors as JSON, for hosts and for the journal.
//!
//! ```json
//! { "kind": "auth", "message": "..", "hint": "sign in to dam in the browser",
//!   "next": [{ "type": "sign_in", "connection": "dam" }],
//!   "context": { "setting": "/password" }, "details": [{ "setting": { "pointer": "/password" } }] }
//! ```
//!
//! `details` is always written, even if it is empty. An error without it was recorded by an earlier version, which
//! decided on `context`: its details are derived from there when it is read.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AdviceMembers, Diagnostic, Error, ErrorDetail, ErrorKind, Fact, Parts, Retry, pairs};

fn is_never(retry: &Retry) -> bool {
    *retry == Retry::Never
}

/// A failure, described for users and for programs.
#[derive(Serialize, JsonSchema)]
struct Written<'a> {
    /// The kind of failure.
    kind: ErrorKind,
    /// What was tried, on what, and why it failed.
    message: &'a str,
    #[serde(flatten)]
    advice: AdviceMembers,
    /// Whether to retry the same call; never if absent.
    #[serde(skip_serializing_if = "is_never")]
    retry: Retry,
    /// Facts for people, such as the action, host or status.
    #[serde(skip_serializing_if = "<[Fact]>::is_empty", serialize_with = "pairs::serialize")]
    #[schemars(with = "BTreeMap<String, String>")]
    context: &'a [Fact],
    /// Everything that programs decide on, besides the kind and `retry`.
    details: &'a [ErrorDetail],
    /// What was found in the document that the error is about.
    #[serde(skip_serializing_if = "<[Diagnostic]>::is_empty")]
    findings: &'a [Diagnostic],
}

#[derive(Deserialize)]
struct Read {
    kind: ErrorKind,
    message: String,
    #[serde(flatten)]
    advice: AdviceMembers,
    #[serde(default)]
    retry: Retry,
    #[serde(default, deserialize_with = "pairs::deserialize")]
    context: Vec<Fact>,
    details: Option<Vec<ErrorDetail>>,
    #[serde(default)]
    findings: Vec<Diagnostic>,
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Parts { kind, message, next, retry, context, details, findings, source: _, has_lines: _ } = &*self.0;
        let advice = AdviceMembers::of(next);
        Written { kind: *kind, message, advice, retry: *retry, context, details, findings }.serialize(serializer)
    }
}

impl JsonSchema for Error {
    fn schema_name() -> Cow<'static, str> {
        "Error".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { kind, message, advice, retry, context, details, findings } = Read::deserialize(deserializer)?;
        let recorded = |(key, value): &Fact| ErrorDetail::of_recorded_fact(kind, key, value);
        let details = details.unwrap_or_else(|| context.iter().filter_map(recorded).collect());
        let next = advice.into_steps();
        Ok(Error(Box::new(Parts {
            kind,
            message,
            next,
            retry,
            context,
            details,
            findings,
            source: None,
            has_lines: false,
        })))
    }
}

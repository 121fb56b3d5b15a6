//! The process log: what actions were called with and what came of it, for whoever looks into a run that went wrong.
//!
//! It is no part of what a run is made of: it is bounded, the oldest entries go first, nobody waits until it is on disk, and
//! nothing is ever read from it to go on. It shows no secrets: neither values that this process knows to be some, nor
//! members that a schema marks `writeOnly` or `password` or that are named like one, nor the query of an address.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{ActionSpec, Error, Timestamp, redact};

use crate::StepPath;

/// How many bytes of JSON are kept of an input, an output or an error.
pub const LOG_VALUE: usize = 16 * 1024;
/// How many entries are kept of a run.
pub const LOG_ENTRIES: u64 = 1_000;
/// How many bytes of entries are kept of a run.
pub const LOG_BYTES: u64 = 10 * 1024 * 1024;
/// How many entries those get at a time who read the log.
pub const LOG_PAGE: usize = 100;

const MASK: &str = "***";

/// Which calls are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Logging {
    /// All of them.
    All,
    /// Those that failed, also if they are tried again.
    #[default]
    Failures,
    /// None.
    None,
}

/// One call of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The step's path in the run, keys and all.
    pub path: StepPath,
    /// The step's path in the flow, with `*` in place of keys.
    pub step: String,
    /// The key of the item it belongs to; with those of the items around it before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Which try, from 1.
    pub attempt: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// The action.
    pub action: String,
    /// The connection it was called on.
    pub connection: String,
    /// What it was called with.
    pub input: Value,
    /// What it yielded, if it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// A part of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogPage {
    /// How many of the oldest entries are gone: there was no more room.
    pub dropped: u64,
    /// Entries with their numbers, oldest first.
    pub entries: Vec<(u64, LogEntry)>,
}

/// What is called.
pub(crate) struct About<'a> {
    pub(crate) action: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) input: &'a Value,
    pub(crate) spec: Option<&'a ActionSpec>,
}

impl Logging {
    /// Whether a call that ended like this is logged.
    pub(crate) fn takes(self, ok: bool) -> bool {
        match self {
            Logging::All => true,
            Logging::Failures => !ok,
            Logging::None => false,
        }
    }
}

impl LogEntry {
    /// What may be kept of a call, see [this module](self).
    pub(crate) fn new(path: &StepPath, attempt: u32, (at, took): (Timestamp, u64), about: &About<'_>) -> LogEntry {
        LogEntry {
            path: path.clone(),
            step: path.as_str().to_owned(),
            item: None,
            attempt,
            at,
            took,
            action: about.action.to_owned(),
            connection: about.connection.to_owned(),
            input: shown(about.input, about.spec.map(|spec| &spec.input)),
            output: None,
            error: None,
        }
    }

    pub(crate) fn ended(self, result: Result<&Value, &Error>, about: &About<'_>) -> LogEntry {
        match result {
            Ok(output) => LogEntry { output: Some(shown(output, about.spec.map(|spec| &spec.output))), ..self },
            Err(error) => {
                let error = serde_json::to_value(error).unwrap_or_else(|_| error.to_string().into());
                LogEntry { error: Some(shown(&error, None)), ..self }
            }
        }
    }
}

/// A value without secrets, and not too long.
fn shown(value: &Value, schema: Option<&Value>) -> Value {
    let mut schemas = Vec::new();
    schema.into_iter().for_each(|schema| expand(schema, &mut schemas));
    copy(value, &schemas, "", &mut LOG_VALUE.clone())
}

/// A schema and those that it combines.
fn expand<'a>(schema: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(schema);
    for part in ["oneOf", "anyOf", "allOf"] {
        schema[part].as_array().into_iter().flatten().for_each(|one| expand(one, all));
    }
}

fn is_secret(schema: &Value) -> bool {
    schema["writeOnly"] == true || schema["format"] == "password"
}

/// Whether a member of this name is none of anybody's business, whatever its schema says.
fn names_a_secret(name: &str) -> bool {
    const NAMES: [&str; 9] =
        ["password", "passwd", "secret", "token", "authorization", "apikey", "subscriptionkey", "cookie", "signature"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.iter().any(|secret| plain.contains(secret))
}

fn copy(value: &Value, schemas: &[&Value], name: &str, left: &mut usize) -> Value {
    if schemas.iter().any(|schema| is_secret(schema))
        || (names_a_secret(name) && !matches!(value, Value::Null | Value::Bool(_)))
    {
        return MASK.into();
    }
    let below = |name: &str| {
        let mut below = Vec::new();
        for schema in schemas {
            let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            property.into_iter().for_each(|property| expand(property, &mut below));
        }
        below
    };
    match value {
        Value::String(text) => cut(&without_signatures(&redact(text)), left).into(),
        Value::Array(all) => {
            let mut items = Vec::new();
            schemas.iter().filter_map(|schema| schema.get("items")).for_each(|schema| expand(schema, &mut items));
            let mut some = Vec::new();
            for (number, one) in all.iter().enumerate() {
                if *left == 0 {
                    some.push(format!("… and {} more", all.len() - number).into());
                    break;
                }
                take(left, 3);
                some.push(copy(one, &items, name, left));
            }
            some.into()
        }
        Value::Object(all) => {
            let mut some = Map::new();
            for (number, (name, one)) in all.iter().enumerate() {
                if *left == 0 {
                    some.insert("…".into(), format!("and {} more", all.len() - number).into());
                    break;
                }
                let key = cut(&without_signatures(&redact(name)), left);
                take(left, 6);
                some.insert(key, copy(one, &below(name), name, left));
            }
            some.into()
        }
        other => {
            take(left, 8);
            other.clone()
        }
    }
}

fn take(left: &mut usize, bytes: usize) {
    *left = left.saturating_sub(bytes);
}

/// As much of a text as there is room for, with a mark where it was cut.
fn cut(text: &str, left: &mut usize) -> String {
    if text.len() <= *left {
        take(left, text.len());
        return text.to_owned();
    }
    let end = text.floor_char_boundary(*left);
    *left = 0;
    format!("{}… (cut: {} bytes in all)", &text[..end], text.len())
}

/// A text whose addresses have no queries, no fragments and no passwords, and that has no signatures outside of addresses.
fn without_signatures(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"'<>`\\".contains(c);
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let start = at + "://".len();
        let end = rest[start..].find(ends).map_or(rest.len(), |end| start + end);
        let (address, after) = match rest[start..end].find(['?', '#']) {
            Some(query) => (&rest[start..start + query], "?***"),
            None => (&rest[start..end], ""),
        };
        let host = address.find('/').unwrap_or(address.len());
        let user = address[..host].rfind('@').map_or(0, |user| user + 1);
        said += &rest[..start];
        said += if user > 0 { "***@" } else { "" };
        said += &address[user..];
        said += after;
        rest = &rest[end..];
    }
    said += rest;
    for name in ["sig=", "signature=", "token="] {
        let (lower, mut masked, mut last) = (said.to_ascii_lowercase(), String::new(), 0);
        for (at, _) in lower.match_indices(name).filter(|(at, _)| said.is_char_boundary(*at)) {
            let start = at + name.len();
            if at < last {
                continue;
            }
            let end = said[start..].find(|c: char| ends(c) || "&;,".contains(c)).map_or(said.len(), |end| start + end);
            masked += &said[last..start];
            masked += if end > start { MASK } else { "" };
            last = end;
        }
        masked += &said[last..];
        said = masked;
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trunkline_core::Secret;

    #[test]
    fn what_is_secret_is_not_shown() {
        let _known = Secret::from("canary in a text");
        let schema = json!({ "properties": {
            "pin": { "type": "string", "format": "password" },
            "deep": { "oneOf": [{ "properties": { "list": { "items": { "properties": { "code": { "writeOnly": true } } } } } }] },
            "map": { "additionalProperties": { "writeOnly": true } }
        } });
        let value = json!({
            "pin": "1234", "title": "a title", "deep": { "list": [{ "code": 7, "n": 7 }] }, "map": { "a": "x" },
            "headers": { "Authorization": "Bearer x", "x-api-key": ["y"], "Accept": "json" }, "clientSecret": { "a": 1 },
            "has_token": true, "text": "before canary in a text after", "canary in a text": 1,
            "url": "https://blob.test/c/b?sv=1&sig=abc%2F=", "path": "/c/b?se=1&Signature=abc&x=1",
            "body": "{\"link\":\"https://u:p@blob.test/x#t\",\"n\":1} ftp://h"
        });
        let expected = json!({
            "pin": "***", "title": "a title", "deep": { "list": [{ "code": "***", "n": 7 }] }, "map": { "a": "***" },
            "headers": { "Authorization": "***", "x-api-key": "***", "Accept": "json" }, "clientSecret": "***",
            "has_token": true, "text": "before *** after", "***": 1,
            "url": "https://blob.test/c/b?***", "path": "/c/b?se=1&Signature=***&x=1",
            "body": "{\"link\":\"https://***@blob.test/x?***\",\"n\":1} ftp://h"
        });
        assert_eq!(shown(&value, Some(&schema)), expected);
    }

    #[test]
    fn what_is_long_is_cut_with_a_mark() {
        let long = "ä".repeat(LOG_VALUE);
        let text = shown(&json!({ "a": long, "b": 1, "c": 2 }), None);
        assert!(text["a"].as_str().unwrap().ends_with(&format!("… (cut: {} bytes in all)", 2 * LOG_VALUE)));
        assert_eq!(text["…"], "and 2 more");
        let list = shown(&json!((0..100_000).collect::<Vec<_>>()), None);
        let list = list.as_array().unwrap();
        assert!(list.len() < LOG_VALUE && list.last().unwrap().as_str().unwrap().ends_with(" more"));
        for value in [json!({ "a": long }), json!([[long], long]), json!(vec!["x"; 50_000])] {
            assert!(shown(&value, None).to_string().len() < LOG_VALUE * 2);
        }
    }

    /// A secret must not come into sight by being cut in two.
    #[test]
    fn what_is_cut_was_redacted_before() {
        let _known = Secret::from("canary-at-the-cut");
        let text = format!("{}canary-at-the-cut", "x".repeat(LOG_VALUE - 8));
        assert!(!shown(&json!(text), None).to_string().contains("canary"));
    }
}

//! The process log: inputs, outputs and errors of the actions that a run called, for an operator who examines a
//! failure.
//!
//! The log is not part of a run's state: it is bounded, the oldest entries are dropped first, no step waits until an
//! entry is on disk, and a resumed run reads nothing from it. It contains no secrets: neither values that this process
//! knows to be secret, nor members that a schema marks `writeOnly` or `password` or whose names say so, nor the query
//! of a URL. A service may return what it was sent: values of such members of an input are not in the output or the error
//! of the call either.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{ActionSpec, Error, Redactor, Secret, StepPath, Timestamp};

use crate::run::time::milliseconds;

/// The largest size of an input, an output or an error in the log, in bytes of JSON. Longer values are cut.
pub const LOG_VALUE: usize = 16 * 1024;
/// The largest number of entries kept for a run.
pub const LOG_ENTRIES: u64 = 1_000;
/// The largest size of the entries kept for a run, in bytes.
pub const LOG_BYTES: u64 = 10 * 1024 * 1024;
/// The largest number of entries in a [`LogPage`].
pub const LOG_PAGE: usize = 100;

const MASK: &str = "***";

/// One call of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// The step's path in the run, with the keys of items.
    pub path: StepPath,
    /// The step's path in the flow, with `*` in place of keys.
    pub step: String,
    /// The key of the item it belongs to. The keys of enclosing items stand before it, separated by `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the call began.
    pub at: Timestamp,
    /// The duration of the call, in milliseconds.
    pub took: u64,
    /// The name of the action.
    pub action: String,
    /// The name of the connection.
    pub connection: String,
    /// The redacted input of the call.
    pub input: Value,
    /// The redacted output, if the call succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// The redacted error, if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// A page of a run's process log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LogPage {
    /// The number of oldest entries that were dropped because the log was full.
    pub dropped: u64,
    /// The entries with their numbers, oldest first.
    pub entries: Vec<(u64, LogEntry)>,
}

/// A call to log: the action, its connection and its input.
pub(crate) struct LoggedCall<'a> {
    pub(crate) action: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) input: &'a Value,
    /// The schemas of the action, which say what is secret.
    pub(crate) spec: Option<&'a ActionSpec>,
    /// The redactor of the connection's host.
    pub(crate) redactor: &'a Redactor,
}

/// One attempt of a step: when it began, and how long it took.
pub(crate) struct LoggedAttempt<'a> {
    pub(crate) step: &'a StepPath,
    /// The number of the attempt, from 1.
    pub(crate) number: u32,
    pub(crate) began: Timestamp,
    pub(crate) took: Duration,
}

impl LogEntry {
    /// Returns the entry for a call that has ended, redacted and cut as [this module](self) says.
    pub(crate) fn new(attempt: LoggedAttempt<'_>, call: &LoggedCall<'_>, result: Result<&Value, &Error>) -> LogEntry {
        let json = |error: &Error| serde_json::to_value(error).unwrap_or_else(|_| error.to_string().into());
        let (input, output) = call.spec.map(|spec| (&spec.input, &spec.output)).unzip();
        let known = Redactors { host: call.redactor, sent: secrets_of(call.input, input) };
        LogEntry {
            path: attempt.step.clone(),
            step: attempt.step.as_str().to_owned(),
            item: None,
            attempt: attempt.number,
            at: attempt.began,
            took: milliseconds(attempt.took),
            action: call.action.to_owned(),
            connection: call.connection.to_owned(),
            input: redacted(call.input, input, &known),
            output: result.ok().map(|value| redacted(value, output, &known)),
            error: result.err().map(|error| redacted(&json(error), None, &known)),
        }
    }
}

/// Returns a value as the log shows it: without secrets, and cut to [`LOG_VALUE`] bytes with a mark that says how long the
/// cut text is.
pub fn shown_value(value: &Value, schema: Option<&Value>, redactor: &Redactor) -> Value {
    redacted(value, schema, &Redactors { host: redactor, sent: Redactor::default() })
}

/// What a call must not show: the secrets that its host knows, and those that it was sent.
struct Redactors<'a> {
    host: &'a Redactor,
    sent: Redactor,
}

impl Redactors<'_> {
    fn redact(&self, text: &str) -> String {
        self.sent.redact(&self.host.redact(text)).into_owned()
    }
}

/// Returns the secrets in an input, by the names and the schemas of its members.
fn secrets_of(input: &Value, schema: Option<&Value>) -> Redactor {
    fn visit(value: &Value, schemas: &[&Value], name: &str, is_secret: bool, found: &Redactor) {
        let is_secret = is_secret || is_masked(value, schemas, name);
        let add = |text: &str| found.add(&Secret::from(text));
        match value {
            Value::Array(all) => {
                let items = items_of(schemas);
                all.iter().for_each(|one| visit(one, &items, name, is_secret, found));
            }
            Value::Object(all) => {
                all.iter().for_each(|(name, one)| visit(one, &member_of(schemas, name), name, is_secret, found));
            }
            Value::String(text) if is_secret => {
                add(text);
                // The token without its scheme, such as `Bearer`.
                text.split_once(' ').iter().for_each(|(_, token)| add(token));
            }
            Value::Number(number) if is_secret => add(&number.to_string()),
            _ => {}
        }
    }
    let found = Redactor::default();
    visit(input, &expanded(schema), "", false, &found);
    found
}

/// Returns the input of a call as the process log shows it: without secrets, and cut to [`LOG_VALUE`] bytes.
pub fn shown_input(input: &Value, spec: Option<&ActionSpec>, host: &Redactor) -> Value {
    redacted(input, spec.map(|spec| &spec.input), &Redactors { host, sent: Redactor::default() })
}

/// Returns a value without secrets and cut to [`LOG_VALUE`] bytes.
fn redacted(value: &Value, schema: Option<&Value>, known: &Redactors<'_>) -> Value {
    redact_value(value, &expanded(schema), known, "", &mut LOG_VALUE.clone())
}

/// Returns schemas with those that they combine.
fn expanded<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut all = Vec::new();
    schemas.into_iter().for_each(|schema| expand(schema, &mut all));
    all
}

/// Adds a schema, and the schemas that it combines, to `all`.
fn expand<'a>(schema: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(schema);
    for part in ["oneOf", "anyOf", "allOf"] {
        schema[part].as_array().into_iter().flatten().for_each(|one| expand(one, all));
    }
}

fn is_secret(schema: &Value) -> bool {
    schema["writeOnly"] == true || schema["format"] == "password"
}

/// Returns whether a member of this name is secret, whatever its schema says.
fn names_a_secret(name: &str) -> bool {
    const NAMES: [&str; 9] =
        ["password", "passwd", "secret", "token", "authorization", "apikey", "subscriptionkey", "cookie", "signature"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.iter().any(|secret| plain.contains(secret))
}

/// Returns whether a value is not shown, by its schemas and by the name of its member.
fn is_masked(value: &Value, schemas: &[&Value], name: &str) -> bool {
    schemas.iter().any(|schema| is_secret(schema))
        || (names_a_secret(name) && !matches!(value, Value::Null | Value::Bool(_)))
}

/// Returns the schemas of a member.
fn member_of<'a>(schemas: &[&'a Value], name: &str) -> Vec<&'a Value> {
    let property = |schema: &&'a Value| schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
    expanded(schemas.iter().filter_map(property))
}

/// Returns the schemas of the items of a list.
fn items_of<'a>(schemas: &[&'a Value]) -> Vec<&'a Value> {
    expanded(schemas.iter().filter_map(|schema| schema.get("items")))
}

fn redact_value(value: &Value, schemas: &[&Value], known: &Redactors<'_>, name: &str, left: &mut usize) -> Value {
    if is_masked(value, schemas, name) {
        return MASK.into();
    }
    match value {
        Value::String(text) => truncate(&without_signatures(&known.redact(text)), left).into(),
        Value::Array(all) => {
            let items = items_of(schemas);
            let mut some = Vec::new();
            for (number, one) in all.iter().enumerate() {
                if *left == 0 {
                    some.push(format!("… and {} more", all.len() - number).into());
                    break;
                }
                use_up(left, 3);
                some.push(redact_value(one, &items, known, name, left));
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
                let key = truncate(&without_signatures(&known.redact(name)), left);
                use_up(left, 6);
                some.insert(key, redact_value(one, &member_of(schemas, name), known, name, left));
            }
            some.into()
        }
        other => {
            use_up(left, 8);
            let text = other.to_string();
            if known.sent.redact(&text) == text { other.clone() } else { MASK.into() }
        }
    }
}

fn use_up(left: &mut usize, bytes: usize) {
    *left = left.saturating_sub(bytes);
}

/// Returns as much of a text as fits into the bytes that are left, with a mark where it was cut.
fn truncate(text: &str, left: &mut usize) -> String {
    if text.len() <= *left {
        use_up(left, text.len());
        return text.to_owned();
    }
    let end = text.floor_char_boundary(*left);
    *left = 0;
    format!("{}… (cut: {} bytes in all)", &text[..end], text.len())
}

/// Returns a text without the queries, fragments and passwords of URLs, and without signatures outside of URLs.
fn without_signatures(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"'<>`\\".contains(c);
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let start = at + "://".len();
        let end = rest[start..].find(ends).map_or(rest.len(), |end| start + end);
        let (url, after) = match rest[start..end].find(['?', '#']) {
            Some(query) => (&rest[start..start + query], "?***"),
            None => (&rest[start..end], ""),
        };
        let host = url.find('/').unwrap_or(url.len());
        let user = url[..host].rfind('@').map_or(0, |user| user + 1);
        clean += &rest[..start];
        clean += if user > 0 { "***@" } else { "" };
        clean += &url[user..];
        clean += after;
        rest = &rest[end..];
    }
    clean += rest;
    for name in ["sig=", "signature=", "token="] {
        let (lower, mut masked, mut last) = (clean.to_ascii_lowercase(), String::new(), 0);
        for (at, _) in lower.match_indices(name).filter(|(at, _)| clean.is_char_boundary(*at)) {
            let start = at + name.len();
            if at < last {
                continue;
            }
            let end =
                clean[start..].find(|c: char| ends(c) || "&;,".contains(c)).map_or(clean.len(), |end| start + end);
            masked += &clean[last..start];
            masked += if end > start { MASK } else { "" };
            last = end;
        }
        masked += &clean[last..];
        clean = masked;
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trunkline_core::Secret;

    fn redacted(value: &Value, schema: Option<&Value>, host: &Redactor) -> Value {
        super::redacted(value, schema, &Redactors { host, sent: Redactor::default() })
    }

    /// Returns the logged output and error of a call, for a service that returns what it was sent.
    fn echoed(input: Value) -> String {
        let schema = json!({ "properties": { "pin": { "format": "password" },
            "list": { "items": { "oneOf": [{ "properties": { "code": { "writeOnly": true } } }] } } } });
        let redactor = Redactor::default();
        let known = Redactors { host: &redactor, sent: secrets_of(&input, Some(&schema)) };
        let text = serde_json::to_string(&input).unwrap();
        let output = json!({ "echo": text, "numbers": [87_654_321], "canary-password": 1 });
        let error = serde_json::to_value(Error::new(trunkline_core::ErrorKind::InvalidInput, text)).unwrap();
        [super::redacted(&output, None, &known), super::redacted(&error, None, &known)]
            .map(|one| one.to_string())
            .concat()
    }

    #[test]
    fn what_a_call_was_sent_as_a_secret_is_not_logged_where_a_service_returns_it() {
        let long = "x".repeat(2 * LOG_VALUE);
        let text = echoed(
            json!({ "body": "seen", "headers": { "Authorization": "Bearer canary-token", "x-api-key": ["canary-key"] },
            "password": "canary-password", "clientSecret": { "deep": "canary-deep" }, "pin": "canary-pin",
            "list": [{ "code": "canary-code" }], "token": 87_654_321, "long": long, "aToken": "canary-behind-the-cut" }),
        );
        assert!(!text.contains("canary") && !text.contains("87654321"), "{text}");
        assert!(text.contains("seen"), "{text}");
        // The twin: the same values under other names are not secret. And a short one would be found in ordinary words.
        let text = echoed(json!({ "a": "canary-token", "b": ["canary-password", 87_654_321], "token": "short" }));
        for shown in ["canary-token", "canary-password", "87654321", "short"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn secrets_are_not_logged() {
        let redactor = Redactor::default();
        redactor.add(&Secret::from("canary in a text"));
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
        assert_eq!(redacted(&value, Some(&schema), &redactor), expected);
    }

    #[test]
    fn long_values_are_cut_with_a_mark() {
        let long = "ä".repeat(LOG_VALUE);
        let text = redacted(&json!({ "a": long, "b": 1, "c": 2 }), None, &Redactor::default());
        assert!(text["a"].as_str().unwrap().ends_with(&format!("… (cut: {} bytes in all)", 2 * LOG_VALUE)));
        assert_eq!(text["…"], "and 2 more");
        let list = redacted(&json!((0..100_000).collect::<Vec<_>>()), None, &Redactor::default());
        let list = list.as_array().unwrap();
        assert!(list.len() < LOG_VALUE && list.last().unwrap().as_str().unwrap().ends_with(" more"));
        for value in [json!({ "a": long }), json!([[long], long]), json!(vec!["x"; 50_000])] {
            assert!(redacted(&value, None, &Redactor::default()).to_string().len() < LOG_VALUE * 2);
        }
    }

    /// Half a secret would not be recognized.
    #[test]
    fn values_are_redacted_before_they_are_cut() {
        let redactor = Redactor::default();
        redactor.add(&Secret::from("canary-at-the-cut"));
        let text = format!("{}canary-at-the-cut", "x".repeat(LOG_VALUE - 8));
        assert!(!redacted(&json!(text), None, &redactor).to_string().contains("canary"));
    }
}

//! Triggers, which start runs automatically: schedules, webhooks, and polls of a list for new items.
//!
//! Each event of a trigger has a deduplication key: a due time, the id of a delivery, the key of an item. The key is
//! recorded in the transaction that accepts the run for the event. So no event is lost and none starts two runs,
//! whenever the process dies.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::Diagnostic;

use crate::{
    expression::Template,
    steps::{parse_duration, reader::Reader, step::BoundAction},
    trigger::schedule::{Schedule, ScheduleDocument},
};

/// What starts runs of a flow automatically: one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct TriggerDocument {
    /// Starts runs at certain times. Their input is `{ "at": TIME }`.
    pub(crate) schedule: Option<ScheduleDocument>,
    /// Starts a run for each request to the flow's webhook URL. Its input is
    /// `{ "headers": {..}, "body": .., "delivery": ID }`.
    pub(crate) webhook: Option<Webhook>,
    /// Starts runs for new items of a list. Their input is `{ "items": [..] }`.
    pub(crate) poll: Option<PollDocument>,
}

/// Which requests a webhook accepts, what a run gets from them, and how they are responded to. The URL of a webhook
/// also holds a secret token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The header with the id of a delivery, such as `X-GitHub-Delivery`. A repeated delivery does not start a second
    /// run. Without this member, the `source` and `id` of a CloudEvent are used.
    pub delivery: Option<String>,
    /// The headers that become part of the run's input, under their names in lower case.
    #[serde(default)]
    pub headers: Vec<String>,
    /// How requests are signed (HMAC-SHA256). If it is set, a request without a valid signature is rejected.
    pub signature: Option<Signature>,
    /// The content of the response.
    #[serde(default)]
    pub answer: WebhookResponseMode,
    /// How long a response with the result may wait for the end of the run, at most one minute. After that, the
    /// response has the run's id.
    #[serde(default = "half_a_minute")]
    #[schemars(regex(pattern = "^[0-9]"))]
    pub timeout: String,
}

/// The content of the response to a webhook's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookResponseMode {
    /// The run's id, at once.
    #[default]
    Run,
    /// The result of the run, if it ends in time.
    Result,
}

/// How the sender of a webhook signs its requests.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The header with the signature. It may hold several, separated by spaces.
    #[schemars(length(min = 1))]
    pub header: String,
    /// A text in the header before the signature, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// The encoding of the signature.
    #[serde(default)]
    pub encoding: Encoding,
    /// The signed content: `{body}`, which is the bytes of the request's body, with text, `{timestamp}` and
    /// `{delivery}` around it where the sender signs them too.
    #[serde(default = "body")]
    pub signed: String,
    /// The header with the time of sending, in seconds since 1970. A time more than five minutes off is rejected.
    pub timestamp: Option<String>,
}

/// The encoding of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// Which list is polled, how often, and the identity of its items.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PollDocument {
    /// An action that lists, such as `folder.files`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The connection binding to call it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
    /// The time between two polls, such as `5m`.
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) every: String,
    /// The identity of an item, such as `{{ item.id }}`. An item whose key was seen before is not new.
    pub(crate) key: String,
    /// Whether the list begins with the newest items. If so, it is read only up to the first page without a new item.
    #[serde(default)]
    pub(crate) newest_first: bool,
    /// What happens to the items that the first poll finds.
    #[serde(default)]
    pub(crate) existing: InitialItems,
}

/// What happens to the items that the first poll of a list finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialItems {
    /// They do not count as new.
    #[default]
    Skip,
    /// They count as new.
    Take,
}

fn half_a_minute() -> String {
    "30s".into()
}

fn body() -> String {
    "{body}".into()
}

/// What starts runs of a flow automatically.
#[derive(Debug)]
pub enum Trigger {
    /// Each time of a schedule.
    Schedule(Box<Schedule>),
    /// Each request to a URL.
    Webhook(Webhook),
    /// New items of a list.
    Poll(Box<Poll>),
}

impl Trigger {
    /// Reads a trigger; `None` if it is not valid, which is reported to the reader.
    pub(crate) fn read(document: TriggerDocument, reader: &mut Reader) -> Option<Trigger> {
        match document {
            TriggerDocument { schedule: Some(schedule), .. } => {
                Schedule::read(&schedule, reader).map(Box::new).map(Trigger::Schedule)
            }
            TriggerDocument { webhook: Some(webhook), .. } => {
                webhook.check(reader);
                Some(Trigger::Webhook(webhook))
            }
            TriggerDocument { poll: Some(poll), .. } => Poll::read(poll, reader).map(Box::new).map(Trigger::Poll),
            _ => {
                reader.found.push(Diagnostic::error("/trigger", "a trigger needs one of: schedule, webhook, poll"));
                None
            }
        }
    }

    /// Returns the schemas of the members that the trigger adds to a run's input. `item` is the schema of a list's
    /// items.
    pub(crate) fn input(&self, item: Value) -> Map<String, Value> {
        let text = json!({ "type": "string" });
        let members = match self {
            Trigger::Schedule(_) => json!({ "at": text }),
            Trigger::Webhook(webhook) => {
                let headers: BTreeMap<_, _> =
                    webhook.headers.iter().map(|name| (name.to_lowercase(), text.clone())).collect();
                json!({ "headers": { "type": "object", "properties": headers }, "body": true, "delivery": true })
            }
            Trigger::Poll(_) => json!({ "items": { "type": "array", "items": item } }),
        };
        members.as_object().cloned().unwrap_or_default()
    }
}

impl Webhook {
    /// Reports settings that cannot work, or that would not be safe.
    fn check(&self, reader: &mut Reader) {
        reader.duration(&self.timeout, "/trigger/webhook/timeout".to_owned());
        let Some(signature) = &self.signature else { return };
        let mut report = |member: &str, message: &str, hint: &str| {
            let pointer = format!("/trigger/webhook/signature/{member}");
            reader.found.push(Diagnostic::error(pointer, message).hint(hint));
        };
        if !signature.signed.contains("{body}") {
            let message = "`signed` does not contain {body}: a signature could be reused with any other body";
            report("signed", message, "put {body} into `signed`, as the sender signs it");
        }
        let is_signed = |name: &str| signature.signed.contains(name);
        match &signature.timestamp {
            Some(_) if !is_signed("{timestamp}") => {
                let message = "the time of sending is not signed, so an attacker could change it";
                report("timestamp", message, "put {timestamp} into `signed`, as the sender signs it");
            }
            None if is_signed("{timestamp}") => {
                let message = "`signed` contains {timestamp}, but no header is set for it";
                report("signed", message, "set `timestamp` to the name of the header with the time of sending");
            }
            _ => {}
        }
        if is_signed("{delivery}") && self.delivery.is_none() {
            let message = "`signed` contains {delivery}, but no header is set for it";
            report("signed", message, "set `delivery` of the webhook to the name of the header with the delivery's id");
        }
    }

    /// How long a response waits for the result of a run: the webhook's `timeout`, at most one minute.
    pub fn patience(&self) -> Duration {
        parse_duration(&self.timeout).unwrap_or_default().min(Duration::from_secs(60))
    }
}

/// A list that is polled for new items.
#[derive(Debug)]
pub struct Poll {
    call: BoundAction,
    key: Template,
    every: Duration,
    newest_first: bool,
    existing: InitialItems,
}

impl Poll {
    /// Reads a poll; `None` if it is not valid, which is reported to the reader.
    fn read(document: PollDocument, reader: &mut Reader) -> Option<Poll> {
        let call = reader.call(document.action, document.connection, document.input, "/trigger/poll");
        let key = reader.template(&document.key.into(), "/trigger/poll/key");
        let pointer = "/trigger/poll/every";
        let every = reader.duration(&document.every, pointer.to_owned())?;
        if every < Duration::from_secs(1) {
            let message = format!("{} is shorter than one second, the shortest time between two polls", document.every);
            reader.found.push(Diagnostic::error(pointer, message).hint("use 1s or more, such as 5m"));
        }
        Some(Poll { call, key, every, newest_first: document.newest_first, existing: document.existing })
    }

    /// The action that lists.
    pub fn action(&self) -> &BoundAction {
        &self.call
    }

    /// The identity of an item.
    pub fn key(&self) -> &Template {
        &self.key
    }

    /// The time between two polls.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Returns whether the list begins with the newest items.
    pub fn newest_first(&self) -> bool {
        self.newest_first
    }

    /// What happens to the items that the first poll finds.
    pub fn existing(&self) -> InitialItems {
        self.existing
    }
}

//! What starts runs beside a person: times, calls from outside, new items in a list.
//!
//! The idea: whatever a trigger sees has a key (a due time, a delivery's id, an item's key), and the key is taken in the
//! transaction that accepts the run it is handed to. So nothing is handed over twice, nor lost, whenever the process dies.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::{Connected, Connections, Context, Diagnostic, Error, ErrorKind, Result, Timestamp};
use uuid::Uuid;

use crate::{
    Template,
    reader::Reader,
    schedule::{Schedule, ScheduleDocument},
    step::Call,
    template::Scope,
    time,
};

/// What starts runs of a flow: one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct TriggerDocument {
    /// Starts runs at certain times. Their input is `{ "at": TIME }`.
    pub(crate) schedule: Option<ScheduleDocument>,
    /// Starts a run for each call from outside. Its input is `{ "headers": {..}, "body": .., "delivery": ID }`.
    pub(crate) webhook: Option<Webhook>,
    /// Starts runs for new items of a list. Their input is `{ "items": [..] }`.
    pub(crate) poll: Option<PollDocument>,
}

/// Who may call from outside, what runs get of it, and how they are answered. That is beside the token in the address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The header that tells deliveries apart, such as `X-GitHub-Delivery`: one that comes again starts no second run. Without it,
    /// the `source` and `id` of a CloudEvent are taken.
    pub delivery: Option<String>,
    /// Headers that runs get, by their names in lower case.
    #[serde(default)]
    pub headers: Vec<String>,
    /// How calls are signed (HMAC-SHA256). Where it is set, a call without a good signature is refused.
    pub signature: Option<Signature>,
    /// What callers are told.
    #[serde(default)]
    pub answer: WebhookResponseMode,
    /// How long callers wait for a result, at most one minute; after that they are told the run's id.
    #[serde(default = "half_a_minute")]
    #[schemars(regex(pattern = "^[0-9]"))]
    pub timeout: String,
}

/// What callers of a webhook are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookResponseMode {
    /// The run's id, at once.
    #[default]
    Run,
    /// How the run ended, if it does so in time.
    Result,
}

/// How the sender of a webhook signs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The header with the signature; it may hold several, with spaces between them.
    #[schemars(length(min = 1))]
    pub header: String,
    /// What stands before the signature there, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed: `{body}`, the bytes as they were sent, and around it texts, `{timestamp}` and `{delivery}`.
    #[serde(default = "body")]
    pub signed: String,
    /// The header with the time of sending in seconds since 1970. One that is more than five minutes off is refused.
    pub timestamp: Option<String>,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// Which list is looked at, how often, and what tells its items apart.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PollDocument {
    /// An action that lists, such as `folder.files`.
    #[schemars(length(min = 1))]
    pub(crate) action: String,
    /// The slot of the connection to run it on.
    #[schemars(length(min = 1))]
    pub(crate) connection: String,
    /// The action's input.
    #[serde(default)]
    pub(crate) input: Map<String, Value>,
    /// How often, such as `5m`.
    #[schemars(regex(pattern = "^[0-9]"))]
    pub(crate) every: String,
    /// What tells the items apart, such as `{{ item.id }}`: an item whose key was seen is not new.
    pub(crate) key: String,
    /// Whether the list begins with the newest: then it is read only until nothing on a page is new.
    #[serde(default)]
    pub(crate) newest_first: bool,
    /// What becomes of the items that are there at the first look.
    #[serde(default)]
    pub(crate) existing: InitialItems,
}

/// What becomes of the items that are there when a list is looked at for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialItems {
    /// They are not new.
    #[default]
    Skip,
    /// They are taken like new ones.
    Take,
}

fn half_a_minute() -> String {
    "30s".into()
}

fn body() -> String {
    "{body}".into()
}

/// What starts runs of a flow beside a person.
#[derive(Debug)]
pub enum Trigger {
    /// Times.
    Schedule(Box<Schedule>),
    /// Calls from outside.
    Webhook(Webhook),
    /// New items of a list.
    Poll(Box<Poll>),
}

impl Trigger {
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
                reader.found.push(Diagnostic::error("/trigger", "a trigger is one of: schedule, webhook, poll"));
                None
            }
        }
    }

    /// The schema of what runs get from it, member by member; `item` is that of a list's items.
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
    fn check(&self, reader: &mut Reader) {
        reader.duration(&self.timeout, "/trigger/webhook/timeout".to_owned());
        let Some(signature) = &self.signature else { return };
        let mut wrong = |member: &str, message: &str| {
            reader.found.push(Diagnostic::error(format!("/trigger/webhook/signature/{member}"), message));
        };
        if !signature.signed.contains("{body}") {
            wrong("signed", "what is signed has to hold {body}: anything else could be sent with the signature");
        }
        let is_signed = |name: &str| signature.signed.contains(name);
        match &signature.timestamp {
            Some(_) if !is_signed("{timestamp}") => {
                wrong(
                    "timestamp",
                    "the time of sending has to be signed, for else anybody can change it: put {timestamp} into `signed`",
                );
            }
            None if is_signed("{timestamp}") => {
                wrong("signed", "{timestamp} is signed, but `timestamp` names no header")
            }
            _ => {}
        }
        if is_signed("{delivery}") && self.delivery.is_none() {
            wrong("signed", "{delivery} is signed, but `delivery` of the webhook names no header");
        }
    }

    /// How long callers wait for a result.
    pub fn patience(&self) -> Duration {
        time::duration(&self.timeout).unwrap_or_default().min(Duration::from_secs(60))
    }
}

/// A list that is looked at for new items.
#[derive(Debug)]
pub struct Poll {
    pub(crate) call: Call,
    pub(crate) key: Template,
    every: Duration,
    newest_first: bool,
    existing: InitialItems,
}

impl Poll {
    fn read(document: PollDocument, reader: &mut Reader) -> Option<Poll> {
        let call = reader.call(document.action, document.connection, document.input, "/trigger/poll");
        let key = reader.template(&document.key.into(), "/trigger/poll/key");
        let pointer = "/trigger/poll/every";
        let every = reader.duration(&document.every, pointer.to_owned())?;
        if every < Duration::from_secs(1) {
            let found = Diagnostic::error(pointer, format!("{} is too often", document.every));
            reader.found.push(found.hint("a list is looked at once a second at most"));
        }
        Some(Poll { call, key, every, newest_first: document.newest_first, existing: document.existing })
    }

    /// The slot of the connection that is looked at.
    pub fn slot(&self) -> &str {
        &self.call.slot
    }

    /// How often it is looked at.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Whether the newest items come first.
    pub fn newest_first(&self) -> bool {
        self.newest_first
    }

    /// What becomes of the items that are there at the first look.
    pub fn existing(&self) -> InitialItems {
        self.existing
    }

    /// A page of the list, each item with its key, and where the next one begins.
    pub async fn page(
        &self,
        connected: &Connected,
        from: Option<Value>,
    ) -> Result<(Vec<(String, Value)>, Option<Value>)> {
        let scope = Scope::new(&Value::Null, "", &json!({}));
        let connections: Connections = [connected.clone()].into_iter().collect();
        let cx = Context::new(&Uuid::new_v4().to_string(), connected.name(), connections);
        let page = connected.page(&self.call.action, self.call.input.render(&scope)?, from, &cx).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for item in page.items {
            let key = self
                .key
                .render_text(&scope.with("item", &item))
                .map_err(|error| error.with("pointer", "/trigger/poll/key"))?;
            if key.is_empty() {
                return Err(Error::new(ErrorKind::InvalidInput, "an item of the list has an empty key")
                    .hint("`key` of the trigger has to tell the items apart")
                    .with("pointer", "/trigger/poll/key"));
            }
            items.push((key, item));
        }
        Ok((items, page.next))
    }
}

/// What happens when a run of a flow is to begin while another one is at work.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OverlapDocument {
    /// One of these.
    Word(Word),
    /// It begins at once if no more than so many are at work then; else it waits.
    #[schemars(extend("additionalProperties" = false))]
    AtMost {
        /// How many.
        #[schemars(range(min = 1))]
        parallel: usize,
    },
}

/// What happens when a run of a flow is to begin while another one is at work.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// It waits until those before it have ended.
    Queue,
    /// It does not begin.
    Skip,
    /// It begins at once.
    Parallel,
}

/// What happens when a run of a flow is to begin while another one is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It does not begin.
    Skip,
    /// So many are at work at once; others wait until one has ended.
    AtMost(usize),
}

impl Overlap {
    /// How many runs of the flow may be at work at once.
    pub fn at_once(self) -> usize {
        match self {
            Overlap::Skip => 1,
            Overlap::AtMost(limit) => limit,
        }
    }
}

impl From<Option<OverlapDocument>> for Overlap {
    fn from(document: Option<OverlapDocument>) -> Self {
        match document {
            Some(OverlapDocument::Word(Word::Skip)) => Overlap::Skip,
            Some(OverlapDocument::Word(Word::Parallel)) => Overlap::AtMost(usize::MAX),
            Some(OverlapDocument::AtMost { parallel }) => Overlap::AtMost(parallel),
            Some(OverlapDocument::Word(Word::Queue)) | None => Overlap::AtMost(1),
        }
    }
}

/// What a trigger has seen, and starts a run with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerEvent {
    /// The flow, by the name it is kept under.
    pub flow: String,
    /// The keys that the run takes: no other run gets them.
    pub keys: Vec<String>,
    /// With this run, the trigger has dealt with everything up to this time.
    pub through: Option<Timestamp>,
}

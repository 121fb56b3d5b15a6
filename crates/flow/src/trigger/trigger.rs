//! Triggers, which start runs automatically: schedules, webhooks, and polls of a list for new items.
//!
//! Each event of a trigger has a deduplication key: a due time, the id of a delivery, the key of an item. The key is
//! recorded in the transaction that accepts the run for the event. So no event is lost and none starts two runs,
//! whenever the process dies.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::Diagnostic;

use crate::{
    expression::Template,
    steps::{reader::Reader, step::BoundAction},
    trigger::{
        schedule::{Schedule, ScheduleDocument},
        webhook::{Webhook, WebhookDocument},
    },
};

/// What starts runs of a flow automatically: one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct TriggerDocument {
    /// Starts runs at certain times. Their input is `{ "at": TIME }`.
    pub(crate) schedule: Option<ScheduleDocument>,
    /// Starts a run for each request to the flow's webhook URL. Its input is
    /// `{ "method": .., "query": {..}, "headers": {..}, "body": .., "delivery": ID }`.
    pub(crate) webhook: Option<WebhookDocument>,
    /// Starts runs for new items of a list. Their input is `{ "items": [..] }`.
    pub(crate) poll: Option<PollDocument>,
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
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
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

/// What starts runs of a flow automatically.
#[derive(Debug)]
pub enum Trigger {
    /// Each time of a schedule.
    Schedule(Box<Schedule>),
    /// Each request to a URL.
    Webhook(Box<Webhook>),
    /// New items of a list.
    Poll(Box<Poll>),
}

impl Trigger {
    /// Returns the kind of trigger, as the document names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Trigger::Schedule(_) => "schedule",
            Trigger::Webhook(_) => "webhook",
            Trigger::Poll(_) => "poll",
        }
    }

    /// Reads a trigger; `None` if it is not valid, which is reported to the reader. `output` is the output of the flow.
    pub(crate) fn read(
        document: TriggerDocument,
        output: Option<&Map<String, Value>>,
        reader: &mut Reader,
    ) -> Option<Trigger> {
        match document {
            TriggerDocument { schedule: Some(schedule), .. } => {
                Schedule::read(&schedule, reader).map(Box::new).map(Trigger::Schedule)
            }
            TriggerDocument { webhook: Some(webhook), .. } => {
                Some(Trigger::Webhook(Box::new(Webhook::read(webhook, output, reader))))
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
            Trigger::Webhook(webhook) => webhook.input(),
            Trigger::Poll(_) => json!({ "items": { "type": "array", "items": item } }),
        };
        members.as_object().cloned().unwrap_or_default()
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
        let key = reader.template(document.key.into(), "/trigger/poll/key");
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

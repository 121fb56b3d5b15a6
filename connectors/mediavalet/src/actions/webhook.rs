//! `webhook.subscribe` and `webhook.unsubscribe`: bring the webhooks of a library to a given state.
//!
//! Both list the webhooks first. So a second call has no further effect, and a webhook that was created although the
//! response was lost is found.
//!
//! MediaValet does not document the form of its lists. Assumed is that the members have the names of the requests
//! (`Events`, `Name`, `Data.webhook`), that the id is called `id` or `subscriptionID`, that case does not matter, and
//! that a list may be wrapped in an object. A list that cannot be read is an error and not an empty list, because
//! otherwise a second webhook would be created.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::{Client, Url};

use crate::MediaValet;

/// The action `webhook.subscribe`.
pub struct Subscribe;

/// The events and the URL to send them to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SubscribeInput {
    /// # URL
    /// The URL that MediaValet calls when an event occurs.
    #[schemars(extend("format" = "uri"), example = &"https://example.com/mediavalet")]
    address: Url,
    /// # Events
    /// The events to send, and no others; `webhook.events` lists all events.
    #[schemars(length(min = 1), example = ["Asset.StatusUpdated"])]
    events: Vec<String>,
}

/// The webhook.
#[derive(Serialize, JsonSchema)]
pub struct SubscribeOutput {
    /// # Webhook
    id: String,
    /// # What was done
    done: Done,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Done {
    Created,
    Updated,
    /// The webhook already had this state.
    Nothing,
}

#[async_trait]
impl Action for Subscribe {
    type Connector = MediaValet;
    type Input = SubscribeInput;
    type Output = SubscribeOutput;
    const NAME: &'static str = "webhook.subscribe";
    const TITLE: &'static str = "Subscribe a URL to events";
    const GROUP: &'static str = "Webhooks";
    const ABOUT: &'static str =
        "Creates a webhook, or updates the one that the URL already has. Only for libraries on the Enterprise plan.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: SubscribeInput, cx: &Context) -> Result<SubscribeOutput> {
        let events = known(client, &input.events, cx).await?;
        let with_url =
            |all: Vec<Webhook>| all.into_iter().filter(|webhook| webhook.has_url(&input.address)).collect::<Vec<_>>();
        let wanted: BTreeSet<_> = events.iter().map(|event| event.to_lowercase()).collect();
        let found = with_url(webhooks(client, cx).await?);
        if let Some(same) = found.iter().find(|webhook| webhook.events == wanted) {
            return Ok(SubscribeOutput { id: same.id()?, done: Done::Nothing });
        }
        let names: Vec<_> = events.iter().map(|event| json!({ "Name": event })).collect();
        let mut body = json!({ "Events": names, "Data": { "webhook": input.address } });
        if let Some(other) = found.first() {
            body["subscriptionID"] = other.id()?.into();
            client.call("webhook.update", body, cx).await?;
            return Ok(SubscribeOutput { id: other.id()?, done: Done::Updated });
        }
        client.call("webhook.create", body, cx).await?;
        // The form of the response is not documented, so the id is taken from the list.
        match with_url(webhooks(client, cx).await?).first() {
            Some(created) => Ok(SubscribeOutput { id: created.id()?, done: Done::Created }),
            None => Err(Error::new(
                ErrorKind::Unexpected,
                format!("MediaValet accepted the webhook for {}, but does not list it", input.address),
            )
            .hint("check `webhook.list` before you run this again, because that might create a second webhook")),
        }
    }

    /// The action can always run again: it starts with the list, which has a webhook that an earlier attempt has
    /// created.
    async fn reconcile(_: &Client, _: SubscribeInput, _: &Context) -> Result<Option<SubscribeOutput>> {
        Ok(None)
    }
}

submit! { ActionEntry::of::<Subscribe>() }

/// The action `webhook.unsubscribe`.
pub struct Unsubscribe;

/// The webhooks to delete: those of a URL, or the one with an id.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UnsubscribeInput {
    /// # URL
    /// Deletes all webhooks that call this URL.
    #[schemars(extend("format" = "uri"))]
    address: Option<Url>,
    /// # Webhook
    /// The id of a webhook, instead of the URL.
    #[schemars(length(min = 1))]
    id: Option<String>,
}

/// The deleted webhooks.
#[derive(Serialize, JsonSchema)]
pub struct UnsubscribeOutput {
    /// # Ids of deleted webhooks
    deleted: Vec<String>,
}

#[async_trait]
impl Action for Unsubscribe {
    type Connector = MediaValet;
    type Input = UnsubscribeInput;
    type Output = UnsubscribeOutput;
    const NAME: &'static str = "webhook.unsubscribe";
    const TITLE: &'static str = "Unsubscribe a URL from events";
    const GROUP: &'static str = "Webhooks";
    const ABOUT: &'static str = "Deletes the webhooks of a URL, or one by its id. Succeeds if there is none.";
    const EFFECT: Effect = Effect::Delete;

    async fn run(client: &Client, input: UnsubscribeInput, cx: &Context) -> Result<UnsubscribeOutput> {
        if input.address.is_some() == input.id.is_some() {
            return Err(Error::new(ErrorKind::InvalidInput, "the input needs either an address or an id")
                .hint("give one of the two"));
        }
        let selected = |webhook: &&Webhook| {
            let has_id = |id: &String| webhook.id.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(id));
            input.address.as_ref().is_some_and(|url| webhook.has_url(url)) || input.id.as_ref().is_some_and(has_id)
        };
        let mut deleted = Vec::new();
        for webhook in webhooks(client, cx).await?.iter().filter(selected) {
            let id = webhook.id()?;
            client.call("webhook.delete", json!({ "subscriptionID": id }), cx).await?;
            deleted.push(id);
        }
        Ok(UnsubscribeOutput { deleted })
    }
}

submit! { ActionEntry::of::<Unsubscribe>() }

/// A webhook of the list, with the members that are needed here.
struct Webhook {
    id: Option<String>,
    url: String,
    /// The names of its events in lower case.
    events: BTreeSet<String>,
}

impl Webhook {
    /// Reads a webhook of the list. Returns `None` for one without a URL, such as one that delivers to Azure Event
    /// Grid.
    fn read(listed: &Value) -> Option<Webhook> {
        let url = member(member(listed, "data")?, "webhook")?.as_str()?.to_owned();
        let events = member(listed, "events").and_then(Value::as_array).into_iter().flatten();
        let id = ["id", "subscriptionId"].iter().find_map(|name| match member(listed, name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        Some(Webhook { id, url, events: events.filter_map(name).map(|name| name.to_lowercase()).collect() })
    }

    fn has_url(&self, url: &Url) -> bool {
        Url::parse(&self.url).is_ok_and(|own| own == *url)
    }

    fn id(&self) -> Result<String> {
        self.id.clone().ok_or_else(|| unreadable("a webhook without an id"))
    }
}

/// Returns a member of an object; the case of its name is ignored.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Returns the name of an event, which is a string or an object.
fn name(event: &Value) -> Option<&str> {
    event.as_str().or_else(|| member(event, "name")?.as_str())
}

/// Returns the items of a list, which may be wrapped in an object. `None` means that there is no list, which is not an
/// empty one.
fn items(list: &Value) -> Option<&[Value]> {
    match list {
        Value::Array(items) => Some(items),
        Value::Object(members) => members.values().find_map(Value::as_array).map(Vec::as_slice),
        _ => None,
    }
}

fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("MediaValet's list of webhooks has {what}"))
        .hint("look at it with `webhook.list`, and use `webhook.create`, `webhook.update` and `webhook.delete` instead")
}

/// Returns the webhooks of the library that have a URL.
async fn webhooks(client: &Client, cx: &Context) -> Result<Vec<Webhook>> {
    let list = client.call("webhook.list", json!({}), cx).await?;
    items(&list).map(|all| all.iter().filter_map(Webhook::read).collect()).ok_or_else(|| unreadable("no list in it"))
}

/// Returns the events in MediaValet's spelling. If MediaValet does not return a list of names, they are returned
/// unchanged.
async fn known(client: &Client, events: &[String], cx: &Context) -> Result<Vec<String>> {
    let list = client.call("webhook.events", json!({}), cx).await?;
    let all: Vec<&str> = items(&list).into_iter().flatten().filter_map(name).collect();
    if all.is_empty() {
        return Ok(events.to_vec());
    }
    let find = |event: &String| {
        let found = all.iter().find(|name| name.eq_ignore_ascii_case(event)).map(|name| (*name).to_owned());
        found.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("MediaValet has no event {event}"))
                .hint(format!("it has {}", all.join(", ")))
        })
    };
    events.iter().map(find).collect()
}

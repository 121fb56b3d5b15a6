//! `webhook.subscribe` and `webhook.unsubscribe`: bring the webhooks of a library to a state. What is there is listed
//! first, so calling them twice does what calling them once does, and what a lost answer did is found.
//!
//! What MediaValet's lists look like is not published. Assumed: the members have the names of the requests (`Events`,
//! `Name`, `Data.webhook`), the id is called `id` or `subscriptionID`, case does not matter, and a list may be wrapped in an
//! object. A list that cannot be read is an error, not an empty list, lest a second webhook is made.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::{Client, Url};

use crate::MediaValet;

/// `webhook.subscribe`.
pub struct Subscribe;

/// Which events go where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SubscribeInput {
    /// # Address
    /// What MediaValet calls when an event happens.
    #[schemars(extend("format" = "uri"), example = &"https://example.com/mediavalet")]
    address: Url,
    /// # Events
    /// These and no others; `webhook.events` has them all.
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
    /// It was there as it should be.
    Nothing,
}

#[async_trait]
impl Action for Subscribe {
    type Connector = MediaValet;
    type Input = SubscribeInput;
    type Output = SubscribeOutput;
    const NAME: &'static str = "webhook.subscribe";
    const TITLE: &'static str = "Have events sent to an address";
    const GROUP: &'static str = "Webhooks";
    const ABOUT: &'static str = "Creates a webhook, or updates the one that the address has already. Only for libraries on \
        the Enterprise plan.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: SubscribeInput, cx: &Context) -> Result<SubscribeOutput> {
        let events = known(client, &input.events, cx).await?;
        let of_address =
            |all: Vec<Webhook>| all.into_iter().filter(|one| one.is_at(&input.address)).collect::<Vec<_>>();
        let wanted: BTreeSet<_> = events.iter().map(|event| event.to_lowercase()).collect();
        let found = of_address(webhooks(client, cx).await?);
        if let Some(same) = found.iter().find(|one| one.events == wanted) {
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
        // The answer has no published shape, so the id comes of the list.
        match of_address(webhooks(client, cx).await?).first() {
            Some(created) => Ok(SubscribeOutput { id: created.id()?, done: Done::Created }),
            None => Err(Error::new(
                ErrorKind::Unexpected,
                format!("MediaValet took the webhook for {}, but does not list it", input.address),
            )
            .hint("look at it with `webhook.list` before you run this again, or there may be two")),
        }
    }

    /// What an attempt made whose answer was lost is in the list that the next one begins with.
    async fn reconcile(_: &Client, _: SubscribeInput, _: &Context) -> Result<Option<SubscribeOutput>> {
        Ok(None)
    }
}

submit! { ActionEntry::of::<Subscribe>() }

/// `webhook.unsubscribe`.
pub struct Unsubscribe;

/// Which webhooks: by address or by id.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UnsubscribeInput {
    /// # Address
    /// All webhooks that call it.
    #[schemars(extend("format" = "uri"))]
    address: Option<Url>,
    /// # Webhook
    /// Its id, in place of the address.
    #[schemars(length(min = 1))]
    id: Option<String>,
}

/// What was there.
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
    const TITLE: &'static str = "Have events sent to an address no more";
    const GROUP: &'static str = "Webhooks";
    const ABOUT: &'static str = "Deletes the webhooks of an address, or one by its id. Gone already is fine.";
    const EFFECT: Effect = Effect::Delete;

    async fn run(client: &Client, input: UnsubscribeInput, cx: &Context) -> Result<UnsubscribeOutput> {
        if input.address.is_some() == input.id.is_some() {
            return Err(Error::new(ErrorKind::InvalidInput, "a webhook is told by its address or by its id")
                .hint("give one of the two"));
        }
        let is_meant = |one: &&Webhook| {
            let has_id = |id: &String| one.id.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(id));
            input.address.as_ref().is_some_and(|address| one.is_at(address)) || input.id.as_ref().is_some_and(has_id)
        };
        let mut deleted = Vec::new();
        for webhook in webhooks(client, cx).await?.iter().filter(is_meant) {
            let id = webhook.id()?;
            match client.call("webhook.delete", json!({ "subscriptionID": id }), cx).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => deleted.push(id),
            }
        }
        Ok(UnsubscribeOutput { deleted })
    }
}

submit! { ActionEntry::of::<Unsubscribe>() }

/// A webhook as far as it can be read.
struct Webhook {
    id: Option<String>,
    address: String,
    /// In lower case.
    events: BTreeSet<String>,
}

impl Webhook {
    fn read(listed: &Value) -> Option<Webhook> {
        let address = member(member(listed, "data")?, "webhook")?.as_str()?.to_owned();
        let events = member(listed, "events").and_then(Value::as_array).into_iter().flatten();
        let id = ["id", "subscriptionId"].iter().find_map(|name| match member(listed, name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        Some(Webhook { id, address, events: events.filter_map(name).map(|name| name.to_lowercase()).collect() })
    }

    fn is_at(&self, address: &Url) -> bool {
        Url::parse(&self.address).is_ok_and(|own| own == *address)
    }

    fn id(&self) -> Result<String> {
        self.id.clone().ok_or_else(|| unreadable("a webhook without an id"))
    }
}

/// A member whatever the case of its name.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The name of an event, written as text or as an object.
fn name(event: &Value) -> Option<&str> {
    event.as_str().or_else(|| member(event, "name")?.as_str())
}

/// The items of a list, also of one in an object; none if there is nothing at all.
fn items(list: &Value) -> Option<&[Value]> {
    match list {
        Value::Null => Some(&[]),
        Value::Array(items) => Some(items),
        Value::Object(members) => members.values().find_map(Value::as_array).map(Vec::as_slice),
        _ => None,
    }
}

fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("MediaValet's list of webhooks has {what}"))
        .hint("look at it with `webhook.list`, and use `webhook.create`, `webhook.update` and `webhook.delete`")
}

async fn webhooks(client: &Client, cx: &Context) -> Result<Vec<Webhook>> {
    let list = client.call("webhook.list", json!({}), cx).await?;
    // Those that deliver elsewhere, such as to Azure Event Grid, have no address.
    items(&list).map(|all| all.iter().filter_map(Webhook::read).collect()).ok_or_else(|| unreadable("no list in it"))
}

/// The events as MediaValet writes them. Where it does not answer a list of names, they are taken as they are.
async fn known(client: &Client, events: &[String], cx: &Context) -> Result<Vec<String>> {
    let list = client.call("webhook.events", json!({}), cx).await?;
    let all: Vec<&str> = items(&list).into_iter().flatten().filter_map(name).collect();
    if all.is_empty() {
        return Ok(events.to_vec());
    }
    let find = |event: &String| {
        let found = all.iter().find(|one| one.eq_ignore_ascii_case(event)).map(|one| (*one).to_owned());
        found.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("MediaValet has no event {event}"))
                .hint(format!("it has {}", all.join(", ")))
        })
    };
    events.iter().map(find).collect()
}

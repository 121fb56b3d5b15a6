//! SkyHOOK: subscriptions of events. Nothing is ever delivered. Names are in the case the vendor writes them in requests;
//! the shapes of its answers are not published.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply};
use crate::state::Event;

const EVENTS: [&str; 8] = [
    "Asset.StatusUpdated",
    "Asset.MediaFileAdded",
    "Asset.KeywordsAdded",
    "Asset.KeywordRemoved",
    "Asset.AttributesAdded",
    "Asset.VideoRenditionsAdded",
    "Category.AssetsAssigned",
    "Category.AssetUnassigned",
];

/// One subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub id: Uuid,
    pub events: Vec<String>,
    pub address: String,
    /// Name of the user whose it is.
    pub by: String,
}

fn named(name: &str) -> Value {
    json!({ "Name": name })
}

pub(crate) fn events() -> Reply {
    Reply::new(200, EVENTS.map(named).to_vec().into())
}

pub(crate) fn list(app: &App, gate: &Gate) -> Reply {
    let row = |webhook: &Webhook| {
        let events: Vec<_> = webhook.events.iter().map(|name| named(name)).collect();
        json!({ "Id": webhook.id, "Type": "webhook", "Events": events, "Data": { "webhook": webhook.address } })
    };
    let rows: Vec<_> =
        app.state.with(|world| world.webhooks.values().filter(|one| one.by == gate.user).map(row).collect());
    Reply::new(200, rows.into())
}

fn read(gate: &Gate, id: Uuid, body: &Value) -> Result<Webhook, Refusal> {
    let events = body["Events"].as_array().filter(|events| !events.is_empty());
    let events = events.ok_or_else(|| Refusal::new(400, "Events is needed"))?;
    let known = |event: &Value| EVENTS.into_iter().find(|name| event["Name"] == *name).map(str::to_owned);
    let events = events.iter().map(|event| known(event).ok_or_else(|| Refusal::new(400, format!("No event {event}"))));
    if body["Type"] != "webhook" {
        return Err(Refusal::new(400, "Type has to be webhook"));
    }
    let address = body["Data"]["webhook"].as_str().filter(|text| url::Url::parse(text).is_ok());
    let address = address.ok_or_else(|| Refusal::new(400, "Data.webhook is no address"))?.to_owned();
    Ok(Webhook { id, events: events.collect::<Result<_, _>>()?, address, by: gate.user.clone() })
}

/// Always makes another one, as nothing is said of the contrary.
pub(crate) fn create(app: &App, gate: &Gate, body: &Value) -> Outcome {
    let webhook = read(gate, Uuid::new_v4(), body)?;
    app.state.with(|world| world.record(Event::Webhook(webhook)));
    Ok(Reply::new(200, Value::Null))
}

fn check_own(app: &App, gate: &Gate, id: Uuid) -> Result<(), Refusal> {
    let own = app.state.with(|world| world.webhooks.get(&id).is_some_and(|webhook| webhook.by == gate.user));
    if own { Ok(()) } else { Err(Refusal::not_found("The subscription")) }
}

pub(crate) fn replace(app: &App, gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    check_own(app, gate, id)?;
    let webhook = read(gate, id, body)?;
    app.state.with(|world| world.record(Event::Webhook(webhook)));
    Ok(Reply::new(200, Value::Null))
}

pub(crate) fn delete(app: &App, gate: &Gate, id: Uuid) -> Outcome {
    check_own(app, gate, id)?;
    app.state.with(|world| world.record(Event::WebhookGone(id)));
    Ok(Reply::new(200, Value::Null))
}

//! SkyHOOK, MediaValet's webhooks: subscriptions to events. No event is ever delivered.
//!
//! The members have the upper-case initials that the vendor uses in requests. The vendor does not publish the form of
//! its responses.

use serde_json::{Value, json};
use uuid::Uuid;

use super::response::{ApiResponse, ApiResult, AuthContext};
use crate::app::App;
use crate::http::ApiError;
use crate::state::{Event, Webhook};

/// The events that can be subscribed to.
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

/// Returns an object with only a name.
fn named(name: &str) -> Value {
    json!({ "Name": name })
}

/// Lists the events that can be subscribed to.
pub(crate) fn events() -> ApiResponse {
    ApiResponse::new(200, EVENTS.map(named).to_vec().into())
}

/// Lists the subscriptions of the user.
pub(crate) fn list(app: &App, auth: &AuthContext) -> ApiResponse {
    let row = |webhook: &Webhook| {
        let events: Vec<_> = webhook.events.iter().map(|name| named(name)).collect();
        json!({ "Id": webhook.id, "Type": "webhook", "Events": events, "Data": { "webhook": webhook.url } })
    };
    let rows: Vec<_> =
        app.state.with(|state| state.webhooks.values().filter(|webhook| webhook.owner == auth.user).map(row).collect());
    ApiResponse::new(200, rows.into())
}

/// Parses and checks the body of a request to create or replace a subscription.
fn parse(auth: &AuthContext, id: Uuid, body: &Value) -> Result<Webhook, ApiError> {
    let events = body["Events"].as_array().filter(|events| !events.is_empty());
    let events = events.ok_or_else(|| ApiError::new(400, "Events is required"))?;
    let known = |event: &Value| EVENTS.into_iter().find(|name| event["Name"] == *name).map(str::to_owned);
    let events =
        events.iter().map(|event| known(event).ok_or_else(|| ApiError::new(400, format!("Unknown event {event}"))));
    if body["Type"] != "webhook" {
        return Err(ApiError::new(400, "Type has to be webhook"));
    }
    let url = body["Data"]["webhook"].as_str().filter(|text| url::Url::parse(text).is_ok());
    let url = url.ok_or_else(|| ApiError::new(400, "Data.webhook is not a URL"))?.to_owned();
    Ok(Webhook { id, events: events.collect::<Result<_, _>>()?, url, owner: auth.user.clone() })
}

/// Creates a subscription, also if there is one for the same URL: the reference does not forbid it.
pub(crate) fn create(app: &App, auth: &AuthContext, body: &Value) -> ApiResult {
    let webhook = parse(auth, Uuid::new_v4(), body)?;
    app.state.with(|state| state.record(Event::Webhook(webhook)));
    Ok(ApiResponse::new(200, Value::Null))
}

/// Fails unless the subscription exists and belongs to the user.
fn check_owner(app: &App, auth: &AuthContext, id: Uuid) -> Result<(), ApiError> {
    let owned = app.state.with(|state| state.webhooks.get(&id).is_some_and(|webhook| webhook.owner == auth.user));
    if owned { Ok(()) } else { Err(ApiError::not_found("The subscription")) }
}

/// Replaces a subscription of the user.
pub(crate) fn replace(app: &App, auth: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    check_owner(app, auth, id)?;
    let webhook = parse(auth, id, body)?;
    app.state.with(|state| state.record(Event::Webhook(webhook)));
    Ok(ApiResponse::new(200, Value::Null))
}

/// Deletes a subscription of the user.
pub(crate) fn delete(app: &App, auth: &AuthContext, id: Uuid) -> ApiResult {
    check_owner(app, auth, id)?;
    app.state.with(|state| state.record(Event::WebhookGone(id)));
    Ok(ApiResponse::new(200, Value::Null))
}

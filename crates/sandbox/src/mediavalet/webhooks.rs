//! SkyHOOK, MediaValet's webhooks: subscriptions to events, and their delivery, once, to URLs with `http`.
//!
//! The members have the upper-case initials that the vendor uses in requests. The vendor does not publish the form of
//! its responses, nor which members the data of its events has beside `LibraryId` and `AssetId`: `Status` is assumed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;
use uuid::Uuid;

use super::response::{ApiResponse, ApiResult, AuthContext};
use crate::app::App;
use crate::http::ApiError;
use crate::state::{Event, Webhook, now, timestamp};

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

/// The id of the library, which events name as their source.
const LIBRARY: Uuid = Uuid::from_u128(0x5b1c_0000_0000_4000_8000_0000_0000_0001);

/// Returns the event that a successful request causes, and the id of its asset.
pub(crate) fn event_of<'a>(method: &str, path: &[&'a str]) -> Option<(&'static str, &'a str)> {
    let (event, asset) = match (method, path) {
        ("POST", ["assets", id, "keywords"]) => ("Asset.KeywordsAdded", id),
        ("DELETE", ["assets", id, "keywords", _]) => ("Asset.KeywordRemoved", id),
        ("POST", ["assets", id, "attributes"]) => ("Asset.AttributesAdded", id),
        ("POST" | "PUT", ["assets", id, "categories"]) => ("Category.AssetsAssigned", id),
        ("DELETE", ["assets", id, "categories", _]) => ("Category.AssetUnassigned", id),
        ("PUT", ["assetCheckIn", id]) => ("Asset.MediaFileAdded", id),
        _ => return None,
    };
    Some((event, asset))
}

/// Sends an event to the subscriptions that want it, after this time. `more` is laid over its data.
pub(crate) fn send(app: &App, event: &'static str, asset: &str, more: &Value, after: Duration) {
    let wants = |webhook: &&Webhook| webhook.events.iter().any(|name| name == event);
    let urls: Vec<_> = app.state.with(|state| {
        state.webhooks.values().filter(wants).filter_map(|webhook| Url::parse(&webhook.url).ok()).collect()
    });
    if urls.is_empty() {
        return;
    }
    let mut data = json!({ "LibraryId": LIBRARY, "AssetId": asset });
    data.as_object_mut().into_iter().for_each(|data| data.extend(more.as_object().cloned().unwrap_or_default()));
    let mut body = json!({
        "id": Uuid::new_v4(), "source": LIBRARY, "type": event, "specversion": "1.0", "dataschema": "#",
        "subject": format!("/library/{LIBRARY}/assets/{asset}/{event}"), "contenttype": "application/json", "data": data
    });
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        body["time"] = timestamp(now()).into();
        for url in urls {
            if let Err(error) = post(&url, &body.to_string()).await {
                tracing::info!(event, "sandbox: an event cannot be delivered: {error}");
            }
        }
    });
}

/// Sends a body to a URL, and reads the response to its end.
async fn post(url: &Url, body: &str) -> std::io::Result<()> {
    let address = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        url.path(),
        address.0,
        address.1,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

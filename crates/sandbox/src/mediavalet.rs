//! The MediaValet API look-alike: the gateway with its two credentials, versions and envelope, and the list of calls.
//! What the calls do is in the modules named after their subject.

use std::time::Instant;

use axum::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::http::{self, Answer, Call};
use crate::state::{now, timestamp};
use crate::tokens::Server;
use crate::{asset_search, asset_writes, categories, check_in, downloads, mediavalet_rows as rows, uploads, webhooks};

/// Default and largest number of rows of a page.
const DEFAULT_COUNT: usize = 50;
const MAX_COUNT: usize = 1000;

/// What the gateway found out about a request.
pub(crate) struct Gate {
    /// 0, 1 or 2, for 1.0, 1.1 and 1.2.
    pub version: u8,
    pub user: String,
    pub may_write: bool,
}

/// A good answer.
#[derive(Default)]
pub(crate) struct Reply {
    pub status: u16,
    pub payload: Value,
    /// Total, first and returned number of records.
    pub count: Option<(usize, usize, usize)>,
    pub warnings: Vec<String>,
    pub errors: Vec<String>,
}

impl Reply {
    pub(crate) fn new(status: u16, payload: Value) -> Reply {
        Reply { status, payload, ..Reply::default() }
    }
}

/// A bad answer.
pub(crate) struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into() }
    }

    pub(crate) fn not_found(what: &str) -> Refusal {
        Refusal::new(404, format!("{what} was not found"))
    }
}

pub(crate) type Outcome = Result<Reply, Refusal>;

pub(crate) async fn serve(app: &App, mut call: Call) -> Answer {
    let started = Instant::now();
    let gate = match enter(app, &call) {
        Ok(gate) => gate,
        Err(answer) => return *answer,
    };
    // Beginning a check-in is a GET that changes something.
    let reading = matches!(call.method, Method::GET | Method::HEAD) && !call.path.starts_with("/assetCheckIn/")
        || (call.method == Method::POST && matches!(call.path.as_str(), "/assets/search" | "/downloads"));
    let outcome = if reading || gate.may_write {
        route(app, &gate, &mut call).await
    } else {
        let status = if gate.version >= 2 { 403 } else { 401 };
        Err(Refusal::new(status, "The user does not have the permission for this operation"))
    };
    match outcome {
        Err(refusal) => http::json(refusal.status, &json!({ "message": refusal.text })),
        Ok(reply) if reply.status == 204 => http::empty(204),
        Ok(reply) => http::json(reply.status, &envelope(&gate, reply, started)),
    }
}

/// Checks the subscription key, the token and the version, in that order.
fn enter(app: &App, call: &Call) -> Result<Gate, Box<Answer>> {
    let refuse = |text: &str| Box::new(http::json(401, &json!({ "statusCode": 401, "message": text })));
    let valet = &app.credentials.mediavalet;
    match call.header("ocp-apim-subscription-key") {
        None => {
            return Err(refuse(
                "Access denied due to missing subscription key. Make sure to include subscription key when making \
                 requests to an API.",
            ));
        }
        Some(key) if key != valet.subscription_key => {
            return Err(refuse(
                "Access denied due to invalid subscription key. Make sure to provide a valid key for an active \
                 subscription.",
            ));
        }
        Some(_) => {}
    }
    let token = call.bearer().unwrap_or_default();
    let Some(owner) = app.state.with(|world| world.owner(Server::Mediavalet, token)) else {
        let mut response = http::empty(401);
        let text = "Bearer error=\"invalid_token\", error_description=\"The token is missing, wrong or expired\"";
        http::set(&mut response, "www-authenticate", text);
        return Err(Box::new(response));
    };
    let version = match call.header("x-mv-api-version") {
        None | Some("1.0") => 0,
        Some("1.1") => 1,
        Some("1.2") => 2,
        Some(other) => {
            let text = format!("There is no API version {other}");
            return Err(Box::new(http::json(400, &json!({ "message": text }))));
        }
    };
    Ok(Gate { version, may_write: owner.user != valet.viewer_username, user: owner.user })
}

fn envelope(gate: &Gate, reply: Reply, started: Instant) -> Value {
    let (total, start, returned) = reply.count.unwrap_or((1, 0, 1));
    json!({
        "apiVersion": format!("1.{}", gate.version),
        "buildVersion": concat!("sandbox-", env!("CARGO_PKG_VERSION")),
        "warnings": reply.warnings,
        "errors": reply.errors,
        "payload": reply.payload,
        "recordCount": { "totalRecordsFound": total, "startingRecord": start, "recordsReturned": returned },
        "meta": {
            "metaInformation": { "ElapsedTimeInMS": u64::try_from(started.elapsed().as_millis()).unwrap_or(0) },
            "createdAt": timestamp(now()),
        },
    })
}

async fn route(app: &App, gate: &Gate, call: &mut Call) -> Outcome {
    let segments = call.segments.clone();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = if call.method == Method::HEAD { Method::GET } else { call.method.clone() };
    match (method.as_str(), path.as_slice()) {
        ("GET", [""]) => Ok(Reply::new(200, rows::home())),
        ("GET", ["users", "current"]) => Ok(Reply::new(200, rows::user(&gate.user, gate.may_write))),
        ("GET", ["users", "current", "permissions"]) => {
            Ok(Reply::new(200, json!({ "permissions": rows::user_permissions(gate.may_write) })))
        }
        ("GET", ["attributes"]) => page(call, rows::attributes(gate.version)),
        ("GET", ["attributes", id]) => {
            let id = guid(id)?;
            let found = rows::attributes(gate.version).into_iter().find(|row| row["id"] == json!(id));
            found.map(|row| Reply::new(200, row)).ok_or_else(|| Refusal::not_found("The attribute"))
        }
        ("GET", ["keywords"]) => page(call, rows::keywords(app)),
        ("GET", ["config", "renditionkinds"]) => page(call, rows::rendition_kinds()),

        ("GET", ["categories" | "folders"]) => categories::list(app, gate, call),
        ("GET", ["categories", "subcategories"]) => categories::of_root(app, gate, call),
        ("GET", ["categories" | "folders", id]) => categories::one(app, gate, guid(id)?),
        ("GET", ["categories", id, "subcategories"] | ["folders", id, "subfolders"]) => {
            categories::children(app, gate, call, guid(id)?)
        }
        ("GET", ["categories" | "folders", id, "assets"]) => asset_search::of_category(app, gate, call, guid(id)?),
        ("POST", ["categories" | "folders"]) => {
            let body = json_body(call).await?;
            categories::create(app, gate, &body)
        }
        ("DELETE", ["categories", id]) => categories::delete(app, guid(id)?),

        ("GET", ["assets"]) => asset_search::by_query(app, gate, call),
        ("POST", ["assets", "search"]) => {
            let body = json_body(call).await?;
            asset_search::by_body(app, gate, &body)
        }
        ("GET", ["assets", id]) => rows::asset(app, gate, call, guid(id)?),
        ("GET", ["assets", id, "keywords"]) => rows::asset_keywords(app, call, guid(id)?),
        ("GET", ["assets", id, "categories"]) => categories::of_asset(app, gate, call, guid(id)?),
        ("GET", ["assets", id, "attributes"]) => rows::asset_attributes(app, gate, call, guid(id)?),
        ("GET", ["assets", id, "renditions"]) => rows::asset_renditions(app, call, guid(id)?),
        ("GET", ["assets", id, "renditions", kind]) => rows::asset_rendition(app, call, guid(id)?, guid(kind)?),
        ("DELETE", ["assets", id]) => asset_writes::delete(app, call, guid(id)?),
        ("DELETE", ["assets", id, "keywords", keyword]) => asset_writes::remove_keyword(app, guid(id)?, keyword),
        ("DELETE", ["assets", id, "categories", category]) => {
            asset_writes::remove_category(app, guid(id)?, guid(category)?)
        }
        ("PATCH", ["assets", id]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            asset_writes::patch(app, gate, id, &body)
        }
        ("POST" | "PUT", ["assets", id, what @ ("keywords" | "categories" | "attributes" | "uploads")]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            match (method.as_str(), *what) {
                ("POST", "keywords") => asset_writes::add_keywords(app, id, &body),
                ("POST", "categories") => asset_writes::add_categories(app, id, &body),
                ("PUT", "categories") => asset_writes::replace_categories(app, id, &body),
                ("POST", "attributes") => asset_writes::set_attributes(app, gate, id, &body),
                ("POST", "uploads") => uploads::new_version(app, gate, id, &body),
                _ => Err(Refusal::new(405, "The method is not offered here")),
            }
        }

        ("GET", ["assets", id, "versions"]) => check_in::versions(app, call, guid(id)?),
        ("POST", ["assets", id, "checkOut"]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            check_in::check_out(app, gate, id, &body)
        }
        ("POST", ["assetCheckIn", id, "validate"]) => {
            let id = guid(id)?;
            let name = text_body(call).await?;
            check_in::validate(app, id, &name)
        }
        ("GET", ["assetCheckIn", id]) => check_in::begin(app, gate, guid(id)?),
        ("PUT", ["assetCheckIn", id]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            check_in::finish(app, gate, id, &body)
        }

        ("GET", ["downloads"]) => Ok(downloads::list(app, gate)),
        ("POST", ["downloads"]) => {
            let body = json_body(call).await?;
            downloads::create(app, gate, &body)
        }
        ("GET", ["downloads", id]) => downloads::one(app, gate, guid(id)?),
        ("DELETE", ["downloads", id]) => downloads::delete(app, gate, guid(id)?),

        ("GET", ["skyhook", "events"]) => Ok(webhooks::events()),
        ("GET", ["skyhook", "subscriptions", "list"]) => Ok(webhooks::list(app, gate)),
        ("POST", ["skyhook", "subscriptions"]) => {
            let body = json_body(call).await?;
            webhooks::create(app, gate, &body)
        }
        ("PUT", ["skyhook", "subscriptions", id]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            webhooks::replace(app, gate, id, &body)
        }
        ("DELETE", ["skyhook", "subscriptions", id]) => webhooks::delete(app, gate, guid(id)?),

        ("POST", ["uploads"]) => {
            let body = json_body(call).await?;
            uploads::create(app, gate, &body)
        }
        ("PUT" | "PATCH", ["uploads", id]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            if method == Method::PUT { uploads::describe(app, id, &body) } else { uploads::patch(app, id, &body) }
        }
        ("POST", ["uploads", id, what @ ("categories" | "keywords" | "attributes")]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            uploads::associate(app, id, what, &body)
        }
        _ => Err(Refusal::new(404, "Resource not found")),
    }
}

/// A GUID in its usual form; everything else is refused.
pub(crate) fn guid(text: &str) -> Result<Uuid, Refusal> {
    let usual = text.len() == 36;
    let id = usual.then(|| Uuid::try_parse(text).ok()).flatten();
    id.ok_or_else(|| Refusal::new(400, format!("{text:?} is not a GUID")))
}

async fn json_body(call: &mut Call) -> Result<Value, Refusal> {
    if !matches!(call.content_type().as_str(), "application/json" | "application/json-patch+json") {
        return Err(Refusal::new(415, "The body has to be application/json"));
    }
    call.json().await.map_err(|text| Refusal::new(400, text))
}

async fn text_body(call: &mut Call) -> Result<String, Refusal> {
    if call.content_type() != "text/plain" {
        return Err(Refusal::new(415, "The body has to be text/plain"));
    }
    let bytes = call.bytes().await.map_err(|text| Refusal::new(400, text))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::new(400, "The body is not UTF-8"))
}

/// Offset and count of a page; a count above 1000 is cut down.
pub(crate) fn paging(offset: Option<&Value>, count: Option<&Value>) -> Result<(usize, usize), Refusal> {
    let read = |value: Option<&Value>, default: usize, name: &str| match value {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => text.parse().map_err(|_| Refusal::new(400, format!("{name} is not a number"))),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| Refusal::new(400, format!("{name} is not a number"))),
    };
    Ok((read(offset, 0, "offset")?, read(count, DEFAULT_COUNT, "count")?.min(MAX_COUNT)))
}

/// Offset and count out of the query, whose names are not case sensitive.
pub(crate) fn query_paging(call: &Call) -> Result<(usize, usize), Refusal> {
    let value = |name: &str| call.query_any_case(name).map(Value::from);
    paging(value("offset").as_ref(), value("count").as_ref())
}

/// One page of rows, as an array.
pub(crate) fn page(call: &Call, rows: Vec<Value>) -> Outcome {
    let (offset, count) = query_paging(call)?;
    let total = rows.len();
    let shown: Vec<Value> = rows.into_iter().skip(offset).take(count).collect();
    let counts = Some((total, offset, shown.len()));
    Ok(Reply { count: counts, ..Reply::new(200, shown.into()) })
}

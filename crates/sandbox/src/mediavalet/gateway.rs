//! The simulator of the MediaValet API: its gateway and its routes.
//!
//! The gateway checks the two credentials and the version, and wraps every response in the envelope. The handlers are
//! in the modules that are named after their resources.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};

use super::response::{ApiResponse, ApiResult, AuthContext, RecordCount, guid, page};
use super::{asset_search, asset_writes, categories, check_in, downloads, rows, uploads, webhooks};
use crate::app::App;
use crate::http::{self, ApiError, Call, HttpResponse};
use crate::state::{LoginServer, now, timestamp};

/// Serves the API.
pub(crate) async fn serve(app: &App, mut call: Call) -> HttpResponse {
    let started = Instant::now();
    let auth = match authenticate(app, &call) {
        Ok(auth) => auth,
        Err(response) => return *response,
    };
    // Starting a check-in is a GET, but it changes the asset.
    let read_only = matches!(call.method, Method::GET | Method::HEAD) && !call.path.starts_with("/assetCheckIn/")
        || (call.method == Method::POST && matches!(call.path.as_str(), "/assets/search" | "/downloads"));
    let result = if read_only || auth.may_write {
        route(app, &auth, &mut call).await
    } else {
        let status = if auth.version >= 2 { 403 } else { 401 };
        Err(ApiError::new(status, "The user does not have the permission for this operation"))
    };
    match result {
        Err(error) => http::json(error.status, &json!({ "message": error.message })),
        Ok(response) if response.status == 204 => http::empty(204),
        Ok(response) => http::json(response.status, &envelope(&auth, response, started)),
    }
}

/// Checks the subscription key, the token and the version, in that order. The error is the response to send.
fn authenticate(app: &App, call: &Call) -> Result<AuthContext, Box<HttpResponse>> {
    let unauthorized = |text: &str| Box::new(http::json(401, &json!({ "statusCode": 401, "message": text })));
    let valet = &app.credentials.mediavalet;
    match call.header("ocp-apim-subscription-key") {
        None => {
            return Err(unauthorized(
                "Access denied due to missing subscription key. Make sure to include subscription key when making \
                 requests to an API.",
            ));
        }
        Some(key) if key != valet.subscription_key => {
            return Err(unauthorized(
                "Access denied due to invalid subscription key. Make sure to provide a valid key for an active \
                 subscription.",
            ));
        }
        Some(_) => {}
    }
    let token = call.bearer().unwrap_or_default();
    let Some(owner) = app.state.with(|state| state.valid_access_token(LoginServer::Mediavalet, token)) else {
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
    Ok(AuthContext { version, may_write: owner.user != valet.viewer_username, user: owner.user })
}

/// Wraps a response in the envelope that all responses of the API have.
fn envelope(auth: &AuthContext, response: ApiResponse, started: Instant) -> Value {
    let count = response.count.unwrap_or(RecordCount { total: 1, start: 0, returned: 1 });
    json!({
        "apiVersion": format!("1.{}", auth.version),
        "buildVersion": concat!("sandbox-", env!("CARGO_PKG_VERSION")),
        "warnings": response.warnings,
        "errors": response.errors,
        "payload": response.payload,
        "recordCount": {
            "totalRecordsFound": count.total, "startingRecord": count.start, "recordsReturned": count.returned,
        },
        "meta": {
            "metaInformation": { "ElapsedTimeInMS": u64::try_from(started.elapsed().as_millis()).unwrap_or(0) },
            "createdAt": timestamp(now()),
        },
    })
}

/// Dispatches a request to the routes of its resource.
async fn route(app: &App, auth: &AuthContext, call: &mut Call) -> ApiResult {
    let segments = call.segments.clone();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = if call.method == Method::HEAD { Method::GET } else { call.method.clone() };
    let method = method.as_str();
    let response = match path.first() {
        Some(&"assets") => route_assets(app, auth, call, method, &path).await,
        Some(&("categories" | "folders" | "assetCheckIn" | "uploads")) => {
            route_library(app, auth, call, method, &path).await
        }
        _ => route_others(app, auth, call, method, &path).await,
    }?;
    if let Some((event, asset)) = webhooks::event_of(method, &path) {
        webhooks::send(app, event, asset, &json!({}), Duration::ZERO);
    }
    Ok(response)
}

fn no_such_route() -> ApiError {
    ApiError::new(404, "Resource not found")
}

/// The routes of assets.
async fn route_assets(app: &App, auth: &AuthContext, call: &mut Call, method: &str, path: &[&str]) -> ApiResult {
    match (method, path) {
        ("GET", ["assets"]) => asset_search::by_query(app, auth, call),
        ("GET", ["assets", id]) => rows::asset(app, auth, call, guid(id)?),
        ("GET", ["assets", id, "keywords"]) => rows::asset_keywords(app, call, guid(id)?),
        ("GET", ["assets", id, "categories"]) => categories::of_asset(app, auth, call, guid(id)?),
        ("GET", ["assets", id, "attributes"]) => rows::asset_attributes(app, auth, call, guid(id)?),
        ("GET", ["assets", id, "renditions"]) => rows::asset_renditions(app, call, guid(id)?),
        ("GET", ["assets", id, "renditions", kind]) => rows::asset_rendition(app, call, guid(id)?, guid(kind)?),
        ("GET", ["assets", id, "versions"]) => check_in::versions(app, call, guid(id)?),
        ("DELETE", ["assets", id]) => asset_writes::delete(app, call, guid(id)?),
        ("DELETE", ["assets", id, "keywords", keyword]) => asset_writes::remove_keyword(app, guid(id)?, keyword),
        ("DELETE", ["assets", id, "categories", category]) => {
            asset_writes::remove_category(app, guid(id)?, guid(category)?)
        }

        ("POST", ["assets", "search"]) => asset_search::by_body(app, auth, &json_body(call).await?),
        ("PATCH", ["assets", id]) => asset_writes::patch(app, auth, guid(id)?, &json_body(call).await?),
        ("POST" | "PUT", ["assets", id, list @ ("keywords" | "categories" | "attributes" | "uploads")]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            match (method, *list) {
                ("POST", "keywords") => asset_writes::add_keywords(app, id, &body),
                ("POST", "categories") => asset_writes::add_categories(app, id, &body),
                ("PUT", "categories") => asset_writes::replace_categories(app, id, &body),
                ("POST", "attributes") => asset_writes::set_attributes(app, auth, id, &body),
                ("POST", "uploads") => uploads::new_version(app, auth, id, &body),
                _ => Err(ApiError::new(405, "Method not allowed")),
            }
        }
        ("POST", ["assets", id, "checkOut"]) => check_in::check_out(app, auth, guid(id)?, &json_body(call).await?),
        _ => Err(no_such_route()),
    }
}

/// The routes of categories, and those through which files arrive.
async fn route_library(app: &App, auth: &AuthContext, call: &mut Call, method: &str, path: &[&str]) -> ApiResult {
    match (method, path) {
        ("GET", ["categories" | "folders"]) => categories::list(app, auth, call),
        ("GET", ["categories", "subcategories"]) => categories::of_root(app, auth, call),
        ("GET", ["categories" | "folders", id]) => categories::one(app, auth, guid(id)?),
        ("GET", ["categories", id, "subcategories"] | ["folders", id, "subfolders"]) => {
            categories::children(app, auth, call, guid(id)?)
        }
        ("GET", ["categories" | "folders", id, "assets"]) => asset_search::of_category(app, auth, call, guid(id)?),
        ("POST", ["categories" | "folders"]) => categories::create(app, auth, &json_body(call).await?),
        ("DELETE", ["categories", id]) => categories::delete(app, guid(id)?),

        ("POST", ["assetCheckIn", id, "validate"]) => check_in::validate(app, guid(id)?, &text_body(call).await?),
        ("GET", ["assetCheckIn", id]) => check_in::start(app, auth, guid(id)?),
        ("PUT", ["assetCheckIn", id]) => check_in::finish(app, auth, guid(id)?, &json_body(call).await?),

        ("POST", ["uploads"]) => uploads::create(app, auth, &json_body(call).await?),
        ("PUT" | "PATCH", ["uploads", id]) => {
            let id = guid(id)?;
            let body = json_body(call).await?;
            if method == "PUT" { uploads::describe(app, id, &body) } else { uploads::patch(app, id, &body) }
        }
        ("POST", ["uploads", id, list @ ("categories" | "keywords" | "attributes")]) => {
            uploads::associate(app, guid(id)?, list, &json_body(call).await?)
        }
        _ => Err(no_such_route()),
    }
}

/// The routes of the account and its settings, of packages and of webhooks.
async fn route_others(app: &App, auth: &AuthContext, call: &mut Call, method: &str, path: &[&str]) -> ApiResult {
    match (method, path) {
        ("GET", [""]) => Ok(ApiResponse::new(200, rows::home())),
        ("GET", ["users", "current"]) => Ok(ApiResponse::new(200, rows::user(&auth.user, auth.may_write))),
        ("GET", ["users", "current", "permissions"]) => {
            Ok(ApiResponse::new(200, json!({ "permissions": rows::user_permissions(auth.may_write) })))
        }
        ("GET", ["attributes"]) => page(call, rows::attributes(auth.version)),
        ("GET", ["attributes", id]) => {
            let id = guid(id)?;
            let found = rows::attributes(auth.version).into_iter().find(|row| row["id"] == json!(id));
            found.map(|row| ApiResponse::new(200, row)).ok_or_else(|| ApiError::not_found("The attribute"))
        }
        ("GET", ["keywords"]) => page(call, rows::keywords(app)),
        ("GET", ["config", "renditionkinds"]) => page(call, rows::rendition_kinds()),

        ("GET", ["downloads"]) => Ok(downloads::list(app, auth)),
        ("POST", ["downloads"]) => downloads::create(app, auth, &json_body(call).await?),
        ("GET", ["downloads", id]) => downloads::one(app, auth, guid(id)?),
        ("DELETE", ["downloads", id]) => downloads::delete(app, auth, guid(id)?),

        ("GET", ["skyhook", "events"]) => Ok(webhooks::events()),
        ("GET", ["skyhook", "subscriptions", "list"]) => Ok(webhooks::list(app, auth)),
        ("POST", ["skyhook", "subscriptions"]) => webhooks::create(app, auth, &json_body(call).await?),
        ("PUT", ["skyhook", "subscriptions", id]) => webhooks::replace(app, auth, guid(id)?, &json_body(call).await?),
        ("DELETE", ["skyhook", "subscriptions", id]) => webhooks::delete(app, auth, guid(id)?),
        _ => Err(no_such_route()),
    }
}

/// Reads a JSON body.
async fn json_body(call: &mut Call) -> Result<Value, ApiError> {
    if !matches!(call.content_type().as_str(), "application/json" | "application/json-patch+json") {
        return Err(ApiError::new(415, "The body has to be application/json"));
    }
    call.json().await.map_err(|text| ApiError::new(400, text))
}

/// Reads a `text/plain` body.
async fn text_body(call: &mut Call) -> Result<String, ApiError> {
    if call.content_type() != "text/plain" {
        return Err(ApiError::new(415, "The body has to be text/plain"));
    }
    let bytes = call.bytes().await.map_err(|text| ApiError::new(400, text))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| ApiError::new(400, "The body is not UTF-8"))
}

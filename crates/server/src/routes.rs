//! The routes of the server. Most routes require the API token, and each of them is one row: an operation, and how its
//! input is read from the request. The callback of sign-ins, webhooks and `/health` require no token.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;
use trunkline_core::{Error, ErrorKind};

use crate::{
    api::{self, DEPRECATION},
    api_document,
    api_input::HEADERS,
    api_route::ApiRoute,
    app::App,
    auth,
    callback::{self, CALLBACK, OUTCOME},
    events::{EVENTS, LAST_EVENT_ID},
    listener::HEALTH,
    request::{MAX_BODY, REQUEST_ID, refuse_codings, refuse_heads, request_id},
    response::{ErrorResponse, with_error},
    unread_body, webhook,
};

/// The URL of the run that an output names.
const RUN: &str = "/rest/v1/runs/{run}";

/// The rows of the API.
static ROWS: &[ApiRoute] = &[
    ApiRoute::get("/rest/v1/actions", "actions.list"),
    ApiRoute::get("/rest/v1/actions/{name}", "actions.get"),
    ApiRoute::post("/rest/v1/actions/{name}/call", "actions.call").renamed("name", "action"),
    ApiRoute::post("/rest/v1/actions/{name}/items", "actions.list_items").renamed("name", "action"),
    ApiRoute::post("/rest/v1/actions/{name}/options", "actions.options").renamed("name", "action"),
    ApiRoute::post("/rest/v1/actions/{name}/pages", "actions.pages").renamed("name", "action"),
    ApiRoute::get("/rest/v1/connections", "connections.list"),
    ApiRoute::post("/rest/v1/connections", "connections.add"),
    ApiRoute::post("/rest/v1/connections/discover", "connections.discover"),
    ApiRoute::post("/rest/v1/connections/validate", "connections.validate"),
    ApiRoute::get("/rest/v1/connections/{name}", "connections.get"),
    ApiRoute::put("/rest/v1/connections/{name}", "connections.put").body_is("document"),
    ApiRoute::patch("/rest/v1/connections/{name}", "connections.patch").body_is("patch"),
    ApiRoute::delete("/rest/v1/connections/{name}", "connections.remove"),
    ApiRoute::post("/rest/v1/connections/{name}/authorize", "connections.authorize").callback_is("redirect_uri"),
    ApiRoute::post("/rest/v1/connections/{name}/check", "connections.check"),
    ApiRoute::get("/rest/v1/connections/{name}/events", "connections.events"),
    ApiRoute::get("/rest/v1/connections/{name}/export", "connections.export"),
    ApiRoute::post("/rest/v1/connections/{name}/discover", "connections.apply_discovery"),
    ApiRoute::get("/rest/v1/connections/{name}/uses", "connections.uses"),
    ApiRoute::get("/rest/v1/connectors", "connectors.list"),
    ApiRoute::get("/rest/v1/connectors/{name}", "connectors.get"),
    ApiRoute::post("/rest/v1/event-tickets", "event_tickets.get"),
    ApiRoute::get(EVENTS, "runs.watch"),
    ApiRoute::post("/rest/v1/expressions/complete", "expressions.complete"),
    ApiRoute::post("/rest/v1/expressions/evaluate", "expressions.evaluate"),
    ApiRoute::get("/rest/v1/connectors/{name}/icon", "connectors.get_icon").text("image/svg+xml"),
    ApiRoute::get("/rest/v1/filters", "filters.list"),
    ApiRoute::get("/rest/v1/flows", "flows.list"),
    ApiRoute::post("/rest/v1/flows", "flows.save"),
    ApiRoute::post("/rest/v1/flows/graph", "flows.graph"),
    ApiRoute::post("/rest/v1/flows/outputs", "flows.outputs"),
    ApiRoute::post("/rest/v1/flows/validate", "flows.validate"),
    ApiRoute::get("/rest/v1/flows/{name}", "flows.get"),
    ApiRoute::put("/rest/v1/flows/{name}", "flows.put"),
    ApiRoute::delete("/rest/v1/flows/{name}", "flows.remove"),
    ApiRoute::post("/rest/v1/flows/{name}/activate", "flows.activate"),
    ApiRoute::post("/rest/v1/flows/{name}/deactivate", "flows.deactivate"),
    ApiRoute::get("/rest/v1/flows/{name}/deliveries", "flows.deliveries"),
    ApiRoute::get("/rest/v1/flows/{name}/graph", "flows.get_graph"),
    ApiRoute::get("/rest/v1/flows/{name}/remembered-items", "remembered_items.list").renamed("name", "flow"),
    ApiRoute::delete("/rest/v1/flows/{name}/remembered-items", "remembered_items.remove").renamed("name", "flow"),
    ApiRoute::post("/rest/v1/flows/{name}/runs", "runs.start").renamed("name", "flow").located(RUN).accepted(),
    ApiRoute::get("/rest/v1/flows/{name}/trigger", "flows.trigger"),
    ApiRoute::post("/rest/v1/flows/{name}/trigger/address", "flows.new_webhook_address"),
    ApiRoute::post("/rest/v1/flows/{name}/trigger/secret", "flows.set_webhook_secret"),
    ApiRoute::get("/rest/v1/items", "runs.find"),
    ApiRoute::get("/rest/v1/retention", "runs.get_retention"),
    ApiRoute::post("/rest/v1/retention", "runs.set_retention"),
    ApiRoute::get("/rest/v1/runs", "runs.list"),
    ApiRoute::post("/rest/v1/runs", "runs.start").located(RUN).accepted(),
    ApiRoute::delete("/rest/v1/runs", "runs.prune"),
    ApiRoute::post("/rest/v1/runs/bulk", "runs.bulk"),
    ApiRoute::get("/rest/v1/runs/{run}", "runs.get"),
    ApiRoute::delete("/rest/v1/runs/{run}", "runs.remove").renamed("run", "runs"),
    ApiRoute::post("/rest/v1/runs/{run}/cancel", "runs.cancel").accepted(),
    ApiRoute::get("/rest/v1/runs/{run}/events", "runs.events"),
    ApiRoute::get("/rest/v1/runs/{run}/flow", "runs.flow"),
    ApiRoute::get("/rest/v1/runs/{run}/graph", "runs.graph"),
    ApiRoute::get("/rest/v1/runs/{run}/items", "runs.items"),
    ApiRoute::get("/rest/v1/runs/{run}/log", "runs.log"),
    ApiRoute::post("/rest/v1/runs/{run}/rerun", "runs.rerun").located(RUN).accepted(),
    ApiRoute::post("/rest/v1/runs/{run}/resolve", "runs.resolve"),
    ApiRoute::post("/rest/v1/runs/{run}/resume", "runs.resume").located(RUN).accepted(),
    ApiRoute::post("/rest/v1/runs/{run}/retry", "runs.rerun")
        .located(RUN)
        .accepted()
        .replaced_by("<rerun>; rel=\"successor-version\""),
    ApiRoute::post("/rest/v1/runs/{run}/settle", "runs.resolve").replaced_by("<resolve>; rel=\"successor-version\""),
    ApiRoute::post("/rest/v1/runs/{run}/signals/{name}", "runs.signal").body_is("payload").accepted(),
    ApiRoute::get("/rest/v1/runs/{run}/steps", "runs.steps"),
    ApiRoute::get("/rest/v1/runs/{run}/steps/{path}", "runs.step"),
    ApiRoute::get("/rest/v1/runs/{run}/timeline", "runs.timeline"),
    ApiRoute::get("/rest/v1/schemas", "schemas.get"),
    ApiRoute::get("/rest/v1/sign-in-events", "connections.events"),
    ApiRoute::post("/rest/v1/steps/test", "steps.test").ends_with_caller(),
];

/// The path of the description of the API. It has no secrets, so it is served without a token.
const DOCUMENT: &str = "/rest/v1/openapi.json";

/// Returns the routes that carry out operations.
pub fn api_routes() -> &'static [ApiRoute] {
    ROWS
}

/// Returns the description of the API as an OpenAPI 3.1 document.
pub fn document() -> Value {
    api_document::document(ROWS)
}

/// Returns the description as a response, which a client needs to load only once for each version of the server.
async fn description(headers: HeaderMap) -> Response {
    static TEXT: LazyLock<(String, String)> = LazyLock::new(|| {
        let text = document().to_string();
        let digest = HEXLOWER.encode(&Sha256::digest(&text)[..16]);
        (text, format!("\"{digest}\""))
    });
    let (text, tag) = &*TEXT;
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let with_token = api::router(ROWS)
        .route_layer(from_fn_with_state(app.clone(), auth::token))
        .route_layer(from_fn_with_state(app.clone(), auth::origin))
        .route_layer(pages(&app));
    Router::new()
        .route(CALLBACK, get(callback::callback))
        .route(OUTCOME, get(callback::outcome))
        .route("/webhooks/{flow}/{token}", any(webhook::call))
        .route(DOCUMENT, get(description))
        .route(HEALTH, get(async |State(app): State<Arc<App>>| app.health.response(app.connections.closed())))
        .merge(with_token)
        .fallback(async || ErrorResponse::from(Error::new(ErrorKind::NotFound, "there is nothing at this URL")))
        .layer(map_response(method_error))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_codings))
        .layer(from_fn(refuse_heads))
        .layer(from_fn_with_state(app.clone(), auth::host))
        .layer(from_fn_with_state(app.clone(), write_error))
        .layer(from_fn(unread_body::read_rest))
        .with_state(app)
}

/// Returns the layer that lets web pages of the listed origins read responses (CORS). It answers their preflight requests,
/// which have no token.
fn pages(app: &App) -> CorsLayer {
    let own = [header::AUTHORIZATION, header::CONTENT_TYPE, LAST_EVENT_ID, REQUEST_ID];
    let allowed: Vec<_> = own.into_iter().chain(HEADERS.map(|(_, header)| header)).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(app.guard.origins().to_vec()))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(allowed)
        .expose_headers([header::ETAG, header::LINK, header::LOCATION, header::RETRY_AFTER, DEPRECATION, REQUEST_ID])
        .max_age(Duration::from_secs(600))
}

/// Gives a request an id, which its log lines and its response have, and writes the error of the response into its body,
/// without secrets.
async fn write_error(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", id);
    let response = next.run(request).instrument(span).await;
    let mut response = with_error(response, app.runtime.redactor(), Some(&id));
    response.headers_mut().extend(HeaderValue::try_from(id).map(|id| (REQUEST_ID, id)));
    response
}

/// Turns the response of the router for a wrong method into one of ours.
async fn method_error(response: Response) -> Response {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get(header::ALLOW).cloned();
            let error = Error::new(ErrorKind::InvalidInput, "this URL requires another method");
            let mut response = ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
            response.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
            response
        }
        _ => response,
    }
}

//! The routes of the server and their handlers. Most routes require the API token; the callback of sign-ins, webhooks
//! and `/health` do not.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::{
    Cause,
    operations::{
        Empty,
        connections::ListConnections,
        sign_ins::{AuthorizeConnection, SignInRequest},
    },
    redacted, run_view,
};
use trunkline_core::{Error, ErrorKind, Result, StepPath};
use trunkline_engine::{Flush, Verdict};

use crate::{
    api::{Api, ApiRoute, Method},
    app::App,
    auth,
    callback::{CALLBACK, callback},
    dispatcher::StartOutcome,
    events,
    request::{Body, MAX_BODY, complete, object, read},
    response::{ApiResult, ErrorResponse, ok, response_json},
    webhook,
};

/// Returns the routes that carry out operations.
pub fn api_routes() -> Vec<ApiRoute> {
    api().routes
}

fn api() -> Api {
    Api::default()
        .row::<ListConnections>(Method::Get, "/rest/v1/connections", StatusCode::OK, |_| Ok(Empty {}))
        .row::<AuthorizeConnection>(Method::Post, "/rest/v1/connections/{name}/authorize", StatusCode::OK, |request| {
        Ok(SignInRequest { name: request.parameter("name"), redirect_uri: request.callback_url() })
    })
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let with_token = api()
        .router
        .route("/rest/v1/flows", get(flows))
        .route("/rest/v1/flows/{name}/runs", post(start))
        .route("/rest/v1/runs", get(runs))
        .route("/rest/v1/runs/{id}", get(run))
        .route("/rest/v1/runs/{id}/items", get(items))
        .route("/rest/v1/runs/{id}/cancel", post(cancel))
        .route("/rest/v1/runs/{id}/resume", post(resume))
        .route("/rest/v1/runs/{id}/rerun", post(rerun))
        .route("/rest/v1/runs/{id}/retry", post(rerun).layer(map_response(moved_to_rerun)))
        .route("/rest/v1/runs/{id}/resolve", post(resolve))
        .route("/rest/v1/runs/{id}/settle", post(resolve).layer(map_response(moved_to_resolve)))
        .route("/rest/v1/runs/{id}/signals/{name}", post(signal))
        .route("/rest/v1/runs/{id}/events", get(events::events))
        .route("/rest/v1/runs/{id}/timeline", get(timeline))
        .route("/rest/v1/runs/{id}/log", get(log))
        .route_layer(from_fn_with_state(app.clone(), auth::token));
    Router::new()
        .route(CALLBACK, get(callback))
        .route("/webhooks/{flow}/{token}", post(webhook::call).options(webhook::preflight))
        .route("/health", get(async |State(app): State<Arc<App>>| app.health.response()))
        .merge(with_token)
        .fallback(async || ErrorResponse::from(Error::new(ErrorKind::NotFound, "there is nothing at this URL")))
        .layer(map_response(method_error))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), auth::host))
        .with_state(app)
}

/// Turns the response of the router for a wrong method into one of ours.
async fn method_error(response: Response) -> Response {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get("allow").cloned();
            let error = Error::new(ErrorKind::InvalidInput, "this URL requires another method");
            let mut response = ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
            response.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
            response
        }
        _ => response,
    }
}

async fn flows(State(app): State<Arc<App>>) -> ApiResult {
    ok(&app.runtime.flows().saved_flows().await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    connections: BTreeMap<String, String>,
}

async fn start(State(app): State<Arc<App>>, Path(name): Path<String>, body: Body) -> ApiResult {
    let start: Start = read(body, "the body of a start has `input` and `connections`, both optional")?;
    let input = start.input.unwrap_or_else(|| json!({}));
    let (mut saved, flow) = app.runtime.saved_flow(&name).await?;
    saved.connections.extend(start.connections);
    match app.dispatcher.start(saved, &flow, input, Cause::Caller(Flush::Now)).await? {
        StartOutcome::Run(run) | StartOutcome::Duplicate(run) => {
            Ok(response_json(StatusCode::ACCEPTED, &json!({ "run": run })))
        }
        StartOutcome::Skipped => {
            let message = format!("a run of {name} is active, and the flow skips further runs until it ends");
            Err(Error::new(ErrorKind::Conflict, message).hint("wait until it ends, or cancel it").into())
        }
    }
}

async fn resume(State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    app.dispatcher.resume(&id).await?;
    Ok(response_json(StatusCode::ACCEPTED, &json!({ "run": id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rerun {
    flow: Option<String>,
    #[serde(default)]
    unknown: bool,
}

async fn rerun(State(app): State<Arc<App>>, Path(id): Path<String>, body: Body) -> ApiResult {
    let Rerun { flow, unknown } = read(body, "the body of a rerun has `flow` and `unknown`, both optional")?;
    let id = app.runtime.find_run(&id).await?;
    let run = app.dispatcher.rerun(&id, flow.as_deref(), unknown).await?;
    Ok(response_json(StatusCode::ACCEPTED, &json!({ "run": run })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    step: String,
    verdict: Verdict,
    #[serde(default)]
    output: Value,
}

async fn resolve(State(app): State<Arc<App>>, Path(id): Path<String>, body: Body) -> ApiResult {
    let Resolve { step, verdict, output } = read(body, "the body has `step`, `verdict`, and optionally `output`")?;
    let id = app.runtime.find_run(&id).await?;
    ok(&redacted(&app.runtime.engine().resolve_unknown(&id, &StepPath::from(&*step), verdict, output).await?))
}

/// The date on which `retry` and `settle` became `rerun` and `resolve`, in the form of the header `Deprecation`:
/// 2026-11-30.
const DEPRECATED_SINCE: &str = "@1795996800";

/// Marks the response of a former route: `Deprecation` (RFC 9745), and a link to the route that replaces it (RFC 5829).
fn moved(mut response: Response, successor: &'static str) -> Response {
    let headers = response.headers_mut();
    headers.insert("deprecation", HeaderValue::from_static(DEPRECATED_SINCE));
    headers.insert(header::LINK, HeaderValue::from_static(successor));
    response
}

async fn moved_to_rerun(response: Response) -> Response {
    moved(response, "<rerun>; rel=\"successor-version\"")
}

async fn moved_to_resolve(response: Response) -> Response {
    moved(response, "<resolve>; rel=\"successor-version\"")
}

async fn runs(State(app): State<Arc<App>>) -> ApiResult {
    ok(&app.runtime.journal().runs().await?)
}

async fn run(State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    ok(&run_view(&app.runtime.engine().run(&id).await?))
}

async fn timeline(State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    ok(&redacted(&app.runtime.engine().timeline(&id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

/// Returns a page of the logged calls of a run. The number of the last entry is the `after` of the next page.
async fn log(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    after: Result<Query<After>, QueryRejection>,
) -> ApiResult {
    let Query(After { after }) = after.map_err(|rejection| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("`after` has to be the number of an entry: {}", rejection.body_text()),
        )
    })?;
    let id = app.runtime.find_run(&id).await?;
    ok(&redacted(&app.runtime.engine().log(&id, after).await?))
}

async fn signal(State(app): State<Arc<App>>, Path((id, name)): Path<(String, String)>, body: Body) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    app.runtime.engine().signal(&id, &name, object(&complete(body)?)?).await?;
    Ok(response_json(StatusCode::ACCEPTED, &json!({ "signalled": id, "name": name })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemQuery {
    status: Option<String>,
    step: Option<String>,
    from: Option<String>,
}

async fn items(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: Result<Query<ItemQuery>, QueryRejection>,
) -> ApiResult {
    let Query(ItemQuery { status, step, from }) = query.map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the query of items has `status`, `step` and `from`, all optional: {error}"),
        )
    })?;
    let id = app.runtime.find_run(&id).await?;
    ok(&app.runtime.items(&id, status.as_deref(), step.as_deref(), from).await?)
}

async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    app.runtime.engine().cancel(&id).await?;
    Ok(response_json(StatusCode::ACCEPTED, &json!({ "cancelled": id })))
}

//! The routes of the server. Most routes require the API token, and each of them is one row: an operation, and how its
//! input is read from the request. The callback of sign-ins, webhooks and `/health` require no token.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_response, map_response_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::Deserialize;
use serde_json::Value;
use trunkline::operations::{
    Empty, FlowChoice,
    connections::ListConnections,
    flows::ListFlows,
    run_queries::{GetRun, GetTimeline, ItemQuery, ListItems, ListRuns, ReadRunLog, RunPosition, RunQuery, WatchRun},
    runs::{
        CancelRun, RerunRequest, RerunRun, ResolveRequest, ResolveStep, ResumeRun, RunName, RunRequest, SignalRequest,
        SignalRun, StartRun,
    },
    sign_ins::{AuthorizeConnection, SignInRequest},
};
use trunkline_core::{Error, ErrorKind};
use trunkline_engine::Verdict;

use crate::{
    api::{Api, ApiRequest, ApiRoute, FormerPath, Method},
    app::App,
    auth,
    callback::{self, CALLBACK, OUTCOME},
    events,
    listener::HEALTH,
    request::{MAX_BODY, refuse_codings},
    response::{ErrorResponse, with_error},
    unread_body, webhook,
};

/// Returns the routes that carry out operations.
pub fn api_routes() -> Vec<ApiRoute> {
    api().routes
}

fn api() -> Api {
    use Method::{Get, Post};
    let (ok, accepted) = (StatusCode::OK, StatusCode::ACCEPTED);
    let retry = FormerPath { path: "/rest/v1/runs/{id}/retry", link: "<rerun>; rel=\"successor-version\"" };
    let settle = FormerPath { path: "/rest/v1/runs/{id}/settle", link: "<resolve>; rel=\"successor-version\"" };
    Api::default()
        .row::<ListConnections>(Get, "/rest/v1/connections", ok, |_| Ok(Empty {}))
        .row::<AuthorizeConnection>(Post, "/rest/v1/connections/{name}/authorize", ok, sign_in)
        .row::<ListFlows>(Get, "/rest/v1/flows", ok, |_| Ok(Empty {}))
        .row::<StartRun>(Post, "/rest/v1/flows/{name}/runs", accepted, start)
        .row::<ListRuns>(Get, "/rest/v1/runs", ok, list_runs)
        .row::<GetRun>(Get, "/rest/v1/runs/{id}", ok, run)
        .row::<ListItems>(Get, "/rest/v1/runs/{id}/items", ok, items)
        .row::<CancelRun>(Post, "/rest/v1/runs/{id}/cancel", accepted, run)
        .row::<ResumeRun>(Post, "/rest/v1/runs/{id}/resume", accepted, run)
        .row::<RerunRun>(Post, "/rest/v1/runs/{id}/rerun", accepted, rerun)
        .former_row::<RerunRun>(Post, retry, accepted, rerun)
        .row::<ResolveStep>(Post, "/rest/v1/runs/{id}/resolve", ok, resolve)
        .former_row::<ResolveStep>(Post, settle, ok, resolve)
        .row::<SignalRun>(Post, "/rest/v1/runs/{id}/signals/{name}", accepted, signal)
        .stream_row::<WatchRun>("/rest/v1/runs/{id}/events", get(events::events))
        .row::<GetTimeline>(Get, "/rest/v1/runs/{id}/timeline", ok, run)
        .row::<ReadRunLog>(Get, "/rest/v1/runs/{id}/log", ok, log)
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let with_token = api().router.route_layer(from_fn_with_state(app.clone(), auth::token));
    Router::new()
        .route(CALLBACK, get(callback::callback))
        .route(OUTCOME, get(callback::outcome))
        .route("/webhooks/{flow}/{token}", any(webhook::call))
        .route(HEALTH, get(async |State(app): State<Arc<App>>| app.health.response(app.connections.closed())))
        .merge(with_token)
        .fallback(async || ErrorResponse::from(Error::new(ErrorKind::NotFound, "there is nothing at this URL")))
        .layer(map_response(method_error))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_codings))
        .layer(from_fn_with_state(app.clone(), auth::host))
        .layer(map_response_with_state(app.clone(), write_error))
        .layer(from_fn(unread_body::read_rest))
        .with_state(app)
}

/// Writes the error of a response into its body, without secrets.
async fn write_error(State(app): State<Arc<App>>, response: Response) -> Response {
    with_error(response, app.runtime.redactor())
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

fn sign_in(request: ApiRequest) -> Result<SignInRequest, ErrorResponse> {
    Ok(SignInRequest { name: request.parameter("name"), redirect_uri: request.callback_url() })
}

fn run(request: ApiRequest) -> Result<RunName, ErrorResponse> {
    Ok(RunName { run: request.parameter("id") })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    connections: BTreeMap<String, String>,
}

fn start(request: ApiRequest) -> Result<RunRequest, ErrorResponse> {
    let flow = FlowChoice::Saved(request.parameter("name"));
    let Start { input, connections } =
        request.body("the body of a start has `input` and `connections`, both optional")?;
    Ok(RunRequest { flow, input, connections })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rerun {
    flow: Option<String>,
    #[serde(default)]
    unknown: bool,
}

fn rerun(request: ApiRequest) -> Result<RerunRequest, ErrorResponse> {
    let run = request.parameter("id");
    let Rerun { flow, unknown } = request.body("the body of a rerun has `flow` and `unknown`, both optional")?;
    Ok(RerunRequest { run, flow: flow.map(FlowChoice::Saved), unknown })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    step: String,
    verdict: Verdict,
    #[serde(default)]
    output: Value,
}

fn resolve(request: ApiRequest) -> Result<ResolveRequest, ErrorResponse> {
    let run = request.parameter("id");
    let Resolve { step, verdict, output } = request.body("the body has `step`, `verdict`, and optionally `output`")?;
    Ok(ResolveRequest { run, step, verdict, output })
}

fn signal(request: ApiRequest) -> Result<SignalRequest, ErrorResponse> {
    let (run, name) = (request.parameter("id"), request.parameter("name"));
    Ok(SignalRequest { run, name, payload: request.body("the body is the payload of the signal")? })
}

fn list_runs(request: ApiRequest) -> Result<RunQuery, ErrorResponse> {
    request.query().map_err(|rejection| {
        let message = format!("the query of a list of runs cannot be read: {}", rejection.body_text());
        Error::new(ErrorKind::InvalidInput, message)
            .hint("it has `flow`, `status`, `since`, `until`, `trigger`, `search`, `limit` and `cursor`, all optional")
            .into()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

fn log(request: ApiRequest) -> Result<RunPosition, ErrorResponse> {
    let After { after } = request.query().map_err(|rejection| {
        let message = format!("`after` has to be the number of an entry: {}", rejection.body_text());
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    Ok(RunPosition { run: request.parameter("id"), after })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Items {
    status: Option<String>,
    step: Option<String>,
    from: Option<String>,
}

fn items(request: ApiRequest) -> Result<ItemQuery, ErrorResponse> {
    let Items { status, step, from } = request.query().map_err(|error| {
        let message = format!("the query of items has `status`, `step` and `from`, all optional: {error}");
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    Ok(ItemQuery { run: request.parameter("id"), status, step, from })
}

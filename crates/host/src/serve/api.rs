//! The routes: what needs the token, and the few that protect themselves.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, RawQuery, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, Result, redact};
use trunkline_engine::{Flush, Journal, StepPath, Verdict};

use super::{
    App, CALLBACK, auth,
    dispatcher::Started,
    events,
    response::{Answer, Refusal, answer, good, object, page},
    webhook,
};
use crate::{flows::Cause, redacted, run_view};

/// Longest body, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

pub(crate) type Body = Result<Bytes, BytesRejection>;

pub(crate) fn router(app: Arc<App>) -> Router {
    let with_token = Router::new()
        .route("/rest/v1/connections", get(connections))
        .route("/rest/v1/connections/{name}/authorize", post(authorize))
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
        .route("/webhooks/{flow}/{token}", post(webhook::call).options(webhook::asked))
        .route("/health", get(async |State(app): State<Arc<App>>| app.health.told()))
        .merge(with_token)
        .fallback(async || Refusal::from(Error::new(ErrorKind::NotFound, "there is nothing at this address")))
        .layer(map_response(refused))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), auth::host))
        .with_state(app)
}

/// Refusals of the router itself, told as all others are.
async fn refused(response: Response) -> Response {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get("allow").cloned();
            let error = Error::new(ErrorKind::InvalidInput, "this address takes another method");
            let mut told = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
            told.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
            told
        }
        _ => response,
    }
}

/// The whole body, if it is not too long.
pub(crate) fn whole(body: Body) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        let message = format!("the body cannot be taken: {}", rejection.body_text());
        Refusal::new(rejection.status(), Error::new(ErrorKind::Limit, message))
    })
}

/// The members of a body; `wanted` says which those are.
fn read<T: DeserializeOwned>(body: Body, wanted: &str) -> Result<T, Refusal> {
    let object = object(&whole(body)?)?;
    serde_json::from_value(object)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{wanted}: {error}")).into())
}

async fn connections(State(app): State<Arc<App>>) -> Answer {
    good(&app.runtime.store().connections().await?)
}

async fn authorize(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer {
    let connected = app.runtime.connect(&name).await?;
    good(&app.sign_ins.begin(connected, &format!("{}{CALLBACK}", app.base))?)
}

async fn callback(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    match app.sign_ins.end(&query.unwrap_or_default()).await {
        Ok(name) => page(StatusCode::OK, &format!("{name} is signed in. You can close this page.")),
        Err(error) => {
            let next = error.advice().map(|advice| format!(" Next: {advice}.")).unwrap_or_default();
            let text = format!("Not signed in: {}.{next}", error.message());
            page(StatusCode::BAD_REQUEST, &redact(&text))
        }
    }
}

async fn flows(State(app): State<Arc<App>>) -> Answer {
    good(&app.runtime.store().saved_flows().await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    connections: BTreeMap<String, String>,
}

async fn start(State(app): State<Arc<App>>, Path(name): Path<String>, body: Body) -> Answer {
    let start: Start = read(body, "a run is started with `input` and `connections`")?;
    let input = start.input.unwrap_or_else(|| json!({}));
    let (mut kept, flow) = app.runtime.saved_flow(&name).await?;
    kept.connections.extend(start.connections);
    match app.dispatcher.start(kept, &flow, input, Cause::Caller(Flush::Now)).await? {
        Started::Run(run) | Started::Duplicate(run) => Ok(answer(StatusCode::ACCEPTED, &json!({ "run": run }))),
        Started::Skipped => {
            let message = format!("a run of {name} is at work, and the flow says to skip another one");
            Err(Error::new(ErrorKind::Conflict, message).hint("wait until it has ended, or cancel it").into())
        }
    }
}

async fn resume(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    app.dispatcher.resume(&id).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "run": id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rerun {
    flow: Option<String>,
    #[serde(default)]
    unknown: bool,
}

async fn rerun(State(app): State<Arc<App>>, Path(id): Path<String>, body: Body) -> Answer {
    let Rerun { flow, unknown } = read(body, "the body of a rerun has `flow` and `unknown`, both optional")?;
    let id = app.runtime.find_run(&id).await?;
    let run = app.dispatcher.rerun(&id, flow.as_deref(), unknown).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "run": run })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    step: String,
    verdict: Verdict,
    #[serde(default)]
    output: Value,
}

async fn resolve(State(app): State<Arc<App>>, Path(id): Path<String>, body: Body) -> Answer {
    let Resolve { step, verdict, output } = read(body, "a step is resolved with `step`, `verdict` and `output`")?;
    let id = app.runtime.find_run(&id).await?;
    good(&redacted(&app.runtime.engine().resolve_unknown(&id, &StepPath::from(&*step), verdict, output).await?))
}

/// When `retry` and `settle` became `rerun` and `resolve`, as the header `Deprecation` writes it: 2026-11-30.
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

async fn runs(State(app): State<Arc<App>>) -> Answer {
    good(&app.runtime.store().runs().await?)
}

async fn run(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    good(&run_view(&app.runtime.engine().run(&id).await?))
}

async fn timeline(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    good(&redacted(&app.runtime.engine().timeline(&id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

/// A page of what actions were called with; the number of the last entry is the `after` of the next page.
async fn log(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    after: Result<Query<After>, QueryRejection>,
) -> Answer {
    let Query(After { after }) = after.map_err(|rejection| {
        Error::new(ErrorKind::InvalidInput, format!("`after` is the number of an entry: {}", rejection.body_text()))
    })?;
    let id = app.runtime.find_run(&id).await?;
    good(&redacted(&app.runtime.engine().log(&id, after).await?))
}

async fn signal(State(app): State<Arc<App>>, Path((id, name)): Path<(String, String)>, body: Body) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    app.runtime.engine().signal(&id, &name, object(&whole(body)?)?).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "signalled": id, "name": name })))
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
) -> Answer {
    let Query(ItemQuery { status, step, from }) = query.map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("items are asked for by `status`, `step` and `from`: {error}"))
    })?;
    let id = app.runtime.find_run(&id).await?;
    good(&app.runtime.items(&id, status.as_deref(), step.as_deref(), from).await?)
}

async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    app.runtime.engine().cancel(&id).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "cancelled": id })))
}

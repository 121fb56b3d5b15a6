//! The routes of the API that carry out operations: one row each, with method, path, operation and status.
//!
//! A row says where the input of its operation stands in a request, and nothing else. Everything after that is the same
//! for all rows: the operation is carried out for the caller that authentication has found, and its output is the body.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body as ResponseBody, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use futures::StreamExt;
use mime::Mime;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use trunkline::operations::{
    Caller, Operation, OperationOutput, OutputStream, StreamOperation,
    event_watch::WatchAllRuns,
    read,
    run_queries::{ListItems, WatchRun},
};
use trunkline_core::{Effect, Error, ErrorDetail, ErrorKind, memory_of_json};

use crate::{
    api_document,
    api_input::{RequestHead, is_path, member, read_input},
    api_route::ApiRoute,
    app::App,
    callback,
    detached::detached,
    events::{all_events, events},
    items_csv::{items_csv, wants_csv},
    request::Body,
    response::{ApiResult, ErrorResponse, problem, response_json},
};

/// Returns the router of the rows.
pub(crate) fn router(rows: &'static [ApiRoute]) -> Router<Arc<App>> {
    let mut paths: BTreeMap<&str, MethodRouter<Arc<App>>> = BTreeMap::new();
    for path in rows.iter().map(|row| row.path) {
        let own: Vec<_> = rows.iter().filter(|row| row.path == path).collect();
        // A path such as `/flows/validate` is also that of the flow with this name, with other methods.
        let named: Vec<_> = rows.iter().filter(|row| is_path(row.path, path)).collect();
        let methods = own.iter().map(|row| row.method).collect::<Vec<_>>().join(", ");
        let mut here = own.into_iter().fold(MethodRouter::new(), |here, row| {
            here.on(row.filter(), async move |State(app), request| respond(app, &[row], "", request).await)
        });
        if !named.is_empty() {
            here = here.fallback(async move |State(app), request| respond(app, &named, &methods, request).await);
        }
        paths.insert(path, here);
    }
    paths.into_iter().fold(Router::new(), |router, (path, here)| router.route(path, here))
}

/// Responds to a request with the operation of the row that has its method. Without one, these methods are allowed.
async fn respond(app: Arc<App>, rows: &[&'static ApiRoute], allowed: &str, request: Request) -> Response {
    // axum answers HEAD with the handler of GET.
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let Some(row) = rows.iter().find(|row| row.method == method) else {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response();
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let head = RequestHead { uri: request.uri().clone(), headers: request.headers().clone() };
    let body = Bytes::from_request(request, &()).await;
    let response = match caller {
        Some(caller) => carry_out(row, app, caller, head, body).await,
        None => Err(Error::new(ErrorKind::Internal, "the request was not authenticated").into()),
    };
    let response = response.unwrap_or_else(IntoResponse::into_response);
    match row.successor {
        Some(link) => deprecated(response, link),
        None => response,
    }
}

async fn carry_out(row: &'static ApiRoute, app: Arc<App>, caller: Caller, head: RequestHead, body: Body) -> ApiResult {
    let unknown = || Error::new(ErrorKind::Internal, format!("there is no operation {}", row.operation));
    let operation = row.operation().ok_or_else(unknown)?;
    let _held = app.memory(body.as_deref().map_or(0, memory_of_json)).await?;
    let input = read_input(row, &operation.spec().input, &head, body, || callback::url(&app))?;
    if row.operation == ListItems::NAME && wants_csv(&head.headers) {
        return items_csv(app, caller, read(operation.spec(), input)?).await;
    }
    accepted(&head.headers, api_document::media_type(row, operation.spec()))?;
    if row.operation == WatchRun::NAME {
        return events(app, caller, read(operation.spec(), input)?, head.headers).await;
    }
    if row.operation == WatchAllRuns::NAME {
        return all_events(app, caller, read(operation.spec(), input)?, head.headers).await;
    }
    let is_conditional = [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| head.headers.contains_key(name));
    let effect = operation.spec().effect;
    let schema = &operation.spec().input;
    let has_key = head.headers.contains_key("idempotency-key");
    if has_key && effect == Effect::Create && member(schema, schema, "idempotency_key").is_none() {
        let message = format!("{} takes no `Idempotency-Key`: sent again, it is carried out again", row.operation);
        return Err(Error::new(ErrorKind::InvalidInput, message).hint("send the request without it, once").into());
    }
    let attached = effect == Effect::Read || row.ends_with_caller;
    let executed = async move {
        let output = operation.execute(&app.runtime, &caller, input).await;
        output.map(|output| (app, output))
    };
    let executed = if attached { executed.await } else { detached(executed).await };
    let (app, output) = executed.map_err(|error| match is_conditional && error.has(&ErrorDetail::NotAsExpected) {
        true => ErrorResponse::new(StatusCode::PRECONDITION_FAILED, error),
        false => error.into(),
    })?;
    let status = StatusCode::from_u16(row.status).unwrap_or_default();
    Ok(match output {
        OperationOutput::Value(Value::String(text), _) if row.text.is_some() => response_text(row.text, text),
        OperationOutput::Value(output, etag) => {
            let is_new = row.method == "PUT" && output["created"] == true;
            let mut response = response_json(if is_new { StatusCode::CREATED } else { status }, &output);
            let location = row.location.and_then(|location| filled(location, &output));
            let named = [(header::ETAG, etag), (header::LOCATION, location)];
            let named = named.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)));
            response.headers_mut().extend(named);
            response
        }
        OperationOutput::Stream(items) => response_lines(app, items),
    })
}

/// Fails if a request accepts no response of this media type (RFC 9110 section 12.5.1).
fn accepted(headers: &HeaderMap, offered: &str) -> Result<(), ErrorResponse> {
    let kind = offered.split('/').next().unwrap_or_default();
    let fits = |range: &str| range == "*/*" || range == offered || range.strip_suffix("/*") == Some(kind);
    let lists: Vec<_> = headers.get_all(header::ACCEPT).iter().map(|list| list.to_str().unwrap_or_default()).collect();
    let ranges = lists.iter().flat_map(|list| list.split(',')).filter_map(|range| range.trim().parse::<Mime>().ok());
    let mut ranges = ranges.peekable();
    let is_any = ranges.peek().is_none();
    // The most specific range decides.
    let range =
        ranges.filter(|range| fits(range.essence_str())).min_by_key(|one| one.essence_str().matches('*').count());
    let is_refused = |range: &Mime| range.get_param("q").is_some_and(|q| q.as_str().parse() == Ok(0.0));
    if is_any || range.is_some_and(|range| !is_refused(&range)) {
        return Ok(());
    }
    let message = format!("the request accepts no response of the type {offered}");
    let error = Error::new(ErrorKind::InvalidInput, message).hint(format!("send `Accept: {offered}`"));
    Err(ErrorResponse::new(StatusCode::NOT_ACCEPTABLE, error))
}

/// Returns the URL of what an output is about, with members of the output in the place of their names.
fn filled(location: &str, output: &Value) -> Option<String> {
    let part = |part: &str| match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(name) => output[name].as_str().map(|value| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()),
        None => Some(part.to_owned()),
    };
    Some(location.split('/').map(part).collect::<Option<Vec<_>>>()?.join("/"))
}

/// Returns a text as the whole body. A browser that opens it runs nothing in it.
fn response_text(content_type: Option<&'static str>, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type.unwrap_or("text/plain")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    (headers, text).into_response()
}

/// Returns a response of one JSON value per line. If the stream fails, the last line has the member `error`, and a
/// caller that reads it knows that the list is not whole.
fn response_lines(app: Arc<App>, items: OutputStream<Value>) -> Response {
    let lines = items.map(move |item| {
        let line = item.unwrap_or_else(|error| app.runtime.redactor().redact_json(&failure(&error)));
        Ok::<_, std::convert::Infallible>(format!("{line}\n"))
    });
    let headers = [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    (headers, ResponseBody::from_stream(lines)).into_response()
}

/// Returns the last line of a list that failed.
fn failure(error: &Error) -> Value {
    let status = ErrorResponse::status_of(error);
    Value::from_iter([("error".to_owned(), serde_json::to_value(problem(status, error)).unwrap_or_default())])
}

/// Marks a deprecated route (RFC 9745).
pub(crate) const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// The date on which `retry` and `settle` became `rerun` and `resolve`, in the form of the header `Deprecation`:
/// 2026-11-30.
const DEPRECATED_SINCE: &str = "@1795996800";

/// Marks the response of a deprecated route: `Deprecation` (RFC 9745), and a link to the route that replaces it (RFC 5829).
fn deprecated(mut response: Response, successor: &'static str) -> Response {
    let headers = response.headers_mut();
    headers.insert(DEPRECATION, HeaderValue::from_static(DEPRECATED_SINCE));
    headers.insert(header::LINK, HeaderValue::from_static(successor));
    response
}

#[cfg(test)]
mod tests;

//! The routes of the API that carry out operations: one row each, with method, path, operation and status.
//!
//! A row says where the input of its operation stands in a request, and nothing else. Everything after that is the same
//! for all rows: the operation is carried out for the caller that authentication has found, and its output is the body.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body as ResponseBody, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use futures::StreamExt;
use serde_json::Value;
use trunkline::operations::{Caller, OperationOutput, OutputStream, StreamOperation, read, run_queries::WatchRun};
use trunkline_core::{Effect, Error, ErrorKind, memory_of_json};

use crate::{
    api_input::{RequestHead, is_path, read_input},
    api_route::ApiRoute,
    app::App,
    callback,
    detached::detached,
    events::events,
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
    if row.operation == WatchRun::NAME {
        return events(app, caller, read(operation.spec(), input)?, head.headers).await;
    }
    let effect = operation.spec().effect;
    let executed = async move {
        let output = operation.execute(&app.runtime, &caller, input).await;
        output.map(|output| (app, output))
    };
    let (app, output) = if effect == Effect::Read { executed.await? } else { detached(executed).await? };
    let status = StatusCode::from_u16(row.status).unwrap_or_default();
    Ok(match output {
        OperationOutput::Value(Value::String(text)) if row.text.is_some() => response_text(row.text, text),
        OperationOutput::Value(output) => response_json(status, &output),
        OperationOutput::Stream(items) => response_lines(app, items),
    })
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

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
    routing::{MethodFilter, MethodRouter},
};
use futures::StreamExt;
use serde_json::Value;
use trunkline::operations::{
    AnyOperation, Caller, OperationOutput, OutputStream, StreamOperation, operations, read, run_queries::WatchRun,
};
use trunkline_core::{Effect, Error, ErrorKind, memory_of_json};

use crate::{
    api_input::{ApiRequest, is_path, read_input},
    app::App,
    detached::detached,
    events::events,
    response::{ApiResult, ErrorResponse, problem, response_json},
};

/// A request of the API that carries out an operation. A member of the operation's input that the path does not name is
/// a parameter of the query in a GET or DELETE, and a member of the body in a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    /// The method, such as `POST`.
    pub method: &'static str,
    /// The path; a parameter is written `{name}`.
    pub path: &'static str,
    /// The name of the operation.
    pub operation: &'static str,
    /// The status of the response if the operation succeeds.
    pub status: u16,
    /// The value of the header `Link` of a deprecated route, which names the path that replaces it.
    pub(crate) successor: Option<&'static str>,
    /// Parameters of the path that stand for a member of another name: the parameter, and the member.
    pub(crate) renamed: Option<(&'static str, &'static str)>,
    /// The member that is the whole body.
    pub(crate) body_member: Option<&'static str>,
    /// The member that is the URL of the callback of sign-ins.
    pub(crate) callback_member: Option<&'static str>,
}

impl ApiRoute {
    const fn new(method: &'static str, path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute {
            method,
            path,
            operation,
            status: 200,
            successor: None,
            renamed: None,
            body_member: None,
            callback_member: None,
        }
    }

    /// Returns a row that reads.
    pub(crate) const fn get(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("GET", path, operation)
    }

    /// Returns a row with a body.
    pub(crate) const fn post(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("POST", path, operation)
    }

    /// Returns a row that removes.
    pub(crate) const fn delete(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("DELETE", path, operation)
    }

    /// Sets the status of a success: 202 if the work goes on after the response.
    pub(crate) const fn accepted(self) -> ApiRoute {
        ApiRoute { status: 202, ..self }
    }

    /// Says that a parameter of the path is the member of another name.
    pub(crate) const fn renamed(self, parameter: &'static str, member: &'static str) -> ApiRoute {
        ApiRoute { renamed: Some((parameter, member)), ..self }
    }

    /// Says that the whole body is this member.
    pub(crate) const fn body_is(self, member: &'static str) -> ApiRoute {
        ApiRoute { body_member: Some(member), ..self }
    }

    /// Says that this member is the URL of the callback of sign-ins. The caller cannot set it.
    pub(crate) const fn callback_is(self, member: &'static str) -> ApiRoute {
        ApiRoute { callback_member: Some(member), ..self }
    }

    /// Says that another path has replaced the one of this row, which the header `Link` of its responses names.
    pub(crate) const fn replaced_by(self, link: &'static str) -> ApiRoute {
        ApiRoute { successor: Some(link), ..self }
    }

    /// Returns whether another path has replaced the one of this row.
    pub fn is_deprecated(&self) -> bool {
        self.successor.is_some()
    }

    /// Returns the parameters of the path: the name of each, and the member of the input that it is.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let renamed = self.renamed;
        names.map(move |name| (name, renamed.filter(|(from, _)| *from == name).map_or(name, |(_, to)| to)))
    }

    /// Returns the operation.
    pub(crate) fn operation(&self) -> Option<&'static dyn AnyOperation> {
        let found = operations().binary_search_by_key(&self.operation, |one| one.spec().name).ok()?;
        Some(&*operations()[found])
    }

    fn filter(&self) -> MethodFilter {
        match self.method {
            "POST" => MethodFilter::POST,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }
}

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
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let body = Bytes::from_request(request, &()).await;
    let response = match caller {
        Some(caller) => carry_out(row, app, caller, ApiRequest { uri, headers, body }).await,
        None => Err(Error::new(ErrorKind::Internal, "nobody has authenticated the request").into()),
    };
    response.map_or_else(IntoResponse::into_response, |response| match row.successor {
        Some(link) => deprecated(response, link),
        None => response,
    })
}

async fn carry_out(row: &'static ApiRoute, app: Arc<App>, caller: Caller, request: ApiRequest) -> ApiResult {
    let unknown = || Error::new(ErrorKind::Internal, format!("there is no operation {}", row.operation));
    let operation = row.operation().ok_or_else(unknown)?;
    let _held = app.memory(request.body.as_deref().map_or(0, memory_of_json)).await?;
    let headers = request.headers.clone();
    let input = read_input(row, &operation.spec().input, request, &app.callback_url())?;
    if row.operation == WatchRun::NAME {
        return events(app, caller, read(operation.spec(), &input)?, headers).await;
    }
    let effect = operation.spec().effect;
    let executed = async move {
        let output = operation.execute(&app.runtime, &caller, input).await;
        output.map(|output| (app, output))
    };
    let (app, output) = if effect == Effect::Read { executed.await? } else { detached(executed).await? };
    let status = StatusCode::from_u16(row.status).unwrap_or_default();
    Ok(match output {
        OperationOutput::Value(output) => response_json(status, &output),
        OperationOutput::Stream(items) => response_lines(app, items),
    })
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

impl From<ErrorResponse> for Response {
    fn from(error: ErrorResponse) -> Response {
        error.into_response()
    }
}

//! The routes of the API that carry out operations: one row each, with method, path, operation and status.
//!
//! A row turns a request into the input of its operation, and nothing else. Everything after that is the same for all
//! rows: the operation is carried out for the caller that authentication has found, and its output is the body.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, Uri, header},
    middleware::map_response,
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use serde::de::DeserializeOwned;
use trunkline::operations::{Caller, Operation, StreamOperation};
use trunkline_core::{Effect, Error, ErrorKind, memory_of_json};

use crate::{
    app::App,
    callback::CALLBACK,
    detached::detached,
    request::{self, Body},
    response::{ApiResult, ErrorResponse, response_json},
};

/// A request of the API that carries out an operation.
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
    /// Whether another route has replaced it.
    pub deprecated: bool,
}

impl ApiRoute {
    fn new<O: Operation>(method: Method, path: &'static str, status: StatusCode) -> ApiRoute {
        ApiRoute { method: method.as_str(), path, operation: O::NAME, status: status.as_u16(), deprecated: false }
    }
}

/// The methods of the API.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Get,
    Post,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        }
    }
}

/// A path that another one has replaced.
pub(crate) struct FormerPath {
    pub(crate) path: &'static str,
    /// The value of the header `Link`, which names the path that replaces it.
    pub(crate) link: &'static str,
}

/// The parts of a request that inputs of operations are made of.
pub(crate) struct ApiRequest {
    parameters: HashMap<String, String>,
    uri: Uri,
    body: Body,
    app: Arc<App>,
}

impl ApiRequest {
    /// Returns a parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
    }

    /// Reads the parameters of the query.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, QueryRejection> {
        Query::try_from_uri(&self.uri).map(|Query(read)| read)
    }

    /// Reads the members of the body. `expected` says in an error which members there can be.
    pub(crate) fn body<T: DeserializeOwned>(self, expected: &str) -> Result<T, ErrorResponse> {
        request::read(self.body, expected)
    }

    /// Returns the URL under which a browser reaches the callback of sign-ins.
    pub(crate) fn callback_url(&self) -> String {
        format!("{}{CALLBACK}", self.app.base_url)
    }
}

/// The routes, and the router that serves them.
#[derive(Default)]
pub(crate) struct Api {
    pub(crate) routes: Vec<ApiRoute>,
    pub(crate) router: Router<Arc<App>>,
}

impl Api {
    /// Adds a row. `input` makes the input of the operation.
    pub(crate) fn row<O: Operation>(
        self,
        method: Method,
        path: &'static str,
        status: StatusCode,
        input: fn(ApiRequest) -> Result<O::Input, ErrorResponse>,
    ) -> Api {
        let route = ApiRoute::new::<O>(method, path, status);
        self.add(route, handler::<O>(method, status, input))
    }

    /// Adds a row under a former path.
    pub(crate) fn former_row<O: Operation>(
        self,
        method: Method,
        former: FormerPath,
        status: StatusCode,
        input: fn(ApiRequest) -> Result<O::Input, ErrorResponse>,
    ) -> Api {
        let route = ApiRoute { deprecated: true, ..ApiRoute::new::<O>(method, former.path, status) };
        let mark = map_response(move |response: Response| std::future::ready(moved(response, former.link)));
        self.add(route, handler::<O>(method, status, input).layer(mark))
    }

    /// Adds a row of an operation whose output is a stream, with a handler of its own.
    pub(crate) fn stream_row<O: StreamOperation>(self, path: &'static str, handler: MethodRouter<Arc<App>>) -> Api {
        let (method, status) = (Method::Get.as_str(), StatusCode::OK.as_u16());
        self.add(ApiRoute { method, path, operation: O::NAME, status, deprecated: false }, handler)
    }

    fn add(mut self, route: ApiRoute, handler: MethodRouter<Arc<App>>) -> Api {
        self.router = self.router.route(route.path, handler);
        self.routes.push(route);
        self
    }
}

/// Returns the handler of a row.
fn handler<O: Operation>(
    method: Method,
    status: StatusCode,
    input: fn(ApiRequest) -> Result<O::Input, ErrorResponse>,
) -> MethodRouter<Arc<App>> {
    let handler = move |State(app): State<Arc<App>>,
                        Extension(caller): Extension<Caller>,
                        parameters: Result<Path<HashMap<String, String>>, PathRejection>,
                        uri: Uri,
                        body: Body| async move {
        let Path(parameters) = parameters.map_err(|rejection| unreadable(&rejection))?;
        let _held = app.memory(body.as_deref().map_or(0, memory_of_json)).await?;
        let input = input(ApiRequest { parameters, uri, body, app: app.clone() })?;
        let executed = async move { app.runtime.execute::<O>(&caller, input).await };
        let output = if O::EFFECT == Effect::Read { executed.await? } else { detached(executed).await? };
        ApiResult::Ok(response_json(status, &output))
    };
    on(method.filter(), handler)
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

fn unreadable(rejection: &PathRejection) -> ErrorResponse {
    let message = format!("the path cannot be read: {}", rejection.body_text());
    Error::new(ErrorKind::InvalidInput, message).into()
}

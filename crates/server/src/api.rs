//! The routes of the API that carry out operations: one row each, with method, path, operation and status.
//!
//! A row turns a request into the input of its operation, and nothing else. Everything after that is the same for all
//! rows: the operation is carried out for the caller that authentication has found, and its output is the body.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    routing::{MethodFilter, on},
};
use trunkline::operations::{Caller, Operation};
use trunkline_core::{Error, ErrorKind};

use crate::{
    app::App,
    callback::CALLBACK,
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

/// The parts of a request that inputs of operations are made of.
pub(crate) struct ApiRequest {
    parameters: HashMap<String, String>,
    app: Arc<App>,
}

impl ApiRequest {
    /// Returns a parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
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
        mut self,
        method: Method,
        path: &'static str,
        status: StatusCode,
        input: fn(ApiRequest) -> Result<O::Input, ErrorResponse>,
    ) -> Api {
        self.routes.push(ApiRoute { method: method.as_str(), path, operation: O::NAME, status: status.as_u16() });
        let handler = move |State(app): State<Arc<App>>,
                            Extension(caller): Extension<Caller>,
                            parameters: Result<Path<HashMap<String, String>>, PathRejection>| async move {
            let Path(parameters) = parameters.map_err(|rejection| unreadable(&rejection))?;
            let input = input(ApiRequest { parameters, app: app.clone() })?;
            ApiResult::Ok(response_json(status, &app.runtime.execute::<O>(&caller, input).await?))
        };
        self.router = self.router.route(path, on(method.filter(), handler));
        self
    }
}

fn unreadable(rejection: &PathRejection) -> ErrorResponse {
    let message = format!("the path cannot be read: {}", rejection.body_text());
    Error::new(ErrorKind::InvalidInput, message).into()
}

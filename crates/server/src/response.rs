//! HTTP responses: JSON, errors in the form that the command line prints with `--json`, and HTML pages for browsers.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, ForeignText, Redactor, Retry};

use crate::next_step::error_json;

/// An error response: a status and the error for its body. The outermost layer of the router writes the body with
/// [`with_error`], because only it knows which secrets to leave out.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    status: StatusCode,
    error: Error,
    /// How a caller authenticates, in a response of status 401.
    challenge: &'static str,
    /// How many seconds a caller has to wait, in a response of status 429 or 503.
    retry_after: u64,
}

impl ErrorResponse {
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        ErrorResponse { status, error, challenge: "Bearer", retry_after: 30 }
    }

    /// Returns the response to a call without valid authentication, which the caller has to send as `challenge` says.
    pub(crate) fn unauthenticated(challenge: &'static str, error: Error) -> Self {
        ErrorResponse { challenge, ..ErrorResponse::new(StatusCode::UNAUTHORIZED, error) }
    }

    /// Sets how long the caller has to wait. A part of a second counts as a whole one.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        ErrorResponse { retry_after: wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX), ..self }
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Config | ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Permission => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict | ErrorKind::Auth => StatusCode::CONFLICT,
            ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Store if error.retryable() != Retry::Never => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ErrorResponse::new(status, error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(UnwrittenError(error_body(&self.error)));
        let header = match self.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge))),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((header::RETRY_AFTER, HeaderValue::from(self.retry_after)))
            }
            _ => None,
        };
        response.headers_mut().extend(header);
        response
    }
}

/// Returns the body of an error response. It may have secrets.
pub(crate) fn error_body(error: &Error) -> Value {
    json!({ "error": error_json(error) })
}

/// The body of an error response before its secrets are removed.
#[derive(Clone)]
struct UnwrittenError(Value);

/// Writes the body of an error response. Other responses stay as they are.
pub(crate) fn with_error(mut response: Response, redactor: &Redactor) -> Response {
    let Some(UnwrittenError(error)) = response.extensions_mut().remove() else { return response };
    let mut written = response_json(response.status(), &redactor.redact_json(&error));
    written.headers_mut().extend(std::mem::take(response.headers_mut()));
    written
}

/// The result of a handler.
pub(crate) type ApiResult = Result<Response, ErrorResponse>;

/// Returns a JSON response that no cache may store.
pub(crate) fn response_json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

/// Returns an HTML page with one sentence for the user. It loads nothing, and no other page can embed it.
pub(crate) fn page(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("<!doctype html><title>Trunkline</title><p>{}</p>\n", ForeignText(text).html()))
        .into_response()
}

//! What is answered: JSON, errors as the command line tells them with `--json`, and pages for people.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, Retry};

use crate::redacted;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, Error);

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        Refusal(status, error)
    }
}

impl From<Error> for Refusal {
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
        Refusal(status, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer(self.0, &redacted(&json!({ "error": self.1 })));
        let said = match self.0 {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("30")))
            }
            _ => None,
        };
        response.headers_mut().extend(said);
        response
    }
}

/// An answer, or an error as one.
pub(crate) type Answer = Result<Response, Refusal>;

/// An answer in JSON that nobody may keep.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

/// The same for what went well.
pub(crate) fn good(value: &impl Serialize) -> Answer {
    Ok(answer(StatusCode::OK, value))
}

/// A page that says one thing to the person before a browser. It loads nothing, and no other page may show it.
pub(crate) fn page(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("<!doctype html><title>Trunkline</title><p>{}</p>\n", escape(text))).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// A body that has to be a JSON object; an empty one is an empty object.
pub(crate) fn object(body: &[u8]) -> Result<Value, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Error::new(ErrorKind::InvalidInput, "the body is JSON, but no object")),
        Err(error) => Err(Error::new(ErrorKind::InvalidInput, "the body is not JSON").source(error)),
    }
}

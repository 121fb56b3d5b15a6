//! HTTP responses: JSON, errors as problems (RFC 9457), and HTML pages for browsers.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Diagnostic, Error, ErrorDetail, ErrorKind, ForeignText, Redactor, Retry};

use crate::next_step::error_json;

/// An error response: a status and the error for its body. The outermost layer of the router writes the body with
/// [`with_error`], because only it knows which secrets to leave out.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    status: StatusCode,
    error: Error,
    /// How a caller authenticates, in a response of status 401.
    challenge: &'static str,
    /// How many seconds a caller has to wait, if that is known, and always in a response of status 429 or 503.
    retry_after: Option<u64>,
}

impl ErrorResponse {
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        let wait = match error.retryable() {
            Retry::After(wait) => Some(wait),
            _ if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) => {
                Some(Duration::from_secs(30))
            }
            _ => None,
        };
        ErrorResponse { status, error, challenge: "Bearer", retry_after: wait.map(seconds) }
    }

    /// Returns the response to a call without valid authentication, which the caller has to send as `challenge` says.
    pub(crate) fn unauthenticated(challenge: &'static str, error: Error) -> Self {
        ErrorResponse { challenge, ..ErrorResponse::new(StatusCode::UNAUTHORIZED, error) }
    }

    /// Sets how long the caller has to wait.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        ErrorResponse { retry_after: Some(seconds(wait)), ..self }
    }
}

/// Returns the length of a wait in seconds. A part of a second counts as a whole one.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

impl ErrorResponse {
    /// Returns the status of the response and the message of its error.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status.as_u16(), self.error.message())
    }

    /// Returns the status that an error has unless its place gives it another one.
    pub(crate) fn status_of(error: &Error) -> StatusCode {
        match error.kind() {
            _ if error.has(&ErrorDetail::KeyReused) => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Config => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Permission => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            _ if error.has(&ErrorDetail::ExpectationMissing) => StatusCode::PRECONDITION_REQUIRED,
            ErrorKind::Conflict | ErrorKind::Auth => StatusCode::CONFLICT,
            ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Store if error.retryable() != Retry::Never => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        ErrorResponse::new(ErrorResponse::status_of(&error), error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(UnwrittenError(problem(self.status, &self.error)));
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        response.headers_mut().extend((self.status == StatusCode::UNAUTHORIZED).then_some(challenge));
        response.headers_mut().extend(self.retry_after.map(|wait| (header::RETRY_AFTER, HeaderValue::from(wait))));
        response
    }
}

/// A problem (RFC 9457): the body of an error response.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// `urn:trunkline:problem:` and the kind.
    r#type: String,
    /// The kind in words.
    title: String,
    /// The status of the response.
    status: u16,
    /// What was tried, on what, and why it failed.
    detail: String,
    /// The id of the request, which the log has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(flatten)]
    #[schemars(with = "ErrorMembers")]
    error: Value,
}

/// The other members of a problem.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used: the members are written by the error itself")]
struct ErrorMembers {
    /// The kind, on which programs decide.
    kind: ErrorKind,
    /// Whether to send the same request again; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    /// What the user can do next, as one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The same as data: the type of each step, its text, and the request of this API that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Vec<Value>>,
    /// What is wrong with the body or a document in it, with the JSON pointer of each finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Diagnostic>>,
    /// Facts for people, such as the host or the status of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<BTreeMap<String, String>>,
    /// Everything else that programs decide on.
    details: Vec<ErrorDetail>,
}

/// Returns the problem of an error. It may have secrets.
pub(crate) fn problem(status: StatusCode, error: &Error) -> Problem {
    let mut shown = error_json(error);
    if let Some(members) = shown.as_object_mut() {
        members.shift_remove("message");
    }
    let kind = error.kind().as_str();
    let words = kind.replace('_', " ");
    Problem {
        r#type: format!("urn:trunkline:problem:{kind}"),
        title: words[..1].to_uppercase() + &words[1..],
        status: status.as_u16(),
        detail: error.message().to_owned(),
        request: None,
        error: shown,
    }
}

/// The body of an error response before its secrets are removed.
#[derive(Clone)]
struct UnwrittenError(Problem);

/// Writes the body of an error response. Other responses stay as they are. `request` is the id of the request.
pub(crate) fn with_error(mut response: Response, redactor: &Redactor, request: Option<&str>) -> Response {
    let Some(UnwrittenError(problem)) = response.extensions_mut().remove() else { return response };
    let problem = Problem { request: request.map(str::to_owned), ..problem };
    let shown = redactor.redact_json(&serde_json::to_value(&problem).unwrap_or_default());
    let mut written = response_json(response.status(), &shown);
    written.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
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

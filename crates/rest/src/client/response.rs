//! From an HTTP response to a result or an error: which kind, in which words, and what to do next.
//!
//! The connector's `classify` hook is asked first, since only it knows the error format of its vendor. Without its
//! verdict the status decides.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, Redactor, RepeatedMember, Retry, Secret, read_json};

use crate::{
    paging::next_link,
    table::{Call, ExpectedBody},
    transport::{Failure, RawResponse, excerpt, retry_after, url_policy},
};

/// A response as the `classify` hook of a connector sees it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The operation that was called.
    pub operation: String,
    /// HTTP status.
    pub status: u16,
    /// The body if it is JSON. It is not redacted: errors quote [`Response::text`].
    pub body: Option<Value>,
    /// The wait that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    bytes: Bytes,
    secrets: Vec<Secret>,
    redactor: Redactor,
}

impl Response {
    pub(crate) fn new(
        request: &RequestInfo<'_>,
        raw: &RawResponse,
        secrets: Vec<Secret>,
        redactor: &Redactor,
    ) -> Response {
        Response {
            operation: request.call.name.to_owned(),
            status: raw.status.as_u16(),
            body: read_json(without_bom(&raw.body), RepeatedMember::AcceptedIfEqual).ok(),
            retry_after: retry_after(&raw.headers),
            bytes: raw.body.clone(),
            secrets,
            redactor: redactor.clone(),
        }
    }

    /// Returns at most 200 bytes of the body, without control characters and without the secrets of the connection.
    pub fn text(&self) -> String {
        excerpt(without_bom(&self.bytes), &self.secrets, &self.redactor)
    }
}

/// A response that reports success, or that its list has ended.
pub(crate) struct AcceptedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The whole body; null if there was none.
    pub(crate) body: Value,
}

impl AcceptedResponse {
    /// Returns the URL of the next page from the `Link` header, or the reason why the header cannot be read.
    pub(crate) fn link(&self) -> Result<Option<String>, String> {
        // A header with other bytes than ASCII must not end the list: joining the URL encodes them.
        next_link(self.headers.get_all(header::LINK).iter().map(|link| String::from_utf8_lossy(link.as_bytes())))
    }
}

/// The call, the service and the host of a request, for messages.
pub(crate) struct RequestInfo<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) service: &'a str,
    pub(crate) host: &'a str,
}

impl RequestInfo<'_> {
    /// Adds action, service and host to an error.
    pub(crate) fn annotate(&self, error: Error) -> Error {
        error.with("action", self.call.name).with("service", self.service).with("host", self.host)
    }
}

/// The hook of a connector: an error, or `None` to let the status decide.
pub(crate) type Classify = fn(&Response) -> Option<Error>;

/// Removes the byte order mark that some services put before their JSON.
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Decides whether a response is a result or an error. The hook is asked first.
pub(crate) fn interpret(
    request: &RequestInfo<'_>,
    response: Response,
    raw: RawResponse,
    classify: Option<Classify>,
) -> Result<AcceptedResponse, Failure> {
    let status = raw.status;
    let from_hook = classify.and_then(|classify| classify(&response));
    if from_hook.is_none() && status.is_success() {
        return accept(request, response, raw);
    }
    if from_hook.is_none() && request.call.ends.contains(&response.status) {
        return Ok(AcceptedResponse { status, headers: raw.headers, body: Value::Null });
    }
    let throttled = is_throttle(response.status, response.retry_after);
    let refused = match status.as_u16() {
        // The hook has found the service's own report of a failure.
        200..=299 => from_hook.is_some(),
        // A redirect after a POST may be how the service reports success.
        302 | 303 | 408 => false,
        503 => response.retry_after.is_some(),
        501 | 505 => true,
        code => code < 500,
    };
    let mut error = from_hook.unwrap_or_else(|| status_error(request, &response, &raw));
    if status.is_success() && request.call.effect == Effect::Create && !throttled {
        error = error.retry(Retry::Never);
    }
    Err(Failure { error: request.annotate(error).with("status", status.as_u16()), refused, status: Some(status) })
}

/// Returns whether a response asks for fewer requests: 429, or 403 with `Retry-After`, which Azure API Management sends
/// when a quota is used up.
pub(crate) fn is_throttle(status: u16, retry_after: Option<Duration>) -> bool {
    status == 429 || (status == 403 && retry_after.is_some())
}

fn accept(request: &RequestInfo<'_>, response: Response, raw: RawResponse) -> Result<AcceptedResponse, Failure> {
    let expects = request.call.expects;
    let text = || String::from_utf8_lossy(&raw.body).into();
    let content_type = content_type(&raw).unwrap_or_default();
    let html = content_type.to_ascii_lowercase().contains("html");
    let empty = raw.body.is_empty() || raw.status == StatusCode::NO_CONTENT;
    // A 200 to a read has a body: an empty one was lost on the way.
    let lost = raw.status == StatusCode::OK && request.call.effect == Effect::Read;
    let body = match response.body {
        _ if empty && lost && expects == ExpectedBody::Json => return Err(not_json(request, &response, &raw)),
        _ if empty => Value::Null,
        // A text that looks like a number stays a text.
        _ if expects == ExpectedBody::Text && !html && !is_json(content_type) => text(),
        _ if expects == ExpectedBody::Any => text(),
        Some(body) if !html => body,
        _ => return Err(not_json(request, &response, &raw)),
    };
    Ok(AcceptedResponse { status: raw.status, headers: raw.headers, body })
}

fn content_type(raw: &RawResponse) -> Option<&str> {
    raw.headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// The failure for a success status whose body the service is not known to send.
fn not_json(request: &RequestInfo<'_>, response: &Response, raw: &RawResponse) -> Failure {
    let content_type = content_type(raw).unwrap_or("no content type");
    let what = match &*response.text() {
        "" => "an empty body".to_owned(),
        text => format!("a body that is not JSON ({content_type}): {text}"),
    };
    let RequestInfo { call: Call { name, .. }, service, host } = request;
    let message = format!("{name} at {service} ({host}) returned {} with {what}", response.status);
    let error = Error::new(ErrorKind::Unexpected, message).with("status", response.status);
    let hint = "check that the endpoint URL is that of the API; a proxy on the way may have sent the response instead";
    let error = request.annotate(error.hint(hint).setting("/endpointUrl"));
    Failure { error, refused: false, status: Some(raw.status) }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// The error that a status stands for.
fn status_error(request: &RequestInfo<'_>, response: &Response, raw: &RawResponse) -> Error {
    let RequestInfo { call: Call { name, .. }, service, host } = request;
    let (kind, hint) = match response.status {
        _ if is_throttle(response.status, response.retry_after) => {
            (ErrorKind::RateLimited, "wait, or lower the rate of the connection")
        }
        300..=399 => (ErrorKind::Unexpected, "check the endpoint URL: redirects are not followed"),
        401 => (ErrorKind::Auth, "check the credentials of the connection, or sign in again"),
        402 | 403 => (ErrorKind::Permission, "ask the service's administrator for the right to do this"),
        404 | 410 => (ErrorKind::NotFound, "check the ids: it may have been removed in the meantime"),
        409 | 412 => (ErrorKind::Conflict, "look at the current state in the service, then decide"),
        413 => (ErrorKind::InvalidInput, "send less at a time"),
        408 | 425 => (ErrorKind::Unavailable, "try again later"),
        501 | 505 => (ErrorKind::Unexpected, "the service does not know this call: compare it with the reference"),
        400..=499 => (ErrorKind::InvalidInput, "compare the input with the service's reference"),
        _ => (ErrorKind::Unavailable, "try again later, or look at the service's status page"),
    };
    let retry = match (kind, response.retry_after) {
        (ErrorKind::RateLimited | ErrorKind::Unavailable, Some(wait)) => Retry::After(wait),
        (ErrorKind::RateLimited | ErrorKind::Unavailable, None) => Retry::Backoff,
        _ => Retry::Never,
    };
    let reason = raw.status.canonical_reason().unwrap_or_default();
    let mut message = format!("{name} at {service} ({host}) returned {} {reason}", response.status).trim().to_owned();
    if raw.status.is_redirection() {
        message += &format!(", {}", url_policy::redirect(&raw.headers, host));
    } else if let text = response.text()
        && !text.is_empty()
    {
        message += &format!(": {text}");
    }
    let error = Error::new(kind, message).retry(retry).hint(hint);
    if raw.status.is_redirection() { error.setting("/endpointUrl") } else { error }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_link_with_other_bytes_than_ascii_does_not_end_the_list() {
        let link = HeaderValue::from_bytes("</größe?page=2>; rel=next".as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(header::LINK, link)]);
        let accepted = AcceptedResponse { status: StatusCode::OK, headers, body: Value::Null };
        assert_eq!(accepted.link().unwrap().as_deref(), Some("/größe?page=2"));
    }
}

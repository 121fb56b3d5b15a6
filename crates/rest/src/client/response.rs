//! From an HTTP response to a result or an error: which kind, in which words, and what to do next.
//!
//! The connector's `classify` hook is asked first, since only it knows the error format of its vendor. Without its
//! verdict the status decides.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, error::Category};
use trunkline_core::{
    Effect, Error, ErrorKind, HeldMemory, Redactor, RepeatedMember, Retry, Secret, TextPlaces, VALUE_MEMORY,
    check_value_memory, memory_of_json, read_json_as,
};

use super::named_input::named_input;
use crate::{
    paging::next_link,
    table::{Call, ExpectedBody},
    transport::{
        ContentType, Failure, RawResponse, TokenProblem, excerpt, header_text, names_wait, retry_after, text,
        url_policy,
    },
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
    /// The wait that the response asks for, with `Retry-After` or in another form that services use.
    pub retry_after: Option<Duration>,
    /// The body as UTF-8 without a byte order mark; as it is if it is not text.
    bytes: Bytes,
    content_type: ContentType,
    fault: Option<BodyFault>,
    token_problem: Option<TokenProblem>,
    secrets: Vec<Secret>,
    redactor: Redactor,
    /// The memory of the values of the body, if they are many.
    pub(super) held: Option<Arc<HeldMemory>>,
}

/// The reason why a body is not JSON.
#[derive(Clone, Debug)]
enum BodyFault {
    /// It is not text in its charset: the reason.
    Charset(String),
    /// It is not JSON: the reason with line and column, and whether the body ends too early.
    Json { why: String, is_cut: bool },
    /// It would take this much memory, in bytes.
    TooManyValues(u64),
}

impl Response {
    pub(crate) fn new(
        request: &RequestInfo<'_>,
        raw: &RawResponse,
        secrets: Vec<Secret>,
        redactor: &Redactor,
    ) -> Response {
        let content_type = ContentType::of(&raw.headers);
        let (bytes, read) = match text(&raw.body, &content_type) {
            Ok(Cow::Borrowed(text)) => (raw.body.slice_ref(text.as_bytes()), read_text(text, request.call.texts)),
            Ok(Cow::Owned(text)) => {
                let read = read_text(&text, request.call.texts);
                (text.into(), read)
            }
            Err(why) => (raw.body.clone(), Err(BodyFault::Charset(why))),
        };
        // The body of a success is data, and may be long.
        let words = if raw.status.is_success() { Cow::Borrowed("") } else { String::from_utf8_lossy(&bytes) };
        let (body, fault) = match read {
            Ok(body) => (Some(body), None),
            Err(fault) => (None, Some(fault)),
        };
        Response {
            operation: request.call.name.to_owned(),
            status: raw.status.as_u16(),
            body,
            retry_after: retry_after(raw.status, &raw.headers, &words),
            bytes,
            content_type,
            fault,
            token_problem: TokenProblem::of(&raw.headers),
            secrets,
            redactor: redactor.clone(),
            held: None,
        }
    }

    /// Returns at most 200 bytes of the body, without control characters and without the secrets of the connection.
    pub fn text(&self) -> String {
        self.quote(&self.bytes)
    }

    fn quote(&self, text: &[u8]) -> String {
        excerpt(text, &self.secrets, &self.redactor)
    }

    /// Returns whether the body is a web page: by its type, or by its first characters.
    fn is_page(&self) -> bool {
        let start = self.bytes.trim_ascii_start();
        let begins = |tag: &[u8]| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        self.content_type.is_html() || begins(b"<!doctype html") || begins(b"<html")
    }
}

/// A response that reports success, or that its list has ended.
pub(crate) struct AcceptedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The whole body; null if there was none.
    pub(crate) body: Value,
    /// The memory of the body, if its values are many.
    pub(crate) _held: Option<Arc<HeldMemory>>,
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

fn read_text(text: &str, texts: &TextPlaces) -> Result<Value, BodyFault> {
    let memory = memory_of_json(text.as_bytes());
    if memory > VALUE_MEMORY {
        return Err(BodyFault::TooManyValues(memory));
    }
    read_json_as(text.as_bytes(), RepeatedMember::AcceptedIfEqual, texts)
        .map_err(|error| BodyFault::Json { is_cut: error.classify() == Category::Eof, why: error.to_string() })
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
        return Ok(AcceptedResponse { status, headers: raw.headers, body: Value::Null, _held: None });
    }
    let throttled = is_throttle(response.status, response.retry_after);
    let refused = match status.as_u16() {
        // The hook has found the service's own report of a failure.
        200..=299 => from_hook.is_some(),
        // A redirect after a POST may be how the service reports success.
        302 | 303 | 408 => false,
        503 => names_wait(&raw.headers),
        501 | 505 => true,
        code => code < 500,
    };
    let mut error = from_hook.unwrap_or_else(|| status_error(request, &response, &raw));
    if error.kind() == ErrorKind::InvalidInput
        && let Some(pointer) = response.body.as_ref().and_then(|body| named_input(body, request.call.inputs))
    {
        error = error.with("input", pointer);
    }
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
    let text = || String::from_utf8_lossy(&response.bytes).into();
    let (html, is_json) = (response.content_type.is_html(), response.content_type.is_json());
    let is_text = !matches!(response.fault, Some(BodyFault::Charset(_)));
    let too_many = matches!(response.fault, Some(BodyFault::TooManyValues(_)));
    let empty = raw.body.is_empty() || raw.status == StatusCode::NO_CONTENT;
    // A 200 to a read has a body: an empty one was lost on the way.
    let lost = raw.status == StatusCode::OK && request.call.effect == Effect::Read;
    let body = match &response.body {
        _ if empty && lost && expects == ExpectedBody::Json => return Err(unreadable(request, &response, &raw)),
        _ if empty => Value::Null,
        _ if expects == ExpectedBody::Bytes => text(),
        // The values are too many, so it is an error below and not a text.
        None if is_json && too_many && expects != ExpectedBody::Bytes => {
            return Err(unreadable(request, &response, &raw));
        }
        // A text that looks like a number stays a text.
        _ if expects == ExpectedBody::Text && is_text && !html && !is_json => text(),
        _ if expects == ExpectedBody::Any && is_text => text(),
        // PHP declares JSON as a page by default.
        Some(body) if !html || body.is_object() || body.is_array() => response.body.unwrap_or_default(),
        _ => return Err(unreadable(request, &response, &raw)),
    };
    Ok(AcceptedResponse { status: raw.status, headers: raw.headers, body, _held: response.held })
}

/// The failure for a success status with a body that cannot be read as the call needs it: what is wrong with it, where,
/// and the advice that fits.
fn unreadable(request: &RequestInfo<'_>, response: &Response, raw: &RawResponse) -> Failure {
    const REPORT: &str = "report it to the vendor with this place in the response; nothing of the response is used";
    let kind = raw.headers.get(header::CONTENT_TYPE).map_or("no content type".into(), header_text);
    let (kind, quote) = (response.quote(kind.as_bytes()), response.text());
    let is_json = response.content_type.is_json();
    let (what, hint) = match &response.fault {
        _ if quote.is_empty() => ("an empty body".to_owned(), None),
        _ if response.is_page() => (format!("a web page, not JSON ({kind}): {quote}"), None),
        Some(BodyFault::Charset(why)) => (
            format!("a body that cannot be read as text ({kind}): {why}: {quote}"),
            Some("the service must send UTF-8, or declare its charset: report it to the vendor"),
        ),
        Some(BodyFault::Json { why, is_cut }) if is_json => {
            let hint =
                if *is_cut { "it was cut off on the way, or the service made it so: call it again" } else { REPORT };
            (format!("JSON that cannot be read: {}: {quote}", response.quote(why.as_bytes())), Some(hint))
        }
        _ => (format!("a body that is not JSON ({kind}): {quote}"), None),
    };
    let RequestInfo { call: Call { name, .. }, service, host } = request;
    if let Some(BodyFault::TooManyValues(memory)) = response.fault
        && let Err(error) = check_value_memory(&format!("the response of {name} at {service} ({host})"), memory)
    {
        let error = error.hint("request fewer items per page, or fewer fields").with("status", response.status);
        return Failure { error: request.annotate(error), refused: false, status: Some(raw.status) };
    }
    let message = format!("{name} at {service} ({host}) returned {} with {what}", response.status);
    let error = Error::new(ErrorKind::Unexpected, message).with("status", response.status);
    let error = match hint {
        Some(hint) => error.hint(hint),
        None => error.setting("/endpointUrl").hint(
            "check that the endpoint URL is that of the API; a proxy on the way, or a page to sign in, may have sent the \
             response instead",
        ),
    };
    Failure { error: request.annotate(error), refused: false, status: Some(raw.status) }
}

/// The error that a status stands for.
fn status_error(request: &RequestInfo<'_>, response: &Response, raw: &RawResponse) -> Error {
    let RequestInfo { call: Call { name, .. }, service, host } = request;
    let needs_scope = response.token_problem.as_ref().is_some_and(TokenProblem::is_insufficient_scope);
    let (kind, hint) = match response.status {
        _ if is_throttle(response.status, response.retry_after) => {
            (ErrorKind::RateLimited, "wait, or lower the rate of the connection")
        }
        304 => (ErrorKind::Unexpected, "remove If-None-Match and If-Modified-Since from the call"),
        300..=399 => (ErrorKind::Unexpected, "check the endpoint URL: redirects are not followed"),
        401 | 403 if needs_scope => {
            (ErrorKind::Permission, "add the scope that the service names to the connection, and sign in again")
        }
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
        message += &format!(", {}", url_policy::redirect(raw.status, &raw.headers, host));
    } else {
        let reason = response.token_problem.as_ref().map(|problem| response.quote(problem.words().as_bytes()));
        let texts = [reason.filter(|_| matches!(response.status, 401 | 403)), Some(response.text())];
        texts.into_iter().flatten().filter(|text| !text.is_empty()).for_each(|text| message += &format!(": {text}"));
    }
    let error = Error::new(kind, message).retry(retry).hint(hint);
    match response.status {
        304 => error,
        300..=399 => error.setting("/endpointUrl"),
        401 | 403 if needs_scope => error.setting("/scopes"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_link_with_other_bytes_than_ascii_does_not_end_the_list() {
        let link = HeaderValue::from_bytes("</größe?page=2>; rel=next".as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(header::LINK, link)]);
        let accepted = AcceptedResponse { status: StatusCode::OK, headers, body: Value::Null, _held: None };
        assert_eq!(accepted.link().unwrap().as_deref(), Some("/größe?page=2"));
    }
}

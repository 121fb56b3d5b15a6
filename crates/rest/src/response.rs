//! From an answer to a result or an error: what kind, in whose words, what to do next.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, Retry, Secret, redact};

use crate::{
    json, paging,
    retry::retry_after,
    transport::{Failure, Reply},
    url_policy,
};

/// Bytes of an answer that an error quotes.
const EXCERPT: usize = 200;

/// An answer as a connector's `classify` hook gets to see it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The operation that was called.
    pub operation: String,
    /// HTTP status.
    pub status: u16,
    /// The body if it is JSON. It is not redacted: errors quote [`Response::text`].
    pub body: Option<Value>,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    bytes: Bytes,
    secrets: Vec<Secret>,
}

impl Response {
    /// At most 200 bytes of the body, without control characters and without the secrets of the connection.
    pub fn text(&self) -> String {
        excerpt(without_mark(&self.bytes), &self.secrets)
    }
}

/// An answer that was accepted.
pub(crate) struct AcceptedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The whole body; null if there was none.
    pub(crate) body: Value,
}

impl AcceptedResponse {
    /// The next page by the `Link` header.
    pub(crate) fn link(&self) -> Option<String> {
        paging::next_link(self.headers.get_all(header::LINK).iter().filter_map(|link| link.to_str().ok()))
    }
}

/// What is called: all that the layers need to know of an operation.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Of the action, for messages.
    pub(crate) name: &'a str,
    /// `METHOD /path/{parameter}`.
    pub(crate) route: &'a str,
    pub(crate) effect: Effect,
    pub(crate) reads: Reads,
}

/// What an answer has to be in order to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// JSON; nothing at all only if something was changed, or if the status says so.
    Json,
    /// JSON, or nothing.
    Maybe,
    /// A text, or JSON if it says so; but no web page, which is what a proxy on the way answers with.
    Text,
    /// Whatever comes, as a text.
    Anything,
}

/// Who is asked what, for messages.
pub(crate) struct Asked<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) service: &'a str,
    pub(crate) host: &'a str,
}

impl Asked<'_> {
    /// Adds to an error who was asked what.
    pub(crate) fn name(&self, error: Error) -> Error {
        error.with("action", self.call.name).with("service", self.service).with("host", self.host)
    }
}

/// What the hook of a connector looks like.
pub(crate) type Classify = fn(&Response) -> Option<Error>;

/// The answer as the hook sees it.
pub(crate) fn answer(asked: &Asked<'_>, reply: &Reply, secrets: Vec<Secret>) -> Response {
    Response {
        operation: asked.call.name.to_owned(),
        status: reply.status.as_u16(),
        body: json::read(without_mark(&reply.body)).ok(),
        retry_after: retry_after(&reply.headers),
        bytes: reply.body.clone(),
        secrets,
    }
}

/// Without the byte order mark that some services put before their JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Decides whether an answer is a result. The hook is asked first.
pub(crate) fn judge(
    asked: &Asked<'_>,
    answer: Response,
    reply: Reply,
    classify: Option<Classify>,
) -> Result<AcceptedResponse, Failure> {
    let status = reply.status;
    let hooked = classify.and_then(|classify| classify(&answer));
    if hooked.is_none() && status.is_success() {
        return accept(asked, answer, reply);
    }
    let throttled = is_throttle(answer.status, answer.retry_after);
    let refused = match status.as_u16() {
        // The hook has found the service's own word that it did not work.
        200..=299 => hooked.is_some(),
        // A redirect after a POST may be how the service says that it is done.
        302 | 303 | 408 => false,
        503 => answer.retry_after.is_some(),
        501 | 505 => true,
        code => code < 500,
    };
    let mut error = hooked.unwrap_or_else(|| refusal(asked, &answer, &reply));
    if status.is_success() && asked.call.effect == Effect::Create && !throttled {
        error = error.retry(Retry::Never);
    }
    Err(Failure { error: asked.name(error).with("status", status.as_u16()), refused, status: Some(status) })
}

/// 429, and what Azure API Management says when a quota is used up: 403 with `Retry-After`.
pub(crate) fn is_throttle(status: u16, retry_after: Option<Duration>) -> bool {
    status == 429 || (status == 403 && retry_after.is_some())
}

fn accept(asked: &Asked<'_>, answer: Response, reply: Reply) -> Result<AcceptedResponse, Failure> {
    let text = || String::from_utf8_lossy(&reply.body).into();
    let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let html = kind.to_ascii_lowercase().contains("html");
    let nothing = reply.body.is_empty() || reply.status == StatusCode::NO_CONTENT;
    // A body that was lost on the way is not an answer without one.
    let lost = reply.status == StatusCode::OK && asked.call.effect == Effect::Read;
    let body = match answer.body {
        _ if nothing && lost && asked.call.reads == Reads::Json => return Err(no_json(asked, &answer, &reply)),
        _ if nothing => Value::Null,
        // A text that looks like a number stays a text.
        _ if asked.call.reads == Reads::Text && !html && !is_json(kind) => text(),
        _ if asked.call.reads == Reads::Anything => text(),
        Some(body) if !html => body,
        _ => return Err(no_json(asked, &answer, &reply)),
    };
    Ok(AcceptedResponse { status: reply.status, headers: reply.headers, body })
}

/// Something came back that is not what the service is known to say.
fn no_json(asked: &Asked<'_>, answer: &Response, reply: &Reply) -> Failure {
    let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    let what = match &*answer.text() {
        "" => "nothing at all".to_owned(),
        text => format!("something that is no JSON ({kind}): {text}"),
    };
    let Asked { call: Call { name, .. }, service, host } = asked;
    let message = format!("{name} at {service} ({host}) was answered {} with {what}", answer.status);
    let error = Error::new(ErrorKind::Unexpected, message).with("status", answer.status);
    let hint = "check that the endpoint URL is that of the API; a proxy on the way may have answered instead";
    let error = asked.name(error.hint(hint).setting("/endpointUrl"));
    Failure { error, refused: false, status: Some(reply.status) }
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The error that a status stands for.
fn refusal(asked: &Asked<'_>, answer: &Response, reply: &Reply) -> Error {
    let Asked { call: Call { name, .. }, service, host } = asked;
    let (kind, hint) = match answer.status {
        _ if is_throttle(answer.status, answer.retry_after) => {
            (ErrorKind::RateLimited, "wait, or lower the rate of the connection")
        }
        300..=399 => (ErrorKind::Unexpected, "check the endpoint URL: redirects are not followed"),
        401 => (ErrorKind::Auth, "check the credentials of the connection, or sign in again"),
        402 | 403 => (ErrorKind::Permission, "ask the service's administrator for the right to do this"),
        404 | 410 => (ErrorKind::NotFound, "check the ids: it may have been removed meanwhile"),
        409 | 412 => (ErrorKind::Conflict, "look at what is there, then decide"),
        413 => (ErrorKind::InvalidInput, "send less at a time"),
        408 | 425 => (ErrorKind::Unavailable, "try again later"),
        501 | 505 => (ErrorKind::Unexpected, "the service does not know this call: compare it with the reference"),
        400..=499 => (ErrorKind::InvalidInput, "compare the input with the service's reference"),
        _ => (ErrorKind::Unavailable, "try again later, or look at the service's status page"),
    };
    let retry = match (kind, answer.retry_after) {
        (ErrorKind::RateLimited | ErrorKind::Unavailable, Some(wait)) => Retry::After(wait),
        (ErrorKind::RateLimited | ErrorKind::Unavailable, None) => Retry::Backoff,
        _ => Retry::Never,
    };
    let reason = reply.status.canonical_reason().unwrap_or_default();
    let mut message = format!("{name} at {service} ({host}) was answered {} {reason}", answer.status).trim().to_owned();
    if reply.status.is_redirection() {
        message += &format!(", {}", url_policy::redirect(&reply.headers, host));
    } else if let text = answer.text()
        && !text.is_empty()
    {
        message += &format!(": {text}");
    }
    let error = Error::new(kind, message).retry(retry).hint(hint);
    if reply.status.is_redirection() { error.setting("/endpointUrl") } else { error }
}

/// The beginning of a text for an error message: one line, no control characters, no secrets.
pub(crate) fn excerpt(bytes: &[u8], secrets: &[Secret]) -> String {
    // Secrets are taken out before the text is cut, so that none is cut in the middle and stays.
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(64 << 10)]).into_owned();
    for secret in secrets {
        if secret.expose().len() >= 4 {
            text = text.replace(secret.expose(), "***");
        }
    }
    // A service may have written them otherwise, such as escaped for JSON.
    let text = redact(&text);
    let line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = line.collect::<Vec<_>>().join(" ");
    if line.len() > EXCERPT {
        line.truncate(line.floor_char_boundary(EXCERPT));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_clean_and_hold_no_secret() {
        let secrets = [Secret::from("canary-secret"), Secret::from("abc")];
        assert_eq!(excerpt(b" a\r\n\x1b[31m\tb\0c ", &[]), "a [31m b c");
        assert_eq!(excerpt(b"key canary-secret abc", &secrets), "key *** abc");
        let long = "ö".repeat(150);
        assert!(excerpt(long.as_bytes(), &[]).len() <= EXCERPT + '…'.len_utf8());
        let at_the_cut = format!("{} canary-secret", "x".repeat(EXCERPT - 7));
        assert!(!excerpt(at_the_cut.as_bytes(), &secrets).contains("canary"));
        assert_eq!(excerpt(b"\xff\xfe", &[]), "\u{fffd}\u{fffd}");
    }
}

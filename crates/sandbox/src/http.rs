//! A request taken apart strictly, and the few kinds of answer. The services match on the decoded path segments
//! themselves, so that what is not listed in a vendor's reference is not served by accident.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Answers of every service.
pub(crate) type Answer = Response<Body>;

/// Longest body of a JSON or form request, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// One request.
pub(crate) struct Call {
    pub method: Method,
    /// Path below the service's base, decoded segment by segment.
    pub segments: Vec<String>,
    /// Path below the service's base, as sent.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Call {
    /// Takes a request apart; `None` when the path is not valid UTF-8 after decoding.
    pub(crate) fn new(request: Request<Body>, base: &str) -> Option<Call> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix(base)?.to_owned();
        let segments = path
            .strip_prefix('/')
            .unwrap_or(&path)
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned()))
            .collect::<Option<Vec<_>>>()?;
        let query = parts.uri.query().map(form).unwrap_or_default();
        Some(Call { method: parts.method, segments, path, query, headers: parts.headers, body })
    }

    pub(crate) fn route(&self) -> (&str, Vec<&str>) {
        let method = if self.method == Method::HEAD { "GET" } else { self.method.as_str() };
        (method, self.segments.iter().map(String::as_str).collect())
    }

    /// A query parameter by its exact name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A query parameter whose name is not case sensitive.
    pub(crate) fn query_any_case(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Media type of the body, lower case, without parameters.
    pub(crate) fn content_type(&self) -> String {
        let text = self.header("content-type").unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    pub(crate) async fn bytes(&mut self) -> Result<Bytes, String> {
        axum::body::to_bytes(std::mem::take(&mut self.body), MAX_BODY)
            .await
            .map_err(|error| format!("the request body cannot be read: {error}"))
    }

    pub(crate) async fn json(&mut self) -> Result<Value, String> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the request body is not JSON: {error}"))
    }
}

/// Pairs of a query or of an `application/x-www-form-urlencoded` body.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// The first value of that name.
pub(crate) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Reads what is left of a body, so that a refusal reaches a client that is still sending.
pub(crate) async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut left: usize = 512 * 1024 * 1024;
    while let Some(Ok(chunk)) = stream.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

pub(crate) fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE.as_str(), content_type);
    response
}

pub(crate) fn json(status: u16, body: &Value) -> Answer {
    answer(status, "application/json; charset=utf-8", body.to_string())
}

pub(crate) fn html(status: u16, body: String) -> Answer {
    let mut response = answer(status, "text/html; charset=utf-8", body);
    set(&mut response, "cache-control", "no-store");
    response
}

pub(crate) fn empty(status: u16) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Sets a header; a value that is no legal header value is left out.
pub(crate) fn set(response: &mut Answer, name: &str, value: &str) {
    let name = header::HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, header::HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// No range, or one that is to be ignored: everything.
    Whole,
    /// From the first to the second offset, the second excluded.
    Part(u64, u64),
    /// Outside the content.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` by RFC 9110; several ranges at once are answered with everything.
pub(crate) fn range(call: &Call, size: u64, etag: &str) -> Range {
    let Some(spec) = call.header("range").and_then(|value| value.strip_prefix("bytes=")) else { return Range::Whole };
    if call.header("if-range").is_some_and(|tag| tag != etag) {
        return Range::Whole;
    }
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Range::Whole };
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") if first < size => Range::Part(first, size),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last < first => Range::Whole,
            Ok(last) if first < size => Range::Part(first, (last + 1).min(size)),
            Err(_) if !last.is_empty() => Range::Whole,
            _ => Range::Unsatisfiable,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => Range::Unsatisfiable,
            Ok(length) => Range::Part(size.saturating_sub(length), size),
            Err(_) => Range::Whole,
        },
        _ => Range::Whole,
    }
}

//! Strict parsing of requests.
//!
//! There is no router: each service matches on the decoded path segments, so a path that is not in the vendor's
//! reference is not served by accident.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The largest body of a JSON or form request, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// One request to a service.
pub(crate) struct Call {
    pub method: Method,
    /// The path below the service's base, split at `/` and then percent-decoded.
    pub segments: Vec<String>,
    /// The path below the service's base, as sent.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Call {
    /// Parses a request. Returns `None` if the path is not below `base` or not valid UTF-8 after decoding.
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

    /// Returns the method, with `HEAD` as `GET`, and the path segments.
    pub(crate) fn route(&self) -> (&str, Vec<&str>) {
        let method = if self.method == Method::HEAD { "GET" } else { self.method.as_str() };
        (method, self.segments.iter().map(String::as_str).collect())
    }

    /// Returns the first query parameter with exactly this name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// Returns the first query parameter with this name, without regard to case.
    pub(crate) fn query_any_case(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the token of an `Authorization: Bearer` header.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Returns the media type of the body in lower case, without parameters.
    pub(crate) fn content_type(&self) -> String {
        let text = self.header("content-type").unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Takes the body. The error is a sentence for the response.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, String> {
        axum::body::to_bytes(std::mem::take(&mut self.body), MAX_BODY)
            .await
            .map_err(|error| format!("the request body cannot be read: {error}"))
    }

    /// Takes the body and parses it. The error is a sentence for the response.
    pub(crate) async fn json(&mut self) -> Result<Value, String> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the request body is not JSON: {error}"))
    }
}

/// Parses the pairs of a query or of an `application/x-www-form-urlencoded` body.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// Returns the first value with this name.
pub(crate) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

//! The response that a flow makes for a webhook's request: a status, headers and a body.
//!
//! The URL of a webhook shares its origin with the API. So no response of a flow is run as a page there, and none sets
//! headers that count for the whole origin or that frame the response.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Result};

/// Headers that only the server sets: they frame the response, or count for the whole origin.
const OWN_HEADERS: [&str; 20] = [
    "alt-svc",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "public-key-pins",
    "service-worker-allowed",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-content-type-options",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseDocument {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

fn ok() -> u16 {
    StatusCode::OK.as_u16()
}

/// Returns the response that the output of a flow describes. A text is sent as it is, as `text/plain` unless the headers
/// say otherwise; no body for null; any other value as JSON.
///
/// # Errors
///
/// `internal` if the output is not a response, with the reason.
pub(crate) fn of_output(output: &Value) -> Result<Response> {
    // A list would be read as the members in their order.
    let output = output.as_object().cloned().ok_or_else(|| invalid("it is not an object"))?;
    let ResponseDocument { status, headers, body } = serde_json::from_value(output.into())
        .map_err(|error| invalid(&format!("it has `status`, `headers` and `body`, all optional: {error}")))?;
    let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| invalid("`status` has to be a number from 200 to 599"))?;
    let has_no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::RESET_CONTENT].contains(&status);
    let body = if has_no_body && body == "" { Value::Null } else { body };
    if has_no_body && !body.is_null() {
        return Err(invalid(&format!("a response of status {} has no body", status.as_u16())));
    }
    let (kind, body) = match body {
        Value::Null => (None, Body::empty()),
        Value::String(text) => (Some("text/plain; charset=utf-8"), Body::from(text)),
        other => (Some("application/json"), Body::from(other.to_string())),
    };
    let mut all = HeaderMap::new();
    all.extend(kind.map(|kind| (header::CONTENT_TYPE, HeaderValue::from_static(kind))));
    all.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers {
        let (name, value) = one_header(&name, &value)?;
        all.insert(name, value);
    }
    all.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    all.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    Ok((status, all, body).into_response())
}

fn one_header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue)> {
    let free = name.parse().ok().filter(|name: &HeaderName| {
        let name = name.as_str();
        !OWN_HEADERS.contains(&name) && !name.starts_with("access-control-")
    });
    let name = free.ok_or_else(|| invalid(&format!("the header {name:?} cannot be set by a flow")))?;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(invalid(&format!("the header {name} is not a text or a number"))),
    };
    // The type refuses line breaks and other control characters.
    let value = HeaderValue::from_str(&text);
    Ok((
        name.clone(),
        value.map_err(|_| invalid(&format!("the header {name} has characters that a header cannot hold")))?,
    ))
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the output of the flow is not a response: {reason}"))
        .hint("the operator of this server has to correct the `output` of the flow")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_output_of_a_flow_becomes_a_response() {
        for (output, status, kind, body) in [
            (json!({}), 200, None, ""),
            (json!({ "status": 204 }), 204, None, ""),
            (json!({ "status": 204, "body": "" }), 204, None, ""),
            (json!({ "status": 304, "body": "" }), 304, None, ""),
            (json!({ "status": 202, "body": null }), 202, None, ""),
            (json!({ "body": "abc" }), 200, Some("text/plain; charset=utf-8"), "abc"),
            (json!({ "body": { "challenge": "x" } }), 200, Some("application/json"), r#"{"challenge":"x"}"#),
            (json!({ "body": [1, true] }), 200, Some("application/json"), "[1,true]"),
            (json!({ "body": false, "status": 503 }), 503, Some("application/json"), "false"),
            (
                json!({ "headers": { "Content-Type": "application/xml" }, "body": "<a/>" }),
                200,
                Some("application/xml"),
                "<a/>",
            ),
            (json!({ "headers": { "Retry-After": 30 }, "status": 429 }), 429, None, ""),
        ] {
            let response = of_output(&output).unwrap();
            let found = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!((response.status().as_u16(), found.as_deref()), (status, kind), "{output}");
            assert_eq!(response.headers()["x-content-type-options"], "nosniff");
            assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), body, "{output}");
        }
    }

    #[test]
    fn what_cannot_be_a_response_or_would_split_one_is_refused() {
        let header = |name: &str, value: Value| json!({ "headers": { name: value } });
        for output in [
            json!(null),
            json!("text"),
            json!([]),
            json!({ "challenge": "x" }),
            json!({ "status": 99 }),
            json!({ "status": 101 }),
            json!({ "status": 600 }),
            json!({ "status": "200" }),
            json!({ "status": 204, "body": "x" }),
            json!({ "status": 304, "body": {} }),
            json!({ "headers": [] }),
            header("X-A", json!("a\r\nSet-Cookie: b=c")),
            header("X-A", json!("a\nb")),
            header("X-A", json!("a\u{0}")),
            header("X-A\r\nX-B", json!("a")),
            header("X A", json!("a")),
            header("", json!("a")),
            header("X-A", json!(["a"])),
            header("X-A", json!(null)),
            header("Content-Length", json!(0)),
            header("transfer-encoding", json!("chunked")),
            header("Connection", json!("close")),
            header("Upgrade", json!("websocket")),
            header("SET-COOKIE", json!("a=b")),
            header("Access-Control-Allow-Origin", json!("*")),
            header("Content-Security-Policy", json!("default-src *")),
            header("X-Content-Type-Options", json!("sniff")),
        ] {
            let error = of_output(&output).unwrap_err();
            assert!(error.to_string().contains("is not a response"), "{output}: {error}");
        }
    }
}

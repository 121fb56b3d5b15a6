//! The few kinds of response that the services send.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

/// The response of every service.
pub(crate) type HttpResponse = Response<Body>;

/// Returns a response with a body.
pub(crate) fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE.as_str(), content_type);
    response
}

/// Returns a response with a JSON body.
pub(crate) fn json(status: u16, body: &Value) -> HttpResponse {
    response(status, "application/json; charset=utf-8", body.to_string())
}

/// Returns an HTML page that is not cached.
pub(crate) fn html(status: u16, body: String) -> HttpResponse {
    let mut response = response(status, "text/html; charset=utf-8", body);
    set(&mut response, "cache-control", "no-store");
    response
}

/// Returns a response without a body.
pub(crate) fn empty(status: u16) -> HttpResponse {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Sets a header. A name or value that HTTP does not allow is left out.
pub(crate) fn set(response: &mut HttpResponse, name: &str, value: &str) {
    let name = header::HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, header::HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

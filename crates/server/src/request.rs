//! Headers and bodies of requests.

use axum::{
    body::Bytes,
    extract::{Request, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, RepeatedMember, Result, read_json};

use crate::response::ErrorResponse;

/// The maximum size of a request body, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// The maximum size of the head of a request, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

pub(crate) type Body = Result<Bytes, BytesRejection>;

/// Middleware for every request: refuses a head that is larger than the limit, and one with two `Authorization`
/// headers, of which each reader could believe another one.
pub(crate) async fn refuse_heads(request: Request, next: Next) -> Response {
    let refused = |status: StatusCode, error: Error| ErrorResponse::new(status, error).into_response();
    let size = head_size(&request);
    if size > MAX_HEAD {
        let message = format!("the head of the request has {size} bytes, more than the limit of {MAX_HEAD} bytes");
        let error = Error::new(ErrorKind::Limit, message).hint("send fewer or shorter headers, and values in the body");
        return refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error);
    }
    if let Err(error) = header(request.headers(), header::AUTHORIZATION.as_str()) {
        return refused(StatusCode::BAD_REQUEST, error.hint("send one `Authorization` header"));
    }
    next.run(request).await
}

/// Returns the size of the head of a request as HTTP/1.1 writes it: the request line, a line for each header, and an
/// empty line. The buffer of the connection may take in more.
fn head_size(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let line = request.method().as_str().len() + request.uri().to_string().len() + "  HTTP/1.1\r\n\r\n".len();
    line + headers.sum::<usize>()
}

/// Middleware for every request: refuses bodies with a content coding, such as gzip. A small one could become a large
/// value, and the signature of a webhook is made over the bytes as they are sent.
pub(crate) async fn refuse_codings(request: Request, next: Next) -> Response {
    let is_none = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    let codings = request.headers().get_all(header::CONTENT_ENCODING).iter().map(|codings| codings.to_str().ok());
    let is_plain =
        |codings: Option<&str>| codings.is_some_and(|codings| codings.split(',').map(str::trim).all(is_none));
    let Some(coding) = codings.into_iter().find(|codings| !is_plain(*codings)) else {
        return next.run(request).await;
    };
    let message = format!("the body has the content coding {}", coding.unwrap_or_default());
    let error = Error::new(ErrorKind::InvalidInput, message).hint("send the body without a content coding");
    let mut response = ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).into_response();
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

/// Returns the body, or an error response if it is too long or was cut off.
pub(crate) fn complete(body: Body) -> Result<Bytes, ErrorResponse> {
    body.map_err(|rejection| {
        let (status, why) = (rejection.status(), rejection.body_text());
        let error = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body is larger than the limit of {MAX_BODY} bytes");
                Error::new(ErrorKind::Limit, message).hint("send fewer or smaller values, and files by reference")
            }
            _ => Error::new(ErrorKind::InvalidInput, format!("the body cannot be read: {why}")),
        };
        ErrorResponse::new(status, error)
    })
}

/// Parses a body as a JSON object. An empty body counts as an empty object.
///
/// # Errors
///
/// `invalid_input` if the body is not a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Value, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new().into());
    }
    match read_json(body, RepeatedMember::Refused) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Error::new(ErrorKind::InvalidInput, "the body is JSON, but not an object")),
        Err(error) => Err(Error::new(error.kind(), format!("the body cannot be read as JSON: {error}"))),
    }
}

/// The header with the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns the id of a request: the one that the caller or a proxy has given it, if it can stand in a log, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = header(headers, REQUEST_ID.as_str()).ok().flatten().filter(is_plain);
    given.map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

/// Returns the value of a header, or `None` without that header.
///
/// # Errors
///
/// `invalid_input` if the header occurs twice, or if its value is not text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let invalid =
        || Error::new(ErrorKind::InvalidInput, format!("the header {name} occurs twice, or its value is not text"));
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| invalid()),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests;

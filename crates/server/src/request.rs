//! Headers and bodies of requests.

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, RepeatedMember, Result, read_json};

use crate::response::ErrorResponse;

/// The maximum size of a request body, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

pub(crate) type Body = Result<Bytes, BytesRejection>;

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

/// Reads the members of a JSON body. `expected` says in an error which members there can be.
pub(crate) fn read<T: DeserializeOwned>(body: Body, expected: &str) -> Result<T, ErrorResponse> {
    let object = object(&complete(body)?)?;
    serde_json::from_value(object)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{expected}: {error}")).into())
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
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_strictly_as_a_file() {
        for (body, words) in [
            (r#"{"a": 1, "a": 1}"#, "which is /a"),
            (r#"{"input": {"x": [{"b/c": 1, "b/c": 2}]}}"#, "which is /input/x/0/b~1c"),
            (r#"{"a": 12345678901234567890123}"#, "declare it as text"),
            ("{} {}", "trailing characters"),
            ("[1]", "not an object"),
        ] {
            let error = object(body.as_bytes()).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidInput && error.message().contains(words), "{body}: {error}");
        }
        // The reader of serde alone takes the last of two values.
        let lenient: Value = serde_json::from_str(r#"{"a": 1, "a": 2}"#).unwrap();
        assert_eq!(lenient["a"], 2);
        let deep = format!(r#"{{"a": {}{}}}"#, "[".repeat(127), "]".repeat(127));
        let error = object(deep.as_bytes()).unwrap_err();
        assert!(error.kind() == ErrorKind::Limit && error.message().contains("127 levels"), "{error}");
        assert!(object(b"\xef\xbb\xbf {\"a\": {}}").is_ok() && object(b" ").is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_with_the_number() {
        use axum::{extract::FromRequest, response::IntoResponse};

        let request = |size: usize| {
            let body = axum::body::Body::from(vec![b'x'; size]);
            Bytes::from_request(axum::http::Request::post("/").body(body).unwrap(), &())
        };
        assert!(complete(request(MAX_BODY).await).is_ok());
        let refused = complete(request(3 * MAX_BODY).await).unwrap_err();
        assert!(format!("{refused:?}").contains("limit of 1048576 bytes"), "{refused:?}");
        assert_eq!(refused.into_response().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

//! The body and the response of a call that no row describes.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    client::AcceptedResponse,
    table::{Lists, encode},
    transport::{Body, header_text},
};

/// The heading under which a menu lists the actions.
pub(super) const GROUP: &str = "Any call";

/// Headers of a response that are not returned: they carry credentials.
const CREDENTIAL_HEADERS: &[&str] = &["set-cookie", "www-authenticate", "proxy-authenticate", "authentication-info"];

/// Returns a body as bytes and its content type. `action` is for messages; `lists` is for a form.
pub(crate) fn body(
    action: &str,
    value: Option<&Value>,
    content: &str,
    lists: Lists,
) -> Result<(Body, Option<HeaderValue>)> {
    let Some(value) = value else { return Ok((Body::Bytes(Bytes::new()), None)) };
    let content_type = HeaderValue::from_str(content).map_err(|_| {
        let message = format!("`{content}` is not a content type");
        Error::new(ErrorKind::InvalidInput, message).with("input", "/contentType")
    })?;
    let bytes = encode(action, content, value, |_| lists).map_err(|error| error.with("input", "/body"))?;
    Ok((Body::Bytes(bytes), Some(content_type)))
}

/// The response of the service. A status of 300 and above is an error instead, except the 404 or 410 of a call that
/// deletes.
#[derive(Serialize, JsonSchema)]
pub struct CallResponse {
    /// # Status
    status: u16,
    /// # Headers
    /// By name, in lower case; without cookies.
    headers: BTreeMap<String, String>,
    /// # Body
    /// JSON, or a text if the call accepts one; null if the body was empty.
    body: Value,
}

impl From<AcceptedResponse> for CallResponse {
    fn from(accepted: AcceptedResponse) -> CallResponse {
        let headers = headers_without_credentials(&accepted.headers);
        CallResponse { status: accepted.status.as_u16(), headers, body: accepted.body }
    }
}

/// Returns the headers of a response by name, without those that carry credentials. Repeated ones are joined by commas.
fn headers_without_credentials(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| !CREDENTIAL_HEADERS.contains(&name.as_str())) {
        let text = header_text(value);
        joined.entry(name.as_str().to_owned()).and_modify(|all| *all += &format!(", {text}")).or_insert(text.into());
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_credentials_are_not_returned() {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_static("session=canary"));
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        assert_eq!(headers_without_credentials(&headers), BTreeMap::from([("x-a".to_owned(), "1, 2".to_owned())]));
    }
}

//! Rules for headers: which ones a caller may set, and how a secret goes into one.

use http::{HeaderName, HeaderValue};
use trunkline_core::{Error, ErrorKind, Result};

/// Headers that only the client or HTTP itself sets.
const OWN_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Returns whether a caller may set this header: it is a valid name, and neither the client nor HTTP itself sets it.
pub(crate) fn header_is_free(name: &str) -> bool {
    name.parse::<HeaderName>().is_ok_and(|name| !OWN_HEADERS.contains(&name.as_str()))
}

/// Returns a header value for a secret: HTTP/2 does not index it, and it prints as `Sensitive`.
///
/// # Errors
///
/// `config` if the secret contains characters that a header cannot carry.
pub(crate) fn secret_header(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Error::new(ErrorKind::Config, "a secret contains characters that a header cannot carry")
            .hint("copy it again, without line breaks and without spaces at either end")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

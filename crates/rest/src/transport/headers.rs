//! Headers: which ones a caller may set, how a secret goes into one, and how those of a response are read.

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use trunkline_core::{Error, ErrorKind, Result};

use super::parameters::{parameter, split_unquoted};

/// Headers that only the client or HTTP itself sets: credentials, the framing of messages, those that make another call
/// of a call, and what says where the caller is.
const OWN_HEADERS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Headers of responses, which mean nothing in a request (RFC 9110 sections 8, 10.2 and 11.6, RFC 6265).
const RESPONSE_HEADERS: &[&str] = &[
    "accept-ranges",
    "age",
    "allow",
    "authentication-info",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "set-cookie",
    "set-cookie2",
    "vary",
    "www-authenticate",
];

/// Headers that belong to one call. With the same value in every call, all creates would be one, and a page or a file a
/// part of itself.
const CALL_HEADERS: &[&str] =
    &["idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// The beginnings of further such headers: of proxies, of browsers, and of what a proxy says about the caller.
const OWN_PREFIXES: &[&str] = &["proxy-", "sec-", "x-forwarded-"];

/// Returns whether a caller may set this header: it is a valid name, and neither the client nor HTTP itself sets it.
pub(crate) fn header_is_free(name: &str) -> bool {
    name.parse::<HeaderName>().is_ok_and(|name| {
        let name = name.as_str();
        !OWN_HEADERS.contains(&name)
            && !RESPONSE_HEADERS.contains(&name)
            && !OWN_PREFIXES.iter().any(|own| name.starts_with(own))
    })
}

/// Returns a header that a connector sends with every call, from its code or from its `connector.toml`. The rule is
/// that of the headers of rows and flows, without the headers that belong to one call.
///
/// # Errors
///
/// `config` if the client or HTTP itself sets the header, or if a header cannot carry the value.
pub fn plain_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let refuse = |why: &str, hint: &str| {
        Error::new(ErrorKind::Config, format!("the header {name:?} of the connector {why}")).hint(hint)
    };
    let is_constant = |name: &HeaderName| header_is_free(name.as_str()) && !CALL_HEADERS.contains(&name.as_str());
    let free = name.parse::<HeaderName>().ok().filter(is_constant);
    let key = free.ok_or_else(|| {
        let why = "is not a name that a connector may set";
        let hint = "credentials and the idempotency header belong in the settings of the connection, and headers of \
                    one call in a row; the client sets the headers of HTTP itself";
        refuse(why, hint)
    })?;
    let value = HeaderValue::from_str(value);
    Ok((key, value.map_err(|_| refuse("has a value that a header cannot carry", "write it without line breaks"))?))
}

/// Returns whether a header may carry the key of a connection: it is free, or it is one that carries credentials.
pub(crate) fn header_carries_keys(name: &HeaderName) -> bool {
    header_is_free(name.as_str()) || [header::AUTHORIZATION, header::COOKIE].contains(name)
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

/// Returns the text of a header. Bytes that are not UTF-8 are Latin-1, the former charset of headers (RFC 9110 section
/// 5.5).
pub(crate) fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(value.as_bytes()).0,
    }
}

/// Returns the value of a header that has one value. A header that occurs twice with different values has none.
pub(crate) fn single(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// The type of a body (RFC 9110 section 8.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentType {
    /// Type and subtype in lower case; empty if the response has none.
    pub(crate) media_type: String,
    pub(crate) charset: Option<String>,
}

impl ContentType {
    /// Returns the type that a response declares. If it declares several, the first counts.
    pub(crate) fn of(headers: &HeaderMap) -> ContentType {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return ContentType::default() };
        ContentType::read(&header_text(value))
    }

    pub(crate) fn read(text: &str) -> ContentType {
        let (media_type, parameters) = split_unquoted(text, ';');
        let charset = parameters.and_then(|parameters| parameter(parameters, "charset"));
        ContentType { media_type: media_type.trim().to_ascii_lowercase(), charset }
    }

    /// Returns whether no type is declared.
    pub(crate) fn is_absent(&self) -> bool {
        self.media_type.is_empty()
    }

    pub(crate) fn is_json(&self) -> bool {
        self.media_type == "application/json" || self.media_type.ends_with("+json")
    }

    pub(crate) fn is_xml(&self) -> bool {
        matches!(&*self.media_type, "application/xml" | "text/xml") || self.media_type.ends_with("+xml")
    }

    pub(crate) fn is_html(&self) -> bool {
        matches!(&*self.media_type, "text/html" | "application/xhtml+xml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_read_with_its_parameters() {
        for (written, media_type, charset) in [
            ("application/json", "application/json", None),
            ("Application/JSON; Charset=ISO-8859-1", "application/json", Some("ISO-8859-1")),
            ("text/html;charset=\"utf-8\"", "text/html", Some("utf-8")),
            ("text/plain ; format=flowed;; charset = utf-16 ;", "text/plain", Some("utf-16")),
            (r#"multipart/mixed; boundary="a;charset=b"; charset=c"#, "multipart/mixed", Some("c")),
            ("text/plain; charset=", "text/plain", Some("")),
            ("", "", None),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, written.parse().unwrap())]);
            let found = ContentType::of(&headers);
            assert_eq!((&*found.media_type, found.charset.as_deref()), (media_type, charset), "{written}");
        }
        assert_eq!(ContentType::of(&HeaderMap::new()), ContentType::default());
    }

    #[test]
    fn headers_of_the_client_and_of_http_are_not_free() {
        let other_cases = ["Host", "AUTHORIZATION", "Proxy-Authorization", "Proxy-Connection", "Set-Cookie", "ETag"];
        for name in [OWN_HEADERS, RESPONSE_HEADERS, &other_cases].concat() {
            assert!(!header_is_free(name) && plain_header(name, "x").is_err(), "{name}");
        }
        for name in ["sec-fetch-site", "X-Forwarded-For", "X-Forwarded-Host", "", "a b", "a:b", "a\nb", "größe"] {
            assert!(!header_is_free(name) && plain_header(name, "x").is_err(), "{name}");
        }
        // The twins: headers that say something about the call.
        for name in ["accept", "Accept-Language", "Prefer", "Cache-Control", "x-api-version"] {
            assert!(header_is_free(name) && plain_header(name, "x").is_ok(), "{name}");
        }
        // A call may set them, and a connector may not set them for all calls.
        for name in CALL_HEADERS.iter().copied().chain(["Idempotency-Key", "Range", "If-None-Match"]) {
            assert!(header_is_free(name) && plain_header(name, "x").is_err(), "{name}");
        }
        assert!(plain_header("x-api-version", "1\r\nhost: evil.example").is_err());
    }

    #[test]
    fn a_header_that_contradicts_itself_has_no_value() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, header::ETAG), None);
        for (value, expected) in [("\"1\"", Some("\"1\"")), ("\"1\"", Some("\"1\"")), ("\"2\"", None)] {
            headers.append(header::ETAG, HeaderValue::from_static(value));
            assert_eq!(single(&headers, header::ETAG).map(|one| one.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        let text = |bytes: &[u8]| header_text(&HeaderValue::from_bytes(bytes).unwrap()).into_owned();
        assert_eq!((text("båt".as_bytes()), text(b"b\xe5t"), text(b"bat")), ("båt".into(), "båt".into(), "bat".into()));
    }
}

//! The version of a file in a response. A download that was cut off continues only within the same version.

use http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

use crate::transport::single;

/// Returns a validator that identifies this version byte for byte, for the header `If-Range` (RFC 9110 section 13.1.5):
/// a strong ETag, or, in a response without any ETag, a `Last-Modified` that is strong because the response is at least
/// a second younger (section 8.8.2.2).
pub(crate) fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.contains_key(header::ETAG) {
        return single(headers, header::ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")).cloned();
    }
    let date = |name| httpdate::parse_http_date(single(headers, name)?.to_str().ok()?).ok();
    let age = date(header::DATE)?.duration_since(date(header::LAST_MODIFIED)?).ok()?;
    (age >= Duration::from_secs(1)).then(|| single(headers, header::LAST_MODIFIED).cloned()).flatten()
}

/// Returns whether a response has a validator of another version.
pub(crate) fn is_other(before: &HeaderValue, headers: &HeaderMap) -> bool {
    let name = if before.as_bytes().starts_with(b"\"") { header::ETAG } else { header::LAST_MODIFIED };
    headers.get_all(name).iter().any(|now| now != before)
}

/// Returns whether a response has the validator of the same version.
pub(crate) fn is_same(before: &HeaderValue, headers: &HeaderMap) -> bool {
    let name = if before.as_bytes().starts_with(b"\"") { header::ETAG } else { header::LAST_MODIFIED };
    single(headers, name) == Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_validators_identify_a_version() {
        let modified = "Sat, 21 Nov 2026 10:00:00 GMT";
        for (etag, date, expected) in [
            (Some("\"v1\""), None, Some("\"v1\"")),
            (Some("W/\"v1\""), Some("Sat, 21 Nov 2026 11:00:00 GMT"), None),
            (None, Some("Sat, 21 Nov 2026 10:00:01 GMT"), Some(modified)),
            // The file may change again within the same second.
            (None, Some(modified), None),
            (None, None, None),
            (Some("v1"), None, None),
        ] {
            let mut headers = HeaderMap::from_iter([(header::LAST_MODIFIED, HeaderValue::from_static(modified))]);
            headers.extend(etag.map(|etag| (header::ETAG, HeaderValue::from_static(etag))));
            headers.extend(date.map(|date| (header::DATE, HeaderValue::from_static(date))));
            assert_eq!(version(&headers).as_ref().map(|one| one.to_str().unwrap()), expected, "{headers:?}");
        }
    }
}

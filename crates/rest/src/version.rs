//! Which version of a file an answer is of: what makes it safe to go on reading where another answer broke off.

use http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

/// What tells this version from every other, byte for byte, and may stand in `If-Range` (RFC 9110 section 13.1.5): a strong
/// ETag, or where there is none at all, a `Last-Modified` that is strong because the answer is younger by a second
/// (section 8.8.2.2).
pub(crate) fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    if let Some(etag) = headers.get(header::ETAG) {
        return etag.as_bytes().starts_with(b"\"").then(|| etag.clone());
    }
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok();
    let age = date(header::DATE)?.duration_since(date(header::LAST_MODIFIED)?).ok()?;
    (age >= Duration::from_secs(1)).then(|| headers.get(header::LAST_MODIFIED).cloned()).flatten()
}

/// Whether an answer is of another version than the one that was read before.
pub(crate) fn is_other(before: &HeaderValue, headers: &HeaderMap) -> bool {
    let name = if before.as_bytes().starts_with(b"\"") { header::ETAG } else { header::LAST_MODIFIED };
    headers.get(name).is_some_and(|now| now != before)
}

/// Whether an answer says that it is of the version that was read before.
pub(crate) fn is_same(before: &HeaderValue, headers: &HeaderMap) -> bool {
    let name = if before.as_bytes().starts_with(b"\"") { header::ETAG } else { header::LAST_MODIFIED };
    headers.get(name) == Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_strong_tells_versions_apart() {
        let modified = "Sat, 21 Nov 2026 10:00:00 GMT";
        for (etag, date, expected) in [
            (Some("\"v1\""), None, Some("\"v1\"")),
            (Some("W/\"v1\""), Some("Sat, 21 Nov 2026 11:00:00 GMT"), None),
            (None, Some("Sat, 21 Nov 2026 10:00:01 GMT"), Some(modified)),
            // It may change again within the same second.
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

//! The header `Content-Range` (RFC 9110 section 14.4).

use http::{HeaderMap, header};
use http_content_range::ContentRange;

use crate::transport::single;

/// Returns the first byte of the part and the size of the whole file from `Content-Range: bytes 5-9/10` or
/// `bytes */10`.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    match ContentRange::parse_bytes(single(headers, header::CONTENT_RANGE)?.as_bytes())? {
        ContentRange::Bytes(part) => Some((Some(part.first_byte), Some(part.complete_length))),
        ContentRange::UnboundBytes(part) => Some((Some(part.first_byte), None)),
        ContentRange::Unsatisfied(whole) => Some((None, Some(whole.complete_length))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_is_read_as_it_was_written(first in 0u64..1 << 40, length in 1u64..1 << 40, rest in 0u64..1 << 40, known: bool) {
            let (last, size) = (first + length - 1, first + length + rest);
            let total = if known { size.to_string() } else { "*".to_owned() };
            let value = HeaderValue::from_str(&format!("bytes {first}-{last}/{total}")).unwrap();
            let mut headers = HeaderMap::from_iter([(header::CONTENT_RANGE, value.clone())]);
            prop_assert_eq!(content_range(&headers), Some((Some(first), known.then_some(size))));
            // The same header twice says nothing else; another one contradicts it.
            headers.append(header::CONTENT_RANGE, value);
            prop_assert!(content_range(&headers).is_some());
            headers.append(header::CONTENT_RANGE, HeaderValue::from_static("bytes 0-0/1"));
            prop_assert!(content_range(&headers).is_none() || (first, length, size) == (0, 1, 1));
        }
    }

    #[test]
    fn only_possible_content_ranges_are_read() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((Some(5), Some(10)))),
            ("bytes 5-9/*", Some((Some(5), None))),
            ("bytes */10", Some((None, Some(10)))),
            ("bytes 9-5/10", None),
            ("bytes 5-9/8", None),
            ("bytes 5-/10", None),
            ("bytes */*", None),
            ("items 5-9/10", None),
            ("5-9/10", None),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, HeaderValue::from_static(text))]);
            assert_eq!(content_range(&headers), expected, "{text}");
        }
    }
}

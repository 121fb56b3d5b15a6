//! Parts of content: the `Range` header and the responses to it.

use axum::body::Body;
use axum::http::Method;

use super::{Call, HttpResponse, empty, set};

/// The part of the content that a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The whole content: there is no range, or it has to be ignored.
    Whole,
    /// From the first offset to the second, which is excluded.
    Part(u64, u64),
    /// A range outside the content.
    Unsatisfiable,
}

/// Evaluates `Range` and `If-Range` (RFC 9110, sections 14.2 and 13.1.5). Several ranges in one request count as none.
pub(crate) fn range(call: &Call, size: u64, etag: &str) -> Range {
    let Some(spec) = call.header("range").and_then(|value| value.strip_prefix("bytes=")) else { return Range::Whole };
    if call.header("if-range").is_some_and(|tag| tag != etag) {
        return Range::Whole;
    }
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Range::Whole };
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") if first < size => Range::Part(first, size),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last < first => Range::Whole,
            Ok(last) if first < size => Range::Part(first, (last + 1).min(size)),
            Err(_) if !last.is_empty() => Range::Whole,
            _ => Range::Unsatisfiable,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => Range::Unsatisfiable,
            Ok(length) => Range::Part(size.saturating_sub(length), size),
            Err(_) => Range::Whole,
        },
        _ => Range::Whole,
    }
}

/// Returns a response with the whole content or the requested range. `body` returns the bytes from the first offset to
/// the second, which is excluded.
pub(crate) fn ranged(
    call: &Call,
    size: u64,
    etag: &str,
    media_type: &str,
    body: impl FnOnce(u64, u64) -> Body,
) -> HttpResponse {
    let (status, start, end) = match range(call, size, etag) {
        Range::Whole => (200, 0, size),
        Range::Part(start, end) => (206, start, end),
        Range::Unsatisfiable => {
            let mut response = empty(416);
            set(&mut response, "content-range", &format!("bytes */{size}"));
            return response;
        }
    };
    let mut response = empty(status);
    if call.method != Method::HEAD {
        *response.body_mut() = body(start, end);
    }
    set(&mut response, "content-type", media_type);
    set(&mut response, "content-length", &(end - start).to_string());
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "etag", etag);
    if status == 206 {
        set(&mut response, "content-range", &format!("bytes {start}-{}/{size}", end - 1));
    }
    response
}

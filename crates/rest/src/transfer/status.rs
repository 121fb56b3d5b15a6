//! The errors that the statuses of a file server stand for.

use http::{HeaderMap, StatusCode};
use trunkline_core::{Error, ErrorKind, Retry};

use crate::transport::{retry_after, url_policy};

/// Returns the error that a status stands for. `is_api` is whether the request was sent to the API itself, with the
/// credentials of the connection.
pub(super) fn status_error(host: &str, status: StatusCode, headers: &HeaderMap, is_api: bool) -> Error {
    let wait = retry_after(status, headers, "");
    let later = wait.map_or(Retry::Backoff, Retry::After);
    let (kind, retry, hint) = match status.as_u16() {
        304 => (ErrorKind::Unexpected, Retry::Never, "remove If-None-Match and If-Modified-Since from the headers"),
        202 => (ErrorKind::Unexpected, Retry::Never, "the service has not made the file yet: request it again later"),
        300..=399 => (ErrorKind::Unexpected, Retry::Never, "redirects are not followed: report it to the vendor"),
        429 => (ErrorKind::RateLimited, later, "wait, or read fewer files at once"),
        403 if wait.is_some() => (ErrorKind::RateLimited, later, "wait, or read fewer files at once"),
        401 if is_api => (ErrorKind::Auth, Retry::Never, "check the credentials of the connection, or sign in again"),
        403 if is_api => {
            (ErrorKind::Permission, Retry::Never, "ask the service's administrator for the right to read it")
        }
        401 | 403 => (ErrorKind::Permission, Retry::Never, "the URL has expired, or the file may not be read"),
        400 | 422 if is_api => {
            (ErrorKind::InvalidInput, Retry::Never, "compare the path and the query with the service's reference")
        }
        409 | 412 if is_api => {
            (ErrorKind::Conflict, Retry::Never, "look at the current state in the service, then decide")
        }
        404 | 410 => (ErrorKind::NotFound, Retry::Never, "the file was removed"),
        416 => (ErrorKind::Conflict, Retry::Never, "the file is shorter than it was: read it again"),
        408 | 425 | 500..=599 => (ErrorKind::Unavailable, later, "try again later"),
        _ => (ErrorKind::Unexpected, Retry::Never, "report it to the vendor"),
    };
    let mut message = format!("{host} returned {status} for a file");
    if status.is_redirection() {
        message += &format!(", {}", url_policy::redirect(status, headers, host));
    }
    Error::new(kind, message).retry(retry).hint(hint).with("status", status.as_u16()).with("host", host)
}

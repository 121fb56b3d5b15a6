//! Errors that Mediaflow reports in a way of its own.

use trunkline_core::{Error, ErrorKind, Retry};
use trunkline_rest::Response;

/// Returns the error of a response, if it is one that the HTTP status does not already describe.
///
/// A response whose root is an error object is an error whatever its HTTP status; data is always an array or another
/// object. Usually the HTTP status fits. This function handles error objects with the status 200 or 201, and one error
/// text that is known to be temporary.
pub(crate) fn classify(response: &Response) -> Option<Error> {
    let body = response.body.as_ref()?;
    let (status, text) = (body.get("status")?.as_u64()?, body.get("error")?.as_str()?);
    let temporary = text.contains("Unspecified database error");
    if !(200..300).contains(&response.status) && !temporary {
        return None;
    }
    let (kind, hint) = match status {
        400 | 422 => (ErrorKind::InvalidInput, "compare the input with Mediaflow's reference"),
        401 => (ErrorKind::Auth, "check the credentials of the connection, or sign in again"),
        403 => (ErrorKind::Permission, "ask Mediaflow's administrator for this permission"),
        404 => (ErrorKind::NotFound, "check the ids: the object may have been removed"),
        429 => (ErrorKind::RateLimited, "wait, or send fewer requests at once"),
        _ => (ErrorKind::Unavailable, "try again later"),
    };
    let kind = if temporary { ErrorKind::Unavailable } else { kind };
    let retry = matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable);
    let message = format!("{}: Mediaflow answered {status}: {}", response.operation, response.text());
    let error = Error::new(kind, message).retry(match response.retry_after.filter(|_| retry) {
        Some(wait) => Retry::After(wait),
        None if retry => Retry::Backoff,
        None => Retry::Never,
    });
    Some(error.hint(hint).with("status", status))
}

//! Failures that only Mediaflow's own words tell.

use trunkline_core::{Error, ErrorKind, Retry};
use trunkline_rest::Response;

/// An answer whose root is an error object is an error whatever its status; data always is an array or another object.
///
/// Most come with a status that says it all. This is about those that come with a 200 or 201, and about one text that is
/// known to pass.
pub(crate) fn classify(answer: &Response) -> Option<Error> {
    let body = answer.body.as_ref()?;
    let (status, text) = (body.get("status")?.as_u64()?, body.get("error")?.as_str()?);
    let passes = text.contains("Unspecified database error");
    if !(200..300).contains(&answer.status) && !passes {
        return None;
    }
    let (kind, hint) = match status {
        400 | 422 => (ErrorKind::InvalidInput, "compare the input with the reference"),
        401 => (ErrorKind::Auth, "check the credentials of the connection, or sign in again"),
        403 => (ErrorKind::Permission, "ask Mediaflow's administrator for the right to do this"),
        404 => (ErrorKind::NotFound, "check the ids: it may have been removed meanwhile"),
        429 => (ErrorKind::RateLimited, "wait, or run fewer at once"),
        _ => (ErrorKind::Unavailable, "try again later"),
    };
    let kind = if passes { ErrorKind::Unavailable } else { kind };
    let later = matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable);
    let message = format!("{}: Mediaflow answered {status}: {}", answer.operation, answer.text());
    let error = Error::new(kind, message).retry(match answer.retry_after.filter(|_| later) {
        Some(wait) => Retry::After(wait),
        None if later => Retry::Backoff,
        None => Retry::Never,
    });
    Some(error.hint(hint).with("status", status))
}

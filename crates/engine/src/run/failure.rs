//! What an error means for the whole run.

use trunkline_core::{Error, ErrorDetail, ErrorKind, Retry, StepPath};

/// Returns whether an error stops the run instead of failing one item. A resumed run tries the step again.
pub(crate) fn stops_the_run(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Auth | ErrorKind::Store | ErrorKind::Cancelled)
}

/// Returns whether an error says that a connection does not work at this time: it needs a new sign-in, its login server
/// refuses, or its service is down. A run that was stopped by it can continue when the connection works again.
pub(crate) fn is_of_connection(error: &Error) -> bool {
    let refused = |detail: &ErrorDetail| matches!(detail, ErrorDetail::TokenRefused { .. });
    matches!(error.kind(), ErrorKind::Auth | ErrorKind::Unavailable | ErrorKind::RateLimited)
        || error.details().iter().any(refused)
}

/// Returns whether an error says nothing about the run, but only about the machine at this time: a full disk, too many
/// open files. The run is left to be resumed.
pub(crate) fn is_transient(error: &Error) -> bool {
    error.kind() == ErrorKind::Store && error.retryable() != Retry::Never
}

/// Returns the error of a step that an operator has resolved as failed.
pub(crate) fn resolved_as_failed(step: &StepPath) -> Error {
    Error::new(ErrorKind::Failed, "resolved as failed")
        .with_detail(ErrorDetail::Step { step: step.as_str().to_owned() })
}

//! The error response of both APIs, before each API gives it its form.

/// An error response: status and message.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub status: u16,
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into() }
    }

    /// Returns status 404 with the message that `what` was not found.
    pub(crate) fn not_found(what: &str) -> ApiError {
        ApiError::new(404, format!("{what} was not found"))
    }
}

//! A connector's client without its type.

use std::any::Any;

use crate::{Error, ErrorKind};

/// A connector's client without its type, as the engine holds it.
pub type AnyClient = dyn Any + Send + Sync;

/// Returns the error of an action or a connector that was called with the client of another connector.
pub(crate) fn wrong_client(called: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{called} was called with another connector's client"))
}

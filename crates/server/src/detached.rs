//! Work that is completed even if its caller goes away.
//!
//! The server drops the future of a handler when the caller closes the connection, or when the request takes too long.
//! A write that is dropped in between is half done: a run that is stored, for example, but not started. So what changes
//! something runs in a task of its own. The task takes no longer than the write, and waits for no caller.

use std::future::Future;

use trunkline_core::{Error, ErrorKind, Result};

#[cfg(test)]
tokio::task_local! {
    /// Set in the sabotage twins of tests: the work ends with its caller.
    pub(crate) static ATTACHED: ();
}

/// Does some work in a task of its own, and returns its result. The work continues if the returned future is dropped.
///
/// # Errors
///
/// Those of the work, and `internal` if it panics.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    #[cfg(test)]
    if ATTACHED.try_with(|()| ()).is_ok() {
        return work.await;
    }
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "the work for the request did not end").source(error))
    })
}

#[cfg(test)]
mod tests;

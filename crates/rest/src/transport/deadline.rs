//! The cancellation and the deadline of a context, for work of several calls.
//!
//! A single call observes both already. An action that polls or waits between calls uses [`with_deadline`].

use tokio::time::{Instant, timeout_at};
use trunkline_core::{Context, Error, ErrorKind, Result, Retry};

/// Awaits `work` until the context is cancelled or its deadline has passed, and returns its result. `what` names the
/// work in the error.
///
/// # Errors
///
/// The error of the work, `cancelled` if the context is cancelled, or `unavailable` if the deadline has passed. In the
/// last two cases the work is dropped, and what it has done by then is not undone.
pub async fn with_deadline<T>(cx: &Context, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let in_time = async {
        match cx.deadline().map(Instant::from_std) {
            Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| {
                let message = format!("{what} did not finish before its deadline");
                Err(Error::new(ErrorKind::Unavailable, message)
                    .retry(Retry::Backoff)
                    .hint("try again, or allow more time"))
            }),
            None => work.await,
        }
    };
    tokio::select! {
        biased;
        () = cx.cancellation().cancelled() => Err(Error::new(ErrorKind::Cancelled, format!("{what} was cancelled"))),
        done = in_time => done,
    }
}

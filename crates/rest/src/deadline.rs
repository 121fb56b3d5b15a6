//! What bounds work that is no single call: the context's cancellation and deadline.

use tokio::time::{Instant, timeout_at};
use trunkline_core::{Context, Error, ErrorKind, Result, Retry};

/// Does the work until the context is cancelled or its deadline is over; `what` names the work in the error.
///
/// # Errors
/// `cancelled`, or `unavailable` when there was no time left. What the work has begun by then stays begun.
pub async fn with_deadline<T>(cx: &Context, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let in_time = async {
        match cx.deadline().map(Instant::from_std) {
            Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| {
                let message = format!("{what} did not end in the time it was given");
                Err(Error::new(ErrorKind::Unavailable, message)
                    .retry(Retry::Backoff)
                    .hint("try again, or give it more time"))
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

//! Refusals of the API that may be a hiccup: a 401 or 403, or a certificate that is not trusted, on a connection that
//! worked before.
//!
//! The idea: the first such refusal is checked once more after a pause, before the call fails and an operator is
//! alerted. If the second one is the same, the refusals of that operation count at once for a while, so that a list of
//! 10,000 forbidden items does not wait 10,000 times.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;
use trunkline_core::{ConnectStage, ErrorDetail, Retry};

use crate::transport::Failure;

/// The time for which the refusals of an operation count at once after one was confirmed.
const CONFIRMED_FOR: Duration = Duration::from_secs(600);

/// What a client remembers of the refusals of its API.
#[derive(Default)]
pub(crate) struct Refusals {
    /// Whether the connection has worked: a call was accepted.
    worked: AtomicBool,
    /// The time of the last confirmed refusal, by operation.
    confirmed: Mutex<HashMap<String, Instant>>,
}

impl Refusals {
    /// Records that the API accepted a call. Refusals that were confirmed stay so: in a list, some items may be
    /// forbidden and others not.
    pub(crate) fn accepted(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    /// Returns whether this failure of an operation is to be checked once more. `confirms` is whether the call has
    /// done that already; it is set by this.
    pub(crate) fn is_unconfirmed(&self, operation: &str, failure: &Failure, confirms: &mut bool) -> bool {
        if !self.worked.load(Ordering::Relaxed) || !is_refusal(failure) {
            return false;
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(confirms, true) {
            confirmed.insert(operation.to_owned(), Instant::now());
            return false;
        }
        confirmed.get(operation).is_none_or(|at| at.elapsed() >= CONFIRMED_FOR)
    }
}

/// Returns whether the service refused a call for good, for a reason that says nothing about its input.
fn is_refusal(failure: &Failure) -> bool {
    let stage = ConnectStage::Tls;
    let answered = matches!(failure.status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN));
    let untrusted = failure.error.has(&ErrorDetail::NoConnection { stage });
    failure.refused && failure.error.retryable() == Retry::Never && (answered || untrusted)
}

#[cfg(test)]
mod tests {
    use trunkline_core::{Error, ErrorKind};

    use super::*;

    fn failure(status: u16, retry: Retry) -> Failure {
        let error = Error::new(ErrorKind::Permission, "no").retry(retry);
        Failure { error, refused: true, status: StatusCode::from_u16(status).ok() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_checked_once_more_until_it_was_confirmed() {
        let refusals = Refusals::default();
        let forbidden = failure(403, Retry::Never);
        let first = |operation: &str| refusals.is_unconfirmed(operation, &forbidden, &mut false);
        assert!(!first("a"), "nothing has worked yet: the settings are wrong");
        refusals.accepted();
        assert!(first("a") && first("a") && first("b"), "calls at the same time are all checked once more");
        assert!(!refusals.is_unconfirmed("a", &forbidden, &mut true), "not twice in one call");
        refusals.accepted();
        assert!(!first("a"), "it was confirmed, whatever is accepted besides");
        assert!(first("b"), "of this operation only");
        tokio::time::advance(CONFIRMED_FOR).await;
        assert!(first("a"), "and for some time only");
    }

    #[test]
    fn other_failures_are_not_refusals() {
        let tls = |stage| {
            let error = Error::new(ErrorKind::Unavailable, "no").with_detail(ErrorDetail::NoConnection { stage });
            Failure::refused(error)
        };
        for one in [failure(401, Retry::Never), failure(403, Retry::Never), tls(ConnectStage::Tls)] {
            assert!(is_refusal(&one), "{one:?}");
        }
        let throttled = failure(403, Retry::After(Duration::from_secs(1)));
        let unclear = Failure { refused: false, ..failure(403, Retry::Never) };
        let tcp = tls(ConnectStage::Tcp);
        for one in [failure(404, Retry::Never), failure(400, Retry::Never), throttled, unclear, tcp] {
            assert!(!is_refusal(&one), "{one:?}");
        }
    }
}

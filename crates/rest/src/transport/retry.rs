//! The waits between the tries of a call.
//!
//! The idea: exponential backoff with full jitter, but never less than the service asks for.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use trunkline_core::{Error, Retry};

use super::limits::ClientLimits;

/// The waits between the tries of one call.
pub(crate) struct Waits {
    steps: ExponentialBackoff,
    longest: Duration,
    deadline: Option<Instant>,
}

impl Waits {
    pub(crate) fn new(limits: &ClientLimits, deadline: Option<Instant>) -> Waits {
        let steps = ExponentialBuilder::new()
            .with_min_delay(limits.first_wait)
            .with_max_delay(limits.own_wait)
            .with_factor(2.0)
            .with_max_times(limits.tries.saturating_sub(1) as usize)
            .build();
        Waits { steps, longest: limits.longest_wait, deadline }
    }

    /// Returns the wait after this failure. Returns `None` if the call should fail: the failure is final, there are no
    /// tries left, or the wait would be too long or would pass the deadline.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        let asked = match error.retryable() {
            Retry::Never => return None,
            Retry::Backoff => Duration::ZERO,
            // The engine can wait that long without holding a permit, and repeats the call later.
            Retry::After(asked) if asked > self.longest => return None,
            Retry::After(asked) => asked,
        };
        // backon would add its jitter to the step. Full jitter spreads callers over the whole step.
        let own = self.steps.next()?.mul_f64(rand::random::<f64>());
        let wait = if asked.is_zero() { own } else { asked.max(own) + own / 10 };
        let in_time = self.deadline.is_none_or(|deadline| Instant::now() + wait < deadline);
        in_time.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_core::ErrorKind;

    fn error(retry: Retry) -> Error {
        Error::new(ErrorKind::Unavailable, "down").retry(retry)
    }

    #[test]
    fn waits_grow_and_end() {
        let limits = ClientLimits::default();
        for _ in 0..200 {
            let mut waits = Waits::new(&limits, None);
            for cap in [250, 500, 1000, 2000] {
                assert!(waits.after(&error(Retry::Backoff)).unwrap() <= Duration::from_millis(cap));
            }
            assert_eq!(waits.after(&error(Retry::Backoff)), None, "five tries are enough");
        }
        assert_eq!(Waits::new(&limits, None).after(&error(Retry::Never)), None);
    }

    #[test]
    fn waits_at_least_as_long_as_asked_and_never_longer_than_the_limit() {
        let limits = ClientLimits::default();
        let wait = |seconds| Waits::new(&limits, None).after(&error(Retry::After(Duration::from_secs(seconds))));
        assert!(wait(7).is_some_and(|wait| wait >= Duration::from_secs(7) && wait < Duration::from_secs(8)));
        assert!(wait(900).is_some_and(|wait| wait >= Duration::from_secs(900)));
        assert_eq!(wait(901), None);
    }

    #[test]
    fn gives_up_immediately_if_the_deadline_would_pass() {
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        let mut waits = Waits::new(&ClientLimits::default(), deadline);
        assert_eq!(waits.after(&error(Retry::After(Duration::from_secs(10)))), None);
        assert!(waits.after(&error(Retry::After(Duration::from_secs(1)))).is_some());
    }
}

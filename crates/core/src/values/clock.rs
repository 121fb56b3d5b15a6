//! The clock as a port: a host or a test replaces the time that a component reads.

use super::timestamp::Timestamp;

/// The source of the current time.
///
/// A component that records a time, or compares one with a recorded time, reads it from the clock it was given and
/// nowhere else: a test can then move the time, and a cluster can agree on one. How long something takes, such as a
/// timeout in memory, is not measured with it: the time of a clock may jump, also back.
///
/// A function that returns a [`Timestamp`] is a clock, too:
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use trunkline_core::{Clock, Timestamp};
///
/// /// A clock that is an hour slow.
/// #[derive(Debug)]
/// struct SlowClock;
///
/// impl Clock for SlowClock {
///     fn now(&self) -> Timestamp {
///         Timestamp::now() - Duration::from_secs(3600)
///     }
/// }
///
/// let slow: Arc<dyn Clock> = Arc::new(SlowClock);
/// let fixed: Arc<dyn Clock> = Arc::new(|| Timestamp::from_millis(7));
/// assert!(slow.now() < Timestamp::now());
/// assert_eq!(fixed.now().as_millis(), 7);
/// ```
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// The clock of the system that the process runs on: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

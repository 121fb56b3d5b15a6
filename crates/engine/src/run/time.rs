//! Durations, and times to wait for.

use std::time::Duration;

use trunkline_core::Timestamp;

/// Returns a duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time to wait for, and the longest duration of the wait: a clock that is set back does not make it longer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    pub(crate) until: Timestamp,
    pub(crate) longest: Duration,
}

//! The lease on a connection's refresh token. It is stored in the vault: of all processes that share the vault, one at
//! a time asks the login server for tokens.
//!
//! The idea: a refresh token may be valid for one use only, and some login servers end the whole sign-in when it is
//! used twice. A process therefore records the lease by compare-and-set before it uses the refresh token, and all
//! others wait for the outcome. A lease lasts twice as long as the longest token request and is renewed during the
//! request, so a live owner keeps it. The lease of a dead owner must expire first, because its request may have
//! arrived. The version of the vault entry is the epoch of the lease: an owner that resumes late finds another version.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_core::Timestamp;

/// The lease of a process that asks the login server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The attempt that holds the lease; see [`new_attempt`].
    pub(crate) owner: String,
    /// The end of the lease.
    pub(crate) until: Timestamp,
}

impl Lease {
    /// Returns a lease for token requests that take at most `timeout`.
    pub(crate) fn new(owner: &str, now: Timestamp, timeout: Duration) -> Lease {
        Lease { owner: owner.to_owned(), until: now + duration(timeout) }
    }

    /// Returns whether the lease is in force. A lease that seems to last far longer than any lease was written with
    /// another clock and is ignored. Up to twice the duration is accepted, because clocks are corrected now and then.
    pub(crate) fn is_held(&self, now: Timestamp, timeout: Duration) -> bool {
        now < self.until && self.until.since(now) <= duration(timeout).saturating_mul(2)
    }
}

/// Returns the duration of a lease for token requests that take at most `timeout`.
pub(crate) fn duration(timeout: Duration) -> Duration {
    timeout.saturating_mul(2)
}

/// Returns a unique id for an attempt to get tokens: 128 random bits.
pub(crate) fn new_attempt() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_millis(milliseconds)
    }

    #[test]
    fn a_lease_lasts_for_two_requests() {
        let timeout = Duration::from_secs(30);
        let lease = Lease::new("me", at(1_000), timeout);
        assert!(lease.is_held(at(1_000), timeout) && lease.is_held(at(60_999), timeout));
        assert!(!lease.is_held(at(61_000), timeout), "the lease has ended");
        assert!(lease.is_held(at(0), timeout), "the clock of this machine was corrected");
        let ahead = Lease::new("me", at(3_600_000), timeout);
        assert!(!ahead.is_held(at(1_000), timeout), "the clock of this machine was set back");
    }
}

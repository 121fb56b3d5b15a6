//! The right to spend a connection's refresh token, written into the vault: of all processes that share it, one asks the
//! login server at a time.
//!
//! A refresh token may be good for one use, and some login servers end the whole sign-in when it is used twice. So whoever
//! wants to use it first writes down, by compare-and-set, that it is about to; everybody else waits for what becomes of it.
//! A lease outlasts the longest token call twice over and is renewed while the call goes on, so an owner that is alive is
//! never overtaken. One that died is waited for until its lease ends, because nobody can know whether its call arrived. The
//! version of the vault's entry is the lease's epoch: whoever comes back late finds another one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Somebody is asking the login server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The attempt it is held for, see [`attempt`].
    pub(crate) owner: String,
    /// Milliseconds since 1970.
    pub(crate) until: u64,
}

impl Lease {
    /// A lease for token calls that end within this time.
    pub(crate) fn new(owner: &str, now: u64, call: Duration) -> Lease {
        Lease { owner: owner.to_owned(), until: now.saturating_add(millis(length(call))) }
    }

    /// Whether it is in force. One that seems to last far longer than any lease was written under another clock; a little
    /// longer it may seem, for clocks are set right now and then.
    pub(crate) fn holds(&self, now: u64, call: Duration) -> bool {
        now < self.until && self.until - now <= millis(length(call)).saturating_mul(2)
    }
}

/// How long a lease lasts, for token calls that end within this time.
pub(crate) fn length(call: Duration) -> Duration {
    call.saturating_mul(2)
}

/// A name for an attempt to get tokens that nobody else has: 128 random bits.
pub(crate) fn attempt() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_two_calls_and_not_for_ever() {
        let call = Duration::from_secs(30);
        let lease = Lease::new("me", 1_000, call);
        assert!(lease.holds(1_000, call) && lease.holds(60_999, call));
        assert!(!lease.holds(61_000, call), "it ends");
        assert!(lease.holds(0, call), "our clock was set right");
        let ahead = Lease::new("me", 3_600_000, call);
        assert!(!ahead.holds(1_000, call), "our clock was set back");
    }
}

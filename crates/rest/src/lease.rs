//! The right to spend a connection's refresh token, written into the vault: of all processes that share it, one asks the
//! login server at a time.
//!
//! A refresh token may be good for one use, and some login servers end the whole sign-in when it is used twice. So whoever
//! wants to use it first writes down, by compare-and-set, that it is about to; everybody else waits for what becomes of it.
//! A lease outlasts the longest token call twice over, so an owner that is alive is never overtaken; one that died is waited
//! for until its lease ends, because nobody can know whether its call arrived.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Somebody is asking the login server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Random: who it is matters to nobody, only that it is not us.
    owner: String,
    /// Milliseconds since 1970.
    until: u64,
}

impl Lease {
    /// A lease for one token call that ends within this time.
    pub(crate) fn new(now: u64, call: Duration) -> Lease {
        Lease { owner: format!("{:032x}", rand::random::<u128>()), until: now.saturating_add(Lease::length(call)) }
    }

    /// Whether it is in force. One that seems to last longer than any lease was written under another clock.
    pub(crate) fn holds(&self, now: u64, call: Duration) -> bool {
        now < self.until && self.until - now <= Lease::length(call)
    }

    fn length(call: Duration) -> u64 {
        u64::try_from(call.as_millis()).unwrap_or(u64::MAX).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_two_calls_and_not_for_ever() {
        let call = Duration::from_secs(30);
        let lease = Lease::new(1_000, call);
        assert!(lease.holds(1_000, call) && lease.holds(60_999, call));
        assert!(!lease.holds(61_000, call), "it ends");
        assert!(!lease.holds(0, call), "our clock was set back");
    }
}

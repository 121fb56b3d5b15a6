//! How many requests a second: the user's own bound, and below it what the service turns out to allow.
//!
//! A throttle halves the pace. It comes back quickly at first, stays near the pace that was too fast, and goes beyond it only
//! slowly: a cubic function of time, as TCP does it (RFC 9438). With it a connection is throttled a few times a minute, and
//! still uses most of what it is allowed.

use std::time::Duration;

use tokio::time::Instant;

/// After so long without a throttle the pace is what it was when the last one came, then at most twice that; after four times
/// as long it is free.
const BACK: Duration = Duration::from_secs(30);

/// What is left of the pace after a throttle.
const LEFT: f64 = 0.5;

/// The first guess of a pace that was too fast is no lower than this: requests a second.
const FIRST: f64 = 20.0;

/// No connection is slower than this: requests a second.
const SLOWEST: f64 = 0.1;

/// Requests may go ahead of their time by this much: nothing of the pace is lost by timers that are late, and who has only a few
/// to make need not wait.
const AHEAD: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Pace {
    /// The user's own bound.
    most: Option<f64>,
    slowed: Option<Slowed>,
    /// When the next request would go if they went evenly.
    next: Option<Instant>,
    recent: Recent,
}

#[derive(Clone, Copy)]
struct Slowed {
    /// When the pace began to grow again.
    since: Instant,
    /// The pace that was too fast.
    limit: f64,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Pace {
        let most = (per_second > 0).then_some(f64::from(per_second));
        Pace { most, slowed: None, next: None, recent: Recent::default() }
    }

    /// Requests a second, if anything is known to bound them.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        match (self.slowed.and_then(|slowed| slowed.rate(now)), self.most) {
            (Some(rate), Some(most)) => Some(rate.min(most)),
            (rate, most) => rate.or(most),
        }
    }

    pub(super) fn is_slowed(&self, now: Instant) -> bool {
        self.slowed.is_some_and(|slowed| slowed.rate(now).is_some())
    }

    /// When the next request may go.
    pub(super) fn ready(&self, now: Instant) -> Option<Instant> {
        let (rate, next) = (self.rate(now)?, self.next?);
        // Within the user's own bound a second's worth may come at once.
        let ahead = if self.is_slowed(now) { AHEAD } else { Duration::from_secs(1).saturating_sub(every(rate)) };
        next.checked_sub(ahead)
    }

    /// A request goes now.
    pub(super) fn go(&mut self, now: Instant) {
        if let Some(rate) = self.rate(now) {
            let from = self.next.map_or(now, |next| next.max(now));
            self.next = Some(from + every(rate));
        }
    }

    /// The service took a request.
    pub(super) fn taken(&mut self, now: Instant) {
        self.recent.count(now);
    }

    /// The service threw a request back and takes the next one at `from`.
    pub(super) fn slow_down(&mut self, now: Instant, from: Instant) {
        let recent = self.recent.per_second(now);
        let limit = self.rate(now).unwrap_or(recent.max(FIRST));
        self.slowed = Some(Slowed { since: from, limit: limit.max(SLOWEST / LEFT) });
        self.next = Some(from);
    }

    /// It still takes nothing: from then on as slow as it was to be.
    pub(super) fn slow_again(&mut self, from: Instant) {
        if let Some(slowed) = &mut self.slowed {
            slowed.since = from;
        }
        self.next = Some(from);
    }
}

impl Slowed {
    fn rate(&self, now: Instant) -> Option<f64> {
        let grown = now.saturating_duration_since(self.since).as_secs_f64() / BACK.as_secs_f64();
        let rate = self.limit * (1.0 + (1.0 - LEFT) * (grown - 1.0).powi(3));
        (grown < 4.0).then_some(rate.min(2.0 * self.limit))
    }
}

fn every(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate.max(SLOWEST))
}

/// How many requests the service took in the last second or so.
#[derive(Default)]
struct Recent {
    since: Option<Instant>,
    now: u32,
    before: u32,
}

impl Recent {
    fn count(&mut self, now: Instant) {
        self.turn(now);
        self.now += 1;
    }

    fn turn(&mut self, now: Instant) {
        let age = self.since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        if age >= Duration::from_secs(1) {
            self.before = if age < Duration::from_secs(2) { self.now } else { 0 };
            (self.since, self.now) = (Some(now), 0);
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.turn(now);
        f64::from(self.now.max(self.before))
    }
}

//! The request rate of a connection: the user's own limit, and below it the rate that the service turns out to allow.
//!
//! The idea is the congestion control of TCP CUBIC (RFC 9438). A throttle halves the rate. The rate then recovers as a
//! cubic function of time: quickly at first, slowly near the rate that was too high, and slowly beyond it. A connection
//! is then throttled a few times a minute and still uses most of the rate that it is allowed.

use std::time::Duration;

use tokio::time::Instant;

/// The time without a throttle after which the rate is back at its value before the last throttle. Later it grows to at
/// most twice that value. After four times this time the limit ends.
const RECOVERY: Duration = Duration::from_secs(30);

/// The factor by which a throttle reduces the rate.
const REDUCTION: f64 = 0.5;

/// The lowest first estimate of a rate that was too high, in requests per second.
const LOWEST_ESTIMATE: f64 = 20.0;

/// The lowest rate of a connection, in requests per second.
const LOWEST_RATE: f64 = 0.1;

/// The time by which requests may be ahead of an even schedule. It makes up for timers that fire late, and a caller
/// with only a few requests does not have to wait.
const BURST: Duration = Duration::from_millis(250);

/// A request rate that adapts to throttles; see the module.
pub(super) struct AdaptiveRate {
    /// The user's own limit, in requests per second.
    configured: Option<f64>,
    slowdown: Option<Slowdown>,
    /// The time of the next request on an even schedule.
    next: Option<Instant>,
    recent: RecentRate,
}

/// The recovery from a throttle.
#[derive(Clone, Copy)]
struct Slowdown {
    /// The beginning of the recovery.
    since: Instant,
    /// The rate that was too high, in requests per second.
    too_high: f64,
}

impl AdaptiveRate {
    /// Returns a rate with this limit in requests per second; 0 = no limit.
    pub(super) fn new(per_second: u32) -> AdaptiveRate {
        let configured = (per_second > 0).then_some(f64::from(per_second));
        AdaptiveRate { configured, slowdown: None, next: None, recent: RecentRate::default() }
    }

    /// Returns the limit in requests per second, or `None` if the rate is not limited.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        match (self.slowdown.and_then(|slowdown| slowdown.rate(now)), self.configured) {
            (Some(rate), Some(configured)) => Some(rate.min(configured)),
            (rate, configured) => rate.or(configured),
        }
    }

    /// Returns whether the rate has not yet recovered from a throttle.
    pub(super) fn is_slowed(&self, now: Instant) -> bool {
        self.slowdown.is_some_and(|slowdown| slowdown.rate(now).is_some())
    }

    /// Returns the earliest time of the next request, or `None` if it may be sent now.
    pub(super) fn ready(&self, now: Instant) -> Option<Instant> {
        let (rate, next) = (self.rate(now)?, self.next?);
        // Within the user's own limit, the requests of one second may be sent at once.
        let ahead = if self.is_slowed(now) { BURST } else { Duration::from_secs(1).saturating_sub(interval(rate)) };
        next.checked_sub(ahead)
    }

    /// Records a request that is sent now.
    pub(super) fn record_sent(&mut self, now: Instant) {
        if let Some(rate) = self.rate(now) {
            let from = self.next.map_or(now, |next| next.max(now));
            self.next = Some(from + interval(rate));
        }
    }

    /// Records a request that the service accepted.
    pub(super) fn record_accepted(&mut self, now: Instant) {
        self.recent.count(now);
    }

    /// Lowers the rate after a throttle. The service accepts the next request at `resume_at`.
    pub(super) fn slow_down(&mut self, now: Instant, resume_at: Instant) {
        let recent = self.recent.per_second(now);
        let too_high = self.rate(now).unwrap_or(recent.max(LOWEST_ESTIMATE));
        self.slowdown = Some(Slowdown { since: resume_at, too_high: too_high.max(LOWEST_RATE / REDUCTION) });
        self.next = Some(resume_at);
    }

    /// Begins the recovery again at `resume_at` because the service still accepts nothing; the rate is not lowered
    /// further.
    pub(super) fn restart_recovery(&mut self, resume_at: Instant) {
        if let Some(slowdown) = &mut self.slowdown {
            slowdown.since = resume_at;
        }
        self.next = Some(resume_at);
    }
}

impl Slowdown {
    /// Returns the rate in requests per second, or `None` after the recovery.
    fn rate(&self, now: Instant) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64() / RECOVERY.as_secs_f64();
        let rate = self.too_high * (1.0 + (1.0 - REDUCTION) * (elapsed - 1.0).powi(3));
        (elapsed < 4.0).then_some(rate.min(2.0 * self.too_high))
    }
}

/// Returns the time between two requests at this rate.
fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate.max(LOWEST_RATE))
}

/// The number of requests that the service accepted in the current second and in the second before it.
#[derive(Default)]
struct RecentRate {
    since: Option<Instant>,
    current: u32,
    previous: u32,
}

impl RecentRate {
    fn count(&mut self, now: Instant) {
        self.advance(now);
        self.current += 1;
    }

    fn advance(&mut self, now: Instant) {
        let age = self.since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        if age >= Duration::from_secs(1) {
            self.previous = if age < Duration::from_secs(2) { self.current } else { 0 };
            (self.since, self.current) = (Some(now), 0);
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.advance(now);
        f64::from(self.current.max(self.previous))
    }
}

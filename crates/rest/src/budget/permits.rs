//! The request budget of a connection, shared by all runs of this process. It limits the requests in flight and the
//! requests per second, pauses while the service asks for a pause, and limits retries while the service is down.
//!
//! The idea: a request needs a [`Permit`], and requests wait for permits in a queue that is fair between runs, not
//! between calls. The second waiting call of a run comes after the first waiting call of every other run, so 10,000
//! items of one run do not hold up a single call of another. Only the first request in the queue watches the clock; the
//! others sleep until it wakes them. There is no background task, and no lock is held across an `await`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use trunkline_core::{Error, ErrorKind, Result, Retry};

use super::{
    queue::{FairnessKey, Queue, QueuePosition},
    rate::AdaptiveRate,
};
use crate::transport::ClientLimits;

/// Retries that all calls of a connection together may spend on a service that never responds.
const MAX_RETRIES: f64 = 50.0;

/// The part of a retry that each response of a working service adds again: one call of five may fail.
const RETRIES_REGAINED: f64 = 0.25;

/// If a service accepts this many requests between two throttles, the rate is not too high. A single throttle then
/// causes a pause and leaves the rate as it is.
const RARE_THROTTLE: u32 = 100;

/// The number of successive throttles without a `Retry-After` that each double the pause: up to 4 seconds.
const MAX_DOUBLINGS: u32 = 4;

/// The limits of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// The most requests in flight.
    pub(crate) max_in_flight: usize,
    /// The most requests per second; 0 = the user sets no limit.
    pub(crate) per_second: u32,
    /// The shortest pause after a throttle without a `Retry-After`.
    pub(crate) first_wait: Duration,
    /// The longest pause that a call waits for, even if its deadline is later.
    pub(crate) longest_wait: Duration,
}

impl Bounds {
    /// Returns the limits of a client. A `max_in_flight` of 0 means [`ClientLimits::at_once`].
    pub(crate) fn new(limits: &ClientLimits, max_in_flight: u32, per_second: u32) -> Bounds {
        let max_in_flight = if max_in_flight == 0 { limits.at_once } else { max_in_flight as usize };
        let ClientLimits { first_wait, longest_wait, .. } = *limits;
        Bounds { max_in_flight: max_in_flight.max(1), per_second, first_wait, longest_wait }
    }
}

/// The request budget of a connection; see the module.
pub(crate) struct Budget {
    connection: String,
    service: Arc<str>,
    bounds: Bounds,
    state: Mutex<State>,
}

struct State {
    queue: Queue,
    in_flight: usize,
    /// The end of the pause that the service asked for.
    paused_until: Option<Instant>,
    /// The time of the last throttle that slowed the connection down.
    slowed_at: Option<Instant>,
    /// The number of throttles since the last request that the service accepted.
    throttles_in_a_row: u32,
    /// The number of requests that the service accepted since the last throttle.
    accepted: u32,
    /// Whether the last throttle was rare, so that it left the rate as it was.
    rate_spared: bool,
    rate: AdaptiveRate,
    retries_left: f64,
}

/// What a queued request does next.
enum Admission {
    Granted,
    /// The request is the first in the queue and checks again at this time.
    NotBefore(Instant),
    /// The request sleeps until it is woken.
    Wait,
}

impl Budget {
    pub(crate) fn new(service: &str, connection: &str, bounds: Bounds) -> Budget {
        let state = State {
            queue: Queue::default(),
            in_flight: 0,
            paused_until: None,
            slowed_at: None,
            throttles_in_a_row: 0,
            accepted: 0,
            rate_spared: false,
            rate: AdaptiveRate::new(bounds.per_second),
            retries_left: MAX_RETRIES,
        };
        Budget { connection: connection.to_owned(), service: service.into(), bounds, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the permit to send one request.
    ///
    /// # Errors
    ///
    /// `rate_limited`, and nothing was sent. It is returned immediately if the service asked for a pause that ends
    /// after the deadline or is longer than any call waits, and otherwise when the deadline has passed.
    pub(crate) async fn permit(self: &Arc<Self>, key: &FairnessKey, deadline: Instant) -> Result<Permit> {
        let queued = self.enqueue(key);
        loop {
            let (now, admission) = {
                let (mut state, now) = (self.state(), Instant::now());
                if let Some(until) = state.paused_until.filter(|until| *until > now) {
                    let rest = until - now;
                    if until > deadline || rest > self.bounds.longest_wait + self.bounds.first_wait {
                        return Err(self.paused(rest));
                    }
                }
                (now, state.admit(queued.position, &self.bounds, now))
            };
            let in_time = match admission {
                Admission::Granted => {
                    queued.serve();
                    return Ok(Permit { budget: self.clone(), granted_at: now });
                }
                Admission::NotBefore(time) => {
                    let woken = timeout_at(time.min(deadline), queued.wake.notified()).await;
                    woken.is_ok() || time <= deadline
                }
                Admission::Wait => timeout_at(deadline, queued.wake.notified()).await.is_ok(),
            };
            if !in_time {
                return Err(self.timed_out());
            }
        }
    }

    fn enqueue(&self, key: &FairnessKey) -> QueuedRequest<'_> {
        let wake = Arc::new(Notify::new());
        let position = self.state().queue.join(key, wake.clone());
        QueuedRequest { budget: self, position, wake }
    }

    /// Returns whether the connection is not paused.
    pub(crate) fn is_open(&self) -> bool {
        self.pause_left().is_zero()
    }

    /// Returns how long the pause that the service asked for still takes.
    pub(crate) fn pause_left(&self) -> Duration {
        self.state().paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Records that the service throttled the request of this permit. `retry_after` is the pause that the service asked
    /// for, if it named one. Requests that were sent before the throttle arrived slow the connection down only once.
    ///
    /// Call it while the permit is held: otherwise the next request could be sent before the pause begins.
    pub(crate) fn throttled(&self, permit: &Permit, retry_after: Option<Duration>) {
        let mut state = self.state();
        let now = Instant::now();
        let is_new = state.slowed_at.is_none_or(|slowed_at| permit.granted_at > slowed_at);
        let own = self.bounds.first_wait.saturating_mul(1 << state.throttles_in_a_row.min(MAX_DOUBLINGS));
        // The jitter keeps several processes from resuming at the same moment.
        let jitter = self.bounds.first_wait.mul_f64(rand::random::<f64>() / 4.0);
        let until = now + retry_after.unwrap_or_default().max(own) + jitter;
        if is_new || retry_after.is_some() {
            state.paused_until = Some(state.paused_until.map_or(until, |paused| paused.max(until)));
        }
        let resume_at = state.paused_until.unwrap_or(now);
        if is_new {
            state.rate_spared = state.accepted >= RARE_THROTTLE;
            // While the service accepts nothing at all, only the pauses grow: its throttles do not show which rate it
            // allows.
            match state.throttles_in_a_row {
                _ if state.rate_spared => {}
                0 => state.rate.slow_down(now, resume_at),
                _ => state.rate.restart_recovery(resume_at),
            }
            state.slowed_at = Some(now);
            state.throttles_in_a_row += 1;
            state.accepted = 0;
        } else if std::mem::take(&mut state.rate_spared) {
            state.rate.slow_down(now, resume_at);
        }
        // Requests whose deadline is before the end of the pause fail now.
        state.queue.wake_all();
    }

    /// Records a response that shows that the service works.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.throttles_in_a_row = 0;
        state.accepted = state.accepted.saturating_add(1);
        state.rate.record_accepted(Instant::now());
        state.retries_left = (state.retries_left + RETRIES_REGAINED).min(MAX_RETRIES);
    }

    /// Spends one retry on a call whose service failed. Returns `false` if no retries are left: retries must not keep
    /// down a service that is down.
    pub(crate) fn may_repeat(&self) -> bool {
        let mut state = self.state();
        let may = state.retries_left >= 1.0;
        if may {
            state.retries_left -= 1.0;
        }
        may
    }

    /// Returns whether the budget holds a pause or a lowered rate that the next call has to respect.
    pub(super) fn remembers(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        state.paused_until.is_some_and(|until| until > now) || state.rate.is_slowed(now)
    }

    fn name(&self) -> &str {
        if self.connection.is_empty() { "without a name" } else { &self.connection }
    }

    fn paused(&self, rest: Duration) -> Error {
        let message = format!("{} asked the connection {} to pause for another {rest:.0?}", self.service, self.name());
        Error::new(ErrorKind::RateLimited, message)
            .retry(Retry::After(rest))
            .hint("wait, or lower the rate of the connection")
            .setting("/requestsPerSecond")
    }

    /// The error of a request that got no permit before its deadline. It names the limit and the setting of the limit.
    fn timed_out(&self) -> Error {
        let (state, now) = (self.state(), Instant::now());
        let most = self.bounds.max_in_flight;
        let (limit, setting) = match (state.paused_until.filter(|until| *until > now), state.rate.rate(now)) {
            (Some(until), _) => return self.paused(until - now),
            (None, Some(rate)) if state.in_flight < most => {
                (format!("its rate is limited to {rate:.1} requests a second"), "/requestsPerSecond")
            }
            _ => {
                let in_flight = state.in_flight;
                let limit =
                    format!("{in_flight} of its requests are in flight, and at most {most} at once are allowed");
                (limit, "/requestsAtOnce")
            }
        };
        let message = format!(
            "a call of {} got no permit in time on the connection {}: {limit}; {} more calls are waiting",
            self.service,
            self.name(),
            state.queue.len()
        );
        let hint = "allow more time, run fewer calls at once, or raise the limit if the service permits it";
        Error::new(ErrorKind::RateLimited, message).retry(Retry::Backoff).hint(hint).setting(setting)
    }
}

impl State {
    fn admit(&mut self, position: QueuePosition, bounds: &Bounds, now: Instant) -> Admission {
        if !self.queue.is_first(position) || self.in_flight >= bounds.max_in_flight {
            return Admission::Wait;
        }
        let ready = self.paused_until.max(self.rate.ready(now));
        match ready.filter(|ready| *ready > now) {
            Some(ready) => Admission::NotBefore(ready),
            None => {
                self.paused_until = None;
                self.in_flight += 1;
                self.rate.record_sent(now);
                Admission::Granted
            }
        }
    }
}

/// A request in the queue. Dropping it leaves the queue.
struct QueuedRequest<'a> {
    budget: &'a Budget,
    position: QueuePosition,
    wake: Arc<Notify>,
}

impl QueuedRequest<'_> {
    /// Leaves the front of the queue with a permit.
    fn serve(self) {
        self.budget.state().queue.serve(self.position);
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        self.budget.state().queue.leave(self.position);
    }
}

/// The permit to have one request in flight. Dropping it returns it to the budget.
pub(crate) struct Permit {
    budget: Arc<Budget>,
    granted_at: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.in_flight -= 1;
        state.queue.wake_first();
    }
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation_tests;

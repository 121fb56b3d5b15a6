//! What a connection may ask of its service, shared by all runs of this process: so many requests under way at once, so many
//! a second, none while the service wants a pause, and only so many repetitions while it is down.
//!
//! Who wants to send takes a [`Turn`]. The line is fair between runs, not between calls: the second call of a run that waits
//! stands behind the first call of every other, so that 10,000 items hold up nobody's single call. Whoever is first in line
//! watches the clock; all others sleep until they are told. There is no task of its own and no lock across an `await`.

mod queue;
mod rate;
mod shared;
#[cfg(test)]
mod simulation_tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Retry};

use crate::ClientLimits;
use queue::{Line, QueuePosition};
use rate::Pace;

pub(crate) use shared::Identity;

/// Requests that are stopped together belong to one run: that is how runs are told apart.
pub(crate) type Lane = CancellationToken;

/// Repetitions that a service which never answers gets from all calls of a connection together.
const REPETITIONS: f64 = 50.0;

/// What each answer of a service that works adds to them again: so that one call of five may fail.
const REGAINED: f64 = 0.25;

/// Requests that a service takes between two throttles without being called too fast: one that throws back a single request
/// now and then wants a pause, not another pace.
const RARE: u32 = 100;

/// Of throttles in a row that name no time, so many make the pause twice as long: up to 4 seconds.
const MOST_DOUBLED: u32 = 4;

/// The bounds of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Requests under way at once.
    pub(crate) at_once: usize,
    /// Requests a second; 0 = no limit of the user's own.
    pub(crate) per_second: u32,
    /// Shortest pause after a throttle that does not say how long.
    pub(crate) first_wait: Duration,
    /// Longest pause that a call waits for, whatever its deadline.
    pub(crate) longest_wait: Duration,
}

impl Bounds {
    pub(crate) fn new(limits: &ClientLimits, at_once: u32, per_second: u32) -> Bounds {
        let at_once = if at_once == 0 { limits.at_once } else { at_once as usize };
        let ClientLimits { first_wait, longest_wait, .. } = *limits;
        Bounds { at_once: at_once.max(1), per_second, first_wait, longest_wait }
    }
}

/// See the module.
pub(crate) struct Budget {
    connection: String,
    service: &'static str,
    bounds: Bounds,
    state: Mutex<State>,
}

struct State {
    line: Line,
    under_way: usize,
    /// The service asked everybody to wait until then.
    held: Option<Instant>,
    /// When a throttle last slowed the connection down, and how often that happened in a row.
    slowed: Option<Instant>,
    in_a_row: u32,
    /// Requests that were taken since the last throttle.
    taken: u32,
    /// The last throttle came alone, and left the pace as it was.
    spared: bool,
    pace: Pace,
    repetitions: f64,
}

/// What somebody in the line has to do next.
enum Next {
    Go,
    /// First in line: look again then.
    At(Instant),
    /// Sleep until told.
    Sleep,
}

impl Budget {
    pub(crate) fn new(service: &'static str, connection: &str, bounds: Bounds) -> Budget {
        let state = State {
            line: Line::default(),
            under_way: 0,
            held: None,
            slowed: None,
            in_a_row: 0,
            taken: 0,
            spared: false,
            pace: Pace::new(bounds.per_second),
            repetitions: REPETITIONS,
        };
        Budget { connection: connection.to_owned(), service, bounds, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn to send one request.
    ///
    /// # Errors
    /// `rate_limited`: at once if the service wants a pause that is longer than the time there is, or longer than any call
    /// waits; else when the time is over. Nothing was sent.
    pub(crate) async fn turn(self: &Arc<Self>, lane: &Lane, deadline: Instant) -> Result<Turn> {
        let waiting = self.line_up(lane);
        loop {
            let (now, next) = {
                let (mut state, now) = (self.state(), Instant::now());
                if let Some(until) = state.held.filter(|until| *until > now) {
                    let rest = until - now;
                    if until > deadline || rest > self.bounds.longest_wait + self.bounds.first_wait {
                        return Err(self.paused(rest));
                    }
                }
                (now, state.next(waiting.place, &self.bounds, now))
            };
            let more = match next {
                Next::Go => {
                    waiting.go();
                    return Ok(Turn { budget: self.clone(), begun: now });
                }
                Next::At(time) => {
                    let told = timeout_at(time.min(deadline), waiting.told.notified()).await;
                    told.is_ok() || time <= deadline
                }
                Next::Sleep => timeout_at(deadline, waiting.told.notified()).await.is_ok(),
            };
            if !more {
                return Err(self.late());
            }
        }
    }

    fn line_up(&self, lane: &Lane) -> Waiting<'_> {
        let told = Arc::new(Notify::new());
        let place = self.state().line.join(lane, told.clone());
        Waiting { budget: self, place, told }
    }

    /// Whether no pause has begun meanwhile.
    pub(crate) fn is_open(&self) -> bool {
        self.state().held.is_none_or(|until| until <= Instant::now())
    }

    /// Takes note that the service threw a request back, and wants everybody to wait that long. Requests that were sent
    /// before it said so slow the connection down only once. To be called before the turn is given back.
    pub(crate) fn throttled(&self, turn: &Turn, asked: Option<Duration>) {
        let mut state = self.state();
        let now = Instant::now();
        let news = state.slowed.is_none_or(|slowed| turn.begun > slowed);
        let own = self.bounds.first_wait.saturating_mul(1 << state.in_a_row.min(MOST_DOUBLED));
        // Not all processes at the very same moment.
        let wait = asked.unwrap_or_default().max(own) + self.bounds.first_wait.mul_f64(rand::random::<f64>() / 4.0);
        let until = now + wait;
        if news || asked.is_some() {
            state.held = Some(state.held.map_or(until, |held| held.max(until)));
        }
        let from = state.held.unwrap_or(now);
        if news {
            state.spared = state.taken >= RARE;
            // Where it takes nothing at all, the pauses grow, and nothing is learnt of how fast it would be asked.
            match state.in_a_row {
                _ if state.spared => {}
                0 => state.pace.slow_down(now, from),
                _ => state.pace.slow_again(from),
            }
            state.slowed = Some(now);
            state.in_a_row += 1;
            state.taken = 0;
        } else if std::mem::take(&mut state.spared) {
            state.pace.slow_down(now, from);
        }
        // They may have no time to wait for the end of it.
        state.line.tell_all();
    }

    /// Takes note that the service works.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.in_a_row = 0;
        state.taken = state.taken.saturating_add(1);
        state.pace.taken(Instant::now());
        state.repetitions = (state.repetitions + REGAINED).min(REPETITIONS);
    }

    /// Whether a call may be repeated whose service failed: a service that is down is not kept down by repetitions.
    pub(crate) fn may_repeat(&self) -> bool {
        let mut state = self.state();
        let may = state.repetitions >= 1.0;
        if may {
            state.repetitions -= 1.0;
        }
        may
    }

    /// Whether something is known of the service that the next call has to heed.
    fn remembers(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        state.held.is_some_and(|until| until > now) || state.pace.is_slowed(now)
    }

    fn name(&self) -> &str {
        if self.connection.is_empty() { "without a name" } else { &self.connection }
    }

    fn paused(&self, rest: Duration) -> Error {
        let message =
            format!("{} asked the connection {} for a pause of another {rest:.0?}", self.service, self.name());
        Error::new(ErrorKind::RateLimited, message)
            .retry(Retry::After(rest))
            .hint("wait, or lower the rate of the connection")
            .setting("/requestsPerSecond")
    }

    /// There was no turn in time: what the limit was, and which setting it comes from.
    fn late(&self) -> Error {
        let (state, now) = (self.state(), Instant::now());
        let most = self.bounds.at_once;
        let (limit, setting, retry) = match (state.held.filter(|until| *until > now), state.pace.rate(now)) {
            (Some(until), _) => return self.paused(until - now),
            (None, Some(rate)) if state.under_way < most => {
                (format!("{rate:.1} requests a second are what it may make"), "/requestsPerSecond", Retry::Backoff)
            }
            _ => (
                format!("{} of its requests are under way, {most} at once are what it may have", state.under_way),
                "/requestsAtOnce",
                Retry::Backoff,
            ),
        };
        let message = format!(
            "there was no turn in time for a call of {} on the connection {}: {limit}; {} more wait",
            self.service,
            self.name(),
            state.line.len()
        );
        let hint = "give it more time, run fewer at once, or raise the limit if the service allows it";
        Error::new(ErrorKind::RateLimited, message).retry(retry).hint(hint).setting(setting)
    }
}

impl State {
    fn next(&mut self, place: QueuePosition, bounds: &Bounds, now: Instant) -> Next {
        if !self.line.is_first(place) || self.under_way >= bounds.at_once {
            return Next::Sleep;
        }
        let ready = self.held.max(self.pace.ready(now));
        match ready.filter(|ready| *ready > now) {
            Some(ready) => Next::At(ready),
            None => {
                self.held = None;
                self.under_way += 1;
                self.pace.go(now);
                Next::Go
            }
        }
    }
}

/// A place in the line, given up when dropped.
struct Waiting<'a> {
    budget: &'a Budget,
    place: QueuePosition,
    told: Arc<Notify>,
}

impl Waiting<'_> {
    /// Leaves the line from its front.
    fn go(self) {
        self.budget.state().line.serve(self.place);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.state().line.leave(self.place);
    }
}

/// The right to have one request under way, given back when dropped.
pub(crate) struct Turn {
    budget: Arc<Budget>,
    begun: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.under_way -= 1;
        state.line.tell_first();
    }
}

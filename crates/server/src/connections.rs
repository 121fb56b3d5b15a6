//! The open connections, and which of them have to make room.
//!
//! A caller can hold a connection without a request: it sends a head or a body slowly, reads slowly, or does nothing.
//! So each connection is in a phase, and each phase has a limit. If there are too many connections, the one that has
//! been longest without a whole request is closed, slow ones before idle ones. A connection whose request is worked on
//! stays. Addresses do not count, because all callers behind a proxy share one.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{sync::Notify, time::Instant};
use trunkline_core::CancellationToken;

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The maximum number of connections, without the reserve and without streams of events, which have a maximum of
    /// their own.
    pub(crate) connections: usize,
    /// The number of further connections, which serve `/health` only.
    pub(crate) reserve: usize,
    /// How long the head of a request may take.
    pub(crate) head: Duration,
    /// How long the head of a request on a connection of the reserve may take.
    pub(crate) reserve_head: Duration,
    /// How long a connection may be idle between two requests.
    pub(crate) idle: Duration,
    /// The minimum number of bytes per second while the server waits for a body, or for a caller that reads.
    pub(crate) rate: u64,
    /// The time over which the rate is measured.
    pub(crate) window: Duration,
    /// How long a head, a body or a caller that reads may be slow before its connection has to make room. Also how long
    /// all connections have to be busy before the reserve is used.
    pub(crate) patience: Duration,
    /// The time between two looks for connections that have exceeded a limit.
    pub(crate) interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 512,
            reserve: 16,
            head: Duration::from_secs(10),
            reserve_head: Duration::from_secs(2),
            idle: Duration::from_secs(120),
            rate: 1024,
            window: Duration::from_secs(10),
            patience: Duration::from_secs(1),
            interval: Duration::from_secs(1),
        }
    }
}

/// The time between two lines of the log about closed connections.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why the server has closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CloseCause {
    SlowHead,
    SlowBody,
    SlowReader,
    Idle,
    NoRoom,
}

impl CloseCause {
    fn as_str(self) -> &'static str {
        match self {
            CloseCause::SlowHead => "slow_head",
            CloseCause::SlowBody => "slow_body",
            CloseCause::SlowReader => "slow_reader",
            CloseCause::Idle => "idle",
            CloseCause::NoRoom => "no_room",
        }
    }
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server waits for the end of a head, and before the first request for its start.
    Head,
    /// A request is read, worked on, or answered.
    Request,
    /// Between two requests.
    Idle,
}

/// Counts the bytes that arrive or leave while the server waits for the caller.
#[derive(Clone, Copy, Debug)]
struct Meter {
    since: Instant,
    bytes: u64,
}

impl Meter {
    fn new() -> Meter {
        Meter { since: Instant::now(), bytes: 0 }
    }

    fn is_below(&self, rate: u64, now: Instant) -> bool {
        (self.bytes as f64) < rate as f64 * (now - self.since).as_secs_f64()
    }
}

#[derive(Debug)]
struct ConnectionState {
    phase: Phase,
    /// The start of the phase.
    since: Instant,
    /// The end of the last request, or the time at which the connection was accepted.
    last_request: Instant,
    /// Set while the server waits for a body.
    body: Option<Meter>,
    /// Set while bytes that the caller does not read wait to be written.
    unread: Option<Meter>,
    /// Whether bytes arrived after the whole request: the next head has begun.
    has_early_bytes: bool,
    /// Whether the response is a stream of events, which may be open for days.
    is_stream: bool,
    /// Why the server closes the connection.
    cause: Option<CloseCause>,
}

/// How urgently a connection has to make room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Slow,
    Waiting,
}

impl ConnectionState {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }

    /// Returns whether the connection takes a place of those that are limited.
    fn counts(&self) -> bool {
        !self.is_stream && (self.cause.is_none() || self.phase == Phase::Request)
    }

    /// Returns whether the connection is between two requests, and the response of the last one is written.
    fn is_idle(&self) -> bool {
        self.phase == Phase::Idle && self.unread.is_none()
    }

    /// Returns whether the server has waited for the caller for at least this time.
    fn is_slow(&self, limits: &Limits, least: Duration, now: Instant) -> bool {
        let is_slow = |meter: &Meter| now - meter.since >= least && meter.is_below(limits.rate, now);
        (self.phase == Phase::Head && now - self.since >= least)
            || self.body.as_ref().is_some_and(is_slow)
            || self.unread.as_ref().is_some_and(is_slow)
    }

    /// Returns whether the connection has to make room for another, and how urgently. One that has been idle for less than
    /// `least_idle` stays: its next request may be on its way, and would be lost.
    fn priority(&self, limits: &Limits, least_idle: Duration, now: Instant) -> Option<Priority> {
        if self.is_slow(limits, limits.patience, now) {
            return Some(Priority::Slow);
        }
        // If callers connect faster than others become slow, those that have just begun to be slow count with idle ones.
        let is_idle = self.is_idle() && now - self.since >= least_idle;
        (is_idle || self.is_slow(limits, limits.patience / 10, now)).then_some(Priority::Waiting)
    }

    /// Returns which limit is exceeded. Measures the rates of the next window if none is.
    fn exceeded(&mut self, limits: &Limits, is_reserve: bool, now: Instant) -> Option<CloseCause> {
        let head = if is_reserve { limits.reserve_head } else { limits.head };
        for (meter, cause) in [(&mut self.body, CloseCause::SlowBody), (&mut self.unread, CloseCause::SlowReader)] {
            if let Some(measured) = meter.filter(|meter| now - meter.since >= limits.window) {
                if measured.is_below(limits.rate, now) {
                    return Some(cause);
                }
                *meter = Some(Meter::new());
            }
        }
        match self.phase {
            Phase::Head if now - self.since >= head => Some(CloseCause::SlowHead),
            _ if self.is_idle() && now - self.since >= limits.idle => Some(CloseCause::Idle),
            _ => None,
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct CallerConnection {
    pub(crate) address: SocketAddr,
    /// Whether the connection serves `/health` only.
    pub(crate) is_reserve: bool,
    state: Mutex<ConnectionState>,
    /// Cancelled when the connection is closed as soon as no request is worked on.
    ending: CancellationToken,
    /// Cancelled when the connection is closed at once.
    closing: CancellationToken,
}

impl CallerConnection {
    fn new(address: SocketAddr, is_reserve: bool) -> CallerConnection {
        let now = Instant::now();
        let state = ConnectionState {
            phase: Phase::Head,
            since: now,
            last_request: now,
            body: None,
            unread: None,
            has_early_bytes: false,
            is_stream: false,
            cause: None,
        };
        let (ending, closing) = (CancellationToken::new(), CancellationToken::new());
        CallerConnection { address, is_reserve, state: Mutex::new(state), ending, closing }
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that bytes have arrived.
    pub(crate) fn bytes_read(&self, count: usize) {
        let mut state = self.state();
        match (state.phase, &mut state.body) {
            (_, Some(meter)) => meter.bytes += count as u64,
            (Phase::Idle, None) => state.enter(Phase::Head),
            (Phase::Request, None) => state.has_early_bytes = true,
            (Phase::Head, None) => {}
        }
    }

    /// Notes that bytes were written, or with `None` that the caller has to read before more can be written.
    pub(crate) fn bytes_written(&self, count: Option<usize>) {
        let mut state = self.state();
        match (count, &mut state.unread) {
            (Some(count), Some(meter)) => meter.bytes += count as u64,
            (None, none @ None) => *none = Some(Meter::new()),
            _ => {}
        }
    }

    /// Notes that everything was written.
    pub(crate) fn all_written(&self) {
        let mut state = self.state();
        if state.unread.take().is_some() && state.phase == Phase::Idle {
            state.last_request = Instant::now();
            state.enter(Phase::Idle);
        }
    }

    pub(crate) fn request_begins(&self) {
        let mut state = self.state();
        state.has_early_bytes = false;
        state.enter(Phase::Request);
    }

    /// Notes that the server waits for more of a body.
    pub(crate) fn body_awaited(&self) {
        self.state().body.get_or_insert_with(Meter::new);
    }

    pub(crate) fn body_ends(&self) {
        self.state().body = None;
    }

    /// Notes that the response is a stream of events.
    pub(crate) fn streams(&self) {
        self.state().is_stream = true;
    }

    pub(crate) fn request_ends(&self) {
        let mut state = self.state();
        state.is_stream = false;
        state.last_request = Instant::now();
        state.body = None;
        let next = if state.has_early_bytes { Phase::Head } else { Phase::Idle };
        state.enter(next);
    }

    /// Returns whether a request is read, worked on or answered.
    pub(crate) fn has_request(&self) -> bool {
        self.state().phase == Phase::Request
    }

    /// Returns whether the server closes the connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.state().cause.is_some()
    }

    /// Waits until the connection has to be closed as soon as no request is worked on.
    pub(crate) async fn ending(&self) {
        self.ending.cancelled().await;
    }

    /// Waits until the connection has to be closed at once.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Closes the connection. An idle one may receive a request in this moment, which is answered.
    fn close(&self, state: &mut ConnectionState, cause: CloseCause) {
        state.cause = Some(cause);
        match state.phase {
            Phase::Idle if state.unread.is_none() => self.ending.cancel(),
            _ => self.closing.cancel(),
        }
    }
}

#[derive(Default)]
struct Open {
    all: HashMap<u64, Arc<CallerConnection>>,
    next: u64,
    /// Since when no connection could make room.
    full_since: Option<Instant>,
    /// How many connections were closed for each cause.
    closed: BTreeMap<CloseCause, u64>,
    /// Those that the log does not have yet.
    unlogged: BTreeMap<CloseCause, u64>,
    logged_at: Option<Instant>,
}

impl Open {
    /// Returns the number of connections of one kind. One that is closed and has no request does not count, nor does a
    /// stream of events.
    fn count(&self, is_reserve: bool) -> usize {
        let counts = |one: &&Arc<CallerConnection>| one.is_reserve == is_reserve && one.state().counts();
        self.all.values().filter(counts).count()
    }

    fn close(&mut self, connection: &CallerConnection, state: &mut ConnectionState, cause: CloseCause) {
        connection.close(state, cause);
        *self.closed.entry(cause).or_default() += 1;
        *self.unlogged.entry(cause).or_default() += 1;
    }

    /// Closes the connection that has to make room first. Returns whether one was closed.
    fn make_room(&mut self, limits: &Limits, least_idle: Duration) -> bool {
        let now = Instant::now();
        let order = |one: &Arc<CallerConnection>| {
            let state = one.state();
            let priority =
                state.priority(limits, least_idle, now).filter(|_| state.cause.is_none() && !one.is_reserve)?;
            Some((priority, state.last_request, one.clone()))
        };
        let first = self.all.values().filter_map(order).min_by_key(|(priority, since, _)| (*priority, *since));
        let Some((_, _, connection)) = first else { return false };
        let mut state = connection.state();
        // In between, a request may have begun: the next attempt finds another connection.
        let has_to_go = state.priority(limits, least_idle, now).is_some();
        if has_to_go {
            self.close(&connection, &mut state, CloseCause::NoRoom);
        }
        has_to_go
    }
}

/// All open connections.
pub(crate) struct Connections {
    limits: Limits,
    open: Mutex<Open>,
    /// Notified when a connection was closed.
    freed: Notify,
}

/// A connection that counts as open until this is dropped.
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) connection: Arc<CallerConnection>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open().all.remove(&self.number);
        self.connections.freed.notify_waiters();
    }
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Connections> {
        Arc::new(Connections { limits, open: Mutex::default(), freed: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more connection, and counts it.
    pub(crate) async fn admit(self: &Arc<Self>, address: SocketAddr) -> OpenConnection {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(is_reserve) = self.room() {
                let connection = Arc::new(CallerConnection::new(address, is_reserve));
                let mut open = self.open();
                open.next += 1;
                let number = open.next;
                open.all.insert(number, connection.clone());
                return OpenConnection { connections: self.clone(), number, connection };
            }
            // Some connections become slow by waiting alone.
            let _ = tokio::time::timeout(self.limits.patience / 20, freed).await;
        }
    }

    /// Returns whether the next connection is one of the reserve, or `None` if there is no room for it.
    fn room(&self) -> Option<bool> {
        let mut open = self.open();
        let is_full = open.full_since.is_some_and(|since| since.elapsed() >= self.limits.patience);
        let least_idle = if is_full { Duration::ZERO } else { self.limits.patience / 10 };
        if open.count(false) < self.limits.connections || open.make_room(&self.limits, least_idle) {
            open.full_since = None;
            return Some(false);
        }
        open.full_since.get_or_insert_with(Instant::now);
        (is_full && open.count(true) < self.limits.reserve).then_some(true)
    }

    /// Closes the connection that has to make room first, if there is one, and waits until a connection is closed, or
    /// for this time.
    pub(crate) async fn make_room(&self, patience: Duration) {
        let mut freed = std::pin::pin!(self.freed.notified());
        freed.as_mut().enable();
        // Idle callers keep their connections: there may be no other one for their next request.
        self.open().make_room(&self.limits, Duration::MAX);
        let _ = tokio::time::timeout(patience, freed).await;
    }

    /// Closes connections that have exceeded a limit, and logs which were closed, until it is dropped.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(self.limits.interval).await;
            self.close_exceeded();
            self.log();
        }
    }

    fn close_exceeded(&self) {
        let (mut open, now) = (self.open(), Instant::now());
        for connection in open.all.values().cloned().collect::<Vec<_>>() {
            let mut state = connection.state();
            if state.cause.is_some() {
                continue;
            }
            if let Some(cause) = state.exceeded(&self.limits, connection.is_reserve, now) {
                open.close(&connection, &mut state, cause);
            }
        }
    }

    /// Logs how many connections were closed for which cause, at most one line a minute.
    fn log(&self) {
        let mut open = self.open();
        if open.unlogged.is_empty() || open.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        open.logged_at = Some(Instant::now());
        let unlogged = std::mem::take(&mut open.unlogged);
        let counts: Vec<_> = unlogged.iter().map(|(cause, count)| format!("{} {count}", cause.as_str())).collect();
        let (counts, open) = (counts.join(", "), open.all.len());
        match unlogged.keys().all(|cause| *cause == CloseCause::Idle) {
            true => tracing::info!("connections were closed ({counts}); {open} are open"),
            false => tracing::warn!("connections were closed ({counts}); {open} are open"),
        }
    }

    /// Returns how many connections were closed for each cause since the start.
    pub(crate) fn closed(&self) -> Map<String, Value> {
        self.open().closed.iter().map(|(cause, count)| (cause.as_str().to_owned(), (*count).into())).collect()
    }

    /// Waits until all connections are closed.
    pub(crate) async fn all_closed(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.open().all.is_empty() {
                return;
            }
            freed.await;
        }
    }
}

//! Simulations of the budget against services that throttle, in simulated time. They measure the share of throttled
//! requests, the share of the allowed rate that is used, and how long requests wait for each other.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, sleep};
use trunkline_core::{Error, ErrorKind, Retry};

use super::*;
use crate::transport::Waits;

const LATENCY: Duration = Duration::from_millis(20);

/// How a service limits its rate.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A fixed number of requests in each window of this length. `Retry-After` is the time until the next window,
    /// rounded up to seconds.
    Windows(Duration),
    /// A token bucket that fills evenly and holds the requests of one second. `Retry-After` is one second.
    Bucket,
    /// A token bucket without a `Retry-After`.
    SilentBucket,
    /// Every 200th request is throttled with a `Retry-After` of one second, whatever the rate.
    Occasional,
}

/// A service that allows this many requests per second, and its counters.
struct Service {
    kind: Kind,
    allowed: f64,
    state: Mutex<ServiceState>,
}

struct ServiceState {
    started: Instant,
    window: u64,
    left: f64,
    refilled: Instant,
    /// The time when the last `Retry-After` arrived at the caller, and the time before which no request may be sent.
    closed: Option<(Instant, Instant)>,
    calls: u32,
    throttled: u32,
    too_early: u32,
    in_flight: usize,
    most_in_flight: usize,
    by_run: BTreeMap<usize, u32>,
}

impl Service {
    fn new(kind: Kind, allowed: f64) -> Arc<Service> {
        let now = Instant::now();
        let per_window = match kind {
            Kind::Windows(window) => allowed * window.as_secs_f64(),
            _ => allowed,
        };
        let state = ServiceState {
            started: now,
            window: 0,
            left: per_window,
            refilled: now,
            closed: None,
            calls: 0,
            throttled: 0,
            too_early: 0,
            in_flight: 0,
            most_in_flight: 0,
            by_run: BTreeMap::new(),
        };
        Arc::new(Service { kind, allowed, state: Mutex::new(state) })
    }

    /// Sends a request and returns its response: `Err` is a throttle with its `Retry-After`.
    async fn send(&self, run: usize) -> Result<(), Option<Duration>> {
        sleep(LATENCY / 2).await;
        let response = self.respond(run);
        sleep(LATENCY / 2).await;
        self.state.lock().unwrap().in_flight -= 1;
        response
    }

    fn respond(&self, run: usize) -> Result<(), Option<Duration>> {
        let mut state = self.state.lock().unwrap();
        let now = Instant::now();
        state.calls += 1;
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        if state.closed.is_some_and(|(from, until)| now > from && now < until) {
            state.too_early += 1;
        }
        let wait = match self.kind {
            Kind::Windows(length) => {
                let since = (now - state.started).as_secs_f64();
                let window = (since / length.as_secs_f64()) as u64;
                if window > state.window {
                    (state.window, state.left) = (window, self.allowed * length.as_secs_f64());
                }
                let rest = (window + 1) as f64 * length.as_secs_f64() - since;
                Some(Duration::from_secs(rest.ceil() as u64))
            }
            Kind::Occasional => {
                state.left = f64::from(u8::from(!state.calls.is_multiple_of(200)));
                Some(Duration::from_secs(1))
            }
            Kind::Bucket | Kind::SilentBucket => {
                let more = (now - state.refilled).as_secs_f64() * self.allowed;
                state.left = (state.left + more).min(self.allowed);
                state.refilled = now;
                matches!(self.kind, Kind::Bucket).then_some(Duration::from_secs(1))
            }
        };
        if state.left >= 1.0 {
            state.left -= 1.0;
            *state.by_run.entry(run).or_default() += 1;
            return Ok(());
        }
        state.throttled += 1;
        if let Some(wait) = wait {
            // Requests that were sent before this response arrived are not too early.
            let arrives = now + LATENCY;
            state.closed = Some((arrives, (now + wait).max(state.closed.map_or(arrives, |(_, until)| until))));
        }
        Err(wait)
    }
}

fn bounds() -> Bounds {
    Bounds::new(&ClientLimits::default(), 0, 0)
}

fn budget(bounds: Bounds) -> Arc<Budget> {
    Arc::new(Budget::new("Test Service", "my service", bounds))
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Makes one call as the client does, with permits of the budget.
async fn call(budget: &Arc<Budget>, key: &FairnessKey, service: &Service, run: usize) {
    loop {
        let permit = budget.permit(key, soon(3600)).await.unwrap();
        match service.send(run).await {
            Ok(()) => return budget.answered(),
            Err(wait) => budget.throttled(&permit, wait),
        }
    }
}

/// Makes one call that waits only after its own throttles, without a budget.
async fn call_without_budget(service: &Service, run: usize) {
    let limits = ClientLimits { tries: 1000, ..ClientLimits::default() };
    let mut waits = Waits::new(&limits, None);
    while let Err(wait) = service.send(run).await {
        let error = Error::new(ErrorKind::RateLimited, "").retry(wait.map_or(Retry::Backoff, Retry::After));
        sleep(waits.after(&error).unwrap()).await;
    }
}

struct Figures {
    throttled: f64,
    used: f64,
    too_early: u32,
    most_in_flight: usize,
}

/// Simulates three runs of 1,000 calls, 16 at a time each.
async fn three_runs(kind: Kind, allowed: f64, with_budget: bool) -> Figures {
    let (service, shared) = (Service::new(kind, allowed), budget(bounds()));
    let started = Instant::now();
    let worker = |run: usize, key: FairnessKey, left: Arc<AtomicUsize>| {
        let (service, shared) = (service.clone(), shared.clone());
        async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                match with_budget {
                    true => call(&shared, &key, &service, run).await,
                    false => call_without_budget(&service, run).await,
                }
            }
        }
    };
    let runs = (0..3).map(|run| {
        let (key, left) = (FairnessKey::new(), Arc::new(AtomicUsize::new(1000)));
        join_all((0..16).map(|_| worker(run, key.clone(), left.clone())).collect::<Vec<_>>())
    });
    join_all(runs).await;
    let state = service.state.lock().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let figures = Figures {
        throttled: f64::from(state.throttled) / 3000.0,
        used: 3000.0 / seconds / allowed,
        too_early: state.too_early,
        most_in_flight: state.most_in_flight,
    };
    println!(
        "{kind:?} {allowed}/s, budget {with_budget}: {} throttled ({:.1} %), {:.0} % of the rate used, \
         {} too early, {} at once",
        state.throttled,
        100.0 * figures.throttled,
        100.0 * figures.used,
        figures.too_early,
        figures.most_in_flight
    );
    figures
}

const KINDS: [(Kind, f64); 6] = [
    (Kind::Windows(Duration::from_secs(1)), 10.0),
    (Kind::Windows(Duration::from_secs(1)), 50.0),
    (Kind::Windows(Duration::from_secs(10)), 20.0),
    (Kind::Bucket, 20.0),
    (Kind::Bucket, 100.0),
    (Kind::SilentBucket, 50.0),
];

#[tokio::test(start_paused = true)]
async fn three_runs_are_seldom_throttled_and_use_most_of_the_allowed_rate() {
    for (kind, allowed) in KINDS {
        let figures = three_runs(kind, allowed, true).await;
        assert!(figures.throttled <= 0.02, "{kind:?} {allowed}");
        assert!(figures.used >= 0.8, "{kind:?} {allowed}");
        assert_eq!(figures.too_early, 0, "{kind:?} {allowed}");
        assert!(figures.most_in_flight <= 16);
    }
}

/// A throttle that does not depend on the rate costs its pause and leaves the rate as it is: 3,000 calls of 20 ms, 16
/// at a time, take less than four seconds, and there are fifteen pauses.
#[tokio::test(start_paused = true)]
async fn an_occasional_throttle_costs_its_pause_and_keeps_the_rate() {
    let started = Instant::now();
    three_runs(Kind::Occasional, 800.0, true).await;
    assert!(started.elapsed() < Duration::from_secs(4 + 15 * 2), "{:?}", started.elapsed());
}

/// The sabotage twin: each call waits only after its own throttles.
#[tokio::test(start_paused = true)]
async fn without_a_budget_the_runs_are_throttled_often() {
    for (kind, allowed) in KINDS {
        let figures = three_runs(kind, allowed, false).await;
        assert!(figures.throttled > 0.1, "{kind:?} {allowed}");
    }
}

/// Returns the time of a single call with the key `few` after 10,000 calls with the key `many` were queued.
async fn single_call_after_ten_thousand(many: &FairnessKey, few: &FairnessKey) -> Duration {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(bounds()));
    let all = join_all((0..10_000).map(|_| call(&shared, many, &service, 0)));
    let single = async {
        sleep(Duration::from_millis(205)).await;
        let started = Instant::now();
        call(&shared, few, &service, 1).await;
        started.elapsed()
    };
    let (_, took) = tokio::join!(all, single);
    let state = service.state.lock().unwrap();
    assert_eq!((state.by_run[&0], state.most_in_flight), (10_000, 16));
    took
}

#[tokio::test(start_paused = true)]
async fn a_single_call_does_not_wait_for_ten_thousand_of_another_run() {
    let took = single_call_after_ten_thousand(&FairnessKey::new(), &FairnessKey::new()).await;
    assert!(took <= 2 * LATENCY, "{took:?}");
}

/// The sabotage twin: both runs have the same key.
#[tokio::test(start_paused = true)]
async fn a_single_call_with_the_same_key_waits_for_ten_thousand_calls() {
    let key = FairnessKey::new();
    let took = single_call_after_ten_thousand(&key, &key).await;
    assert!(took >= Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn runs_get_equal_shares_however_many_calls_they_make() {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(Bounds { max_in_flight: 2, ..bounds() }));
    let keys: Vec<_> = (0..3).map(|_| FairnessKey::new()).collect();
    let calls = [600, 100, 100].into_iter().enumerate().flat_map(|(run, calls)| std::iter::repeat_n(run, calls));
    let all = join_all(calls.map(|run| call(&shared, &keys[run], &service, run)));
    let shares_midway = async {
        // Two requests at once of 20 ms each are 100 per second.
        sleep(Duration::from_millis(1510)).await;
        service.state.lock().unwrap().by_run.clone()
    };
    let (_, shares) = tokio::join!(all, shares_midway);
    assert!(shares.values().all(|share| (48..=52).contains(share)), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_holds_all_requests_for_its_retry_after() {
    let shared = budget(bounds());
    let (one, other) = (FairnessKey::new(), FairnessKey::new());
    let permit = shared.permit(&one, soon(60)).await.unwrap();
    let started = Instant::now();
    shared.throttled(&permit, Some(Duration::from_secs(30)));
    drop(permit);
    assert!(!shared.is_open());
    let waiting = join_all([&one, &other].map(|key| async {
        drop(shared.permit(key, soon(60)).await.unwrap());
        started.elapsed()
    }));
    assert!(waiting.await.iter().all(|waited| *waited >= Duration::from_secs(30)));
    assert!(started.elapsed() < Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_is_before_the_end_of_a_pause_fails_immediately() {
    let shared = budget(Bounds { max_in_flight: 1, ..bounds() });
    let key = FairnessKey::new();
    let permit = shared.permit(&key, soon(60)).await.unwrap();
    let started = Instant::now();
    let throttle = async {
        sleep(Duration::from_secs(1)).await;
        shared.throttled(&permit, Some(Duration::from_secs(120)));
    };
    let (waited, ()) = tokio::join!(shared.permit(&key, soon(100)), throttle);
    let error = waited.err().unwrap();
    assert_eq!((error.kind(), started.elapsed()), (ErrorKind::RateLimited, Duration::from_secs(1)));
    assert!(matches!(error.retryable(), Retry::After(wait) if wait >= Duration::from_secs(120)));
    // The pause is longer than any call waits, even with a later deadline.
    shared.throttled(&permit, Some(Duration::from_secs(3600)));
    let error = shared.permit(&key, soon(6 * 3600)).await.err().unwrap();
    assert!(matches!(error.retryable(), Retry::After(wait) if wait >= Duration::from_secs(3600)));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_permit_in_time_names_the_limit_and_the_setting() {
    let full = budget(Bounds { max_in_flight: 2, ..bounds() });
    let key = FairnessKey::new();
    let _permits = [full.permit(&key, soon(1)).await.unwrap(), full.permit(&key, soon(1)).await.unwrap()];
    let started = Instant::now();
    let error = full.permit(&key, soon(5)).await.err().unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::RateLimited, Some("/requestsAtOnce")));
    assert!(error.message().contains("my service") && error.message().contains("2 at once"), "{error}");
    let slow = budget(Bounds { per_second: 1, ..bounds() });
    slow.permit(&key, soon(1)).await.unwrap();
    let error = slow.permit(&key, Instant::now() + Duration::from_millis(300)).await.err().unwrap();
    assert_eq!(error.setting_pointer(), Some("/requestsPerSecond"));
    assert!(error.message().contains("1.0 requests a second"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_stops_waiting_leaves_no_gap_in_the_queue() {
    let shared = budget(Bounds { max_in_flight: 1, ..bounds() });
    let key = FairnessKey::new();
    let permit = shared.permit(&key, soon(60)).await.unwrap();
    // 99 of 100 waiting requests are dropped: at the front, in the middle, and the first one after it was woken.
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(shared.permit(&key, soon(60)))).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one.as_mut()).is_pending());
    }
    let last = waiting.pop().unwrap();
    drop(permit);
    drop(waiting);
    drop(last.await.unwrap());
    let state = shared.state();
    assert_eq!((state.in_flight, state.queue.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn all_runs_together_keep_the_rate_of_the_settings() {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(Bounds { per_second: 20, ..bounds() }));
    let started = Instant::now();
    let keys = [FairnessKey::new(), FairnessKey::new()];
    join_all((0..200).map(|n| call(&shared, &keys[n % 2], &service, n % 2))).await;
    let seconds = started.elapsed().as_secs_f64();
    assert!((8.9..9.5).contains(&seconds), "20 at once, then 20 a second: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn successive_throttles_make_the_pauses_longer_and_lower_the_rate_once() {
    let shared = budget(bounds());
    let key = FairnessKey::new();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let started = Instant::now();
        let permit = shared.permit(&key, soon(60)).await.unwrap();
        pauses.push(started.elapsed());
        shared.throttled(&permit, None);
    }
    assert!(pauses[1..6].windows(2).all(|two| two[1] >= two[0].mul_f64(1.4)), "{pauses:?}");
    assert!(pauses[7] < Duration::from_secs(5), "{pauses:?}");
    drop(shared.permit(&key, soon(60)).await.unwrap());
    shared.answered();
    let started = Instant::now();
    drop(shared.permit(&key, soon(60)).await.unwrap());
    assert!(started.elapsed() <= Duration::from_millis(250), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_gets_few_retries() {
    let (shared, tries) = (budget(bounds()), AtomicUsize::new(0));
    let call = || async {
        for attempt in 1..=5 {
            tries.fetch_add(1, Ordering::Relaxed);
            if attempt == 5 || !shared.may_repeat() {
                return;
            }
        }
    };
    join_all((0..1000).map(|_| call())).await;
    assert_eq!(tries.swap(0, Ordering::Relaxed), 1050);
    // The service works again: after some responses, calls may be repeated as before.
    (0..200).for_each(|_| shared.answered());
    call().await;
    assert_eq!(tries.load(Ordering::Relaxed), 5);
}

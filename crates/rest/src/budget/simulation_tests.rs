//! The budget against services that throttle, in made-up time: what it costs, what it yields, and who has to wait for whom.
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
use crate::retry::Waits;

const LATENCY: Duration = Duration::from_millis(20);

/// How a service counts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// So many in each window; who comes too often is told when the next one begins, rounded up to seconds.
    Windows(Duration),
    /// A bucket that fills evenly and holds a second's worth; who comes too often is told to wait a second.
    Bucket,
    /// The same, but it does not say how long to wait.
    Mute,
    /// It throws back every 200th request for a second, however many come.
    NowAndThen,
}

/// A service that allows so many requests a second, and what it saw.
struct Service {
    kind: Kind,
    allowed: f64,
    seen: Mutex<Seen>,
}

struct Seen {
    begun: Instant,
    window: u64,
    left: f64,
    refilled: Instant,
    /// Before this nobody may come: the answer that says so has arrived.
    closed: Option<(Instant, Instant)>,
    calls: u32,
    throttled: u32,
    too_early: u32,
    under_way: usize,
    most_under_way: usize,
    by_run: BTreeMap<usize, u32>,
}

impl Service {
    fn new(kind: Kind, allowed: f64) -> Arc<Service> {
        let now = Instant::now();
        let per_window = match kind {
            Kind::Windows(window) => allowed * window.as_secs_f64(),
            _ => allowed,
        };
        let seen = Seen {
            begun: now,
            window: 0,
            left: per_window,
            refilled: now,
            closed: None,
            calls: 0,
            throttled: 0,
            too_early: 0,
            under_way: 0,
            most_under_way: 0,
            by_run: BTreeMap::new(),
        };
        Arc::new(Service { kind, allowed, seen: Mutex::new(seen) })
    }

    /// A request and its answer: `Err` is a throttle.
    async fn ask(&self, run: usize) -> Result<(), Option<Duration>> {
        sleep(LATENCY / 2).await;
        let answer = self.answer(run);
        sleep(LATENCY / 2).await;
        self.seen.lock().unwrap().under_way -= 1;
        answer
    }

    fn answer(&self, run: usize) -> Result<(), Option<Duration>> {
        let mut seen = self.seen.lock().unwrap();
        let now = Instant::now();
        seen.calls += 1;
        seen.under_way += 1;
        seen.most_under_way = seen.most_under_way.max(seen.under_way);
        if seen.closed.is_some_and(|(from, until)| now > from && now < until) {
            seen.too_early += 1;
        }
        let wait = match self.kind {
            Kind::Windows(length) => {
                let since = (now - seen.begun).as_secs_f64();
                let window = (since / length.as_secs_f64()) as u64;
                if window > seen.window {
                    (seen.window, seen.left) = (window, self.allowed * length.as_secs_f64());
                }
                let rest = (window + 1) as f64 * length.as_secs_f64() - since;
                Some(Duration::from_secs(rest.ceil() as u64))
            }
            Kind::NowAndThen => {
                seen.left = f64::from(u8::from(!seen.calls.is_multiple_of(200)));
                Some(Duration::from_secs(1))
            }
            Kind::Bucket | Kind::Mute => {
                let more = (now - seen.refilled).as_secs_f64() * self.allowed;
                seen.left = (seen.left + more).min(self.allowed);
                seen.refilled = now;
                matches!(self.kind, Kind::Bucket).then_some(Duration::from_secs(1))
            }
        };
        if seen.left >= 1.0 {
            seen.left -= 1.0;
            *seen.by_run.entry(run).or_default() += 1;
            return Ok(());
        }
        seen.throttled += 1;
        if let Some(wait) = wait {
            // Requests that are on their way already, until the answer is there, are nobody's fault.
            let heard = now + LATENCY;
            seen.closed = Some((heard, (now + wait).max(seen.closed.map_or(heard, |(_, until)| until))));
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

/// One call as the client makes it.
async fn call(budget: &Arc<Budget>, lane: &Lane, service: &Service, run: usize) {
    loop {
        let turn = budget.turn(lane, soon(3600)).await.unwrap();
        match service.ask(run).await {
            Ok(()) => return budget.answered(),
            Err(wait) => budget.throttled(&turn, wait),
        }
    }
}

/// The same with nothing but the waits of each call by itself.
async fn alone(service: &Service, run: usize) {
    let limits = ClientLimits { tries: 1000, ..ClientLimits::default() };
    let mut waits = Waits::new(&limits, None);
    while let Err(wait) = service.ask(run).await {
        let error = Error::new(ErrorKind::RateLimited, "").retry(wait.map_or(Retry::Backoff, Retry::After));
        sleep(waits.after(&error).unwrap()).await;
    }
}

struct Figures {
    throttled: f64,
    used: f64,
    too_early: u32,
    most_under_way: usize,
}

/// Three runs of 1,000 calls, 16 at a time each.
async fn three_runs(kind: Kind, allowed: f64, with_budget: bool) -> Figures {
    let (service, shared) = (Service::new(kind, allowed), budget(bounds()));
    let begun = Instant::now();
    let worker = |run: usize, lane: Lane, left: Arc<AtomicUsize>| {
        let (service, shared) = (service.clone(), shared.clone());
        async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                match with_budget {
                    true => call(&shared, &lane, &service, run).await,
                    false => alone(&service, run).await,
                }
            }
        }
    };
    let runs = (0..3).map(|run| {
        let (lane, left) = (Lane::new(), Arc::new(AtomicUsize::new(1000)));
        join_all((0..16).map(|_| worker(run, lane.clone(), left.clone())).collect::<Vec<_>>())
    });
    join_all(runs).await;
    let seen = service.seen.lock().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    // What a bucket or a first window holds at the beginning is no rate.
    let figures = Figures {
        throttled: f64::from(seen.throttled) / 3000.0,
        used: 3000.0 / seconds / allowed,
        too_early: seen.too_early,
        most_under_way: seen.most_under_way,
    };
    println!(
        "{kind:?} {allowed}/s, budget {with_budget}: {} throttled ({:.1} %), {:.0} % of what is allowed, {} too early, {} at once",
        seen.throttled,
        100.0 * figures.throttled,
        100.0 * figures.used,
        figures.too_early,
        figures.most_under_way
    );
    figures
}

const KINDS: [(Kind, f64); 6] = [
    (Kind::Windows(Duration::from_secs(1)), 10.0),
    (Kind::Windows(Duration::from_secs(1)), 50.0),
    (Kind::Windows(Duration::from_secs(10)), 20.0),
    (Kind::Bucket, 20.0),
    (Kind::Bucket, 100.0),
    (Kind::Mute, 50.0),
];

#[tokio::test(start_paused = true)]
async fn three_runs_are_seldom_throttled_and_use_what_they_may() {
    for (kind, allowed) in KINDS {
        let figures = three_runs(kind, allowed, true).await;
        assert!(figures.throttled <= 0.02, "{kind:?} {allowed}");
        assert!(figures.used >= 0.8, "{kind:?} {allowed}");
        assert_eq!(figures.too_early, 0, "{kind:?} {allowed}");
        assert!(figures.most_under_way <= 16);
    }
}

/// What a service throws back although nobody came too often costs the pause that it wants, and not the pace: 3,000 calls of
/// 20 ms, 16 at a time, are less than four seconds, and there are fifteen pauses.
#[tokio::test(start_paused = true)]
async fn a_throttle_now_and_then_costs_its_pause_and_not_the_pace() {
    let begun = Instant::now();
    three_runs(Kind::NowAndThen, 800.0, true).await;
    assert!(begun.elapsed() < Duration::from_secs(4 + 15 * 2), "{:?}", begun.elapsed());
}

/// The sabotage twin: each call on its own.
#[tokio::test(start_paused = true)]
async fn without_a_budget_they_would_be_throttled_all_the_time() {
    for (kind, allowed) in KINDS {
        let figures = three_runs(kind, allowed, false).await;
        assert!(figures.throttled > 0.1, "{kind:?} {allowed}");
    }
}

/// How long a single call takes while a run has 10,000 to make, which come first.
async fn single_call_among_ten_thousand(many: &Lane, few: &Lane) -> Duration {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(bounds()));
    let all = join_all((0..10_000).map(|_| call(&shared, many, &service, 0)));
    let single = async {
        sleep(Duration::from_millis(205)).await;
        let begun = Instant::now();
        call(&shared, few, &service, 1).await;
        begun.elapsed()
    };
    let (_, took) = tokio::join!(all, single);
    let seen = service.seen.lock().unwrap();
    assert_eq!((seen.by_run[&0], seen.most_under_way), (10_000, 16));
    took
}

#[tokio::test(start_paused = true)]
async fn a_single_call_does_not_wait_for_ten_thousand_of_another_run() {
    let took = single_call_among_ten_thousand(&Lane::new(), &Lane::new()).await;
    assert!(took <= 2 * LATENCY, "{took:?}");
}

/// The sabotage twin: one line for all.
#[tokio::test(start_paused = true)]
async fn who_stands_in_the_line_of_the_other_run_waits_for_all_of_it() {
    let lane = Lane::new();
    let took = single_call_among_ten_thousand(&lane, &lane).await;
    assert!(took >= Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn runs_get_equal_shares_whatever_they_ask_for() {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(Bounds { at_once: 2, ..bounds() }));
    let lanes: Vec<_> = (0..3).map(|_| Lane::new()).collect();
    let calls = [600, 100, 100].into_iter().enumerate().flat_map(|(run, calls)| std::iter::repeat_n(run, calls));
    let all = join_all(calls.map(|run| call(&shared, &lanes[run], &service, run)));
    let look = async {
        // 2 at once, 20 ms each: 100 a second.
        sleep(Duration::from_millis(1510)).await;
        service.seen.lock().unwrap().by_run.clone()
    };
    let (_, shares) = tokio::join!(all, look);
    assert!(shares.values().all(|share| (48..=52).contains(share)), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_holds_everybody_until_the_time_that_it_names() {
    let shared = budget(bounds());
    let (one, other) = (Lane::new(), Lane::new());
    let turn = shared.turn(&one, soon(60)).await.unwrap();
    let begun = Instant::now();
    shared.throttled(&turn, Some(Duration::from_secs(30)));
    drop(turn);
    assert!(!shared.is_open());
    let waiting = join_all([&one, &other].map(|lane| async {
        drop(shared.turn(lane, soon(60)).await.unwrap());
        begun.elapsed()
    }));
    assert!(waiting.await.iter().all(|waited| *waited >= Duration::from_secs(30)));
    assert!(begun.elapsed() < Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_outlasts_a_waiting_call_is_told_at_once() {
    let shared = budget(Bounds { at_once: 1, ..bounds() });
    let lane = Lane::new();
    let turn = shared.turn(&lane, soon(60)).await.unwrap();
    let begun = Instant::now();
    let throttle = async {
        sleep(Duration::from_secs(1)).await;
        shared.throttled(&turn, Some(Duration::from_secs(120)));
    };
    let (waited, ()) = tokio::join!(shared.turn(&lane, soon(100)), throttle);
    let error = waited.err().unwrap();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::RateLimited, Duration::from_secs(1)));
    assert!(matches!(error.retryable(), Retry::After(wait) if wait >= Duration::from_secs(120)));
    // Longer than any call waits, though it had the time.
    shared.throttled(&turn, Some(Duration::from_secs(3600)));
    let error = shared.turn(&lane, soon(6 * 3600)).await.err().unwrap();
    assert!(matches!(error.retryable(), Retry::After(wait) if wait >= Duration::from_secs(3600)));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_turn_in_time_says_which_limit_and_setting() {
    let full = budget(Bounds { at_once: 2, ..bounds() });
    let lane = Lane::new();
    let _turns = [full.turn(&lane, soon(1)).await.unwrap(), full.turn(&lane, soon(1)).await.unwrap()];
    let begun = Instant::now();
    let error = full.turn(&lane, soon(5)).await.err().unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!((error.kind(), error.context("setting")), (ErrorKind::RateLimited, Some("/requestsAtOnce")));
    assert!(error.message().contains("my service") && error.message().contains("2 at once"), "{error}");
    let slow = budget(Bounds { per_second: 1, ..bounds() });
    slow.turn(&lane, soon(1)).await.unwrap();
    let error = slow.turn(&lane, Instant::now() + Duration::from_millis(300)).await.err().unwrap();
    assert_eq!(error.context("setting"), Some("/requestsPerSecond"));
    assert!(error.message().contains("1.0 requests a second"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_no_gap_in_the_line() {
    let shared = budget(Bounds { at_once: 1, ..bounds() });
    let lane = Lane::new();
    let turn = shared.turn(&lane, soon(60)).await.unwrap();
    // 99 of 100 that wait are dropped: those at the front, in the middle, and the very first while it is told to go.
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(shared.turn(&lane, soon(60)))).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one.as_mut()).is_pending());
    }
    let last = waiting.pop().unwrap();
    drop(turn);
    drop(waiting);
    drop(last.await.unwrap());
    let state = shared.state();
    assert_eq!((state.under_way, state.line.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_the_settings_is_kept_by_all_together() {
    let (service, shared) = (Service::new(Kind::Bucket, 1e9), budget(Bounds { per_second: 20, ..bounds() }));
    let begun = Instant::now();
    let lanes = [Lane::new(), Lane::new()];
    join_all((0..200).map(|n| call(&shared, &lanes[n % 2], &service, n % 2))).await;
    let seconds = begun.elapsed().as_secs_f64();
    assert!((8.9..9.5).contains(&seconds), "20 at once, then 20 a second: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn throttles_in_a_row_make_the_pauses_longer_and_not_the_pace_slower_and_slower() {
    let shared = budget(bounds());
    let lane = Lane::new();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let turn = shared.turn(&lane, soon(60)).await.unwrap();
        pauses.push(begun.elapsed());
        shared.throttled(&turn, None);
    }
    assert!(pauses[1..6].windows(2).all(|two| two[1] >= two[0].mul_f64(1.4)), "{pauses:?}");
    assert!(pauses[7] < Duration::from_secs(5), "{pauses:?}");
    drop(shared.turn(&lane, soon(60)).await.unwrap());
    shared.answered();
    let begun = Instant::now();
    drop(shared.turn(&lane, soon(60)).await.unwrap());
    assert!(begun.elapsed() <= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_is_asked_little_more_than_once_a_call() {
    let (shared, tries) = (budget(bounds()), AtomicUsize::new(0));
    let step = || async {
        for attempt in 1..=5 {
            tries.fetch_add(1, Ordering::Relaxed);
            if attempt == 5 || !shared.may_repeat() {
                return;
            }
        }
    };
    join_all((0..1000).map(|_| step())).await;
    assert_eq!(tries.swap(0, Ordering::Relaxed), 1050);
    // It works again: after some answers calls may be repeated as before.
    (0..200).for_each(|_| shared.answered());
    step().await;
    assert_eq!(tries.load(Ordering::Relaxed), 5);
}

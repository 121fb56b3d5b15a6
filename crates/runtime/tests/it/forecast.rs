//! The forecast of a run against services with hidden limits: they are found out only by being throttled. The
//! clock is paused, so a run of an hour takes a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep};
use trunkline::{
    Ports,
    core::async_trait,
    flow::Flow,
    operations::{Caller, run_queries::GetRun},
    rest::{HttpRequest, HttpResponse, HttpTransport, TransportFailure, TransportOptions},
};
use trunkline_testkit::clock::TestClock;

use super::{ports, runtime, shop};

/// A service that allows a number of requests in each window of time, and does not say how many.
struct HiddenLimit {
    allowed: u64,
    window: Duration,
    /// Whether a throttle says when the window ends.
    says_when: bool,
    latency: Duration,
    began: Instant,
    /// The number of the window, and the requests in it.
    used: Mutex<(u64, u64)>,
    /// The number of requests that it allows in a day, if it states that.
    daily: Option<u64>,
    /// The requests that it has accepted.
    accepted: Mutex<u64>,
}

#[async_trait]
impl HttpTransport for HiddenLimit {
    async fn send(&self, _: HttpRequest, _: TransportOptions) -> Result<HttpResponse, TransportFailure> {
        sleep(self.latency).await;
        let since = self.began.elapsed();
        let number = (since.as_secs_f64() / self.window.as_secs_f64()) as u64;
        let mut used = self.used.lock().unwrap();
        if used.0 != number {
            *used = (number, 0);
        }
        if used.1 < self.allowed {
            used.1 += 1;
            let (mut accepted, mut response) = (self.accepted.lock().unwrap(), HttpResponse::of(200, "{}"));
            *accepted += 1;
            if let Some(daily) = self.daily {
                response.headers.insert("x-ratelimit-limit", daily.into());
                response.headers.insert("x-ratelimit-remaining", (daily - *accepted).into());
                response.headers.insert("x-ratelimit-reset", (24 * 3600 - since.as_secs()).into());
            }
            return Ok(response);
        }
        let mut response = HttpResponse::of(429, "{}");
        if self.says_when {
            let left = self.window.saturating_mul(number as u32 + 1).saturating_sub(since);
            response.headers.insert("retry-after", (left.as_secs() + 1).into());
        }
        Ok(response)
    }
}

/// A small generator of random numbers (SplitMix64), so that a seed repeats a test.
struct Random(u64);

impl Random {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low)
    }
}

/// Works on a list against a service, and returns the errors of the forecasts that the run shows meanwhile, as parts of
/// the whole time, and how many looks at it found one.
async fn forecasts(service: Arc<HiddenLimit>, items: u64) -> (Vec<f64>, usize) {
    let ports = Ports { clock: Arc::new(TestClock::default()), ..ports(service.clone()) };
    let runtime = runtime(&ports);
    runtime.add_connection(shop("a token")).await.unwrap();
    let flow = json!({
        "name": "many", "connections": { "shop": "http" },
        "input": { "type": "object", "properties": { "ids": { "type": "array" } } },
        "steps": [{ "id": "all", "each": "{{ input.ids }}", "concurrency": 8, "steps": [
            { "id": "one", "action": "request", "connection": "shop",
              "input": { "method": "GET", "path": "/orders/{{ item }}" } }
        ] }]
    });
    let (flow, began) = (Flow::from_value(flow).unwrap(), Instant::now());
    let input = json!({ "ids": (0..items).collect::<Vec<_>>() });
    let handle = runtime.start(&flow, input, BTreeMap::from([("shop".into(), "shop".into())])).await.unwrap();
    let (id, mut seen) = (handle.id().clone(), Vec::new());
    while !handle.is_finished() {
        // The state of the run is read as another process reads it, every half minute.
        sleep(Duration::from_secs(30)).await;
        let run = runtime.engine().run(&id).await.unwrap();
        let progress = run.progress(runtime.now()).remove(&"all".into()).unwrap();
        seen.push((began.elapsed(), progress.left.filter(|_| progress.ended < items)));
    }
    handle.wait().await.unwrap();
    let took = began.elapsed().as_secs_f64();
    let looks = seen.len();
    let error = |(at, left): (Duration, u64)| (at.as_secs_f64() + left as f64 / 1e3 - took).abs() / took;
    (seen.into_iter().filter_map(|(at, left)| Some(error((at, left?)))).collect(), looks)
}

#[tokio::test(start_paused = true)]
async fn a_forecast_is_right_within_fifteen_percent_although_the_limits_are_hidden() {
    let seed = std::env::var("SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut random = Random(seed);
    for window in [1, 10, 60] {
        for says_when in [true, false] {
            let per_second = random.between(2, 8);
            let items = per_second * random.between(480, 800);
            let service = HiddenLimit {
                allowed: per_second * window,
                window: Duration::from_secs(window),
                says_when,
                latency: Duration::from_millis(random.between(20, 400)),
                began: Instant::now(),
                used: Mutex::default(),
                daily: None,
                accepted: Mutex::default(),
            };
            let (errors, looks) = forecasts(Arc::new(service), items).await;
            let worst = errors.iter().copied().fold(0.0, f64::max);
            println!(
                "{items} items, {per_second} a second in windows of {window} s, says when: {says_when}: {} of {looks} \
                 looks show a forecast, its largest error is {:.1} %",
                errors.len(),
                100.0 * worst
            );
            assert!(errors.len() * 2 >= looks, "too few forecasts: {} of {looks}", errors.len());
            assert!(worst <= 0.15, "{worst}");
        }
    }
}

/// Works on a list with a look-up of its own for every second item, and returns the shares of the quota that the run
/// shows meanwhile, each with what the service counted until then. The first list of the flow is another one.
async fn shares(service: &Arc<HiddenLimit>, items: u64) -> Vec<(f64, u64)> {
    let ports = Ports { clock: Arc::new(TestClock::default()), ..ports(service.clone()) };
    let runtime = runtime(&ports);
    runtime.add_connection(shop("a token")).await.unwrap();
    let call = |id: &str| {
        json!({ "id": id, "action": "request", "connection": "shop",
            "input": { "method": "GET", "path": "/orders/{{ item }}" } })
    };
    let each = |id: &str, steps: Vec<serde_json::Value>| json!({ "id": id, "each": "{{ input.ids }}", "key": "{{ item }}", "concurrency": 8, "steps": steps });
    let more = json!({ "id": "odd", "if": "{{ item % 2 == 1 }}", "then": [call("more")] });
    let steps = [each("before", vec![call("a"), call("b"), call("c")]), each("all", vec![call("one"), more])];
    let flow = json!({
        "name": "many", "connections": { "shop": "http" },
        "input": { "type": "object", "properties": { "ids": { "type": "array", "items": { "type": "integer" } } } },
        "steps": steps
    });
    let flow = Flow::from_value(flow).unwrap();
    let input = json!({ "ids": (0..items).collect::<Vec<_>>() });
    let handle = runtime.start(&flow, input, BTreeMap::from([("shop".into(), "shop".into())])).await.unwrap();
    let (id, mut seen) = (handle.id().clone(), Vec::new());
    while !handle.is_finished() {
        sleep(Duration::from_secs(15)).await;
        let query = serde_json::from_value(json!({ "run": id })).unwrap();
        let view = runtime.execute::<GetRun>(&Caller::owner(), query).await.unwrap();
        let quota = view.progress.get(&"all".into()).and_then(|list| list.quota.clone());
        seen.extend(quota.map(|quota| (quota.share, *service.accepted.lock().unwrap())));
    }
    handle.wait().await.unwrap();
    seen
}

fn with_quota(daily: Option<u64>, latency: u64) -> Arc<HiddenLimit> {
    let (window, began) = (Duration::from_secs(10), Instant::now());
    let latency = Duration::from_millis(latency);
    let (used, accepted) = (Mutex::default(), Mutex::default());
    Arc::new(HiddenLimit { allowed: 40, window, says_when: true, latency, began, used, daily, accepted })
}

#[tokio::test(start_paused = true)]
async fn a_forecast_names_the_share_of_a_stated_quota_within_fifteen_percent() {
    let seed = std::env::var("SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    for _ in 0..3 {
        let (daily, items) = (random.between(3_000, 50_000), random.between(400, 600));
        let service = with_quota(Some(daily), random.between(20, 400));
        let shares = shares(&service, items).await;
        let (all, whole) = (*service.accepted.lock().unwrap(), items as f64 * 1.5 / daily as f64);
        let right = |until: u64| (all - until) as f64 / daily as f64;
        let worst = shares.iter().map(|(share, until)| (share - right(*until)).abs() / whole).fold(0.0, f64::max);
        let (count, percent) = (shares.len(), 100.0 * worst);
        println!("seed {seed}, {items} items, a quota of {daily}: {count} shares, the largest error is {percent:.1} %");
        assert!(count >= 5 && worst <= 0.15, "{count} {worst}");
    }
}

/// The twin: a service that states no quota has none, and the run shows none.
#[tokio::test(start_paused = true)]
async fn without_a_stated_quota_no_share_is_shown() {
    assert_eq!(shares(&with_quota(None, 100), 200).await, []);
}

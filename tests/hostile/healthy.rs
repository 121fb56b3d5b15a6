//! Healthy callers beside an attack: how many calls a second are answered, how long they take, and how many are not
//! answered.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The number of healthy callers.
const CALLERS: usize = 20;
/// The pause of a caller between two rounds of calls.
const PAUSE: Duration = Duration::from_millis(100);
/// The time after which a call counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What healthy callers call.
#[derive(Clone)]
pub(crate) struct Target {
    /// Base URL of the server.
    pub(crate) server: String,
    /// Path of a webhook that responds with the result of its run.
    pub(crate) hook: String,
    pub(crate) token: String,
}

/// What healthy callers have measured.
#[derive(Default)]
pub(crate) struct Measured {
    times: Vec<Duration>,
    /// Calls without the right response, and how often that was so.
    pub(crate) lost: BTreeMap<String, usize>,
    time: Duration,
}

impl Measured {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The time within which 99 of 100 calls are answered, in seconds.
    pub(crate) fn p99(&mut self) -> f64 {
        self.times.sort_unstable();
        let at = (self.times.len() * 99 / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).map_or(PATIENCE.as_secs_f64(), Duration::as_secs_f64)
    }

    fn add(&mut self, began: Instant, result: Result<(), String>) {
        match result {
            Ok(()) => self.times.push(began.elapsed()),
            Err(why) => *self.lost.entry(why).or_default() += 1,
        }
    }
}

/// Lets healthy callers call for this time.
pub(crate) async fn measure(target: &Target, time: Duration) -> Measured {
    let (mut callers, begun) = (JoinSet::new(), Instant::now());
    for caller in 0..CALLERS {
        callers.spawn(call(target.clone(), caller, begun + time));
    }
    let mut all = Measured::default();
    while let Some(one) = callers.join_next().await {
        let one = one.unwrap();
        all.times.extend(one.times);
        one.lost.into_iter().for_each(|(why, times)| *all.lost.entry(why).or_default() += times);
    }
    all.time = begun.elapsed();
    all
}

/// One caller: a delivery whose result it checks, the run of that delivery, and the health of the server.
async fn call(target: Target, caller: usize, end: Instant) -> Measured {
    let http = trunkline_tests::http();
    let (mut measured, mut number) = (Measured::default(), 0);
    // Half of the callers need a new connection for each call.
    let connection = if caller.is_multiple_of(2) { "keep-alive" } else { "close" };
    while Instant::now() < end {
        number += 1;
        let sent = format!("{caller}-{number}");
        let url = |path: &str| format!("{}{path}", target.server);
        let began = Instant::now();
        let delivery = http.post(url(&target.hook)).json(&json!({ "n": sent }));
        let run = match answer(delivery.header("connection", connection)).await {
            Ok(body) if body["output"]["n"] == *sent => Ok(body["run"].as_str().unwrap_or_default().to_owned()),
            Ok(body) => Err(format!("webhook: {body}")),
            Err(why) => Err(format!("webhook: {why}")),
        };
        measured.add(began, run.as_ref().map(drop).map_err(String::clone));
        if let Ok(run) = run {
            let began = Instant::now();
            let request = http.get(url(&format!("/rest/v1/runs/{run}"))).bearer_auth(&target.token);
            let read = answer(request.header("connection", connection)).await.map_err(|why| format!("run: {why}"));
            measured.add(began, read.map(drop));
        }
        let began = Instant::now();
        let health = answer(http.get(url("/health")).header("connection", connection))
            .await
            .map_err(|why| format!("health: {why}"));
        measured.add(began, health.map(drop));
        tokio::time::sleep(PAUSE).await;
    }
    measured
}

/// Returns the body of a response with status 200.
async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let words = |error: reqwest::Error| match (error.is_timeout(), error.is_connect()) {
        (true, _) => format!("no response within {PATIENCE:?}"),
        (_, true) => "the connection was refused".to_owned(),
        _ => "the connection was closed".to_owned(),
    };
    let response = request.timeout(PATIENCE).send().await.map_err(words)?;
    let status = response.status().as_u16();
    let body: Value = response.json().await.map_err(words)?;
    if status == 200 { Ok(body) } else { Err(format!("status {status}")) }
}

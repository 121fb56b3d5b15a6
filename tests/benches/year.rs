//! Measures a store with a year of nightly runs, 365 runs of 2,000 items: how long the lists take, and what callers of
//! a webhook notice while `serve` removes half of the runs.
//!
//! `cargo bench --profile dist -p trunkline-tests --bench year` prints JSON. No figure fails the benchmark because it
//! is slow.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use trunkline_core::{RunId, Timestamp};
use trunkline_engine::{EventLog, Flush, RunEvent};
use trunkline_store::{KeySource, Store};
use trunkline_tests::{
    Cli, http,
    serve::{Serve, save},
};

const RUNS: u64 = 365;
const ITEMS: u64 = 2_000;
/// How long the webhook is called at most while runs are removed.
const WATCHED: Duration = Duration::from_secs(600);
const DAY: u64 = 24 * 60 * 60;

fn event(event: Value) -> RunEvent {
    serde_json::from_value(event).unwrap()
}

/// Writes the runs through the writer of the store. Returns the id of one in the middle.
async fn fill(cli: &Cli) -> RunId {
    let store = Store::open(&cli.data(), KeySource::File(cli.key_file())).unwrap();
    let (now, flow) = (Timestamp::now(), json!({ "name": "nightly", "steps": [] }));
    let mut middle = None;
    for night in 0..RUNS {
        let at = now - Duration::from_secs((RUNS - night) * DAY);
        let run = RunId::new(at);
        let failed =
            json!({ "status": "failed", "error": { "kind": "not_found", "message": "there is no such asset" } });
        let started = json!({ "event": "started", "flow": "nightly", "version": "v1", "input": { "folder": night },
            "connections": { "source": "mediaflow", "target": "mediavalet" }, "trigger": "schedule", "at": at });
        store.accept(&run, "v1", &flow, event(started), Flush::Later).await.unwrap();
        for first in (0..ITEMS).step_by(50) {
            let item = |number: u64| {
                // Some are new each night, as in a folder that is worked on.
                let key = if number < 20 { 1_000_000 + night * 20 + number } else { number };
                event(json!({ "event": "item_finished", "step": "files", "key": key.to_string(),
                    "outcome": if number == 7 { failed.clone() } else { json!({ "status": "done" }) },
                    "once": format!("{night}-{number}"), "at": at + Duration::from_secs(number),
                    "note": { "label": format!("{number}.tif"), "result": format!("asset-{night}-{number}") } }))
            };
            store.append(&run, (first..first + 50).map(item).collect(), Flush::Later).await.unwrap();
        }
        let end =
            json!({ "event": "finished", "status": "partial", "error": null, "at": at + Duration::from_secs(3600) });
        store.append(&run, vec![event(end)], Flush::Now).await.unwrap();
        if night == RUNS / 2 {
            middle = Some(run);
        }
    }
    middle.unwrap()
}

/// Returns the value that this part of the values does not exceed.
fn percentile(values: &[f64], part: f64) -> f64 {
    let mut all = values.to_vec();
    all.sort_by(f64::total_cmp);
    all[((all.len() - 1) as f64 * part) as usize]
}

/// Returns the median of 21 durations, in milliseconds.
async fn median<T>(call: impl AsyncFn() -> T) -> f64 {
    let mut all = Vec::new();
    for _ in 0..21 {
        let since = Instant::now();
        call().await;
        all.push(since.elapsed().as_secs_f64() * 1e3);
    }
    percentile(&all, 0.5)
}

/// Calls the webhook, four calls at a time, for as long as `goes_on`. Returns the duration of each call, in
/// milliseconds.
async fn calls(url: &str, goes_on: impl AsyncFn(usize) -> bool) -> Vec<f64> {
    let (client, mut all) = (http(), Vec::new());
    while goes_on(all.len()).await {
        let call = async |_| {
            let since = Instant::now();
            let answer = client.post(url).json(&json!({})).send().await.unwrap();
            assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
            since.elapsed().as_secs_f64() * 1e3
        };
        all.extend(stream::iter(0..100).map(call).buffer_unordered(4).collect::<Vec<_>>().await);
    }
    all
}

/// Appends events to a run from this process, as a worker beside `serve` does, until the work has ended. Returns the result
/// of the work, and how long each append took until it was on disk, in milliseconds.
async fn beside_appends<T>(cli: &Cli, work: impl Future<Output = T>) -> (T, Vec<f64>) {
    let store = Store::open(&cli.data(), KeySource::File(cli.key_file())).unwrap();
    let (run, now, ended) = (RunId::new(Timestamp::now()), Timestamp::now(), Arc::new(AtomicBool::new(false)));
    let started = json!({ "event": "started", "flow": "beside", "version": "v2", "input": {}, "connections": {},
        "at": now });
    let flow = json!({ "name": "beside", "steps": [] });
    store.accept(&run, "v2", &flow, event(started), Flush::Now).await.unwrap();
    let until = ended.clone();
    let appends = tokio::spawn(async move {
        let mut all = Vec::new();
        while !until.load(Relaxed) {
            let item = json!({ "event": "item_finished", "step": "files", "key": all.len().to_string(),
                "outcome": { "status": "done" }, "at": now });
            let since = Instant::now();
            store.append(&run, vec![event(item)], Flush::Now).await.unwrap();
            all.push(since.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let end = json!({ "event": "finished", "status": "succeeded", "error": null, "at": now });
        store.append(&run, vec![event(end)], Flush::Now).await.unwrap();
        all
    });
    let done = work.await;
    ended.store(true, Relaxed);
    (done, appends.await.unwrap())
}

#[tokio::main]
async fn main() {
    let cli = Cli::default();
    let flow = json!({ "name": "call", "overlap": "parallel", "trigger": { "webhook": {} },
        "steps": [{ "id": "a", "set": { "b": 1 } }] });
    let webhook = save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned();
    cli.run(&["store", "retention", "forever"]).await.expect(0);
    let since = Instant::now();
    let run = fill(&cli).await;
    let filled = since.elapsed().as_secs_f64();
    let size = || fs::metadata(cli.data().join("trunkline.db")).unwrap().len() as f64 / 1e6;
    let mut figures = json!({ "fill_seconds": filled, "store_mb": size() });
    let run = run.as_str();
    for (name, arguments) in [
        ("runs", &["runs"][..]),
        ("runs_of_flow", &["runs", "--flow", "nightly", "--status", "partial", "--since", "200d"]),
        ("runs_search", &["runs", "--search", "nothing"]),
        ("runs_show", &["runs", "show", run]),
        ("runs_find_source", &["runs", "find", "1034"]),
        ("runs_find_target", &["runs", "find", "asset-200-34"]),
        ("runs_find_nothing", &["runs", "find", "asset-400-34"]),
        ("runs_items_failed", &["runs", "items", run, "--status", "failed"]),
        ("version", &["--version"]),
    ] {
        figures["command_ms"][name] = median(async || cli.run(arguments).await.expect(0)).await.into();
    }
    let serve = Serve::start(&cli).await;
    for (name, path) in [
        ("runs", "/rest/v1/runs".to_owned()),
        ("runs_of_flow", "/rest/v1/runs?flow=nightly&status=partial&since=200d".to_owned()),
        ("runs_search", "/rest/v1/runs?search=nothing".to_owned()),
        ("runs_show", format!("/rest/v1/runs/{run}")),
        ("runs_find_source", "/rest/v1/items?key=1034".to_owned()),
        ("runs_find_target", "/rest/v1/items?key=asset-200-34".to_owned()),
    ] {
        figures["http_ms"][name] = median(async || assert_eq!(serve.get(&path).await.0, 200)).await.into();
    }
    let url = serve.url(&webhook);
    calls(&url, async |made| made < 500).await;
    let (before, appends_before) = beside_appends(&cli, calls(&url, async |made| made < 5_000)).await;
    cli.run(&["store", "retention", "182d"]).await.expect(0);
    let since = Instant::now();
    let oldest = async || serve.get("/rest/v1/runs?flow=nightly&until=183d&limit=1").await.1["items"][0].is_null();
    let during = calls(&url, async |_| since.elapsed() < WATCHED && !oldest().await);
    let (during, appends_during) = beside_appends(&cli, during).await;
    for (what, name, all) in [
        ("webhook_ms", "before", before),
        ("webhook_ms", "during", during),
        ("append_ms", "before", appends_before),
        ("append_ms", "during", appends_during),
    ] {
        let of = |part| percentile(&all, part);
        figures[what][name] = json!({ "count": all.len(), "p50": of(0.5), "p99": of(0.99), "longest": of(1.0) });
    }
    eprintln!("{figures:#}");
    while !oldest().await {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    figures["prune_seconds"] = since.elapsed().as_secs_f64().into();
    drop(serve.stop().await);
    figures["store_mb_pruned"] = size().into();
    let since = Instant::now();
    cli.run(&["store", "compact"]).await.expect(0);
    figures["compact_seconds"] = since.elapsed().as_secs_f64().into();
    figures["store_mb_compacted"] = size().into();
    println!("{figures:#}");
}

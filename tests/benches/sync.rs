//! Measures a flow over a long list: items per second of a flow that reads pages of a hundred items and puts each item,
//! sixteen at a time, as a ratio to bare reqwest that makes the same calls; and the peak memory of the process.
//!
//! `cargo bench --profile dist -p trunkline-tests --bench sync`. No figure fails the benchmark because it is slow.
#![allow(clippy::unwrap_used)]

mod server;

use std::time::Instant;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use server::{ROUNDS, Rounds, serve_if_requested, server};
use trunkline_tests::{Cli, finish, http, library, memory, milliseconds as millis};

const ITEMS: u64 = 10_000;
const PAGE: u64 = 100;
const IN_FLIGHT: u64 = 16;

/// Returns the items per second with bare reqwest.
async fn bare(address: &str, items: u64) -> f64 {
    let (bare, since) = (http(), Instant::now());
    let pages = stream::iter((0..items).step_by(PAGE as usize)).then(async |from| {
        let page = bare.get(format!("{address}/items?offset={from}&count={PAGE}")).send().await.unwrap();
        let page: Value = page.json().await.unwrap();
        stream::iter(page["items"].as_array().unwrap().clone())
    });
    let put = async |item: Value| {
        let url = format!("{address}/items/{}", item["id"].as_str().unwrap());
        let answer = bare.put(url).json(&json!({ "name": item["name"] })).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["id"], 7);
    };
    pages.flatten().map(put).buffer_unordered(IN_FLIGHT as usize).collect::<Vec<_>>().await;
    items as f64 / since.elapsed().as_secs_f64()
}

/// Returns the items per second of a run in its own process, and the peak memory of that process in MB.
async fn run(address: &str, items: u64) -> (f64, f64) {
    let cli = Cli::default();
    let step = json!({ "id": "put", "action": "item.put", "connection": "library",
        "input": { "id": "{{ item.id }}", "name": "{{ item.name }}" } });
    let run = library::flow(&cli, address, PAGE, IN_FLIGHT, step).await;
    let child = cli.start(&run.iter().map(String::as_str).collect::<Vec<_>>());
    let peak = memory::peak(child.id().unwrap());
    let run = finish(child).await.expect(0).json();
    assert_eq!(run["ledger"]["all"]["done"], items, "{run}");
    let milliseconds = millis(&run["finished_at"]) - millis(&run["started_at"]);
    (items as f64 / milliseconds as f64 * 1e3, peak.await.unwrap() as f64 / 1024.0)
}

#[tokio::main]
async fn main() {
    serve_if_requested().await;
    let mut figures = json!({});
    for items in [ITEMS, 10 * ITEMS] {
        let server = server(items).await;
        let (mut rounds, mut peak) = (Rounds::default(), 0.0_f64);
        for _ in 0..if items == ITEMS { ROUNDS } else { 1 } {
            let bare = bare(&server.address, items).await;
            let (rate, needed) = run(&server.address, items).await;
            rounds.add(rate, bare);
            peak = peak.max(needed);
        }
        figures[format!("items_{items}")] = json!({ "ratio": rounds.ratio(), "a_second": rounds.ours(),
            "bare_a_second": rounds.bare(), "peak_mb": peak });
    }
    println!("{}", serde_json::to_string_pretty(&figures).unwrap_or_default());
}

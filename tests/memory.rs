//! Memory does not grow with the size of a file or of a list: a copy of gigabytes needs a few megabytes more than an
//! idle process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use serde_json::json;
use trunkline_tests::{Cli, finish, library, memory};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

/// The limit for a copy above an idle process, in KiB.
const ALLOWED: u64 = 20 * 1024;
/// The limit for a copy in all, in KiB.
const MOST: u64 = 128 * 1024;

/// Starts a library of `items` items.
async fn serve(items: u64) -> MockServer {
    let server = MockServer::builder().disable_request_recording().start().await;
    let answer = move |request: &Request| {
        let given = |name: &str| request.url.query_pairs().find(|(key, _)| key == name)?.1.parse::<u64>().ok();
        let body = match (given("offset"), given("count")) {
            (Some(from), Some(count)) => library::page(items, from, count),
            _ => library::item(1),
        };
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// Processes a list of `items` items in a process of its own, with a call for each item if `calls`. Returns the peak
/// memory in KiB.
async fn peak_of_list(items: u64, calls: bool) -> u64 {
    let (server, cli) = (serve(items).await, Cli::default());
    let step = match calls {
        false => json!({ "id": "noted", "set": { "name": "{{ item.name }}" } }),
        true => {
            json!({ "id": "got", "action": "item.get", "connection": "library", "input": { "id": "{{ item.id }}" } })
        }
    };
    let run = library::flow(&cli, &server.uri(), 500, 8, step).await;
    let mut child = cli.start(&run.iter().map(String::as_str).collect::<Vec<_>>());
    let (watch, mut stdout) = (memory::peak(child.id().unwrap()), child.stdout.take().unwrap());
    // Both pipes are read to their end.
    let mut stderr = child.stderr.take().unwrap();
    let quiet = tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    let mut output = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut output).await.unwrap();
    quiet.await.unwrap().unwrap();
    child.wait().await.unwrap();
    let run: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((&run["status"], &run["ledger"]["all"]["done"]), (&"succeeded".into(), &items.into()), "{run}");
    assert!(run["ledger"]["all"]["maybe_incomplete"].is_null(), "{run}");
    let peak = watch.await.unwrap();
    println!("{items} items{}: {peak} KiB", if calls { ", each with a call" } else { "" });
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_items_need_little_more_memory() {
    let (few, many) = (peak_of_list(2_000, false).await, peak_of_list(20_000, false).await);
    assert!(few > 1_000 && many < few + 8 * 1024, "{few} KiB, and {many} KiB for ten times as many");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: a hundred thousand items"]
async fn a_hundred_thousand_items_stay_under_128_mebibytes() {
    for calls in [false, true] {
        let peak = peak_of_list(100_000, calls).await;
        assert!(peak < 128 * 1024, "{peak} KiB");
    }
}

/// Returns a flow of about 4 MB: `steps` steps with a text beside each of them.
fn large_flow(steps: usize) -> String {
    let text = "x".repeat(4_000_000 / steps - 90);
    let step = |index: usize| json!({ "id": format!("s{index}"), "set": { "text": "{{ input.name }}", "before": "{{ input.name }}", "more": text } });
    let steps: Vec<_> = (0..steps).map(step).collect();
    json!({ "name": "large", "input": { "properties": { "name": { "type": "string" } } }, "steps": steps }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_flow_needs_a_small_multiple_of_its_size() {
    let cli = Cli::default();
    let small = json!({ "name": "small", "steps": [] }).to_string();
    let many_values =
        json!({ "name": "values", "tables": { "t": { "a": vec![json!({ "a": 1 }); 120_000] } }, "steps": [] });
    let mut idle = 0;
    for (name, text, allowed) in [
        ("small", small, u64::MAX),
        ("steps", large_flow(10_000), 30 * 1024),
        ("texts", large_flow(100), 30 * 1024),
        // Each object takes hundreds of bytes, whatever it is written as.
        ("values", many_values.to_string(), 30 * 1024),
    ] {
        let file = cli.write(&format!("{name}.json"), &text);
        let child = cli.start(&["flow", "validate", &file]);
        let watch = memory::peak(child.id().unwrap());
        finish(child).await.expect(0);
        let (peak, size) = (watch.await.unwrap(), text.len() as u64 / 1024);
        println!("{name}: {size} KiB, peak {peak} KiB, {} times the size", peak.saturating_sub(idle) / size.max(1));
        if name == "small" {
            idle = peak;
        }
        let above = peak.saturating_sub(idle);
        assert!(peak > 1_000 && above < allowed.saturating_mul(4), "{name}: {above} KiB above {idle} KiB");
    }
}

async fn copy(size: u64) {
    let (idle, _) = memory::peak_of_copies(0, 1).await;
    let (copying, answer) = memory::peak_of_copies(1, size).await;
    assert_eq!(answer.json()["ledger"]["files"]["done"], 1);
    println!("{size} bytes: idle {idle} KiB, copying {} KiB above", copying.saturating_sub(idle));
    assert!(idle > 1_000, "the idle process was not measured: {idle} KiB");
    assert!(copying < idle + ALLOWED && copying < MOST, "{copying} KiB instead of {idle} KiB when idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_is_copied_with_a_few_megabytes() {
    copy(1 << 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 10 GB on the disk for the staged blocks"]
async fn ten_gigabytes_are_copied_with_a_few_megabytes() {
    copy(10_000_000_000).await;
}

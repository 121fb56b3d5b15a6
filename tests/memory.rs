//! Memory does not grow with the size of a file: gigabytes go through a process that needs a few megabytes more than an idle
//! one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{Answer, Cli, finish, flow_input, sandbox, shipped_flow};

/// What a copy may need on top of an idle process, in KiB.
const ALLOWED: u64 = 64 * 1024;
/// What it may need in all, in KiB.
const MOST: u64 = 128 * 1024;

/// The most memory a process has had so far, in KiB; `None` when it has ended.
fn high_water_mark(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// A connector without a compiler for a list of so many items, and what each of them is like.
mod library {
    use serde_json::{Value, json};
    use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

    pub const CONNECTOR: &str =
        "name = 'library'\ntitle = 'Library'\nversion = '1.0'\n[settings]\nauthentication = 'none'\n";
    pub const ROWS: &str = r#"
[[operation]]
name = "item.list"
title = "Items"
route = "GET /items"
page = { kind = "offset", offset = "offset", count = "count", size = 500, items = "/items", total = "/total" }

[[operation]]
name = "item.get"
title = "Item"
route = "GET /items/{id}"
input.id = { type = "string" }
"#;

    fn item(id: u64) -> Value {
        json!({ "id": format!("item-{id:08}"), "name": format!("A picture of the harbour, number {id}"), "size": id * 1_000 })
    }

    pub async fn serve(items: u64) -> MockServer {
        let server = MockServer::builder().disable_request_recording().start().await;
        let answer = move |request: &Request| {
            let given = |name: &str| request.url.query_pairs().find(|(key, _)| key == name)?.1.parse::<u64>().ok();
            let body = match (given("offset"), given("count")) {
                (Some(from), Some(count)) => {
                    let page: Vec<_> = (from..items.min(from + count)).map(item).collect();
                    json!({ "items": page, "total": items })
                }
                _ => item(1),
            };
            ResponseTemplate::new(200).set_body_json(body)
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        server
    }
}

/// Goes over a list of so many items in a process of its own, if wanted with a call for each, and tells the most memory that
/// needed.
async fn peak_of_list(items: u64, calls: bool) -> u64 {
    let server = library::serve(items).await;
    let cli = Cli::default();
    let folder = cli.home().join("connectors");
    fs::create_dir_all(folder.join("library/operations")).unwrap();
    fs::write(folder.join("library/connector.toml"), library::CONNECTOR).unwrap();
    fs::write(folder.join("library/operations/items.toml"), library::ROWS).unwrap();
    let folder = folder.to_str().unwrap();
    let connection = serde_json::json!({ "name": "library", "connector": "library-v1.0", "endpointUrl": server.uri(),
        "allowPrivateNetwork": true });
    cli.pipe(&["--connectors", folder, "connection", "add", "-"], &connection.to_string()).await.expect(0);
    let step = match calls {
        false => serde_json::json!({ "id": "noted", "set": { "name": "{{ item.name }}" } }),
        true => {
            serde_json::json!({ "id": "got", "action": "item.get", "connection": "library", "input": { "id": "{{ item.id }}" } })
        }
    };
    let flow = serde_json::json!({ "name": "sync", "connections": { "library": "library" }, "steps": [{ "id": "all",
        "each": { "action": "item.list", "connection": "library", "input": {} }, "key": "{{ item.id }}", "concurrency": 8,
        "steps": [step] }] });
    let flow = cli.write("sync.json", &flow.to_string());
    let mut child = cli.start(&["--connectors", folder, "run", &flow, "--json"]);
    let (process, mut stdout) = (child.id().unwrap(), child.stdout.take().unwrap());
    let watch = tokio::spawn(async move {
        let mut peak = 0;
        while let Some(mark) = high_water_mark(process) {
            peak = mark.max(peak);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peak
    });
    // Both pipes are read, however long it takes.
    let mut stderr = child.stderr.take().unwrap();
    let quiet = tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    let mut told = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut told).await.unwrap();
    quiet.await.unwrap().unwrap();
    child.wait().await.unwrap();
    let run: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&run["status"], &run["ledger"]["all"]["done"]), (&"succeeded".into(), &items.into()), "{run}");
    assert!(run["ledger"]["all"]["maybe_incomplete"].is_null(), "{run}");
    let peak = watch.await.unwrap();
    println!("{items} items{}: {peak} KiB", if calls { ", each with a call" } else { "" });
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_items_need_hardly_more_memory() {
    let (few, many) = (peak_of_list(2_000, false).await, peak_of_list(20_000, false).await);
    assert!(few > 1_000 && many < few + 8 * 1024, "{few} KiB, and {many} KiB for ten times as many");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: a hundred thousand items"]
async fn a_hundred_thousand_items_stay_under_128_mebibytes() {
    for calls in [false, true] {
        let peak = peak_of_list(100_000, calls).await;
        assert!(peak < 128 * 1024, "{peak} KiB");
    }
}

/// Runs the shipped flow over a library of so many files of one size, and tells the most memory it needed.
async fn peak(files: u64, size: u64) -> (u64, Answer) {
    // So that also the shortest run can be looked at.
    let faults = Faults { latency: Duration::from_millis(if files == 0 { 100 } else { 0 }), ..Faults::default() };
    let options =
        Options { files, min_size: size, max_size: size, processing: Duration::ZERO, faults, ..Options::default() };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let child = cli.start(&["run", flow.to_str().unwrap(), "--input", &input, "--json"]);
    let process = child.id().unwrap();
    let watch = tokio::spawn(async move {
        let mut peak = 0;
        while let Some(mark) = high_water_mark(process) {
            peak = mark.max(peak);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        peak
    });
    let answer = finish(child).await.expect(0);
    let report = sandbox.report();
    assert_eq!((report.uploaded, report.bytes, report.digest_mismatches), (files, files * size, 0));
    sandbox.stop().await;
    (watch.await.unwrap(), answer)
}

async fn copy(size: u64) {
    let (idle, _) = peak(0, 1).await;
    let (copying, answer) = peak(1, size).await;
    assert_eq!(answer.json()["ledger"]["files"]["done"], 1);
    println!("{size} bytes: idle {idle} KiB, copying {} KiB above", copying.saturating_sub(idle));
    assert!(idle > 1_000, "an idle process was measured: {idle} KiB");
    assert!(copying < idle + ALLOWED && copying < MOST, "{copying} KiB instead of {idle} KiB when idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_through_a_few_megabytes() {
    copy(1 << 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 10 GB on the disk for the staged blocks"]
async fn ten_gigabytes_go_through_a_few_megabytes() {
    copy(10_000_000_000).await;
}

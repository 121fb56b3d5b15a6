//! What services and senders of webhooks can make of the memory of `trunkline serve`: small texts of very many values,
//! many at once, and runs that wait with a large input.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use trunkline_tests::{
    Cli, memory,
    serve::{Serve, save},
    until,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

/// The limit for the server, in KiB.
const MOST: u64 = 512 * 1024;
/// One megabyte of JSON, the most that a body may have.
const BODY: usize = (1 << 20) - 64;

const ROWS: &str = r#"
[[operation]]
name = "bomb.get"
title = "A response of many values"
route = "GET /{kind}"
input.kind = { type = "string" }
"#;

/// Returns a list of the same item, as JSON of at most this many bytes.
fn dense(item: &str, bytes: usize) -> String {
    format!("[{}{item}]", format!("{item},").repeat(bytes / (item.len() + 1) - 1))
}

/// Starts a service whose responses are dense, with a connection to it.
async fn service(cli: &Cli) -> (MockServer, String) {
    let server = MockServer::builder().disable_request_recording().start().await;
    for (kind, body) in [
        ("objects", dense(r#"{"a":0}"#, 12 << 20)),
        ("lists", dense("[0]", 12 << 20)),
        ("deep", "[".repeat(12 << 20)),
        ("numbers", dense("0", BODY)),
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        Mock::given(path(format!("/{kind}"))).respond_with(answer).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    let folder = cli.home().join("connectors");
    fs::create_dir_all(folder.join("bombs/operations")).unwrap();
    let connector = "name = 'bombs'\ntitle = 'Bombs'\nversion = '1.0'\n[settings]\nauthentication = 'none'\n";
    fs::write(folder.join("bombs/connector.toml"), connector).unwrap();
    fs::write(folder.join("bombs/operations/bombs.toml"), ROWS).unwrap();
    let folder = folder.to_str().unwrap().to_owned();
    let connection = json!({ "name": "bombs", "connector": "bombs-v1.0", "endpointUrl": server.uri(),
        "allowPrivateNetwork": true, "requestsAtOnce": 100 });
    cli.pipe(&["--connectors", &folder, "connection", "add", "-"], &connection.to_string()).await.expect(0);
    (server, folder)
}

/// Saves a flow of these steps that a webhook starts. Returns the path of the webhook.
async fn hook(cli: &Cli, folder: &str, name: &str, answer: &str, steps: Value) -> String {
    let mut flow = json!({ "name": name, "overlap": "parallel", "trigger": { "webhook": { "answer": answer } },
        "steps": steps });
    let mut consent = vec!["--activate"];
    if steps[0].get("connection").is_some() {
        flow["connections"] = json!({ "bombs": "bombs" });
        consent.extend(["--connection", "bombs=bombs"]);
    }
    let file = cli.write(&format!("{name}.json"), &flow.to_string());
    let add = [&["--connectors", folder, "flow", "add", &file, "--json"][..], &consent].concat();
    let saved = cli.run(&add).await.expect(0).json();
    saved["webhook"].as_str().unwrap().to_owned()
}

/// Calls of a healthy flow, one after the other, until they are stopped.
struct Healthy {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Vec<(u16, Duration)>>,
}

impl Healthy {
    fn start(serve: &Serve, address: &str) -> Healthy {
        let (http, url, stop) = (serve.http.clone(), serve.url(address), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let calls = tokio::spawn(async move {
            let mut calls = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let began = Instant::now();
                let sent = http.post(&url).json(&json!({ "id": calls.len() })).send().await;
                calls.push((sent.map_or(0, |answer| answer.status().as_u16()), began.elapsed()));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            calls
        });
        Healthy { stop, calls }
    }

    /// Returns the number of calls and the slowest of the fastest 99 %, after all of them have succeeded.
    async fn end(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let calls = self.calls.await.unwrap();
        assert!(calls.iter().all(|(status, _)| *status == 200), "{calls:?}");
        let mut times: Vec<_> = calls.iter().map(|(_, took)| *took).collect();
        times.sort();
        (times.len(), times[(times.len() * 99).div_ceil(100) - 1])
    }
}

/// Sends bodies to a webhook, all at once. Returns the statuses of the responses.
async fn send(serve: &Serve, address: &str, bodies: Vec<String>) -> Vec<u16> {
    let one = |body: String| {
        let request = serve.http.post(serve.url(address)).header("content-type", "application/json").body(body);
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    };
    let mut statuses = Vec::new();
    for sent in bodies.into_iter().map(one).collect::<Vec<_>>() {
        statuses.push(sent.await.unwrap());
    }
    statuses
}

async fn active(serve: &Serve) -> Vec<Value> {
    serve.runs().await.into_iter().filter(|run| run["status"] == "running").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_responses_and_bodies_stay_under_512_mebibytes_and_disturb_no_healthy_call() {
    let cli = Cli::default();
    let (_service, folder) = service(&cli).await;
    let call = json!([{ "id": "got", "action": "bomb.get", "connection": "bombs", "input": { "kind": "{{ input.body.kind }}" } }]);
    let bombs = hook(&cli, &folder, "bomb", "run", call).await;
    let bodies =
        hook(&cli, &folder, "body", "run", json!([{ "id": "got", "set": { "n": "{{ input.body | length }}" } }])).await;
    let fine =
        hook(&cli, &folder, "fine", "result", json!([{ "id": "got", "set": { "id": "{{ input.body.id }}" } }])).await;
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--connectors", &folder]).await;
    let process = serve.process.id().unwrap();
    let alone = Healthy::start(&serve, &fine);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (calls, usual) = alone.end().await;
    println!("idle: {:?} KiB; {calls} healthy calls, p99 {usual:?}", memory::status(process, "VmHWM").unwrap());

    let beside = Healthy::start(&serve, &fine);
    let kinds = ["objects", "lists", "deep", "numbers"];
    let all = (0..24).map(|number| json!({ "kind": kinds[number % 4] }).to_string()).collect();
    assert!(send(&serve, &bombs, all).await.iter().all(|status| *status == 202));
    until("the end of the runs", async || active(&serve).await.is_empty().then_some(())).await;
    let (calls, p99) = beside.end().await;
    println!("24 responses: {:?} KiB; {calls} healthy calls, p99 {p99:?}", memory::status(process, "VmHWM").unwrap());
    let runs = serve.runs().await;
    let failed: Vec<_> = runs.iter().filter(|run| run["status"] == "failed").collect();
    assert_eq!(failed.len(), 18, "all but the numbers");

    let beside = Healthy::start(&serve, &fine);
    let all: Vec<_> = (0..64).map(|number| dense(["0", r#"{"a":0}"#, "[0]", "[]"][number % 4], BODY)).collect();
    let statuses = send(&serve, &bodies, all).await;
    println!("statuses: {statuses:?}");
    assert!(statuses.iter().all(|status| [202, 413, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&202) && statuses.contains(&413), "{statuses:?}");
    until("the end of the runs", async || active(&serve).await.is_empty().then_some(())).await;
    let (calls, p99) = beside.end().await;
    let peak = memory::status(process, "VmHWM").unwrap();
    println!("64 bodies: {peak} KiB; {calls} healthy calls, p99 {p99:?}");
    assert!(peak < MOST, "{peak} KiB");
    assert!(serve.runs().await.iter().filter(|run| run["flow"] == "body").all(|run| run["status"] == "succeeded"));
    serve.stop().await.expect(0);
}

/// Starts `runs` runs that wait for a signal with an input of a megabyte, restarts the server after a crash, and returns
/// its peak memory in KiB and that of the resting server. The first run is sent its signal.
async fn waiting(runs: usize) -> (u64, u64) {
    let cli = Cli::default();
    let wait =
        json!([{ "id": "ok", "wait": { "signal": "go" } }, { "id": "n", "set": { "n": "{{ input.list | length }}" } }]);
    save(&cli, &json!({ "name": "waits", "overlap": "parallel", "steps": wait })).await;
    let serve = Serve::start(&cli).await;
    let input: Value = serde_json::from_str(&format!("{{\"list\":{}}}", dense("0", BODY))).unwrap();
    let mut all = Vec::new();
    for _ in 0..runs {
        all.push(serve.run("waits", &input).await);
    }
    serve.kill().await;
    let serve = Serve::start(&cli).await;
    let process = serve.process.id().unwrap();
    // Each run is resumed, and suspended soon after.
    tokio::time::sleep(Duration::from_secs(5 + runs as u64 / 2)).await;
    assert_eq!(active(&serve).await.len(), runs);
    let (status, sent) = serve.post(&format!("/rest/v1/runs/{}/signals/go", all[0]), &json!({ "x": 1 })).await;
    assert_eq!(status, 202, "{sent}");
    assert_eq!(serve.ended(&all[0]).await["status"], "succeeded");
    let (status, _) = serve.post(&format!("/rest/v1/runs/{}/cancel", all[runs - 1]), &json!({})).await;
    assert_eq!((status, &serve.ended(&all[runs - 1]).await["status"]), (202, &json!("cancelled")));
    // The allocator returns freed memory after some seconds.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let resting = memory::status(process, "VmRSS").unwrap();
    let peak = memory::status(process, "VmHWM").unwrap();
    println!("{runs} waiting runs: peak {peak} KiB, resting {resting} KiB");
    serve.stop().await.expect(0);
    (peak, resting)
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_runs_that_wait_with_a_megabyte_each_keep_nothing_in_memory_across_a_restart() {
    let (few, many) = (waiting(4).await, waiting(40).await);
    assert!(few.0 > 10_000 && many.0 < MOST, "{many:?}");
    assert!(many.1 < few.1 + 96 * 1024, "resting with 4: {} KiB, with 40: {} KiB", few.1, many.1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: a thousand runs"]
async fn a_thousand_waiting_runs_need_no_more_memory_than_forty() {
    let peak = waiting(1000).await;
    assert!(peak.0 < MOST, "{peak:?}");
}

//! Runs of a server: started, waiting, stopped and resumed.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{BOUND, Cli, few, flow_input, milliseconds, sandbox, shipped_flow, until};

use super::{Serve, save};

/// Returns a flow that makes a call for each number of its input.
pub(crate) fn slow(name: &str, overlap: Value) -> Value {
    json!({
        "name": name, "connections": { "dam": "mediavalet" }, "overlap": overlap,
        "input": { "type": "object", "properties": { "calls": { "type": "array" } }, "required": ["calls"] },
        "steps": [{ "id": "all", "each": "{{ input.calls }}", "steps": [
            { "id": "who", "action": "user.current", "connection": "dam" }] }]
    })
}

/// Returns an input for many calls.
pub(crate) fn long() -> Value {
    json!({ "calls": [1, 2, 3, 4, 5, 6, 7, 8] })
}

/// Returns an input for one call.
pub(crate) fn short() -> Value {
    json!({ "calls": [1] })
}

pub(crate) fn slowly(latency: u64) -> Options {
    Options { faults: Faults { latency: Duration::from_millis(latency), ..Faults::default() }, ..few(1) }
}

async fn status(serve: &Serve, run: &str) -> Value {
    serve.get(&format!("/rest/v1/runs/{run}")).await.1["status"].clone()
}

#[tokio::test]
async fn a_run_is_started_and_shown() {
    let cli = Cli::default();
    let sandbox = sandbox(few(5)).await;
    cli.connect(&sandbox).await;
    let file = shipped_flow().to_string_lossy().into_owned();
    cli.run(&[&["flow", "add", &file][..], &BOUND].concat()).await.expect(0);
    let serve = Serve::start(&cli).await;
    let (_, flows) = serve.get("/rest/v1/flows").await;
    let name = flows["items"][0]["name"].as_str().unwrap();
    let run = serve.run(name, &flow_input(&sandbox)).await;
    let ended = serve.ended(&run[..6]).await;
    assert_eq!((&ended["status"], &ended["id"]), (&json!("succeeded"), &json!(run)), "{ended}");
    assert!(sandbox.report().uploaded > 0);
    let (_, runs) = serve.get("/rest/v1/runs").await;
    let runs = &runs["items"];
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["status"]), (1, &json!("succeeded")));
    assert_eq!(serve.get("/rest/v1/runs?status=failed&since=1h").await.1["items"], json!([]));
    let (status, refused) = serve.get("/rest/v1/runs?flows=copy").await;
    assert!(status == 400 && refused["detail"].as_str().unwrap().contains("no parameter `flows`"), "{refused}");
    let (_, items) = serve.get(&format!("/rest/v1/runs/{run}/items?status=done&step=files")).await;
    assert_eq!((items["items"].as_array().unwrap().len(), &items["next"]), (5, &Value::Null), "{items}");
    assert_eq!((&items["items"][0]["step"], &items["items"][0]["status"]), (&json!("files"), &json!("done")));
    let path = format!("/rest/v1/runs/{run}/items?limit=2");
    let (mut paged, mut page) = (Vec::new(), serve.get(&path).await.1);
    while let Some(next) = page["next"].as_str() {
        paged.extend(page["items"].as_array().unwrap().clone());
        page = serve.get(&format!("{path}&cursor={next}")).await.1;
    }
    paged.extend(page["items"].as_array().unwrap().clone());
    assert_eq!(json!(paged), items["items"], "the same items, page by page");
    for wrong in ["status=odd", "cursor=x", "state=done", "limit=0", "limit=501", "limit=x", "from=x"] {
        assert_eq!(serve.get(&format!("/rest/v1/runs/{run}/items?{wrong}")).await.0, 400, "{wrong}");
    }
    let (status, reply) = serve.post(&format!("/rest/v1/runs/{run}/cancel"), &json!({})).await;
    assert_eq!((status, &reply["kind"]), (409, &json!("conflict")));
    let (_, reply) = serve.post(&format!("/rest/v1/flows/{name}/runs"), &json!({ "input": { "folder": "x" } })).await;
    assert_eq!(reply["kind"], "invalid_input", "{reply}");
    sandbox.stop().await;
}

#[tokio::test]
async fn runs_of_a_flow_overlap_as_configured() {
    let cli = Cli::default();
    let sandbox = sandbox(slowly(200)).await;
    cli.connect(&sandbox).await;
    for overlap in ["queue", "skip", "parallel"] {
        save(&cli, &slow(overlap, json!(overlap))).await;
    }
    let serve = Serve::start(&cli).await;
    // In the order of their start, however long each takes.
    let (first, second) = (serve.run("queue", &long()).await, serve.run("queue", &short()).await);
    assert_eq!(serve.ended(&second).await["status"], "succeeded");
    assert_eq!(status(&serve, &first).await, "succeeded", "the second waited for the first");
    // One run, or none.
    let first = serve.run("skip", &long()).await;
    let (refused, reply) = serve.post("/rest/v1/flows/skip/runs", &json!({ "input": short() })).await;
    assert_eq!((refused, &reply["kind"]), (409, &json!("conflict")));
    serve.ended(&first).await;
    serve.run("skip", &short()).await;
    assert_eq!(serve.runs().await.iter().filter(|run| run["flow"] == "skip").count(), 2);
    // All at once.
    let (first, second) = (serve.run("parallel", &long()).await, serve.run("parallel", &short()).await);
    assert_eq!(serve.ended(&second).await["status"], "succeeded");
    assert_eq!(status(&serve, &first).await, "running", "the second did not wait");
    assert_eq!(serve.ended(&first).await["status"], "succeeded");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_queued_run_survives_a_kill_and_can_be_cancelled() {
    let cli = Cli::default();
    let sandbox = sandbox(slowly(300)).await;
    cli.connect(&sandbox).await;
    save(&cli, &slow("queue", json!("queue"))).await;
    let serve = Serve::start(&cli).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(serve.run("queue", &short()).await);
    }
    let (status, _) = serve.post(&format!("/rest/v1/runs/{}/cancel", runs[3]), &json!({})).await;
    assert_eq!((status, &serve.ended(&runs[3]).await["status"]), (202, &json!("cancelled")));
    serve.kill().await;
    let serve = Serve::start(&cli).await;
    let mut ends = Vec::new();
    for run in &runs[..3] {
        ends.push(milliseconds(&serve.ended(run).await["finished_at"]));
    }
    assert!(ends.is_sorted(), "{ends:?}");
    assert_eq!(serve.ended(&runs[3]).await["status"], "cancelled");
    sandbox.stop().await;
}

/// Stops the server in the middle of uploads, several times: every step ends, and the next server continues.
async fn stopped(stops: u64, files: u64) {
    let cli = Cli::default();
    let options = Options { faults: Faults { latency: Duration::from_millis(10), ..Faults::default() }, ..few(files) };
    let sandbox = sandbox(options).await;
    cli.connect(&sandbox).await;
    let file = shipped_flow().to_string_lossy().into_owned();
    let added = cli.run(&[&["flow", "add", &file, "--json"][..], &BOUND].concat()).await.expect(0).json();
    let name = added["added"]["name"].clone();
    let mut serve = Serve::start(&cli).await;
    let run = serve.run(name.as_str().unwrap(), &flow_input(&sandbox)).await;
    for stop in 1..=stops {
        let before = sandbox.report().uploaded;
        until("a few uploads", async || (sandbox.report().uploaded >= before + 5).then_some(())).await;
        serve.stop().await.expect(0);
        let report = sandbox.report();
        assert_eq!(report.unfinished_uploads, 0, "stop {stop}: uploads in flight end: {report:?}");
        let listed = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
        assert_eq!(listed[0]["status"], "running", "it can be resumed");
        serve = Serve::start(&cli).await;
    }
    let ended = serve.ended(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let report = sandbox.report();
    assert_eq!((report.duplicates, report.digest_mismatches, report.unfinished_uploads), (0, 0, 0), "{report:?}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_server_stops_cleanly_under_load_and_the_next_one_continues() {
    stopped(3, 60).await;
}

#[tokio::test]
#[ignore = "takes minutes: a hundred stops"]
async fn a_server_that_is_stopped_a_hundred_times_loses_and_doubles_nothing() {
    stopped(100, 1500).await;
}

//! Measures the HTTP API beside a store of 1,000 flows and 500 connections: the time from the start of `serve` until it
//! is ready, the duration of each read, and the rate of `GET /rest/v1/runs/{id}` as a ratio to a bare axum route that
//! responds with the same bytes.
//!
//! `cargo bench --profile dist -p trunkline-tests --bench api` prints JSON. No figure fails the benchmark because it is
//! slow.
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get};
use serde_json::{Value, json};
use server::{ROUNDS, Rounds, median, rate};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use trunkline_tests::{Cli, http, serve::Serve};

const FLOWS: usize = 1_000;
const CONNECTIONS: usize = 500;
/// The items of the run that is read.
const ITEMS: usize = 50;
const CALLS: usize = 10_000;
const IN_FLIGHT: usize = 16;

/// The argument that makes this program the bare server. The next argument is the body of its responses.
const BARE: &str = "--bare";

async fn bare(body: String) {
    let body: &'static str = body.leak();
    let route = get(async move || ([(header::CONTENT_TYPE, "application/json")], body));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/rest/v1/runs/{run}", route)).await.unwrap();
}

fn flow(number: usize) -> Value {
    json!({ "name": format!("flow-{number:04}"), "overlap": "parallel",
        "trigger": { "webhook": {} },
        "steps": [{ "id": "files", "each": (0..ITEMS).collect::<Vec<_>>(), "key": "{{ item }}",
            "steps": [{ "id": "kept", "set": { "number": "{{ item }}" } }] }] })
}

/// Fills the store through the API, and returns the id of a run that has ended.
async fn fill(cli: &Cli) -> String {
    let connection = |number: usize| {
        json!({ "name": format!("dam-{number:03}"), "connector": "http-v1.0", "authentication": "none",
            "endpointUrl": format!("https://dam-{number:03}.example.com") })
    };
    let all: Vec<_> = (0..CONNECTIONS).map(connection).collect();
    cli.pipe(&["connection", "add", "-"], &json!(all).to_string()).await.expect(0);
    let serve = Serve::start(cli).await;
    for number in 0..FLOWS {
        let (status, answer) =
            serve.post("/rest/v1/flows", &json!({ "flow": { "document": flow(number) }, "active": true })).await;
        assert!(matches!(status, 200 | 201), "{answer}");
    }
    let run = serve.run("flow-0500", &json!({})).await;
    assert_eq!(serve.ended(&run).await["status"], "succeeded");
    serve.stop().await.expect(0);
    run
}

#[tokio::main]
async fn main() {
    if let Some(body) = std::env::args().skip_while(|argument| argument != BARE).nth(1) {
        return bare(body).await;
    }
    let cli = Cli::default();
    let run = fill(&cli).await;
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        let serve = Serve::start(&cli).await;
        while serve.health().await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        starts.push(since.elapsed().as_secs_f64());
        serve.stop().await.expect(0);
    }
    let mut figures = json!({ "ready_seconds": median(starts.into_iter()) });

    let serve = Serve::start(&cli).await;
    let of_run = format!("/rest/v1/runs/{run}");
    for path in [
        "/rest/v1/connectors",
        "/rest/v1/connectors/mediavalet",
        "/rest/v1/actions",
        "/rest/v1/actions?connector=mediavalet&search=upload",
        "/rest/v1/actions/mediavalet.asset.upload",
        "/rest/v1/filters",
        "/rest/v1/connections",
        "/rest/v1/connections/dam-250",
        "/rest/v1/flows",
        "/rest/v1/flows/flow-0500",
        "/rest/v1/runs",
        &of_run,
        &format!("{of_run}/items"),
        &format!("{of_run}/timeline"),
        &format!("{of_run}/log"),
    ] {
        let mut all = Vec::new();
        for _ in 0..201 {
            let since = Instant::now();
            let answer = serve.http.get(serve.url(path)).bearer_auth(&serve.token).send().await.unwrap();
            let (status, body) = (answer.status(), answer.bytes().await.unwrap());
            all.push(since.elapsed().as_secs_f64() * 1e3);
            assert_eq!(status, 200, "{path}: {body:?}");
        }
        figures["p50_ms"][path.replace(&run, "{run}")] = median(all.into_iter()).into();
    }

    let body = serve.http.get(serve.url(&of_run)).bearer_auth(&serve.token).send().await.unwrap().text().await.unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process = command.args([BARE, &body]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let bare = BufReader::new(process.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let client = http();
    let call = async |base: &str| {
        let answer = client.get(format!("{base}{of_run}")).bearer_auth(&serve.token).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap().len(), body.len());
    };
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let theirs = rate(CALLS, IN_FLIGHT, async |_| call(&bare).await).await;
        rounds.add(rate(CALLS, IN_FLIGHT, async |_| call(&serve.address).await).await, theirs);
    }
    figures["get_run"] =
        json!({ "bytes": body.len(), "ratio_to_bare_axum": rounds.ratio(), "a_second": rounds.ours() });
    println!("{figures:#}");
    serve.stop().await.expect(0);
}

//! Throttling of several runs at a time, and TLS faults, from the flow to the connection.
#![allow(clippy::unwrap_used)]

mod service;

use std::{collections::BTreeMap, process::Stdio, sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};
use trunkline::Runtime;
use trunkline_engine::RunStatus;
use trunkline_flow::Flow;
use trunkline_tests::{Cli, finish};

use service::{Service, Tls};

fn connection(name: &str, base: &str) -> Value {
    json!({ "name": name, "connector": "http-v1.0", "endpointUrl": base, "allowPrivateNetwork": true,
        "authentication": "bearer", "token": "t" })
}

/// Returns a flow that makes a call for each number of its input.
fn flow(run: usize) -> Flow {
    let call = json!({ "path": format!("/{run}/{{n}}"), "parameters": { "n": "{{ item }}" } });
    let steps = json!([{ "id": "get", "action": "request", "connection": "service", "input": call }]);
    let each =
        json!({ "id": "all", "each": "{{ input.numbers }}", "key": "{{ item }}", "concurrency": 16, "steps": steps });
    Flow::from_value(json!({ "name": "calls", "connections": { "service": "http" }, "steps": [each] })).unwrap()
}

async fn calls(runtime: &Runtime, run: usize, count: usize) {
    let slots = BTreeMap::from([("service".to_owned(), "service".to_owned())]);
    let numbers: Vec<_> = (0..count).collect();
    let running = runtime.start(&flow(run), json!({ "numbers": numbers }), slots).await.unwrap();
    let done = running.wait().await.unwrap();
    assert_eq!((done.status, done.ledger[&"all".into()].done), (RunStatus::Succeeded, count as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_runs_share_the_rate_of_their_connection_and_a_fourth_is_not_starved() {
    const CALLS: usize = 400;
    let service = Service::start(100).await;
    let cli = Cli::default();
    let runtime = cli.runtime();
    runtime.add_connection(connection("service", &service.base)).await.unwrap();
    let runs = join_all((0..3).map(|run| calls(&runtime, run, CALLS)));
    let single = async {
        // In the middle: calls of the other runs are queued.
        while service.seen.lock().unwrap().taken.len() < CALLS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = service.seen.lock().unwrap().taken.len();
        runtime.call("http.request", "service", json!({ "path": "/single" })).await.unwrap();
        let seen = service.seen.lock().unwrap();
        let waited = seen.taken[before..].iter().take_while(|path| *path != "/single").count();
        // The calls in flight, and one of each run. A single queue would have 48 calls before it.
        assert!(waited <= 16 + 4, "{waited} calls were before it");
        waited
    };
    let (_, waited) = tokio::join!(runs, single);
    let seen = service.seen.lock().unwrap();
    assert_eq!(seen.taken.len(), 3 * CALLS + 1);
    println!(
        "{} calls of 3 runs, {} throttled, {} too early, at most {} at once; {waited} were before the single call",
        seen.taken.len(),
        seen.throttled,
        seen.too_early,
        seen.most_under_way
    );
    assert!(seen.throttled > 0, "the service throttled no call");
    assert!(seen.throttled <= seen.taken.len() / 50, "{} throttled", seen.throttled);
    assert_eq!(seen.too_early, 0);
    assert!(seen.most_under_way <= 16, "{}", seen.most_under_way);
}

/// The sabotage twin: each run has its own connection.
#[tokio::test(flavor = "multi_thread")]
async fn runs_with_their_own_connections_have_more_calls_in_flight() {
    let service = Service::start(100).await;
    let cli = Cli::default();
    let runtime = cli.runtime();
    for name in ["one", "two", "three"] {
        runtime.add_connection(connection(name, &service.base)).await.unwrap();
    }
    let run = async |index: usize, name: &str| {
        let slots = BTreeMap::from([("service".to_owned(), name.to_owned())]);
        let numbers: Vec<_> = (0..150).collect();
        let running = runtime.start(&flow(index), json!({ "numbers": numbers }), slots).await.unwrap();
        assert_eq!(running.wait().await.unwrap().status, RunStatus::Succeeded);
    };
    tokio::join!(run(0, "one"), run(1, "two"), run(2, "three"));
    let seen = service.seen.lock().unwrap();
    println!("{} throttled, {} too early, {} at once", seen.throttled, seen.too_early, seen.most_under_way);
    assert!(seen.most_under_way > 16, "{}", seen.most_under_way);
}

#[tokio::test]
async fn a_bad_certificate_is_not_retried() {
    let cli = Cli::default();
    let tls = Tls::start("other.example").await;
    let authority = cli.write("authority.pem", &tls.authority);
    cli.add(&connection("service", &format!("https://localhost:{}", tls.port))).await;
    for (trusted, message) in [(true, "for another name"), (false, "not trusted here")] {
        let before = tls.knocks.load(Ordering::SeqCst);
        let mut command =
            cli.command(&["call", "http.request", "--connection", "service", "--input", "{\"path\":\"/a\"}", "--json"]);
        command.env_remove("SSL_CERT_DIR").stderr(Stdio::piped());
        if trusted {
            command.env("SSL_CERT_FILE", &authority);
        }
        let answer = finish(command.spawn().unwrap()).await;
        let error = answer.error();
        assert_eq!(error["kind"], "unavailable", "{error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        assert_eq!(tls.knocks.load(Ordering::SeqCst) - before, 1, "{error}");
    }
}

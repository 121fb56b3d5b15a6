//! A run that was active in three crashes is suspended and reported. Other runs go on.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use trunkline_tests::{Cli, until};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::{Serve, save};

/// A home with a flow for each path of a service. `/never` has no response within the time of a test. `/once` has none for
/// the first request only.
async fn home() -> (Cli, MockServer) {
    let (cli, service) = (Cli::default(), MockServer::start().await);
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    Mock::given(path("/never")).respond_with(late.clone()).mount(&service).await;
    Mock::given(path("/once")).respond_with(late).up_to_n_times(1).mount(&service).await;
    let soon = ResponseTemplate::new(200).set_body_json(json!({}));
    Mock::given(path("/once")).respond_with(soon).mount(&service).await;
    let document = json!({ "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": service.uri(), "authentication": "none" });
    cli.add(&document).await;
    for name in ["never", "once"] {
        let input = json!({ "path": format!("/{name}") });
        let steps = json!([{ "id": "get", "action": "request", "connection": "shop", "input": input }]);
        save(&cli, &json!({ "name": name, "connections": { "shop": "http" }, "timeout": "1h", "steps": steps })).await;
    }
    (cli, service)
}

/// Returns a server once it calls a path of the service for the `count`th time.
async fn calling(cli: &Cli, service: &MockServer, wanted: &str, count: usize) -> Serve {
    let log = fs::File::options().create(true).append(true).open(cli.home().join("log")).unwrap();
    let serve = Serve::logging(cli, &["--listen", "127.0.0.1:0"], log).await;
    calls(service, wanted, count).await;
    serve
}

/// Waits until the service was called `count` times.
async fn calls(service: &MockServer, wanted: &str, count: usize) {
    until("the call", async || {
        let requests = service.received_requests().await.unwrap();
        (requests.iter().filter(|one| one.url.path() == wanted).count() >= count).then_some(())
    })
    .await;
}

async fn shown(serve: &Serve, run: &str) -> Value {
    serve.get(&format!("/rest/v1/runs/{run}")).await.1
}

/// The number of runs that `/health` reports as suspended.
async fn suspended(serve: &Serve) -> Value {
    let (status, health) = serve.health().await;
    assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
    health["suspended_runs"].clone()
}

#[tokio::test]
async fn a_run_that_was_active_in_three_crashes_is_suspended_and_others_go_on() {
    let (cli, service) = home().await;
    let serve = Serve::start(&cli).await;
    let (bad, neighbour) = (serve.run("never", &json!({})).await, serve.run("once", &json!({})).await);
    calls(&service, "/once", 1).await;
    // Both have recorded nothing for longer than the engine waits before it marks a run.
    tokio::time::sleep(Duration::from_millis(500)).await;
    serve.kill().await;
    // These lives end as soon as the run makes its call.
    for life in [2, 3] {
        let serve = calling(&cli, &service, "/never", life).await;
        assert_eq!((&shown(&serve, &bad).await["status"], suspended(&serve).await), (&json!("running"), Value::Null));
        serve.kill().await;
    }
    let log = fs::File::options().append(true).open(cli.home().join("log")).unwrap();
    let serve = Serve::logging(&cli, &["--listen", "127.0.0.1:0"], log).await;
    let ended = serve.ended(&bad).await;
    assert_eq!((&ended["status"], &ended["error"]["kind"]), (&json!("failed"), &json!("internal")), "{ended}");
    assert_eq!(serve.ended(&neighbour).await["status"], "succeeded");
    until("the report", async || (suspended(&serve).await == 1).then_some(())).await;
    let runs = cli.run(&["runs", "show", &bad]).await.expect(0).stdout;
    for text in [&runs, &fs::read_to_string(cli.home().join("log")).unwrap()] {
        assert!(text.contains("active in the last 3 crashes"), "{text}");
    }
    assert!(runs.contains("runs resume"), "{runs}");
    // The next process reports it, too, and does not resume it.
    serve.stop().await;
    let serve = Serve::start(&cli).await;
    assert_eq!((&shown(&serve, &bad).await["status"], suspended(&serve).await), (&json!("failed"), json!(1)));
    // An operator does.
    let (status, body) = serve.post(&format!("/rest/v1/runs/{bad}/resume"), &json!({})).await;
    assert!((200..300).contains(&status), "{status} {body}");
    calls(&service, "/never", 4).await;
    until("the end of the report", async || suspended(&serve).await.is_null().then_some(())).await;
}

/// The sabotage twin: without the marks, the run is resumed every time.
#[tokio::test]
async fn without_its_marks_a_run_is_resumed_after_every_crash() {
    let (cli, service) = home().await;
    let serve = Serve::start(&cli).await;
    serve.run("never", &json!({})).await;
    calls(&service, "/never", 1).await;
    serve.kill().await;
    for life in 2..=5 {
        calling(&cli, &service, "/never", life).await.kill().await;
        for file in fs::read_dir(cli.data().join("runs")).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "active") {
                fs::remove_file(file).unwrap();
            }
        }
    }
}

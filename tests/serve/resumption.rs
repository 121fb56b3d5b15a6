//! Runs that were stopped by a connection continue by themselves when the connection works again.

use std::net::TcpListener;

use serde_json::{Value, json};
use trunkline_tests::{Cli, approve, document, few, sandbox, until};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{Serve, save};

async fn status(serve: &Serve, run: &str) -> Value {
    serve.get(&format!("/rest/v1/runs/{run}")).await.1["status"].clone()
}

async fn succeeds(serve: &Serve, run: &str) {
    until("the run that resumes by itself", async || (status(serve, run).await == "succeeded").then_some(())).await;
}

#[tokio::test]
async fn a_run_that_needs_a_sign_in_continues_after_it() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    let mut settings = document(&sandbox, "mediavalet");
    settings["flows"] = "authorization_code".into();
    for only in ["username", "password"] {
        settings.as_object_mut().unwrap().remove(only);
    }
    cli.add(&settings).await;
    save(
        &cli,
        &json!({ "name": "who", "connections": { "dam": "mediavalet" }, "steps": [
            { "id": "who", "action": "user.current", "connection": "dam" }] }),
    )
    .await;
    let serve = Serve::start(&cli).await;
    let run = serve.run("who", &json!({})).await;
    let ended = serve.ended(&run).await;
    assert_eq!((&ended["status"], &ended["error"]["kind"]), (&json!("failed"), &json!("auth")), "{ended}");
    let shown = cli.run(&["runs", "show", &run]).await.expect(0).stdout;
    assert!(shown.contains("resumes it by itself"), "{shown}");
    // The twin: nothing happens as long as the connection does not work.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(status(&serve, &run).await, "failed");
    let (_, begun) = serve.post("/rest/v1/connections/mediavalet/authorize", &json!({})).await;
    let back = approve(begun["open"].as_str().unwrap()).await;
    assert_eq!(serve.http.get(back).send().await.unwrap().status(), 303);
    succeeds(&serve, &run).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_run_that_a_service_has_stopped_continues_when_it_is_up_again_also_after_a_restart() {
    let cli = Cli::default();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let document = json!({ "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": format!("http://127.0.0.1:{port}"), "authentication": "none" });
    cli.add(&document).await;
    let step =
        |path: &str| json!([{ "id": "get", "action": "request", "connection": "shop", "input": { "path": path } }]);
    for (name, path) in [("asks", "/there"), ("asks-wrongly", "/gone")] {
        save(&cli, &json!({ "name": name, "connections": { "shop": "http" }, "steps": step(path) })).await;
    }
    let serve = Serve::start(&cli).await;
    let run = serve.run("asks", &json!({})).await;
    let ended = serve.ended(&run).await;
    assert_eq!((&ended["status"], &ended["error"]["kind"]), (&json!("failed"), &json!("unavailable")), "{ended}");
    serve.stop().await;
    let serve = Serve::start(&cli).await;
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = MockServer::builder().listener(listener).start().await;
    Mock::given(wiremock::matchers::path("/gone")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!({}))).mount(&server).await;
    // The twin: an error of the call itself is left to an operator.
    let wrong = serve.run("asks-wrongly", &json!({})).await;
    assert_eq!(serve.ended(&wrong).await["error"]["kind"], "not_found");
    succeeds(&serve, &run).await;
    assert_eq!(status(&serve, &wrong).await, "failed");
}

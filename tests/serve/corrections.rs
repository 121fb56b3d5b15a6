//! Corrections of unsuccessful runs through the API: resolve, rerun, resume.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use trunkline_tests::Cli;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::{Serve, save};

/// Serves the flow with a service for its orders, whose response status can be set and whose orders are counted.
async fn served(failing: &[&str]) -> (Cli, Serve, MockServer, Arc<AtomicU16>, Arc<AtomicUsize>) {
    let (cli, (server, status, orders)) = (Cli::default(), service().await);
    let connection = json!({ "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": server.uri(), "authentication": "bearer", "token": "t" });
    cli.add(&connection).await;
    save(&cli, &flow(failing)).await;
    let serve = Serve::start(&cli).await;
    (cli, serve, server, status, orders)
}

async fn service() -> (MockServer, Arc<AtomicU16>, Arc<AtomicUsize>) {
    let (server, status, orders) = (MockServer::start().await, Arc::new(AtomicU16::new(201)), Arc::default());
    let (answers, counted) = (status.clone(), Arc::<AtomicUsize>::clone(&orders));
    let answer = move |_: &Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        ResponseTemplate::new(answers.load(Ordering::SeqCst)).set_body_json(json!({ "id": 7 }))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    (server, status, orders)
}

fn flow(failing: &[&str]) -> Value {
    json!({ "name": "orders", "connections": { "shop": "http" }, "steps": [
        { "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}", "concurrency": 1, "steps": [
            { "id": "bad", "if": format!("{{{{ item in {} }}}}", json!(failing)), "fail": "not {{ item }}" },
            { "id": "order", "action": "request", "connection": "shop",
              "input": { "method": "POST", "path": "/orders", "body": { "name": "{{ item }}" } } }] }] })
}

#[tokio::test]
async fn failed_items_are_resolved_and_rerun_through_the_api() {
    let (cli, serve, _server, status, orders) = served(&["b"]).await;
    status.store(502, Ordering::SeqCst);
    let first = serve.run("orders", &json!({})).await;
    let ended = serve.ended(&first).await;
    assert_eq!((ended["status"].as_str(), orders.load(Ordering::SeqCst)), (Some("partial"), 2), "{ended}");
    status.store(201, Ordering::SeqCst);

    let settle = async |step: &str, verdict: &str| {
        serve.post(&format!("/rest/v1/runs/{first}/resolve"), &json!({ "step": step, "verdict": verdict })).await
    };
    assert_eq!(settle("all/a/order", "perhaps").await.0, 400);
    let (code, reply) = settle("all/b/order", "done").await;
    assert_eq!((code, reply["kind"].as_str()), (409, Some("conflict")), "{reply}");
    let (code, reply) = settle("all/a/order", "done").await;
    assert_eq!((code, reply["verdict"].as_str()), (200, Some("done")), "{reply}");
    assert_eq!(settle("all/c/order", "retry").await.0, 200);

    let retry = async |run: &str, body: Value| serve.post(&format!("/rest/v1/runs/{run}/rerun"), &body).await;
    assert_eq!(retry(&first, json!({ "flow": "nobody" })).await.0, 404);
    assert_eq!(retry(&first, json!({ "flows": 1 })).await.0, 400);
    let (code, reply) = retry(&first, json!({})).await;
    assert_eq!(code, 202, "{reply}");
    let second = reply["run"].as_str().unwrap().to_owned();
    let ended = serve.ended(&second).await;
    assert_eq!(orders.load(Ordering::SeqCst), 3, "c was ordered again, a was not: {ended}");
    assert_eq!(retry(&first, json!({})).await.0, 409, "once only");

    // The corrected flow of the same name reruns the remaining items.
    cli.run(&["flow", "add", &cli.write("flow.json", &flow(&[]).to_string()), "--replace"]).await.expect(0);
    let (_, reply) = retry(&second, json!({ "flow": "orders" })).await;
    let third = serve.ended(reply["run"].as_str().unwrap()).await;
    assert_eq!((third["status"].as_str(), orders.load(Ordering::SeqCst)), (Some("succeeded"), 4), "{third}");
    serve.stop().await.expect(0);
}

#[tokio::test]
async fn former_routes_work_and_point_to_the_new_ones() {
    let (_cli, serve, _server, _status, _orders) = served(&["b"]).await;
    let run = serve.run("orders", &json!({})).await;
    serve.ended(&run).await;
    for (former, current, status) in [("settle", "resolve", 409), ("retry", "rerun", 202)] {
        let body = if former == "settle" { json!({ "step": "all/a/order", "verdict": "done" }) } else { json!({}) };
        let url = serve.url(&format!("/rest/v1/runs/{run}/{former}"));
        let response = serve.http.post(url).bearer_auth(&serve.token).json(&body).send().await.unwrap();
        assert_eq!(response.status(), status, "{former}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("link"), format!("<{current}>; rel=\"successor-version\""));
        assert_eq!(header("deprecation"), "@1795996800");
    }
    serve.stop().await.expect(0);
}

#[tokio::test]
async fn a_run_that_an_error_has_stopped_is_resumed() {
    let (_cli, serve, _server, status, orders) = served(&[]).await;
    status.store(401, Ordering::SeqCst);
    let run = serve.run("orders", &json!({})).await;
    assert_eq!(serve.ended(&run).await["status"], "failed");
    let before = orders.load(Ordering::SeqCst);
    status.store(201, Ordering::SeqCst);
    let resume = async || serve.post(&format!("/rest/v1/runs/{run}/resume"), &json!({})).await;
    assert_eq!(resume().await.0, 202);
    let status = trunkline_tests::until("the end of the run", async || {
        let status = serve.get(&format!("/rest/v1/runs/{run}")).await.1["status"].clone();
        (status == "succeeded").then_some(status)
    });
    assert_eq!(status.await, "succeeded");
    assert_eq!(orders.load(Ordering::SeqCst), before + 3);
    let (code, reply) = resume().await;
    assert_eq!((code, reply["kind"].as_str()), (409, Some("conflict")), "{reply}");
    serve.stop().await.expect(0);
}

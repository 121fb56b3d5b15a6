//! Senders that ask whether a URL is meant, answered by the flows of `docs/cookbook`, and responses that flows make.

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use trunkline_tests::{Cli, project};

use super::{Serve, save};

const SECRET: &str = "a secret that sender and flow share";

/// Saves a flow of the cookbook with its input, and with a secret if it requires signatures. Returns its path.
async fn recipe(cli: &Cli, name: &str, input: &Value, is_signed: bool) -> String {
    let file = project().join("docs/cookbook").join(format!("{name}.yaml"));
    let (file, input) = (file.to_string_lossy().into_owned(), input.to_string());
    let active = if is_signed { "--inactive" } else { "--activate" };
    let added = cli.run(&["flow", "add", &file, "--input", &input, "--json", active]).await.expect(0);
    if is_signed {
        cli.pipe(&["flow", "secret", name, "-"], &format!("{SECRET}\n")).await.expect(0);
        cli.run(&["flow", "activate", name]).await.expect(0);
    }
    added.json()["webhook"].as_str().unwrap().to_owned()
}

fn signature(text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// Sends a request, and returns status, content type and body of the response.
async fn answer(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    (response.status().as_u16(), kind, response.text().await.unwrap())
}

#[tokio::test]
async fn event_grid_and_graph_get_the_answers_that_they_wait_for() {
    let cli = Cli::default();
    let grid = recipe(&cli, "event-grid", &json!({}), false).await;
    let graph = recipe(&cli, "graph-notifications", &json!({ "client_state": "secret" }), false).await;
    let serve = Serve::start(&cli).await;
    let validation = json!([{
        "id": "2d17", "topic": "/subscriptions/x", "subject": "", "eventTime": "2026-05-01T10:00:00Z", "dataVersion": "1",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": { "validationCode": "512d38b6" }
    }]);
    let (status, _, body) = answer(serve.http.post(serve.url(&grid)).json(&validation)).await;
    assert_eq!((status, serde_json::from_str(&body).unwrap()), (200, json!({ "validationResponse": "512d38b6" })));
    let event = json!([{ "id": "1", "eventType": "Microsoft.Storage.BlobCreated", "data": { "url": "x" } }]);
    assert_eq!(answer(serve.http.post(serve.url(&grid)).json(&event)).await.0, 200);

    let url = serve.url(&format!("{graph}?validationToken=Validation%3A+T%C3%A9st%3D"));
    let request = serve.http.post(url).header("content-type", "text/plain").body("");
    let expected = (200, "text/plain; charset=utf-8".to_owned(), "Validation: Tést=".to_owned());
    assert_eq!(answer(request).await, expected);
    let note = |state: &str| json!({ "subscriptionId": "s", "clientState": state, "changeType": "updated", "resource": state });
    let notes = json!({ "value": [note("secret"), note("another")] });
    assert_eq!(answer(serve.http.post(serve.url(&graph)).json(&notes)).await.0, 202);
    let runs = serve.runs().await;
    let ended = serve.ended(runs.last().unwrap()["id"].as_str().unwrap()).await;
    assert_eq!(ended["ledger"]["notifications"]["done"], 1, "{ended}");
}

#[tokio::test]
async fn slack_and_meta_get_the_answers_that_they_wait_for() {
    let cli = Cli::default();
    let slack = recipe(&cli, "slack-events", &json!({}), true).await;
    let meta = recipe(&cli, "meta-webhooks", &json!({ "verify_token": "agreed" }), true).await;
    let serve = Serve::start(&cli).await;
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let send = |body: String, signature: String| {
        let request = serve.http.post(serve.url(&slack)).header("content-type", "application/json");
        request.header("x-slack-request-timestamp", seconds).header("x-slack-signature", signature).body(body)
    };
    let body = json!({ "token": "x", "challenge": "3eZbrw1a", "type": "url_verification" }).to_string();
    let valid = format!("v0={}", signature(&format!("v0:{seconds}:{body}")));
    let (status, kind, text) = answer(send(body.clone(), valid.clone())).await;
    assert_eq!((status, &*kind, &*text), (200, "application/json", r#"{"challenge":"3eZbrw1a"}"#));
    let event = json!({ "type": "event_callback", "event": { "type": "message" } }).to_string();
    assert_eq!(answer(send(event.clone(), format!("v0={}", signature(&format!("v0:{seconds}:{event}"))))).await.0, 200);
    assert_eq!(answer(send(event, valid)).await.0, 401, "a signature of another body");

    let url = |query: &str| serve.url(&format!("{meta}{query}"));
    let query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=agreed";
    let (status, kind, text) = answer(serve.http.get(url(query))).await;
    assert_eq!((status, &*kind, &*text), (200, "text/plain; charset=utf-8", "1158201444"));
    assert_eq!(answer(serve.http.get(url(&query.replace("agreed", "guessed")))).await.0, 403);
    let body = json!({ "object": "page", "entry": [{ "id": "1", "time": 1, "changes": [] }] }).to_string();
    let send = |signature: String| {
        let request = serve.http.post(url("")).header("content-type", "application/json").body(body.clone());
        request.header("x-hub-signature-256", signature)
    };
    assert_eq!(answer(send(format!("sha256={}", signature(&body)))).await.0, 200);
    let count = serve.runs().await.len();
    assert_eq!(answer(send(format!("sha256={}", signature("another")))).await.0, 401);
    assert_eq!(answer(serve.http.post(url("")).json(&json!({}))).await.0, 401, "only GET is not signed");
    assert_eq!(serve.runs().await.len(), count);
}

#[tokio::test]
async fn a_flow_responds_with_its_own_status_headers_and_body() {
    let cli = Cli::default();
    let flow = json!({
        "name": "own", "overlap": "parallel",
        "trigger": { "webhook": { "methods": ["GET", "PUT"], "answer": "response", "headers": ["X-Many"] } },
        "steps": [],
        "output": {
            "status": "{{ input.body.status | default(200) if input.method == 'PUT' else 200 }}",
            "headers": { "X-Echo": "{{ input.query.echo | default('none') }}" },
            "body": { "query": "{{ input.query }}", "headers": "{{ input.headers }}", "method": "{{ input.method }}" }
        }
    });
    let path = save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let url = |query: &str| serve.url(&format!("{path}{query}"));
    let response =
        serve.http.get(url("?echo=a&tag=1&tag=2")).header("x-many", "1").header("x-many", "2").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-echo"]), (200, &"a".parse().unwrap()));
    let expected =
        json!({ "query": { "echo": "a", "tag": ["1", "2"] }, "headers": { "x-many": "1, 2" }, "method": "GET" });
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
    let (status, _, body) = answer(serve.http.put(url("")).json(&json!({ "status": 418 }))).await;
    assert_eq!((status, body.contains("PUT")), (418, true));
    // What would split or frame the response is refused, and so is a status that is none.
    for (request, what) in [
        (serve.http.get(url("?echo=a%0d%0aSet-Cookie:%20b=c")), "a line break in a header"),
        (serve.http.put(url("")).json(&json!({ "status": 99 })), "a status"),
    ] {
        let (status, _, body) = answer(request).await;
        assert_eq!((status, body.contains("is not a response")), (500, true), "{what}: {body}");
    }
    let other = serve.http.post(url("")).send().await.unwrap();
    assert_eq!((other.status().as_u16(), other.headers()["allow"].to_str().unwrap()), (405, "GET, PUT, HEAD, OPTIONS"));
    let count = serve.runs().await.len();
    assert_eq!(serve.http.head(url("")).send().await.unwrap().status(), 200);
    assert_eq!(serve.runs().await.len(), count, "HEAD starts no run");
}

/// A flow whose input has only the members of earlier versions still starts.
#[tokio::test]
async fn members_that_a_closed_input_does_not_have_are_left_out() {
    let cli = Cli::default();
    let members = json!({ "headers": {}, "body": {}, "delivery": {} });
    let flow = json!({
        "name": "closed", "trigger": { "webhook": {} }, "steps": [],
        "input": { "type": "object", "properties": members, "additionalProperties": false }
    });
    let path = save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let response: Value = serve.http.post(serve.url(&path)).json(&json!(7)).send().await.unwrap().json().await.unwrap();
    let ended = serve.ended(response["run"].as_str().unwrap()).await;
    assert_eq!(ended["input"], json!({ "headers": {}, "body": 7, "delivery": null }));
}

/// A request after each of 200 refused ones, on kept connections, with bodies that are sent late.
#[tokio::test]
async fn no_request_after_a_refused_one_is_lost() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let late = || {
        let chunks = futures::stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>("{}")
        });
        reqwest::Body::wrap_stream(chunks)
    };
    let one = async |number: usize| {
        for (path, expected) in [("/rest/v1/flows/copy/runs", 401), ("/webhooks/hook/00", 404), ("/nowhere", 404)] {
            let status = serve.http.post(serve.url(path)).body(late()).send().await.unwrap().status();
            assert_eq!(status.as_u16(), expected, "{number} {path}");
            assert_eq!(serve.health().await.0, 200, "{number}, after {path}");
        }
    };
    futures::future::join_all((0..67).map(one)).await;
}

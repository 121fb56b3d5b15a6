//! Batches: each call in the request has its own outcome, and no call is made twice.
#![allow(clippy::unwrap_used)]

use crate::support::*;
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

static TABLE: Table = Table::new(
    "t",
    &[(
        "t.toml",
        r#"
        [[operation]]
        name  = "word.add"
        title = "Add"
        route = "PUT /words/{id}"
        body  = "words"
        result = "/payload"
        input.id = {}
        input.words = {}
        input.later = { in = "query" }

        [[operation]]
        name  = "word.create"
        title = "Create"
        route = "POST /words"
        input.text = {}

        [[operation]]
        name  = "word.list"
        title = "List"
        route = "GET /words"
        page = { kind = "offset", offset = "o", items = "" }
        "#,
    )],
);

async fn rig(response: ResponseTemplate) -> (MockServer, Client) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    let base = format!("{}/api", server.uri()).parse().unwrap();
    let vault = Default::default();
    let client =
        Client::builder("Words", base, &TABLE).private_network(true).auth(Auth::Bearer("canary".into()), slot(&vault));
    (server, client.limits(quick()).build().unwrap())
}

fn multipart(parts: &[(&str, &str)]) -> ResponseTemplate {
    let part = |(status, body): &(&str, &str)| {
        format!("--x\r\nContent-Type: application/http; msgtype=response\r\n\r\nHTTP/1.1 {status}\r\n\r\n{body}\r\n")
    };
    let text: String = parts.iter().map(part).collect();
    ResponseTemplate::new(200).set_body_raw(text + "--x--\r\n", "multipart/mixed; boundary=x")
}

fn calls() -> Vec<(String, Value)> {
    vec![
        ("word.add".into(), json!({ "id": "a b", "words": ["x"], "later": true })),
        ("word.create".into(), json!({ "text": "y" })),
    ]
}

#[tokio::test]
async fn each_call_has_its_own_outcome() {
    let response = multipart(&[("200 OK", r#"{"payload":["x"]}"#), ("409 Conflict", r#"{"message":"there"}"#)]);
    let (server, client) = rig(response).await;
    let outcomes = client.batch("/bulk", &calls(), &Context::default()).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap(), &json!(["x"]));
    assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    let received: &Request = &server.received_requests().await.unwrap()[0];
    assert_eq!((received.method.as_str(), received.url.path()), ("POST", "/api/bulk"));
    let kind = received.headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    let host = server.uri().replace("http://", "");
    let expected = format!(
        "--{boundary}\r\nContent-Type: application/http; msgtype=request\r\n\r\n\
         PUT /api/words/a%20b?later=true HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer canary\r\n\
         content-type: application/json\r\n\r\n[\"x\"]\r\n\
         --{boundary}\r\nContent-Type: application/http; msgtype=request\r\n\r\n\
         POST /api/words HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer canary\r\n\
         content-type: application/json\r\n\r\n{{\"text\":\"y\"}}\r\n--{boundary}--\r\n"
    );
    assert_eq!(String::from_utf8(received.body.clone()).unwrap(), expected);
}

#[tokio::test]
async fn a_call_with_a_damaged_result_has_succeeded() {
    let response = multipart(&[("200 OK", r#"{"payload":["x","#), ("201 Created", "")]);
    let (_server, client) = rig(response).await;
    let outcomes = client.batch("/bulk", &calls(), &Context::default()).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap(), r#"{"payload":["x","#);
    assert_eq!(outcomes[1].as_ref().unwrap(), &Value::Null);
}

#[tokio::test]
async fn a_create_with_an_unclear_failure_has_an_unknown_outcome() {
    let response = multipart(&[("500 Oops", ""), ("500 Oops", "")]);
    let (_server, client) = rig(response).await;
    let outcomes = client.batch("/bulk", &calls(), &Context::default()).await.unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|one| one.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Unavailable, ErrorKind::UnknownOutcome]);
}

#[tokio::test]
async fn a_batch_is_repeated_only_if_each_of_its_calls_may_be() {
    for (calls, kind, times) in [
        (calls(), ErrorKind::UnknownOutcome, 1),
        (calls()[..1].to_vec(), ErrorKind::Unavailable, quick().tries as usize),
    ] {
        let (server, client) = rig(ResponseTemplate::new(500)).await;
        let error = client.batch("/bulk", &calls, &Context::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(server.received_requests().await.unwrap().len(), times);
    }
}

#[tokio::test]
async fn a_response_with_another_number_of_parts_is_an_unknown_outcome() {
    for parts in [vec![("200 OK", "{}")], vec![("200 OK", "{}"); 3], vec![]] {
        let (_server, client) = rig(multipart(&parts)).await;
        let error = client.batch("/bulk", &calls(), &Context::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error:?}");
    }
}

#[tokio::test]
async fn an_invalid_call_is_refused_before_anything_is_sent() {
    for (name, input) in [
        ("word.list", json!({})),
        ("word.nothing", json!({})),
        ("word.add", json!({ "words": [] })),
        ("word.add", json!({ "id": "../x", "words": [] })),
    ] {
        let (server, client) = rig(ResponseTemplate::new(200)).await;
        let mut all = calls();
        all.push((name.into(), input));
        let error = client.batch("/bulk", &all, &Context::default()).await.unwrap_err();
        assert_eq!(fact(&error, "call"), Some("3"), "{error:?}");
        assert!(server.received_requests().await.unwrap().is_empty());
    }
}

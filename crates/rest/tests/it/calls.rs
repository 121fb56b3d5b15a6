//! Single calls: requests, responses, and which failures are retried.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use crate::support::*;
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, body_json, header, method, path},
};

fn id() -> Value {
    json!({ "id": "7" })
}

async fn server_with(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn an_operation_is_called() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path("/v1/things/a%20b"))
        .and(header("x-key", "k1"))
        .and(header("x-version", "1.2"))
        .and(header("authorization", "Bearer t1"))
        .and(body_json(json!({ "name": "n" })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "done": true })))
        .mount(&server)
        .await;
    let vault = Default::default();
    let client = builder(&format!("{}/v1/", server.uri()))
        .auth(Auth::Bearer("t1".into()), slot(&vault))
        .header("x-key", "k1".into(), Some("/subscriptionKey"))
        .plain_header("x-version", "1.2")
        .build()
        .unwrap();
    let done = client.call("thing.rename", json!({ "id": "a b", "name": "n" }), &cx()).await.unwrap();
    assert_eq!(done, json!({ "done": true }));
}

#[tokio::test]
async fn results_are_found_by_pointer() {
    let server = MockServer::start().await;
    let give = |at: &str, response| Mock::given(path(at)).respond_with(response).mount(&server);
    give("/things/1/name", ResponseTemplate::new(200).set_body_json(json!({ "payload": { "name": "n" } }))).await;
    give("/things/2/name", ResponseTemplate::new(200).set_body_json(json!({ "payload": {} }))).await;
    give("/things/3/name", ResponseTemplate::new(204)).await;
    give("/things/4/name", ResponseTemplate::new(202)).await;
    give(
        "/things/5/name",
        ResponseTemplate::new(200).set_body_raw("\u{feff}{\"payload\":{\"name\":\"b\"}}", "application/json"),
    )
    .await;
    give("/things/6/text", ResponseTemplate::new(200).set_body_raw("007", "text/plain")).await;
    let client = client(&server.uri());
    for (id, name) in [("1", json!("n")), ("2", Value::Null), ("3", Value::Null), ("4", Value::Null), ("5", json!("b"))]
    {
        assert_eq!(client.call("thing.name", json!({ "id": id }), &cx()).await.unwrap(), name, "{id}");
    }
    assert_eq!(client.call("thing.text", json!({ "id": "6" }), &cx()).await.unwrap(), json!("007"));
}

#[tokio::test]
async fn each_status_has_its_kind() {
    use ErrorKind::*;
    for (status, kind) in [
        (300, Unexpected),
        (400, InvalidInput),
        (401, Auth),
        (402, Permission),
        (403, Permission),
        (404, NotFound),
        (405, InvalidInput),
        (409, Conflict),
        (410, NotFound),
        (412, Conflict),
        (413, InvalidInput),
        (422, InvalidInput),
        (429, RateLimited),
        (500, Unavailable),
        (501, Unexpected),
        (503, Unavailable),
    ] {
        let body = "no\u{7} such\r\nthing s3cret-key ";
        let server = server_with(ResponseTemplate::new(status).set_body_string(body)).await;
        let client = builder(&server.uri()).header("x-key", "s3cret-key".into(), None).build().unwrap();
        let error = client.call("thing.get", id(), &cx()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        for key in ["action", "service", "host", "status", "route", "path"] {
            assert!(fact(&error, key).is_some(), "{status}: no {key}");
        }
        let text = format!("{error:?}");
        assert!(
            text.contains("thing.get") && text.contains("Test Service") && text.contains(&status.to_string()),
            "{text}"
        );
        assert!(status < 400 || text.contains("no such thing ***"), "{text}");
        assert!(!text.contains("s3cret-key"), "{text}");
        assert!(error.advice().is_some(), "{status}");
    }
}

const ASSETS: &str = r#"
[[operation]]
name = "asset.update"
title = "Update"
route = "PATCH /assets/{id}"
input.id = { type = "string" }
input.title = { type = "string" }
input.keywords = { type = "array", as = "tags" }
"#;

#[tokio::test]
async fn an_error_names_method_path_and_the_input_that_the_service_complains_about() {
    let (input, id) = (json!({ "id": "a 7-s3cret-key", "title": "x" }), "/v1/assets/a%207-***");
    for (body, expected) in [
        (json!({ "errors": { "title": ["is too short"] } }), Some("/title")),
        (json!({ "errors": { "Title": ["is too short"] } }), Some("/title")),
        (json!({ "errors": [{ "field": "title", "message": "is too short" }] }), Some("/title")),
        (json!({ "errors": [{ "source": { "pointer": "/data/attributes/title" } }] }), Some("/title")),
        (json!({ "type": "about:blank", "errors": [{ "pointer": "#/tags/0" }] }), Some("/keywords/0")),
        (json!({ "invalid-params": [{ "name": "tags[1].name", "reason": "no" }] }), Some("/keywords/1/name")),
        (json!({ "detail": [{ "loc": ["body", "tags", 2], "msg": "no" }] }), Some("/keywords/2")),
        (json!({ "error": { "code": "BadArgument", "target": "$.title" } }), Some("/title")),
        (json!({ "modelState": { "dto.id": ["not found"] } }), Some("/id")),
        // The twins: no member says which field it is, or the operation does not send it.
        (json!({ "error": "title is too short" }), None),
        (json!({ "errors": { "subtitle": ["is too long"] } }), None),
        (json!({ "title": "Bad Request", "status": 400 }), None),
        (json!({ "id": "title" }), None),
        (json!(["title"]), None),
    ] {
        let server = server_with(ResponseTemplate::new(400).set_body_json(&body)).await;
        let base = format!("{}/v1", server.uri());
        let client = Client::builder("Test Service", base.parse().unwrap(), table(ASSETS)).private_network(true);
        let client = client.header("x-key", "s3cret-key".into(), None).limits(quick()).build().unwrap();
        let error = client.call("asset.update", input.clone(), &cx()).await.unwrap_err();
        let facts = ["route", "path", "input"].map(|key| fact(&error, key));
        assert_eq!(facts, [Some("PATCH /assets/{id}"), Some(id), expected], "{body}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_call_without_a_body_has_a_length() {
    let server = Raw::new(vec![ok_json("1")]).await;
    client(&server.base).call("thing.delete", id(), &cx()).await.unwrap();
    assert!(server.requests.lock().unwrap()[0].to_ascii_lowercase().contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn invalid_inputs_are_refused_before_anything_is_sent() {
    let server = server_with(ResponseTemplate::new(200)).await;
    let client = client(&server.uri());
    for hostile in ["..", "a/b", "%2e%2e", "", "a\\b", "%252f", "a\0"] {
        let error = client.call("thing.get", json!({ "id": hostile }), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), fact(&error, "input")), (ErrorKind::InvalidInput, Some("/id")));
    }
    assert!(client.call("thing.get", json!({}), &cx()).await.is_err());
    assert!(client.call("thing.get", json!({ "id": 1, "x": 1 }), &cx()).await.is_err());
    assert_eq!(client.call("thing.nothing", json!({}), &cx()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(requests(&server).await, 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let trap = server_with(ResponseTemplate::new(200).set_body_json(json!({}))).await;
    let target = format!("{}/stolen?sig=secret", trap.uri());
    let server = server_with(ResponseTemplate::new(302).insert_header("location", &*target)).await;
    let client = builder(&server.uri()).header("x-key", "k".into(), None).build().unwrap();
    let error = client.call("thing.get", id(), &cx()).await.unwrap_err();
    assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Unexpected, Some("/endpointUrl")));
    assert!(
        error.message().contains(&trap.address().to_string()) && !format!("{error:?}").contains("sig="),
        "{error:?}"
    );
    assert_eq!(requests(&trap).await, 0);
}

/// The sabotage twin: a client that follows redirects carries a custom key header to the other host.
#[tokio::test]
async fn a_client_that_follows_redirects_leaks_the_key() {
    let trap = server_with(ResponseTemplate::new(200)).await;
    let server = server_with(ResponseTemplate::new(302).insert_header("location", trap.uri())).await;
    let naive = naive();
    naive.get(server.uri()).header("x-key", "k").bearer_auth("t").send().await.unwrap();
    let stolen = &trap.received_requests().await.unwrap()[0];
    assert_eq!(stolen.headers["x-key"], "k");
}

#[tokio::test]
async fn a_success_without_json_is_an_error() {
    for (body, kind) in [
        ("<html>Sign in</html>", "text/html"),
        ("7", "text/html; charset=utf-8"),
        ("{\"a\":", "application/json"),
        ("{\"a\":NaN}", "application/json"),
        ("ok", "application/json"),
        ("ok", "text/plain"),
        ("<a/>", "application/xml"),
        ("\u{fffd}", "application/octet-stream"),
        ("[".repeat(1000).leak(), "application/json"),
    ] {
        let server = server_with(ResponseTemplate::new(200).set_body_raw(body, kind)).await;
        let client = client(&server.uri());
        let error = client.call("thing.get", id(), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unexpected, Retry::Never), "{body}");
        assert_eq!(requests(&server).await, 1);
        let error = client.call("thing.create", json!({}), &cx()).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::UnknownOutcome,
            "the service accepted the call, so it may have taken effect"
        );
    }
}

#[tokio::test]
async fn transient_failures_are_retried() {
    for status in [429, 500, 502, 503, 504] {
        for operation in ["thing.get", "thing.rename", "thing.delete"] {
            let server = MockServer::start().await;
            Mock::given(any()).respond_with(ResponseTemplate::new(status)).up_to_n_times(2).mount(&server).await;
            Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!(1))).mount(&server).await;
            assert_eq!(client(&server.uri()).call(operation, id(), &cx()).await.unwrap(), json!(1));
            assert_eq!(requests(&server).await, 3);
        }
    }
    let server = server_with(ResponseTemplate::new(500)).await;
    let error = client(&server.uri()).call("thing.get", id(), &cx()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retryable(), fact(&error, "tries")),
        (ErrorKind::Unavailable, Retry::Backoff, Some("5"))
    );
    assert_eq!(requests(&server).await, 5);
}

#[tokio::test]
async fn a_create_is_never_repeated_after_an_unclear_failure() {
    for status in [500, 502, 503, 504, 408, 303] {
        let server = server_with(ResponseTemplate::new(status)).await;
        let error = client(&server.uri()).call("thing.create", json!({ "name": "n" }), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::UnknownOutcome, Retry::Never), "{status}");
        assert_eq!(requests(&server).await, 1, "{status}");
    }
    // A call that was surely refused keeps its kind.
    for (status, kind) in [(400, ErrorKind::InvalidInput), (409, ErrorKind::Conflict), (403, ErrorKind::Permission)] {
        let server = server_with(ResponseTemplate::new(status)).await;
        let error = client(&server.uri()).call("thing.create", json!({}), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), requests(&server).await), (kind, 1), "{status}");
    }
}

#[tokio::test]
async fn a_throttled_create_did_not_take_effect_and_is_retried() {
    for (status, wait) in [(429, None), (429, Some("0")), (403, Some("0")), (503, Some("0"))] {
        let server = MockServer::start().await;
        let mut throttle = ResponseTemplate::new(status);
        if let Some(wait) = wait {
            throttle = throttle.insert_header("Retry-After", wait);
        }
        Mock::given(any()).respond_with(throttle).up_to_n_times(1).mount(&server).await;
        Mock::given(any()).respond_with(ResponseTemplate::new(201).set_body_json(json!(1))).mount(&server).await;
        assert_eq!(client(&server.uri()).call("thing.create", json!({}), &cx()).await.unwrap(), json!(1), "{status}");
        assert_eq!(requests(&server).await, 2);
    }
}

#[tokio::test]
async fn all_calls_of_the_connection_obey_retry_after() {
    let server = MockServer::start().await;
    let throttle = ResponseTemplate::new(429).insert_header("retry-after", "1");
    Mock::given(path("/things/7")).respond_with(throttle).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!(1))).mount(&server).await;
    let client = client(&server.uri());
    let started = Instant::now();
    let other = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.call("thing.get", json!({ "id": "8" }), &cx()).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(1), "sent during the pause");
    };
    let cx = cx();
    let (first, ()) = tokio::join!(client.call("thing.get", id(), &cx), other);
    first.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1) && started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_fails_at_once() {
    let server = server_with(ResponseTemplate::new(429).insert_header("retry-after", "100")).await;
    let client = client(&server.uri());
    let started = Instant::now();
    let error = client.call("thing.get", id(), &cx().with_timeout(Duration::from_secs(5))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(100))));
    let error = client.call("thing.get", id(), &cx().with_timeout(Duration::from_secs(5))).await.unwrap_err();
    assert!(matches!(error.retryable(), Retry::After(wait) if wait > Duration::from_secs(90)));
    assert_eq!(requests(&server).await, 1, "the second call sends nothing during the pause");
}

#[tokio::test]
async fn lost_responses() {
    // No byte, half a head, half a body, a chunked body without its end.
    let full = ok_json("{\"a\": \"0123456789\"}");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":".to_vec();
    for lost in [Vec::new(), full[..20].to_vec(), full[..full.len() - 3].to_vec(), chunked] {
        let server = Raw::new(vec![lost.clone(), full.clone()]).await;
        let value = client(&server.base).call("thing.get", id(), &cx()).await.unwrap();
        assert_eq!((value["a"].as_str(), server.count()), (Some("0123456789"), 2));

        let server = Raw::new(vec![lost, full.clone()]).await;
        let error = client(&server.base).call("thing.create", json!({ "name": "n" }), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), server.count()), (ErrorKind::UnknownOutcome, 1));
    }
}

#[tokio::test]
async fn a_create_may_be_retried_if_nothing_was_sent() {
    let client = client(&unused_port().await);
    let error = client.call("thing.create", json!({}), &cx()).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff));
    assert_eq!((fact(&error, "tries"), error.setting_pointer()), (Some("5"), Some("/endpointUrl")));
}

#[tokio::test]
async fn a_deadline_or_a_cancellation_ends_a_call() {
    let server = server_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let client = client(&server.uri());
    let started = Instant::now();
    let short = || cx().with_timeout(Duration::from_millis(300));
    let error = client.call("thing.get", id(), &short()).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff));
    let error = client.call("thing.create", json!({}), &short()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome);
    for (operation, kind) in [("thing.get", ErrorKind::Cancelled), ("thing.create", ErrorKind::UnknownOutcome)] {
        let token = CancellationToken::new();
        let cx = cx().with_cancellation(token.clone());
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel();
        };
        let input = if operation == "thing.get" { id() } else { json!({}) };
        let (result, ()) = tokio::join!(client.call(operation, input, &cx), stop);
        assert_eq!(result.unwrap_err().kind(), kind);
    }
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let before = requests(&server).await;
    let error = client.call("thing.create", json!({}), &cx().with_cancellation(cancelled)).await.unwrap_err();
    assert_eq!((error.kind(), requests(&server).await), (ErrorKind::Cancelled, before));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_attempt_that_times_out_is_retried() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(20));
    Mock::given(any()).respond_with(slow).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!(1))).mount(&server).await;
    let limits = ClientLimits { attempt: Duration::from_millis(300), ..quick() };
    let client = builder(&server.uri()).limits(limits).build().unwrap();
    assert_eq!(client.call("thing.get", id(), &cx()).await.unwrap(), json!(1));
}

#[tokio::test]
async fn the_size_of_a_response_is_limited_after_decompression() {
    let limits = ClientLimits { answer: 1000, ..quick() };
    let server = server_with(ResponseTemplate::new(200).set_body_json(json!("x".repeat(2000)))).await;
    let client = builder(&server.uri()).limits(limits.clone()).build().unwrap();
    assert_eq!(client.call("thing.get", id(), &cx()).await.unwrap_err().kind(), ErrorKind::Limit);

    let zipped =
        ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_raw(bomb(), "application/json");
    let server = server_with(zipped).await;
    let client = builder(&server.uri()).limits(limits).build().unwrap();
    let error = client.call("thing.get", id(), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
    assert_eq!(requests(&server).await, 1);
}

/// 100,000 spaces in gzip, with the fixed codes of deflate: one literal, then copies of 258 bytes.
fn bomb() -> Vec<u8> {
    let mut bits: Vec<u8> = vec![1, 1, 0];
    let huffman = |bits: &mut Vec<u8>, code: u16, length: u8| {
        bits.extend((0..length).rev().map(|bit| (code >> bit) as u8 & 1));
    };
    huffman(&mut bits, 0x30 + 0x20, 8);
    for _ in 0..388 {
        huffman(&mut bits, 0b1100_0101, 8); // 285: length 258
        huffman(&mut bits, 0, 5); // distance 1
    }
    huffman(&mut bits, 0, 7);
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << at)));
    bytes.extend([0; 8]);
    bytes
}

#[tokio::test]
async fn the_classify_hook_is_asked_first() {
    fn classify(response: &Response) -> Option<Error> {
        let message = response.body.as_ref()?.pointer("/errors/0")?.as_str()?.to_owned();
        let retry = if response.status == 500 { Retry::Backoff } else { Retry::Never };
        Some(Error::new(ErrorKind::Conflict, message).retry(retry))
    }
    let server = MockServer::start().await;
    let body = json!({ "errors": ["name taken"], "payload": {} });
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(&body)).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(500).set_body_json(&body)).mount(&server).await;
    let client = builder(&server.uri()).classify(classify).build().unwrap();
    let error = client.call("thing.get", id(), &cx()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), fact(&error, "action")),
        (ErrorKind::Conflict, "name taken", Some("thing.get"))
    );
    let error = client.call("thing.create", json!({}), &cx()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::UnknownOutcome, "name taken"));
}

#[tokio::test]
async fn the_rate_limit_is_obeyed() {
    let server = server_with(ResponseTemplate::new(200).set_body_json(json!(1))).await;
    let client = builder(&server.uri()).rate(20).build().unwrap();
    let started = Instant::now();
    let calls = (0..40).map(|_| async { client.call("thing.get", id(), &cx()).await.unwrap() });
    futures::future::join_all(calls).await;
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_failed_check_names_the_setting() {
    let found = client(&unused_port().await).check("thing.get", id()).await.findings;
    assert_eq!(found[0].pointer, "/endpointUrl");
    let server = server_with(ResponseTemplate::new(404)).await;
    assert_eq!(client(&server.uri()).check("thing.get", id()).await.findings[0].pointer, "/endpointUrl");
    let server = server_with(ResponseTemplate::new(401)).await;
    let vault = Default::default();
    let basic = Auth::Basic { username: "u".into(), password: "p".into() };
    let client = builder(&server.uri()).auth(basic, slot(&vault)).build().unwrap();
    assert_eq!(client.check("thing.get", id()).await.findings[0].pointer, "/password");
    let server = server_with(ResponseTemplate::new(200).set_body_json(json!(1))).await;
    assert!(crate::support::client(&server.uri()).check("thing.get", id()).await.findings.is_empty());
}

#[tokio::test]
async fn build_errors_name_the_setting() {
    let build = |base: &str, auth| {
        let vault = Default::default();
        builder(base).auth(auth, slot(&vault)).build().err().unwrap()
    };
    let setting = |error: Error| error.setting_pointer().map(str::to_owned);
    assert_eq!(setting(build("http://api.example.com", Auth::None)).as_deref(), Some("/endpointUrl"));
    let oauth = OAuth {
        client_id: "id".into(),
        client_secret: None,
        client_auth: ClientAuth::Form,
        token_url: "http://login.example.com/token".parse().unwrap(),
        authorization_url: None,
        revocation_url: None,
        redirect_uri: None,
        scopes: Vec::new(),
        grant: Grant::ClientCredentials,
    };
    assert_eq!(setting(build("https://api.example.com", Auth::OAuth(oauth.clone()))).as_deref(), Some("/tokenUrl"));
    let oauth = OAuth { token_url: "https://login.example.com/token".parse().unwrap(), ..oauth };
    let no_id = OAuth { client_id: String::new(), ..oauth.clone() };
    assert_eq!(setting(build("https://api.example.com", Auth::OAuth(no_id))).as_deref(), Some("/clientId"));
    let http = OAuth { authorization_url: Some("http://login.example.com/".parse().unwrap()), ..oauth };
    assert_eq!(setting(build("https://api.example.com", Auth::OAuth(http))).as_deref(), Some("/authorizationUrl"));
    let error = builder("https://api.example.com").header("x-key", "a\nb".into(), Some("/subscriptionKey")).build();
    assert_eq!(setting(error.err().unwrap()).as_deref(), Some("/subscriptionKey"));
}

#[tokio::test]
async fn basic_and_api_key_authentication() {
    let server = server_with(ResponseTemplate::new(200).set_body_json(json!(1))).await;
    let vault = Default::default();
    for (auth, name, value) in [
        (Auth::Basic { username: "u".into(), password: "p".into() }, "authorization", "Basic dTpw"),
        (Auth::ApiKey { header: "X-Api-Key".into(), key: "k".into() }, "x-api-key", "k"),
    ] {
        let client = builder(&server.uri()).auth(auth, slot(&vault)).build().unwrap();
        client.call("thing.get", id(), &cx()).await.unwrap();
        let sent = server.received_requests().await.unwrap();
        assert_eq!(sent.last().unwrap().headers[name], value);
    }
}

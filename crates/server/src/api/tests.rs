use std::time::Duration;

use serde_json::json;
use trunkline_core::Retry;

use super::*;
use crate::{brake::Brake, request::REQUEST_ID, test_app::TestApp};

/// Sends a request with headers, and returns its status, its `ETag` and its body.
async fn send(
    app: &TestApp,
    method: Method,
    path: &str,
    body: &Value,
    headers: &[(HeaderName, &'static str)],
) -> (u16, String, Value) {
    let mut request = TestApp::request(method, path, body);
    for (name, value) in headers {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let response = app.call(request).await;
    assert!(response.headers().contains_key(REQUEST_ID));
    let (parts, body) = response.into_parts();
    let tag = parts.headers.get(header::ETAG).map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), tag, serde_json::from_slice(&body).unwrap())
}

const COPY: &str = "/rest/v1/flows/copy";

fn flow(id: &str) -> Value {
    json!({ "document": { "name": "copy", "steps": [{ "id": id, "set": { "a": 1 } }] } })
}

#[tokio::test]
async fn a_flow_is_put_only_as_the_caller_has_seen_it() {
    let app = TestApp::new(Brake::default());
    let star = [(header::IF_NONE_MATCH, "*")];
    let (status, first, _) = send(&app, Method::PUT, COPY, &flow("a"), &star).await;
    assert_eq!(status, 201);
    let (status, tag, got) = send(&app, Method::GET, COPY, &Value::Null, &[]).await;
    assert_eq!((status, &tag, tag.starts_with('"')), (200, &first, true));
    let (status, _, problem) = send(&app, Method::PUT, COPY, &flow("b"), &[]).await;
    assert_eq!((status, &problem["kind"]), (428, &json!("conflict")), "{problem}");
    assert_eq!(send(&app, Method::PUT, COPY, &flow("b"), &star).await.0, 412);
    // What a GET returns is taken as it is.
    let seen: &'static str = tag.clone().leak();
    assert_eq!(send(&app, Method::PUT, COPY, &got, &[(header::IF_MATCH, seen)]).await.0, 200);
    let (status, second, _) = send(&app, Method::PUT, COPY, &flow("b"), &[(header::IF_MATCH, seen)]).await;
    assert!(status == 200 && second != tag);
    let deactivate = format!("{COPY}/deactivate");
    for (method, path, body) in
        [(Method::PUT, COPY, flow("c")), (Method::DELETE, COPY, Value::Null), (Method::POST, &*deactivate, Value::Null)]
    {
        let send = async |headers: &[_]| send(&app, method.clone(), path, &body, headers).await.0;
        assert_eq!(send(&[(header::IF_MATCH, seen)]).await, 412, "{method} {path}");
        assert_eq!(send(&[(header::IF_MATCH, "W/\"a\"")]).await, 412, "{method} {path}");
        for wrong in ["", "a", "\"a", "'a'", "\"a\" \"b\"", "\"a\",", "*, *"] {
            assert_eq!(send(&[(header::IF_MATCH, wrong)]).await, 400, "{method} {path} {wrong}");
        }
        assert_eq!(send(&[(header::IF_MATCH, "\"a\""), (header::IF_MATCH, "\"b\"")]).await, 400, "two headers");
    }
    let (_, tag, _) = send(&app, Method::GET, COPY, &Value::Null, &[]).await;
    assert_eq!(tag, second, "nothing has changed");
    let other = json!({ "name": "other", "document": flow("a")["document"] });
    assert_eq!(send(&app, Method::PUT, COPY, &other, &[(header::IF_MATCH, "*")]).await.0, 400, "two names");
    let in_body = json!({ "document": flow("a")["document"], "if_match": "*" });
    assert_eq!(send(&app, Method::PUT, COPY, &in_body, &[]).await.0, 400, "what is expected stands in a header");
    assert_eq!(send(&app, Method::DELETE, COPY, &Value::Null, &[(header::IF_MATCH, tag.leak())]).await.0, 200);
    assert_eq!(send(&app, Method::PUT, COPY, &flow("a"), &[(header::IF_MATCH, "*")]).await.0, 412, "it is gone");
    assert_eq!(send(&app, Method::PUT, COPY, &flow("a"), &[]).await.0, 201);
}

#[tokio::test]
async fn a_response_names_the_url_of_the_run() {
    let app = TestApp::new(Brake::default());
    app.save(&flow("a")["document"]).await;
    let response = app.call(TestApp::request(Method::POST, "/rest/v1/flows/copy/runs", &json!({}))).await;
    let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let (status, _, run) = send(&app, Method::GET, &location, &Value::Null, &[]).await;
    assert_eq!((status, format!("/rest/v1/runs/{}", run["id"].as_str().unwrap())), (200, location));
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[tokio::test]
async fn a_request_that_is_sent_again_with_its_key_starts_no_second_run() {
    let app = TestApp::new(Brake::default());
    app.save(&flow("a")["document"]).await;
    app.save(&json!({ "name": "other", "steps": [] })).await;
    let document = json!({ "document": { "name": "given", "steps": [] } });
    for (path, body, changed) in [
        ("/rest/v1/flows/copy/runs", json!({ "input": { "a": 1 } }), json!({ "input": { "a": 2 } })),
        ("/rest/v1/runs", json!({ "flow": "other" }), json!({ "flow": "other", "connections": { "a": "b" } })),
        ("/rest/v1/runs", json!({ "flow": document }), json!({ "flow": { "document": { "name": "b", "steps": [] } } })),
    ] {
        let send = async |key: &'static str, body: &Value| send(&app, Method::POST, path, body, &[(KEY, key)]).await;
        let (status, _, first) = send("k1", &body).await;
        assert_eq!(status, 202, "{first}");
        for key in ["k1", "\"k1\""] {
            assert_eq!(send(key, &body).await, (202, String::new(), first.clone()), "{path}");
        }
        let (status, _, refused) = send("k1", &changed).await;
        assert_eq!((status, &refused["details"]), (422, &json!(["key_reused"])), "{refused}");
        assert_ne!(send("k2", &body).await.2["run"], first["run"], "another key starts another run");
        let (one, other) = tokio::join!(send("k3", &body), send("k3", &body));
        assert_eq!(one.2["run"], other.2["run"], "both at once");
    }
    let runs = send(&app, Method::GET, "/rest/v1/runs", &Value::Null, &[]).await.2;
    assert_eq!(runs["items"].as_array().unwrap().len(), 9);
    // The sabotage twin: without a key, each request starts a run.
    let path = "/rest/v1/flows/copy/runs";
    let runs = [
        send(&app, Method::POST, path, &json!({}), &[]).await.2,
        send(&app, Method::POST, path, &json!({}), &[]).await.2,
    ];
    assert_ne!(runs[0]["run"], runs[1]["run"]);
    let long = "k".repeat(256).leak();
    for wrong in ["", "\"\"", "\"a", "a\\b", long] {
        let (status, _, problem) = send(&app, Method::POST, path, &json!({}), &[(KEY, wrong)]).await;
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
    assert_eq!(send(&app, Method::POST, path, &json!({}), &[(KEY, "a"), (KEY, "b")]).await.0, 400, "two keys");
    // An operation that would be carried out again does not pretend to know the key.
    let call = json!({ "connection": "dam" });
    assert_eq!(send(&app, Method::POST, "/rest/v1/actions/a.b/call", &call, &[(KEY, "a")]).await.0, 400);
}

#[tokio::test]
async fn a_request_says_which_response_it_accepts() {
    let app = TestApp::new(Brake::default());
    let get = async |accept: &'static str| {
        send(&app, Method::GET, "/rest/v1/flows", &Value::Null, &[(header::ACCEPT, accept)]).await.0
    };
    for accept in
        ["application/json", "*/*", "text/html, application/*;q=0.1", "APPLICATION/JSON; charset=utf-8", "", "x"]
    {
        assert_eq!(get(accept).await, 200, "{accept}");
    }
    for accept in [
        "text/html",
        "application/xml, text/csv",
        "application/json;q=0",
        "*/*;q=0.0",
        "text/*",
        "*/*, application/json;q=0",
    ] {
        assert_eq!(get(accept).await, 406, "{accept}");
    }
}

#[test]
fn an_error_says_how_long_to_wait_if_that_is_known() {
    let wait = |kind: ErrorKind, retry: Retry| {
        let response = ErrorResponse::from(Error::new(kind, "no").retry(retry)).into_response();
        response.headers().get(header::RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned())
    };
    let after = Retry::After(Duration::from_millis(2500));
    assert_eq!(wait(ErrorKind::RateLimited, after).as_deref(), Some("3"));
    assert_eq!(wait(ErrorKind::Conflict, after).as_deref(), Some("3"));
    assert_eq!(wait(ErrorKind::Unavailable, Retry::Backoff).as_deref(), Some("30"));
    assert_eq!(wait(ErrorKind::Conflict, Retry::Never), None);
}

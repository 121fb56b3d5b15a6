//! The connector `http` for any service: calls, downloads, uploads, and connectors that a folder describes.
#![allow(clippy::unwrap_used)]

mod bytes;
mod data;
mod files;

use std::sync::Arc;

use http_connector as _;
use mediaflow as _;
use mediavalet as _;
use serde_json::{Value, json};
use trunkline_core::{Connected, Connection, Connections, Context, Error, ErrorKind, MemoryVault, Registry};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, method, path},
};

/// Makes a connection without a store.
pub(crate) fn connect(registry: &Registry, document: Value) -> Connected {
    let connection = Connection::from_value(document).unwrap();
    let faults = registry.check(&connection);
    assert!(faults.is_empty(), "{faults:#?}");
    registry.connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("no references")).unwrap()
}

/// Makes a connection of the connector `http` with a token.
pub(crate) fn http(name: &str, address: &str) -> Connected {
    connect(
        &Registry::discover().unwrap(),
        json!({ "name": name, "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": format!("{address}/v1"),
            "authentication": "bearer", "token": "canary-token" }),
    )
}

pub(crate) fn context(all: &[&Connected]) -> Context {
    let connections: Connections = all.iter().map(|one| (*one).clone()).collect();
    Context::new("key", all[0].name(), connections)
}

async fn service(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

pub(crate) fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

async fn request(server: &MockServer, input: Value) -> Result<Value, Error> {
    let connected = http("shop", &server.uri());
    connected.run("request", input, &context(&[&connected])).await
}

#[tokio::test]
async fn a_request_is_sent_as_written_in_the_input() {
    let answer = json!({ "id": 7 });
    let server = service(ResponseTemplate::new(201).set_body_json(&answer).insert_header("x-total", "3")).await;
    let input = json!({
        "method": "POST", "path": "/orders/{id}/lines", "parameters": { "id": "a b" }, "query": { "dry": true },
        "headers": { "X-Lang": "sv" }, "body": { "count": 2 },
    });
    let output = request(&server, input).await.unwrap();
    assert_eq!(
        (&output["status"], &output["body"], &output["headers"]["x-total"]),
        (&json!(201), &answer, &json!("3"))
    );
    let seen = &server.received_requests().await.unwrap()[0];
    assert_eq!((seen.method.as_str(), seen.url.path()), ("POST", "/v1/orders/a%20b/lines"));
    assert_eq!(seen.url.query(), Some("dry=true"));
    assert_eq!(header(seen, "authorization"), Some("Bearer canary-token"));
    assert_eq!((header(seen, "x-lang"), header(seen, "content-type")), (Some("sv"), Some("application/json")));
    assert_eq!(seen.body_json::<Value>().unwrap(), json!({ "count": 2 }));
}

#[tokio::test]
async fn form_and_text_bodies_and_text_responses_are_supported() {
    let server = service(ResponseTemplate::new(200).set_body_raw("<p>hej</p>", "text/html")).await;
    let form = json!({ "method": "PUT", "path": "/a", "contentType": "application/x-www-form-urlencoded",
        "body": { "a": "x y", "b": 1 }, "answer": "text" });
    assert_eq!(request(&server, form).await.unwrap()["body"], "<p>hej</p>");
    let text = json!({ "method": "PUT", "path": "/a", "contentType": "text/csv", "body": "a;b", "answer": "text" });
    request(&server, text).await.unwrap();
    let bodies: Vec<_> = server.received_requests().await.unwrap().iter().map(|one| one.body.clone()).collect();
    assert_eq!(bodies, [b"a=x+y&b=1".to_vec(), b"a;b".to_vec()]);
    // A response that is not JSON is an error unless a text is requested: a sign-in page of a hotel must not pass for a
    // result.
    let error = request(&server, json!({ "path": "/a" })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    let odd = json!({ "method": "POST", "path": "/a", "contentType": "text/csv", "body": { "a": 1 } });
    assert_eq!(request(&server, odd).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn no_request_leaves_the_endpoint_or_replaces_the_credentials() {
    let server = service(ResponseTemplate::new(200).set_body_json(json!({}))).await;
    for input in [
        json!({ "path": "//evil.example/x" }),
        json!({ "path": "/../secrets" }),
        json!({ "path": "/a?token=x" }),
        json!({ "path": "/a/%2e%2e/b" }),
        json!({ "path": "/a/{b}", "parameters": { "b": "../c" } }),
        json!({ "path": "/a", "headers": { "Authorization": "Bearer other" } }),
        json!({ "path": "/a", "headers": { "Host": "evil.example" } }),
        json!({ "path": "/a", "headers": { "X-A": "b\r\nX-C: d" } }),
        json!({ "path": "/a", "methd": "GET" }),
        json!({ "path": "/a", "method": "TRACE" }),
    ] {
        let error = request(&server, input.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{input}: {error:?}");
    }
    assert!(server.received_requests().await.unwrap().is_empty(), "no request was sent");
}

#[tokio::test]
async fn the_effect_decides_whether_a_request_is_repeated() {
    for (input, kind, times) in [
        (json!({ "method": "POST", "path": "/a" }), ErrorKind::UnknownOutcome, 1),
        (json!({ "method": "PATCH", "path": "/a" }), ErrorKind::UnknownOutcome, 1),
        (json!({ "method": "POST", "path": "/search", "effect": "read" }), ErrorKind::Unavailable, 5),
        (json!({ "method": "PUT", "path": "/a" }), ErrorKind::Unavailable, 5),
        (json!({ "path": "/a" }), ErrorKind::Unavailable, 5),
    ] {
        let server = service(ResponseTemplate::new(502)).await;
        assert_eq!(request(&server, input.clone()).await.unwrap_err().kind(), kind, "{input}");
        assert_eq!(server.received_requests().await.unwrap().len(), times, "{input}");
        // After a crash, the engine decides by the same effect.
        let connected = http("shop", &server.uri());
        let settled = connected.reconcile("request", input.clone(), &context(&[&connected])).await;
        assert_eq!(settled.is_ok(), times > 1, "{input}");
    }
}

#[tokio::test]
async fn every_authentication_sends_its_credentials() {
    let registry = Registry::discover().unwrap();
    for (settings, name, value, setting) in [
        (json!({ "authentication": "none" }), "authorization", None, None),
        (json!({ "authentication": "bearer", "token": "t1" }), "authorization", Some("Bearer t1"), Some("/token")),
        (
            json!({ "authentication": "basic", "username": "u", "password": "p" }),
            "authorization",
            Some("Basic dTpw"),
            Some("/password"),
        ),
        (json!({ "authentication": "basic", "username": "u" }), "authorization", Some("Basic dTo="), Some("/username")),
        (
            json!({ "authentication": "apiKey", "apiKeyHeader": "x_shop.key~1", "apiKey": "k" }),
            "x_shop.key~1",
            Some("k"),
            Some("/apiKey"),
        ),
        (
            json!({ "authentication": "apiKey", "apiKeyHeader": "Cookie", "apiKey": "k" }),
            "cookie",
            Some("k"),
            Some("/apiKey"),
        ),
        (json!({ "authentication": "apiKey", "apiKey": "k" }), "x-api-key", Some("k"), Some("/apiKey")),
        (
            json!({ "authentication": "apiKey", "apiKeyHeader": "X-Shop", "apiKey": "k" }),
            "x-shop",
            Some("k"),
            Some("/apiKey"),
        ),
        (
            json!({ "authentication": "oauth2", "flows": "client_credentials", "clientId": "c", "clientSecret": "s" }),
            "authorization",
            Some("Bearer fresh"),
            None,
        ),
    ] {
        let server = MockServer::start().await;
        let token = json!({ "access_token": "fresh", "token_type": "bearer", "expires_in": 3600 });
        let issue = Mock::given(path("/token")).respond_with(ResponseTemplate::new(200).set_body_json(token));
        issue.mount(&server).await;
        Mock::given(path("/v1/health")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
        let mut document = json!({ "name": "shop", "connector": "http-v1.0", "allowPrivateNetwork": true, "checkPath": "/health",
            "endpointUrl": format!("{}/v1", server.uri()) });
        document.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        if settings["authentication"] == "oauth2" {
            document["tokenUrl"] = json!(format!("{}/token", server.uri()));
        }
        let connected = connect(&registry, document.clone());
        assert_eq!(connected.check().await.findings, [], "{settings}");
        let requests = server.received_requests().await.unwrap();
        assert_eq!(header(requests.last().unwrap(), name), value, "{settings}");
        // A wrong setting is named.
        let refuse = Mock::given(path("/v1/secret")).respond_with(ResponseTemplate::new(401));
        refuse.mount(&server).await;
        document["checkPath"] = json!("/secret");
        let found = connect(&registry, document.clone()).check().await.findings;
        let pointers: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(pointers, [setting.unwrap_or_default()], "{settings}");
        document["checkPath"] = json!("/nowhere");
        let found = connect(&registry, document).check().await.findings;
        assert_eq!(found[0].pointer, "/checkPath", "{found:?}");
    }
}

#[tokio::test]
async fn settings_are_checked_for_the_chosen_authentication() {
    let registry = Registry::discover().unwrap();
    let found = |settings: Value| {
        let mut document = json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl": "https://x.example" });
        document.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let mut pointers: Vec<_> =
            registry.check(&Connection::from_value(document).unwrap()).into_iter().map(|one| one.pointer).collect();
        pointers.sort();
        pointers
    };
    assert_eq!(found(json!({})), ["/authentication"]);
    assert_eq!(found(json!({ "authentication": "basic", "password": "p" })), ["/username"]);
    for odd in ["", "X Key", "X-Key:", "X-Schlüssel"] {
        let document =
            json!({ "authentication": "apiKey", "apiKeyHeader": odd, "apiKey": "k", "idempotencyHeader": odd });
        assert_eq!(found(document), ["/apiKeyHeader", "/idempotencyHeader"], "{odd}");
    }
    assert_eq!(found(json!({ "authentication": "none", "token": "t" })), ["/token"]);
    assert_eq!(
        found(json!({ "authentication": "oauth2", "flows": "refresh_token", "clientId": "c", "tokenUrl": 7 })),
        ["/refreshToken", "/tokenUrl"]
    );
    assert_eq!(
        found(
            json!({ "authentication": "oauth2", "flows": "magic", "clientId": "c", "tokenUrl": "https://x.example/t" })
        ),
        ["/flows"]
    );
}

#[tokio::test]
async fn both_dams_have_the_action_request() {
    for connector in ["mediaflow", "mediavalet"] {
        let server = MockServer::start().await;
        let token = json!({ "access_token": "fresh", "token_type": "bearer", "expires_in": 3600 });
        let issue = Mock::given(path("/token")).respond_with(ResponseTemplate::new(200).set_body_json(token));
        issue.mount(&server).await;
        let answer = Mock::given(method("PATCH")).and(path("/new/7"));
        answer.respond_with(ResponseTemplate::new(200).set_body_json(json!({ "done": true }))).mount(&server).await;
        let document = json!({ "name": "dam", "allowPrivateNetwork": true, "connector": format!("{connector}-v1.0"), "endpointUrl": server.uri(),
            "tokenUrl": format!("{}/token", server.uri()), "authentication": "oauth2", "flows": "password",
            "username": "u", "password": "p", "clientId": "c", "clientSecret": "s" });
        let mut document = document;
        if connector == "mediavalet" {
            document["subscriptionKey"] = json!("canary-key");
        }
        let connected = connect(&Registry::discover().unwrap(), document);
        let input = json!({ "method": "PATCH", "path": "/new/{id}", "parameters": { "id": 7 }, "body": [] });
        let output = connected.run("request", input, &context(&[&connected])).await.unwrap();
        assert_eq!(output["body"]["done"], true);
        let requests = server.received_requests().await.unwrap();
        let seen = requests.last().unwrap();
        assert_eq!(header(seen, "authorization"), Some("Bearer fresh"));
        let key = (connector == "mediavalet").then_some("canary-key");
        assert_eq!(header(seen, "ocp-apim-subscription-key"), key);
        let steal = json!({ "method": "PATCH", "path": "/new/7", "headers": { "Ocp-Apim-Subscription-Key": "other" } });
        let stolen = connected.run("request", steal, &context(&[&connected])).await;
        assert_eq!(stolen.is_err(), key.is_some(), "a header of the connection's own cannot be set");
    }
}

#[tokio::test]
async fn reads_get_no_key_and_a_key_from_the_flow_is_kept() {
    let server = service(ResponseTemplate::new(200).set_body_json(json!({}))).await;
    let document = json!({ "name": "shop", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": server.uri(), "authentication": "bearer", "token": "canary-token", "idempotencyHeader": "X-Key" });
    let connected = connect(&Registry::discover().unwrap(), document);
    for (method, headers, key) in [
        ("GET", json!({}), None),
        ("HEAD", json!({}), None),
        ("PUT", json!({}), Some("key")),
        ("PATCH", json!({}), Some("key")),
        ("DELETE", json!({}), Some("key")),
        ("POST", json!({ "x-key": "mine" }), Some("mine")),
    ] {
        let input = json!({ "method": method, "path": "/a", "headers": headers });
        connected.run("request", input, &context(&[&connected])).await.unwrap();
        let seen = server.received_requests().await.unwrap().pop().unwrap();
        assert_eq!(header(&seen, "x-key"), key, "{method}");
    }
    let key = |api: &str, idempotency: &str| {
        json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl":
        "https://x.example", "authentication": "apiKey", "apiKeyHeader": api, "apiKey": "k",
        "idempotencyHeader": idempotency })
    };
    for (api, idempotency, setting) in [
        ("X-Shop", "Authorization", "/idempotencyHeader"),
        ("X-Shop", "Content-Type", "/idempotencyHeader"),
        ("X-Shop", "x-shop", "/idempotencyHeader"),
        ("Content-Length", "X-Key", "/apiKeyHeader"),
        ("accept-encoding", "X-Key", "/apiKeyHeader"),
        ("Transfer-Encoding", "X-Key", "/apiKeyHeader"),
        ("Host", "X-Key", "/apiKeyHeader"),
        ("Expect", "X-Key", "/apiKeyHeader"),
    ] {
        let document = key(api, idempotency);
        let connection = Connection::from_value(document).unwrap();
        let registry = Registry::discover().unwrap();
        let made = registry.connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("no references"));
        let error = made.err().unwrap();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some(setting)), "{api} {idempotency}");
    }
}

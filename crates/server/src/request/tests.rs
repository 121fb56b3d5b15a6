use axum::http::Method;
use serde_json::{Value, json};

use super::*;
use crate::{brake::Brake, test_app::TestApp};

#[tokio::test]
async fn coded_bodies_are_refused_by_the_api_and_by_webhooks() {
    let app = TestApp::new(Brake::default());
    let flow = json!({ "name": "note", "trigger": { "webhook": {} }, "steps": [] });
    let webhook = app.save(&flow).await.webhook.unwrap();
    for path in ["/rest/v1/flows/note/runs", &webhook] {
        for (codings, status) in [
            (&["gzip"][..], 415),
            (&["br"], 415),
            (&["identity, deflate"], 415),
            (&["identity", "zstd"], 415),
            (&["Identity"], 202),
            (&[""], 202),
            (&["identity, identity"], 202),
            (&[], 202),
        ] {
            let mut request = TestApp::request(Method::POST, path, &json!({}));
            for coding in codings {
                request.headers_mut().append(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            let response = app.call(request).await;
            assert_eq!(response.status().as_u16(), status, "{path} {codings:?}");
            assert_eq!(response.headers().contains_key("accept-encoding"), status == 415, "{path} {codings:?}");
        }
    }
}

/// The doors of the server, with the status of a good request.
async fn doors(app: &TestApp) -> Vec<(Method, String, u16)> {
    let flow = json!({ "name": "note", "trigger": { "webhook": {} }, "steps": [] });
    let webhook = app.save(&flow).await.webhook.unwrap();
    vec![
        (Method::GET, "/rest/v1/flows".to_owned(), 200),
        (Method::POST, "/rest/v1/flows/note/runs".to_owned(), 202),
        (Method::POST, webhook, 202),
        (Method::GET, "/health".to_owned(), 200),
        (Method::GET, "/rest/v1/oauth2/callback".to_owned(), 400),
        (Method::GET, "/nowhere".to_owned(), 404),
    ]
}

/// Returns a body that requests of this method can have.
fn body(method: &Method) -> Value {
    if *method == Method::POST { json!({}) } else { Value::Null }
}

#[tokio::test]
async fn two_authorization_headers_are_refused_by_every_door() {
    let app = TestApp::new(Brake::default());
    for (method, path, status) in doors(&app).await {
        for (second, expected) in [(None, status), (Some("Bearer other"), 400), (Some(""), 400)] {
            let mut request = TestApp::request(method.clone(), &path, &body(&method));
            if let Some(second) = second {
                request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static(second));
                // The right token comes first, and comes twice.
                let right = request.headers()[header::AUTHORIZATION].clone();
                request.headers_mut().append(header::AUTHORIZATION, right);
            }
            assert_eq!(app.call(request).await.status().as_u16(), expected, "{path} {second:?}");
        }
    }
}

#[tokio::test]
async fn a_head_is_refused_from_its_limit_on_by_every_door() {
    let app = TestApp::new(Brake::default());
    for (method, path, status) in doors(&app).await {
        for (more, expected) in [(0, status), (1, 431), (40_000, 431)] {
            let mut request = TestApp::request(method.clone(), &path, &body(&method));
            let fill = MAX_HEAD - head_size(&request) - "x-fill: \r\n".len() + more;
            request.headers_mut().insert("x-fill", "x".repeat(fill).parse().unwrap());
            assert_eq!(head_size(&request), MAX_HEAD + more);
            assert_eq!(app.call(request).await.status().as_u16(), expected, "{path} {more}");
        }
    }
}

/// The sabotage twin: without the middleware, such heads reach the handlers.
#[tokio::test]
async fn without_the_middleware_such_heads_are_taken() {
    let read = |headers: axum::http::HeaderMap| {
        std::future::ready(headers.get_all("authorization").iter().count().to_string())
    };
    let router = axum::Router::new().route("/", axum::routing::post(read));
    let router = hyper_util::service::TowerToHyperService::new(router);
    let mut request = TestApp::request(Method::POST, "/", &json!({}));
    request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static("Bearer other"));
    request.headers_mut().insert("x-fill", "x".repeat(100_000).parse().unwrap());
    assert_eq!(hyper::service::Service::call(&router, request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_where_none_is_expected_is_refused_unless_it_is_empty() {
    let app = TestApp::new(Brake::default());
    for path in ["/rest/v1/runs/none/cancel", "/rest/v1/runs/none/resume", "/rest/v1/connections/none/authorize"] {
        for (body, status) in [
            ("", 404),
            (" ", 404),
            ("{}", 404),
            ("{\"force\": true}", 400),
            ("[]", 400),
            ("null", 400),
            ("not JSON", 400),
        ] {
            let request = TestApp::request(Method::POST, path, &json!({}));
            let request = request.map(|_| axum::body::Body::from(body));
            assert_eq!(app.call(request).await.status().as_u16(), status, "{path} {body:?}");
        }
    }
}

/// The sabotage twin: without the middleware, a body is read as if it had no content coding.
#[tokio::test]
async fn without_the_middleware_a_coded_body_is_read_as_it_is() {
    let router = axum::Router::new().route("/", axum::routing::post(async |body: Bytes| body.len().to_string()));
    let router = hyper_util::service::TowerToHyperService::new(router);
    let mut request = TestApp::request(Method::POST, "/", &json!({}));
    request.headers_mut().append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(hyper::service::Service::call(&router, request).await.unwrap().status(), 200);
}

#[test]
fn a_body_is_read_as_strictly_as_a_file() {
    for (body, words) in [
        (r#"{"a": 1, "a": 1}"#, "which is /a"),
        (r#"{"input": {"x": [{"b/c": 1, "b/c": 2}]}}"#, "which is /input/x/0/b~1c"),
        (r#"{"a": 12345678901234567890123}"#, "declare it as text"),
        ("{} {}", "trailing characters"),
        ("[1]", "not an object"),
    ] {
        let error = object(body.as_bytes()).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.message().contains(words), "{body}: {error}");
    }
    // The reader of serde alone takes the last of two values.
    let lenient: Value = serde_json::from_str(r#"{"a": 1, "a": 2}"#).unwrap();
    assert_eq!(lenient["a"], 2);
    let deep = format!(r#"{{"a": {}{}}}"#, "[".repeat(127), "]".repeat(127));
    let error = object(deep.as_bytes()).unwrap_err();
    assert!(error.kind() == ErrorKind::Limit && error.message().contains("127 levels"), "{error}");
    assert!(object(b"\xef\xbb\xbf {\"a\": {}}").is_ok() && object(b" ").is_ok());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_the_number() {
    use axum::{extract::FromRequest, response::IntoResponse};

    let request = |size: usize| {
        let body = axum::body::Body::from(vec![b'x'; size]);
        Bytes::from_request(axum::http::Request::post("/").body(body).unwrap(), &())
    };
    assert!(complete(request(MAX_BODY).await).is_ok());
    let refused = complete(request(3 * MAX_BODY).await).unwrap_err();
    assert!(format!("{refused:?}").contains("limit of 1048576 bytes"), "{refused:?}");
    assert_eq!(refused.into_response().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

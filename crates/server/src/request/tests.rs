use axum::http::Method;
use serde_json::json;

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

/// The sabotage twin: without the middleware, a body is read as if it had no content coding.
#[tokio::test]
async fn without_the_middleware_a_coded_body_is_read_as_it_is() {
    let router = axum::Router::new().route("/", axum::routing::post(async |body: Bytes| body.len().to_string()));
    let router = hyper_util::service::TowerToHyperService::new(router);
    let mut request = TestApp::request(Method::POST, "/", &json!({}));
    request.headers_mut().append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(hyper::service::Service::call(&router, request).await.unwrap().status(), 200);
}

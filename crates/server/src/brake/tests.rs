use axum::http::Method;
use serde_json::{Value, json};

use super::*;
use crate::test_app::TestApp;

/// Sends a request from an address. Returns the status, and the value of `Retry-After`.
async fn call(app: &TestApp, path: &str, token: &str, address: [u8; 4]) -> (u16, Option<u64>) {
    let method = if path.starts_with("/webhooks") { Method::POST } else { Method::GET };
    let mut request = TestApp::request_with(method, path, &Value::Null, token);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 1))));
    let response = app.call(request).await;
    let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().parse().unwrap());
    (response.status().as_u16(), wait)
}

const RIGHT: &str = "0123456789abcdef0123456789abcdef";
const API: &str = "/rest/v1/flows";
const WEBHOOK: &str = "/webhooks/note/wrong";
const ONE: [u8; 4] = [192, 0, 2, 1];

/// Sends ten wrong tokens from one address. Returns how many got status 429.
async fn refused(app: &TestApp, path: &str, status: u16) -> usize {
    let mut refused = 0;
    for _ in 0..10 {
        match call(app, path, "wrong", ONE).await {
            (429, Some(wait)) if (1..=60).contains(&wait) => refused += 1,
            found => assert_eq!(found, (status, None), "{path}"),
        }
    }
    refused
}

#[tokio::test]
async fn further_wrong_tokens_are_refused_and_the_right_one_is_accepted() {
    for (path, status) in [(API, 401), (WEBHOOK, 404)] {
        let app = TestApp::new(Brake::new(4, 100));
        let flow = json!({ "name": "note", "trigger": { "webhook": {} }, "steps": [] });
        let right = app.save(&flow).await.webhook.unwrap();
        assert_eq!(refused(&app, path, status).await, 6, "{path}");
        // The right token is accepted from the same address, and wrong ones of another address get their reason.
        assert_eq!(call(&app, API, RIGHT, ONE).await, (200, None));
        assert_eq!(call(&app, &right, "", ONE).await, (202, None));
        assert_eq!(call(&app, path, "wrong", [192, 0, 2, 2]).await, (status, None));
        // A minute later, the count begins again.
        app.app.brake.end_window();
        assert_eq!(call(&app, path, "wrong", ONE).await, (status, None));
        // The sabotage twin.
        let app = TestApp::new(Brake::new(u32::MAX, u32::MAX));
        assert_eq!(refused(&app, path, status).await, 0, "{path}");
    }
}

#[tokio::test]
async fn wrong_tokens_of_many_addresses_are_refused_and_fill_no_memory() {
    let app = TestApp::new(Brake::new(4, 20));
    let mut refused = 0;
    for last in 0..100 {
        let (status, _) = call(&app, API, "wrong", [192, 0, 2, last]).await;
        refused += usize::from(status == 429);
    }
    assert_eq!((refused, app.app.brake.counted().addresses.len()), (80, 20));
    assert_eq!(call(&app, API, RIGHT, ONE).await, (200, None));
}

#[tokio::test]
async fn a_request_without_a_token_is_not_counted() {
    let app = TestApp::new(Brake::new(1, 1));
    for _ in 0..5 {
        let mut request = TestApp::request(Method::GET, API, &Value::Null);
        request.headers_mut().remove("authorization");
        assert_eq!(app.call(request).await.status(), 401);
    }
    assert_eq!(call(&app, API, "wrong", ONE).await, (401, None));
}

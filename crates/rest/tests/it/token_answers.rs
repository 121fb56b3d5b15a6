//! Every response of a login server to a refresh is classified correctly, and the sign-in is kept.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::{login::*, *};
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::ResponseTemplate;

/// The expected classification of a response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// The response has new tokens.
    Token,
    /// The user has to sign in again.
    Reauth,
    /// The user has to change the settings.
    Config,
    /// The failure may be temporary.
    Later,
}

const TOKEN: &str = r#"{"access_token":"access-x","token_type":"Bearer","refresh_token":"refresh-x"}"#;

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn table() -> Vec<(&'static str, ResponseTemplate, Class)> {
    use Class::*;
    let json = |status: u16, body: Value| ResponseTemplate::new(status).set_body_json(body);
    let raw = |status: u16, body: &str, kind: &str| ResponseTemplate::new(status).set_body_raw(body.to_owned(), kind);
    let text = |body: &str| raw(200, body, "application/json");
    let error = |status: u16, code: &str| json(status, json!({ "error": code }));
    let token = |more: Value| {
        let mut body = json!({ "access_token": "access-x", "token_type": "Bearer", "refresh_token": "refresh-x" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json(200, body)
    };
    vec![
        ("invalid_grant", error(400, "invalid_grant"), Reauth),
        ("invalid_grant with 401", error(401, "invalid_grant"), Reauth),
        ("access_denied", error(400, "access_denied"), Reauth),
        ("invalid_client", error(401, "invalid_client"), Config),
        ("invalid_client with 400", error(400, "invalid_client"), Config),
        ("unauthorized_client", error(400, "unauthorized_client"), Config),
        ("unsupported_grant_type", error(400, "unsupported_grant_type"), Config),
        ("invalid_scope", error(400, "invalid_scope"), Config),
        ("a redirect", ResponseTemplate::new(302).insert_header("location", "https://example.com/"), Config),
        ("not found", ResponseTemplate::new(404), Config),
        ("invalid_request", error(400, "invalid_request"), Config),
        ("temporarily_unavailable", error(400, "temporarily_unavailable"), Later),
        ("an unknown error", error(400, "weather"), Config),
        ("a code in capitals", error(401, "INVALID_CLIENT"), Config),
        ("an object in error", json(401, json!({ "error": { "code": "invalid_client", "message": "x" } })), Config),
        ("a grant in an object", json(400, json!({ "error": { "code": "invalid_grant", "message": "x" } })), Reauth),
        ("a list of errors", json(401, json!({ "errors": [{ "code": "invalid_client", "detail": "x" }] })), Config),
        ("an error with 200", json(200, json!({ "error": "invalid_client", "error_description": "x" })), Config),
        ("a grant with 200", json(200, json!({ "error": "invalid_grant" })), Reauth),
        ("a busy server with 200", json(200, json!({ "error": "temporarily_unavailable" })), Later),
        ("a sentence with 401", json(401, json!({ "message": "the client secret ran out" })), Config),
        ("a page with 401", raw(401, "<html>Unauthorized</html>", "text/html"), Config),
        ("a text with 401", raw(401, "Unauthorized", "text/plain"), Config),
        ("nothing with 401", ResponseTemplate::new(401), Config),
        ("nothing with 400", ResponseTemplate::new(400), Later),
        ("a page with 400", raw(400, "<html>Bad request</html>", "text/html"), Later),
        ("a problem", raw(403, "{\"title\":\"no\",\"status\":403}", "application/problem+json"), Config),
        ("too early", ResponseTemplate::new(425), Later),
        ("throttled", ResponseTemplate::new(429), Later),
        ("throttled, with a time", ResponseTemplate::new(429).insert_header("retry-after", "1"), Later),
        ("an internal error", ResponseTemplate::new(500), Later),
        ("a bad gateway's page", raw(502, "<html>Bad gateway</html>", "text/html"), Later),
        ("unavailable for now", ResponseTemplate::new(503).insert_header("retry-after", "1"), Later),
        ("a gateway timeout", ResponseTemplate::new(504), Later),
        ("invalid_grant in a 500", error(500, "invalid_grant"), Later),
        ("a page instead of a token", raw(200, "<html>Sign in</html>", "text/html"), Later),
        ("a page that refuses", raw(403, "<html>Forbidden</html>", "text/html"), Config),
        ("an empty response", ResponseTemplate::new(200), Later),
        ("cut short", text(r#"{"access_token":"access-x","token_type":"bear"#), Later),
        ("no access token", json(200, json!({ "token_type": "bearer", "refresh_token": "refresh-x" })), Later),
        ("an access token that is a number", json(200, json!({ "access_token": 7, "token_type": "bearer" })), Later),
        ("an empty access token", json(200, json!({ "access_token": "", "token_type": "bearer" })), Later),
        ("another kind of token", json(200, json!({ "access_token": "access-x", "token_type": "mac" })), Config),
        ("a code of an error", json(200, json!({ "errcode": 40001, "errmsg": "wrong secret" })), Config),
        ("no success", json(200, json!({ "success": false, "message": "wrong secret" })), Config),
        ("a form", raw(400, "error=invalid_client", "application/x-www-form-urlencoded"), Config),
        ("a refresh token that is a list", token(json!({ "refresh_token": ["refresh-x"] })), Later),
        ("huge", json(200, json!({ "access_token": "a".repeat(2 << 20), "token_type": "bearer" })), Later),
        ("the same key twice", text(r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#), Later),
        ("an array", json(200, json!(["access-x"])), Later),
        ("UTF-16", ResponseTemplate::new(200).set_body_raw(utf_16(TOKEN), "application/json"), Token),
        ("a byte order mark", raw(200, &format!("\u{feff}{TOKEN}"), "application/json; charset=utf-8"), Token),
        ("no type of token", text(r#"{"access_token":"access-x","refresh_token":"refresh-x"}"#), Token),
        ("JSON as a page", raw(200, TOKEN, "text/html; charset=utf-8"), Token),
        ("JSON as a text", raw(200, TOKEN, "text/plain"), Token),
        ("another type of JSON", raw(200, TOKEN, "application/oauth+json"), Token),
        ("no error and a token", token(json!({ "error": null, "errors": [] })), Token),
        ("a lifetime as text", token(json!({ "expires_in": "3600" })), Token),
        ("a lifetime of zero", token(json!({ "expires_in": 0 })), Token),
        ("a negative lifetime", token(json!({ "expires_in": -1 })), Token),
        ("a lifetime that is an object", token(json!({ "expires_in": { "seconds": 1 } })), Token),
        ("no lifetime", token(json!({})), Token),
        ("unknown members", token(json!({ "expires_in": 3600, "weather": [1, 2, 3] })), Token),
    ]
}

#[tokio::test]
async fn every_response_is_classified_and_the_sign_in_is_kept() {
    let table = table();
    assert!(table.len() >= 30);
    futures::future::join_all(table.into_iter().map(|(what, answer, class)| judge(what, answer, class))).await;
}

/// Returns the code with which the login server refused.
fn code(error: &Error) -> OAuthErrorCode {
    fact(error, "oauth").unwrap_or_default().to_owned().into()
}

async fn judge(what: &str, answer: ResponseTemplate, class: Class) {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    // The connection has tokens that are about to be renewed, so a wrong classification would lose them.
    login.lifetime(1);
    let limits = ClientLimits { tries: 1, ..quick() };
    let auth = |grant| Auth::OAuth(oauth(&server, grant));
    let client =
        || builder(&server.uri()).limits(limits.clone()).auth(auth(refresh_token()), slot(&vault)).build().unwrap();
    get(&client()).await.unwrap();
    let before = record(&vault).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    for _ in 0..2 {
        login.instead(answer.clone());
    }
    let mut found = get(&client()).await;
    // A refusal after a success counts only when it is repeated.
    let is_first = matches!(&found, Err(error) if error.has(&ErrorDetail::TokenRefused { code: code(error) }));
    let is_unconfirmed = is_first && class != Class::Later;
    if is_unconfirmed {
        assert!(record(&vault).await["failed"]["cause"].is_null(), "{what}: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        found = get(&client()).await;
    }
    let after = record(&vault).await;
    assert_eq!(login.asked(), if is_unconfirmed { 3 } else { 2 }, "{what}: {found:?}");
    if class == Class::Token {
        assert_eq!(
            (&after["accessToken"], &after["refreshToken"]),
            (&json!("access-x"), &json!("refresh-x")),
            "{what}"
        );
        assert!(after["expiresAt"].as_str() > after["obtainedAt"].as_str(), "{what}");
        return;
    }
    let error = found.unwrap_err();
    let found_class = match (error.kind(), error.retryable() != Retry::Never) {
        (ErrorKind::Auth, false) => Class::Reauth,
        (ErrorKind::Config, false) => Class::Config,
        (ErrorKind::Unavailable | ErrorKind::RateLimited, true) => Class::Later,
        other => panic!("{what}: {other:?} {error:?}"),
    };
    assert_eq!(found_class, class, "{what}: {error:?}");
    assert!(
        error.advice().is_some() && error.setting_pointer().is_some_and(|one| one.starts_with('/'))
            || class == Class::Later,
        "{what}: {error:?}"
    );
    for kept in ["accessToken", "refreshToken", "obtainedAt", "expiresAt"] {
        assert_eq!(before[kept], after[kept], "{what}: {kept} is lost");
    }
    assert_eq!(after["failed"]["cause"] == "revoked", class == Class::Reauth, "{what}: {after}");
    assert!(after.get("lease").is_none(), "{what}: a lease is left");
}

/// The words of the login server are in the message, without the secrets that it repeats.
#[tokio::test]
async fn the_words_of_the_login_server_are_quoted_without_secrets() {
    let words = "the client secret ran out";
    for answer in [
        ResponseTemplate::new(401).set_body_json(json!({ "error": { "code": "invalid_client", "message": words } })),
        ResponseTemplate::new(401).set_body_json(json!({ "errors": [{ "code": "invalid_client", "detail": words }] })),
        ResponseTemplate::new(200).set_body_json(json!({ "error": "invalid_client", "error_description": words })),
        ResponseTemplate::new(401).set_body_raw(format!("<html>{words}: client-secret</html>"), "text/html"),
        ResponseTemplate::new(400).set_body_string(format!("{words} client-secret {}", "x".repeat(5_000))),
        ResponseTemplate::new(503).set_body_json(json!({ "message": words })),
    ] {
        let (login, server) = login().await;
        login.instead(answer);
        let limits = ClientLimits { tries: 1, ..quick() };
        let auth = Auth::OAuth(oauth(&server, Grant::ClientCredentials));
        let client = builder(&server.uri()).limits(limits).auth(auth, slot(&Default::default())).build().unwrap();
        let error = get(&client).await.unwrap_err();
        assert!(error.message().contains(words) && error.message().len() < 500, "{error:?}");
        assert!(!format!("{error:?}").contains("client-secret"), "{error:?}");
    }
}

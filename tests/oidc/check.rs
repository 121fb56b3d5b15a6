//! The check of a connection against a login server whose errors say as little as the standard allows.

use serde_json::{Value, json};
use trunkline_core::{CheckReport, StageOutcome};
use trunkline_tests::{Cli, http};

use super::{Login, expire, signed_in, vault};

/// Returns the report of a check of a connection without a sign-in.
async fn check(document: Value) -> CheckReport {
    let home = Cli::default();
    let runtime = home.runtime();
    let name = runtime.add_connection(document).await.unwrap();
    runtime.connect(&name).await.unwrap().check().await
}

/// Returns a document for the client credentials flow, with changes.
fn document(login: &Login, changes: Value) -> Value {
    let mut document = login.document();
    document["checkPath"] = "/me".into();
    document["authorizationUrl"] = login.url("/auth").into();
    (document["flows"], document["refreshToken"]) = ("refresh_token".into(), "made-up".into());
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

#[tokio::test]
async fn each_fault_is_reported_at_its_setting() {
    let Some(login) = Login::start(&[]).await else { return };
    let without = |mut document: Value, name: &str| {
        document.as_object_mut().unwrap().shift_remove(name);
        document
    };
    let by_client = without(document(&login, json!({ "flows": "client_credentials" })), "refreshToken");
    let secretless = without(document(&login, json!({})), "clientSecret");
    for (document, stage, pointer, seen) in [
        (document(&login, json!({})), "token", "/refreshToken", "invalid_grant"),
        (document(&login, json!({ "clientSecret": "wrong" })), "token", "/clientSecret", "invalid_client"),
        (document(&login, json!({ "clientId": "nobody" })), "token", "/clientId", "does not know the client ID"),
        (secretless, "token", "/clientSecret", "invalid_client"),
        (by_client, "token", "/flows", "unsupported_grant_type"),
        (document(&login, json!({ "tokenUrl": login.url("/tokens") })), "token", "/tokenUrl", "404"),
        (document(&login, json!({ "issuer": login.url("/other") })), "discovery", "/issuer", "404"),
    ] {
        let checked = check(document.clone()).await;
        let found = checked.findings.iter().find(|one| one.pointer == pointer);
        let found = found.unwrap_or_else(|| panic!("{pointer} is not named: {checked:#?}"));
        assert!(found.message.contains(seen) && found.advice().is_some(), "{found:?}");
        assert!(
            checked.stages.iter().any(|one| one.stage == stage && one.outcome == StageOutcome::Failed),
            "{checked:#?}"
        );
    }
}

#[tokio::test]
async fn another_login_server_is_reported_at_the_issuer() {
    let (Some(login), Some(other)) = (Login::start(&[]).await, Login::start(&[]).await) else { return };
    let checked = check(document(&login, json!({ "issuer": other.url("") }))).await;
    let found = checked.findings.iter().find(|one| one.pointer == "/issuer").unwrap();
    assert!(found.message.contains(&other.url("/token")) && found.message.contains(&login.url("/token")), "{found:?}");
}

#[tokio::test]
async fn a_check_does_not_use_up_the_sign_in_and_reports_its_revocation() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let mut document = login.document();
    document["checkPath"] = "/me".into();
    let connected = signed_in(&home.runtime(), document).await;
    for _ in 0..3 {
        let checked = connected.check().await;
        assert_eq!(checked.findings, [], "{checked:#?}");
        assert!(checked.stages.iter().all(|one| one.outcome == StageOutcome::Ok), "{checked:#?}");
    }
    assert_eq!(login.token_requests().await, [("authorization_code".to_owned(), 200)]);
    drop(connected);

    // The user revokes it.
    let runtime = home.runtime();
    let tokens = vault(&runtime).load("login").await.unwrap().unwrap();
    let tokens: Value = serde_json::from_str(tokens.content.expose()).unwrap();
    let client = [("client_id", "by-post"), ("client_secret", "by-post-secret")];
    let form = [client[0], client[1], ("token", tokens["refreshToken"].as_str().unwrap())];
    let answer = http().post(login.url("/token/revocation")).form(&form).send().await.unwrap();
    assert!(answer.status().is_success());
    expire(&*vault(&runtime), "login").await;
    let checked = runtime.connect("login").await.unwrap().check().await;
    let found = &checked.findings[0];
    assert_eq!((&*found.pointer, checked.findings.len()), ("/flows", 1), "{checked:#?}");
    assert!(found.message.contains("invalid_grant"), "{found:?}");
    assert!(found.advice().unwrap().contains("sign in again"), "{found:?}");
}

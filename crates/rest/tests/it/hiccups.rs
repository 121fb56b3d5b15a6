//! A single refusal of a login server or an API that worked before is checked once more before it counts.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

use crate::support::{login::*, *};

fn refusal(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "error": code }))
}

/// The refusals of a login server that are checked once more: name, response.
fn refusals() -> Vec<(&'static str, ResponseTemplate)> {
    vec![
        ("invalid_grant", refusal(400, "invalid_grant")),
        ("invalid_client", refusal(401, "invalid_client")),
        ("unauthorized_client", refusal(400, "unauthorized_client")),
        ("invalid_scope", refusal(400, "invalid_scope")),
        ("access_denied", refusal(403, "access_denied")),
        ("a code of its own", refusal(400, "tenant_suspended")),
        ("401 without a code", ResponseTemplate::new(401)),
        ("403 without a code", ResponseTemplate::new(403)),
        ("404 of the token endpoint", ResponseTemplate::new(404)),
        ("a redirect", ResponseTemplate::new(302).insert_header("location", "https://login.example.com/moved")),
    ]
}

/// A connection that has worked and whose token has expired.
async fn expired(confirm: Duration) -> (Login, MockServer, Arc<MemoryVault>, Client) {
    let (login, server) = login().await;
    login.lifetime(1);
    let vault = Arc::<MemoryVault>::default();
    // A missing response is followed by a pause of twice this time.
    let limits = ClientLimits { confirm, attempt: Duration::from_secs(1), ..quick() };
    let auth = Auth::OAuth(oauth(&server, refresh_token()));
    let client = builder(&server.uri()).limits(limits).auth(auth, slot(&vault)).build().unwrap();
    get(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    (login, server, vault, client)
}

#[tokio::test]
async fn one_refusal_of_a_login_server_that_worked_is_not_final() {
    let each = refusals().into_iter().map(async |(name, response)| {
        let (login, _server, vault, client) = expired(Duration::from_millis(50)).await;
        login.instead(response);
        get(&client).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(login.form()["refresh_token"], "refresh-1", "{name}: the same token, which was not spent");
        assert!(record(&vault).await["failed"].is_null(), "{name}");
    });
    futures::future::join_all(each).await;
}

#[tokio::test]
async fn a_refusal_is_shown_as_a_pause_until_it_is_confirmed() {
    let each = refusals().into_iter().map(async |(name, response)| {
        let (login, _server, vault, client) = expired(Duration::from_millis(500)).await;
        for _ in 0..2 {
            login.instead(response.clone());
        }
        let cx = cx().with_timeout(Duration::from_millis(300));
        let error = client.call("thing.get", json!({ "id": 1 }), &cx).await.unwrap_err();
        assert!(
            matches!(error.retryable(), Retry::After(_)) && error.kind() == ErrorKind::Unavailable,
            "{name} {error:?}"
        );
        assert!(record(&vault).await["failed"]["cause"].is_null(), "{name}: no alert yet");
        // Other processes see the same, and send nothing either.
        let other = with_confirm(&client, &vault, &_server).await;
        assert_eq!((other.kind(), login.asked()), (ErrorKind::Unavailable, 2), "{name}");
        tokio::time::sleep(Duration::from_millis(600)).await;
        let error = get(&client).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config), "{name} {error:?}");
        assert_eq!(login.asked(), 3, "{name}: asked once more and not again");
    });
    futures::future::join_all(each).await;
}

/// Responses to a refresh after which it is not known whether the refresh token was spent.
fn unclear() -> [(&'static str, ResponseTemplate); 4] {
    [
        ("a page", ResponseTemplate::new(200).set_body_raw("<html>Sign in</html>", "text/html")),
        ("503", ResponseTemplate::new(503)),
        ("no token", ResponseTemplate::new(200).set_body_json(json!({}))),
        ("504", ResponseTemplate::new(504)),
    ]
}

/// A connection whose token was refreshed with success after an unclear refresh, and has expired again.
async fn refreshed_after(
    response: ResponseTemplate,
    confirm: Duration,
) -> (Login, MockServer, Arc<MemoryVault>, Client) {
    let (login, server, vault, client) = expired(confirm).await;
    login.instead(response);
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = get(&client).await {
        assert!(tokio::time::Instant::now() < end && error.kind() == ErrorKind::Unavailable, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(record(&vault).await["doubted"], true);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    (login, server, vault, client)
}

#[tokio::test]
async fn one_refusal_after_an_unclear_refresh_and_a_successful_one_is_not_final() {
    let cases = unclear().into_iter().flat_map(|one| refusals().into_iter().map(move |refusal| (one.clone(), refusal)));
    let each = cases.map(async |((unclear, response), (name, refusal))| {
        let (login, _server, vault, client) = refreshed_after(response, Duration::from_millis(50)).await;
        let asked = login.asked();
        login.instead(refusal);
        get(&client).await.unwrap_or_else(|error| panic!("{unclear}, {name}: {error:?}"));
        assert_eq!(login.asked(), asked + 2, "{unclear}, {name}");
        let record = record(&vault).await;
        assert!(record["failed"].is_null() && record["doubted"].is_null(), "{unclear}, {name}");
    });
    futures::future::join_all(each).await;
}

/// The twin: a replay of the old refresh token did end the sign-in, and the second refusal says so.
#[tokio::test]
async fn a_sign_in_that_a_replay_has_ended_is_reported_after_the_confirmation() {
    let each = unclear().into_iter().map(async |(unclear, response)| {
        let (login, _server, vault, client) = refreshed_after(response, Duration::from_millis(50)).await;
        let asked = login.asked();
        login.0.revoked.store(true, std::sync::atomic::Ordering::SeqCst);
        let error = get(&client).await.unwrap_err();
        assert_eq!((error.kind(), login.asked()), (ErrorKind::Auth, asked + 2), "{unclear}: {error:?}");
        assert_eq!(record(&vault).await["failed"]["cause"], "interrupted", "{unclear}");
    });
    futures::future::join_all(each).await;
}

/// A check waits for the second answer, so that it has a result.
#[tokio::test]
async fn a_check_confirms_a_refusal_itself() {
    for refusals in [1, 2] {
        let (login, _server, _, client) = expired(Duration::from_millis(50)).await;
        for _ in 0..refusals {
            login.instead(refusal(400, "invalid_grant"));
        }
        let found = client.check("thing.get", json!({ "id": 1 })).await.findings;
        let pointers: Vec<_> = found.iter().map(|one| &*one.pointer).collect();
        assert_eq!(pointers, if refusals == 1 { vec![] } else { vec!["/refreshToken"] }, "{found:?}");
        assert_eq!(login.asked(), 3);
    }
}

async fn with_confirm(_: &Client, vault: &Arc<MemoryVault>, server: &MockServer) -> Error {
    let client = with(server, oauth(server, refresh_token()), vault);
    client.call("thing.get", json!({ "id": 1 }), &cx().with_timeout(Duration::from_millis(50))).await.unwrap_err()
}

/// The sabotage twin: nothing shows that the login server accepted the same before, so that its refusal counts at once.
#[tokio::test]
async fn without_an_earlier_success_one_refusal_is_final() {
    let each = refusals().into_iter().map(async |(name, response)| {
        let (login, _server, vault, client) = expired(Duration::from_millis(50)).await;
        let entry = slot(&vault).vault_entry().await.unwrap().unwrap();
        let mut forgotten: Value = serde_json::from_str(entry.content.expose()).unwrap();
        forgotten["sent"] = Value::Null;
        let content = Secret::from(forgotten.to_string());
        assert!(slot(&vault).replace_vault_entry(entry.version, &content, &SignIn::default()).await.unwrap());
        login.instead(response);
        let error = get(&client).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config), "{name} {error:?}");
        assert_eq!(login.asked(), 2, "{name}");
    });
    futures::future::join_all(each).await;
}

/// An API whose first call succeeds if `works`, then refuses `refused` calls with this status.
async fn api(status: u16, works: bool, refused: u64) -> MockServer {
    let server = MockServer::start().await;
    let ok = || ResponseTemplate::new(200).set_body_json(json!({}));
    if works {
        Mock::given(any()).respond_with(ok()).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(status)).up_to_n_times(refused).mount(&server).await;
    Mock::given(any()).respond_with(ok()).mount(&server).await;
    server
}

#[tokio::test]
async fn one_refusal_of_an_api_that_worked_is_not_final() {
    for status in [401, 403] {
        for operation in ["thing.get", "thing.rename", "thing.create", "thing.delete"] {
            let server = api(status, true, 1).await;
            let client = builder(&server.uri()).auth(Auth::Bearer("t".into()), slot(&Arc::default())).build().unwrap();
            get(&client).await.unwrap();
            let input = if operation == "thing.create" { json!({}) } else { json!({ "id": 1 }) };
            client.call(operation, input, &cx()).await.unwrap_or_else(|error| panic!("{status} {operation} {error:?}"));
        }
        // A second one is, and further items do not wait.
        let server = api(status, true, 1000).await;
        let client = builder(&server.uri()).auth(Auth::Bearer("t".into()), slot(&Arc::default())).build().unwrap();
        get(&client).await.unwrap();
        for _ in 0..5 {
            get(&client).await.unwrap_err();
        }
        assert_eq!(server.received_requests().await.unwrap().len(), 1 + 2 + 4, "{status}");
        // The twin: without an earlier success, the first one is final.
        let server = api(status, false, 1).await;
        get(&builder(&server.uri()).build().unwrap()).await.unwrap_err();
    }
}

#[tokio::test]
async fn one_refusal_of_discovery_is_not_final() {
    for status in [401, 403, 404, 429, 500, 503] {
        let server = MockServer::start().await;
        let document = json!({ "issuer": server.uri(), "token_endpoint": format!("{}/token", server.uri()) });
        let at = || Mock::given(path("/.well-known/openid-configuration"));
        at().respond_with(ResponseTemplate::new(status)).up_to_n_times(1).mount(&server).await;
        at().respond_with(ResponseTemplate::new(200).set_body_json(document)).mount(&server).await;
        discover(&environment(), &server.uri(), true).await.unwrap();
        // The twin: two are.
        let server = MockServer::start().await;
        at().respond_with(ResponseTemplate::new(status)).mount(&server).await;
        discover(&environment(), &server.uri(), true).await.unwrap_err();
        assert_eq!(server.received_requests().await.unwrap().len(), 2);
    }
}

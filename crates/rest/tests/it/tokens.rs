//! OAuth 2 against a login server that rotates refresh tokens: a refresh token that is used twice ends the sign-in.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::support::{login::*, *};
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::ResponseTemplate;

#[tokio::test]
async fn concurrent_calls_share_one_refresh() {
    let (login, server) = login().await;
    login.delay(Duration::from_millis(100));
    for round in 1..=3 {
        // Each round has a new client and an empty vault.
        let vault = Arc::<MemoryVault>::default();
        let settings = login.0.refresh.lock().unwrap().clone();
        let grant = Grant::RefreshToken { refresh_token: settings.as_str().into() };
        let client = with(&server, oauth(&server, grant), &vault);
        let all = futures::future::join_all((0..100).map(|_| get(&client))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        assert_eq!((login.asked(), client.token_refreshes()), (round, 1));
    }
}

/// The sabotage twin: two requests with the same refresh token end the sign-in.
#[tokio::test]
async fn without_single_flight_the_sign_in_is_lost() {
    let (login, server) = login().await;
    let naive = naive();
    let form = [("grant_type", "refresh_token"), ("refresh_token", "refresh-0")];
    for _ in 0..2 {
        naive.post(format!("{}/token", server.uri())).form(&form).send().await.unwrap();
    }
    assert!(login.0.revoked.load(Ordering::SeqCst));
}

#[tokio::test]
async fn two_clients_of_a_connection_share_the_refresh() {
    let (login, server) = login().await;
    login.delay(Duration::from_millis(100));
    let vault = Arc::<MemoryVault>::default();
    let clients: Vec<_> = (0..10).map(|_| with(&server, oauth(&server, refresh_token()), &vault)).collect();
    let all = futures::future::join_all(clients.iter().map(get)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(login.asked(), 1);
}

#[tokio::test]
async fn a_dropped_caller_does_not_lose_the_sign_in() {
    let (login, server) = login().await;
    login.delay(Duration::from_millis(200));
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    for instant in [1, 20, 50, 100, 150] {
        tokio::time::timeout(Duration::from_millis(instant), get(&client)).await.ok();
    }
    drop(client);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(record(&vault).await["refreshToken"], "refresh-1", "stored, although no caller was waiting");
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    get(&client).await.unwrap();
    assert_eq!((login.asked(), client.token_refreshes()), (1, 0));
}

#[tokio::test]
async fn the_vault_takes_precedence_until_the_settings_change() {
    let (login, server) = login().await;
    login.lifetime(1);
    let vault = Arc::<MemoryVault>::default();
    get(&with(&server, oauth(&server, refresh_token()), &vault)).await.unwrap();
    assert_eq!(record(&vault).await["refreshToken"], "refresh-1");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    get(&with(&server, oauth(&server, refresh_token()), &vault)).await.unwrap();
    assert_eq!(login.form()["refresh_token"], "refresh-1", "the newer one of the vault");
    *login.0.refresh.lock().unwrap() = "by-hand".into();
    let grant = Grant::RefreshToken { refresh_token: "by-hand".into() };
    get(&with(&server, oauth(&server, grant), &vault)).await.unwrap();
    assert_eq!(login.form()["refresh_token"], "by-hand", "the user has entered another one");
    assert!(!login.0.revoked.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_empty_refresh_token_does_not_replace_the_old_one() {
    let (login, server) = login().await;
    login.0.rotates.store(false, Ordering::SeqCst);
    login.lifetime(1);
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    for _ in 0..2 {
        get(&client).await.unwrap();
        assert_eq!(record(&vault).await["refreshToken"], "refresh-0");
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_without_a_waiting_caller() {
    let (login, server) = login().await;
    login.lifetime(2);
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    get(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1700)).await;
    // The token is valid and in the last fifth of its lifetime: it is used while a new one is requested.
    login.lifetime(3600);
    get(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(login.asked(), 2);
    tokio::time::sleep(Duration::from_millis(500)).await;
    get(&client).await.unwrap();
    assert_eq!(login.asked(), 2);
}

#[tokio::test]
async fn short_lifetimes_cause_no_busy_loop() {
    let (login, server) = login().await;
    login.lifetime(1);
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    let end = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < end {
        get(&client).await.unwrap();
    }
    assert!((2..=6).contains(&login.asked()), "{}", login.asked());
}

#[tokio::test]
async fn a_401_that_could_mean_expiry_causes_one_refresh() {
    let (login, server) = login().await;
    login.lifetime(2);
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    get(&client).await.unwrap();
    // The token is old enough for its lifetime, and the server has revoked it.
    tokio::time::sleep(Duration::from_millis(600)).await;
    *login.0.access.lock().unwrap() = "revoked".into();
    login.lifetime(3600);
    get(&client).await.unwrap();
    assert_eq!(login.asked(), 2);
    // Now the API refuses all calls. The token is young, so it cannot be the cause.
    login.0.closed.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(get(&client).await.unwrap_err().kind(), ErrorKind::Auth);
    }
    assert_eq!(login.asked(), 2, "no further refresh");
}

#[tokio::test]
async fn many_401_responses_cause_one_refresh_per_interval() {
    let (login, server) = login().await;
    login.lifetime(3);
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    get(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    login.0.closed.store(true, Ordering::SeqCst);
    let all = futures::future::join_all((0..50).map(|_| get(&client))).await;
    assert!(all.iter().all(Result::is_err));
    tokio::time::sleep(Duration::from_millis(800)).await;
    futures::future::join_all((0..50).map(|_| get(&client))).await;
    assert_eq!(login.asked(), 2);
}

#[tokio::test]
async fn a_newer_token_in_the_vault_is_used_without_a_request() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    get(&client).await.unwrap();
    // Another process has refreshed the token meanwhile.
    let entry = slot(&vault).vault_entry().await.unwrap().unwrap();
    let newer = entry.content.expose().replace("access-1", "access-x").replace("refresh-1", "refresh-x");
    assert!(slot(&vault).replace_vault_entry(entry.version, &newer.as_str().into(), &SignIn::default()).await.unwrap());
    *login.0.access.lock().unwrap() = "access-x".into();
    get(&client).await.unwrap();
    assert_eq!(login.asked(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_login_server_names_the_setting() {
    use ErrorKind::*;
    for (code, kind, setting) in [
        ("invalid_grant", Auth, "/refreshToken"),
        ("invalid_client", Config, "/clientSecret"),
        ("invalid_scope", Config, "/scopes"),
        ("unauthorized_client", Config, "/flows"),
        ("unsupported_grant_type", Config, "/flows"),
        ("temporarily_unavailable", Unavailable, "/tokenUrl"),
    ] {
        for status in [400, 401] {
            let (login, server) = login().await;
            let vault = Arc::<MemoryVault>::default();
            let client = with(&server, oauth(&server, refresh_token()), &vault);
            for _ in 0..10 {
                let body = json!({ "error": code, "error_description": "because of client-secret" });
                login.instead(ResponseTemplate::new(status).set_body_json(body));
            }
            let found = client.check("thing.get", json!({ "id": 1 })).await.findings;
            assert_eq!(found[0].pointer, setting, "{code} {found:?}");
            assert!(!format!("{found:?}").contains("client-secret"), "{found:?}");
            let error = get(&client).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{code}");
            if kind != Unavailable {
                assert_eq!(login.asked(), 1, "{code}: a refused request is not repeated");
            }
            let stored = slot(&vault).vault_entry().await.unwrap().map(|entry| entry.content.expose().to_owned());
            let empty = |stored: String| {
                let gone = ["\"refreshToken\":", "\"lease\"", "\"attempts\""];
                stored.contains("\"accessToken\":\"\"") && gone.iter().all(|one| !stored.contains(one))
            };
            assert!(stored.clone().is_none_or(empty), "no tokens and no lease are left: {stored:?}");
        }
    }
}

#[tokio::test]
async fn changed_settings_are_tried_immediately() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let secret = |text: &str| OAuth { client_secret: Some(text.into()), ..oauth(&server, refresh_token()) };
    get(&with(&server, secret("one"), &vault)).await.unwrap();
    get(&with(&server, secret("one"), &vault)).await.unwrap();
    assert_eq!(login.asked(), 1, "the same settings");
    login.instead(ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" })));
    let error = get(&with(&server, secret("wrong"), &vault)).await.unwrap_err();
    assert_eq!(error.setting_pointer(), Some("/clientSecret"), "a valid token does not hide the error: {error:?}");
    assert_eq!(record(&vault).await["refreshToken"], "refresh-1", "and nothing is lost");
    get(&with(&server, secret("two"), &vault)).await.unwrap();
    get(&with(&server, secret("two"), &vault)).await.unwrap();
    assert_eq!((login.asked(), &*login.form()["client_secret"]), (3, "two"));
}

#[tokio::test]
async fn a_check_repeats_a_request_that_was_refused() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    login.instead(ResponseTemplate::new(400).set_body_json(json!({ "error": "unauthorized_client" })));
    assert_eq!(get(&client).await.unwrap_err().kind(), ErrorKind::Config);
    // The vendor has corrected the cause, but neither this client nor that of another process has noticed.
    for client in [&client, &with(&server, oauth(&server, refresh_token()), &vault)] {
        assert_eq!(get(client).await.unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(login.asked(), 1);
    let checked = client.check("thing.get", json!({ "id": 1 })).await;
    assert!(checked.findings.is_empty(), "{checked:?}");
    get(&client).await.unwrap();
    // Other settings are tried without a check.
    login.lifetime(1);
    let vault = Arc::<MemoryVault>::default();
    let wrong = Grant::Password { username: "ann".into(), password: "wrong".into() };
    get(&with(&server, oauth(&server, wrong), &vault)).await.unwrap_err();
    let right = Grant::Password { username: "ann".into(), password: "right".into() };
    get(&with(&server, oauth(&server, right), &vault)).await.unwrap();
}

#[tokio::test]
async fn a_fault_of_the_login_server_keeps_the_sign_in() {
    let html = ResponseTemplate::new(200).set_body_raw("<html>", "text/html");
    for fault in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(503).insert_header("retry-after", "0"),
        ResponseTemplate::new(429),
        html.clone(),
        ResponseTemplate::new(400).set_body_raw("<html>", "text/html"),
        ResponseTemplate::new(200),
        ResponseTemplate::new(200)
            .set_body_json(json!({ "access_token": "a".repeat(2 << 20), "token_type": "bearer" })),
    ] {
        let (login, server) = login().await;
        let vault = Arc::<MemoryVault>::default();
        let client = with(&server, oauth(&server, refresh_token()), &vault);
        login.instead(fault);
        // The retries of the call succeed after the fault, with the same refresh token.
        get(&client).await.unwrap();
        assert_eq!(login.asked(), 2);
    }
}

#[tokio::test]
async fn a_refresh_with_a_lost_response_is_not_repeated_immediately() {
    // The response of the token endpoint is lost, so it is not known whether the refresh token was used.
    let server = Raw::new(vec![Vec::new()]).await;
    let oauth = |grant| OAuth {
        client_id: "c".into(),
        client_secret: None,
        client_auth: ClientAuth::Form,
        token_url: format!("{}/token", server.base).parse().unwrap(),
        authorization_url: None,
        revocation_url: None,
        redirect_uri: None,
        scopes: Vec::new(),
        grant,
    };
    let call = async |grant, vault: &Arc<MemoryVault>| {
        let limits = ClientLimits { tries: 1, ..quick() };
        let auth = Auth::OAuth(oauth(grant));
        let client = builder(&server.base).limits(limits).auth(auth, slot(vault)).build().unwrap();
        let before = server.count();
        let error = client.call("thing.get", json!({ "id": 1 }), &cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        server.count() - before
    };
    let vault = Arc::<MemoryVault>::default();
    assert_eq!(call(refresh_token(), &vault).await, 1);
    assert_eq!(call(Grant::ClientCredentials, &vault).await, 2, "a second request is harmless here");
    let password = Grant::Password { username: "u".into(), password: "p".into() };
    assert_eq!(call(password, &vault).await, 1, "a login server counts the sign-ins with a password");
}

#[tokio::test]
async fn the_password_and_client_credentials_flows_send_their_credentials() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let password = |word: &str| Grant::Password { username: "ann".into(), password: word.into() };
    get(&with(&server, oauth(&server, password("right")), &vault)).await.unwrap();
    let form = login.form();
    for (name, value) in [
        ("grant_type", "password"),
        ("username", "ann"),
        ("password", "right"),
        ("scope", "openid api"),
        ("client_id", "client"),
        ("client_secret", "client-secret"),
    ] {
        assert_eq!(form[name], value);
    }
    let basic = OAuth { client_auth: ClientAuth::Basic, ..oauth(&server, Grant::ClientCredentials) };
    get(&with(&server, basic, &vault)).await.unwrap();
    assert!(!login.form().contains_key("client_secret"));
    let sent = server.received_requests().await.unwrap();
    let token = sent.iter().rfind(|request| request.url.path() == "/token").unwrap();
    assert_eq!(token.headers["authorization"], "Basic Y2xpZW50OmNsaWVudC1zZWNyZXQ=");
    let asked = login.asked();
    let client = with(&server, oauth(&server, password("wrong")), &vault);
    for _ in 0..5 {
        let error = get(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Auth, Some("/password")));
    }
    assert_eq!(login.asked(), asked + 1, "a wrong password is not repeated, because that could lock the account");
}

#[tokio::test]
async fn a_vault_that_fails_loses_no_tokens() {
    struct FullVault {
        inner: MemoryVault,
        is_full: AtomicBool,
    }
    #[async_trait]
    impl Vault for FullVault {
        async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
            self.inner.load(connection).await
        }
        async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
            match self.is_full.load(Ordering::SeqCst) {
                true => Err(Error::new(ErrorKind::Store, "the disk is full")),
                false => self.inner.replace(connection, expected, content, sign_in).await,
            }
        }
    }
    let (login, server) = login().await;
    let vault = Arc::new(FullVault { inner: MemoryVault::default(), is_full: AtomicBool::new(true) });
    let limits = ClientLimits { tries: 1, ..quick() };
    let auth = Auth::OAuth(oauth(&server, refresh_token()));
    let slot = ConnectionContext::new("conn", vault.clone());
    let client = builder(&server.uri()).limits(limits).auth(auth, slot.clone()).build().unwrap();
    assert_eq!(get(&client).await.unwrap_err().kind(), ErrorKind::Store);
    vault.is_full.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    get(&client).await.unwrap();
    assert_eq!(login.asked(), 1, "the used refresh token is not sent again");
    assert!(slot.vault_entry().await.unwrap().unwrap().content.expose().contains("refresh-1"));
}

/// Changes the vault entry as another process would, and removes the lease.
async fn change_elsewhere(vault: &Arc<MemoryVault>, change: impl Fn(&mut Value)) {
    loop {
        let Some(entry) = slot(vault).vault_entry().await.unwrap() else { continue };
        let mut record: Value = serde_json::from_str(entry.content.expose()).unwrap();
        record.as_object_mut().unwrap().remove("lease");
        change(&mut record);
        let content = Secret::from(record.to_string());
        if slot(vault).replace_vault_entry(entry.version, &content, &SignIn::default()).await.unwrap() {
            return;
        }
    }
}

#[tokio::test]
async fn tokens_of_a_late_response_are_refreshed_at_the_first_401_after_a_refusal() {
    for interrupted in [true, false] {
        let error = Error::new(ErrorKind::Auth, "refused: invalid_grant");
        let refusal = json!({ "until": 0, "times": 1, "error": error, "cause": "interrupted", "sent": "" });
        let (login, server) = login().await;
        login.delay(Duration::from_millis(300));
        let vault = Arc::<MemoryVault>::default();
        let client = with(&server, oauth(&server, refresh_token()), &vault);
        let late = client.clone();
        let late = tokio::spawn(async move { get(&late).await });
        while login.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Another process has used the same refresh token and was refused.
        if interrupted {
            change_elsewhere(&vault, |record| record["failed"] = refusal.clone()).await;
        }
        late.await.unwrap().unwrap();
        assert_eq!(record(&vault).await["refreshToken"], "refresh-1", "it may be the only valid one");
        // The login server has ended the sign-in.
        login.0.revoked.store(true, Ordering::SeqCst);
        let error = get(&client).await.unwrap_err();
        assert_eq!((error.kind(), fact(&error, "cause")), (ErrorKind::Auth, interrupted.then_some("interrupted")));
        // The twin: without the refusal, a young token is not refreshed.
        assert_eq!(login.asked(), if interrupted { 3 } else { 1 }, "asked, and once more to confirm: {error:?}");
    }
}

#[tokio::test]
async fn a_missing_response_does_not_hide_a_refusal() {
    let (login, server) = login().await;
    login.delay(Duration::from_millis(600));
    let vault = Arc::<MemoryVault>::default();
    let settings = || oauth(&server, refresh_token());
    login.instead(ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" })));
    get(&with(&server, settings(), &vault)).await.unwrap_err();
    let refusal = record(&vault).await["failed"].clone();
    assert!(refusal.to_string().contains("another copy of this data directory, may have used"), "{refusal}");
    let vault = Arc::<MemoryVault>::default();
    let short = Duration::from_millis(300);
    let limits = ClientLimits { attempt: short, token_response: short, ..quick() };
    let client = builder(&server.uri()).limits(limits).auth(Auth::OAuth(settings()), slot(&vault)).build().unwrap();
    let slow = tokio::spawn(async move { get(&client).await });
    while login.asked() == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    change_elsewhere(&vault, |record| record["failed"] = refusal.clone()).await;
    let error = slow.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), fact(&error, "oauth")), (ErrorKind::Auth, Some("invalid_grant")), "{error:?}");
    assert_eq!((login.asked(), &record(&vault).await["failed"]["cause"]), (2, &"revoked".into()));
}

#[tokio::test]
async fn a_call_that_times_out_while_it_waits_for_a_token_says_so() {
    let (login, server) = login().await;
    login.delay(Duration::from_secs(2));
    let client = with(&server, oauth(&server, refresh_token()), &Arc::default());
    let cx = cx().with_timeout(Duration::from_millis(100));
    let error = client.call("thing.get", json!({ "id": 1 }), &cx).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff));
    assert!(error.message().ends_with("it waited for a token from the login server"), "{error}");
}

#[tokio::test]
async fn a_login_server_that_hangs_does_not_delay_other_connections() {
    let ((slow, slow_server), (_, server)) = (login().await, login().await);
    slow.delay(Duration::from_secs(20));
    let client = |server| with(server, oauth(server, Grant::ClientCredentials), &Arc::default());
    let waits = client(&slow_server);
    let hanging = tokio::spawn(async move { get(&waits).await });
    while slow.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One after the other, because this login server invalidates a token when it issues the next one.
    for _ in 0..49 {
        get(&client(&server)).await.unwrap();
    }
    assert!(!hanging.is_finished(), "it was hanging the whole time");
}

//! Removing a connection revokes its tokens, including those of a refresh in flight.

use serde_json::Value;
use trunkline_core::{ErrorKind, SignInState};

use trunkline_tests::{Cli, http};

use super::{Login, call, expire, is_leased, reconnect, signed_in, vault};

/// Returns the stored access token.
async fn access(runtime: &trunkline::Runtime) -> String {
    let content = vault(runtime).load("login").await.unwrap().unwrap().content;
    let record: Value = serde_json::from_str(content.expose()).unwrap();
    record["accessToken"].as_str().unwrap().to_owned()
}

async fn is_accepted(login: &Login, token: &str) -> bool {
    http().get(login.url("/api/me")).bearer_auth(token).send().await.unwrap().status().is_success()
}

fn revoking(login: &Login) -> Value {
    let mut document = login.document();
    document["revocationUrl"] = login.url("/token/revocation").into();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_connection_is_signed_out() {
    let Some(login) = Login::start(&[]).await else { return };
    for revokes in [true, false] {
        let home = Cli::default();
        let runtime = home.runtime();
        let document = if revokes { revoking(&login) } else { login.document() };
        drop(signed_in(&runtime, document).await);
        let token = access(&runtime).await;
        assert!(is_accepted(&login, &token).await);
        home.run(&["connection", "remove", "login"]).await.expect(0);
        // The twin: without a revocation URL, the token outlives its connection.
        assert_eq!(is_accepted(&login, &token).await, !revokes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_in_flight_does_not_restore_a_removed_connection() {
    let Some(login) = Login::start(&["--delay", "300"]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, revoking(&login)).await;
    drop(connected);
    expire(&*vault(&runtime), "login").await;
    let caller = reconnect(&runtime).await;
    let calling = tokio::spawn(async move { call(&caller).await });
    while !is_leased(&*vault(&runtime), "login").await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    runtime.connections().remove_connection("login", true, None).await.unwrap();
    let error = calling.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(vault(&runtime).load("login").await.unwrap().is_none());
    assert_eq!(login.log().await["revocations"], 2, "both new tokens were revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_sign_in_is_shown() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, login.document()).await;
    let state = async || {
        let all = runtime.connections().connections().await.unwrap();
        all[0].sign_in.clone().unwrap()
    };
    let first = state().await;
    assert_eq!(first.at(trunkline::core::Timestamp::now()), SignInState::Ok);
    assert!(first.renewable && first.expires_at > first.last_success, "{first:?}");
    // Revoked at the login server: the next refresh reports it, and so do the list and the events in another process.
    let token = {
        let content = vault(&runtime).load("login").await.unwrap().unwrap().content;
        let record: Value = serde_json::from_str(content.expose()).unwrap();
        record["refreshToken"].as_str().unwrap().to_owned()
    };
    let form = [("token", &*token), ("client_id", "by-post"), ("client_secret", "by-post-secret")];
    assert!(http().post(login.url("/token/revocation")).form(&form).send().await.unwrap().status().is_success());
    expire(&*vault(&runtime), "login").await;
    drop(connected);
    let error = call(&reconnect(&runtime).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    let listed = home.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert_eq!(
        (&listed[0]["sign_in"]["state"], &listed[0]["sign_in"]["cause"]),
        (&"reauth_required".into(), &"revoked".into())
    );
    let events = home.run(&["connection", "events", "login", "--json"]).await.expect(0).json();
    let states: Vec<_> = events.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states.last(), Some(&"reauth_required"), "{events}");
    assert_eq!(states.first(), Some(&"ok"), "{events}");
    // After another sign-in, the status is good again.
    drop(signed_in(&runtime, login.document()).await);
    assert_eq!(state().await.at(trunkline::core::Timestamp::now()), SignInState::Ok);
}

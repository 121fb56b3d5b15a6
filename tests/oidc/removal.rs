//! Whoever removes a connection takes its tokens back, also those that are on their way while it goes.

use serde_json::Value;
use trunkline_core::{ErrorKind, SignInState};
use trunkline_tests::{Cli, http};

use super::{Login, anew, call, expire, is_leased, signed_in, vault};

/// The stored access token.
async fn access(runtime: &trunkline::Runtime) -> String {
    let content = vault(runtime).load("login").await.unwrap().unwrap().content;
    let record: Value = serde_json::from_str(content.expose()).unwrap();
    record["accessToken"].as_str().unwrap().to_owned()
}

async fn is_believed(login: &Login, token: &str) -> bool {
    http().get(login.url("/api/me")).bearer_auth(token).send().await.unwrap().status().is_success()
}

fn revoking(login: &Login) -> Value {
    let mut document = login.document();
    document["revocationUrl"] = login.url("/token/revocation").into();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_signed_out() {
    let Some(login) = Login::start(&[]).await else { return };
    for revokes in [true, false] {
        let home = Cli::default();
        let runtime = home.runtime();
        let document = if revokes { revoking(&login) } else { login.document() };
        drop(signed_in(&runtime, document).await);
        let token = access(&runtime).await;
        assert!(is_believed(&login, &token).await);
        home.run(&["connection", "remove", "login"]).await.expect(0);
        // The twin: without an address to take it back at, the token outlives its connection.
        assert_eq!(is_believed(&login, &token).await, !revokes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_does_not_bring_a_removed_connection_back() {
    let Some(login) = Login::start(&["--delay", "300"]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, revoking(&login)).await;
    drop(connected);
    expire(&*vault(&runtime), "login").await;
    let caller = anew(&runtime).await;
    let calling = tokio::spawn(async move { call(&caller).await });
    while !is_leased(&*vault(&runtime), "login").await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    runtime.store().remove_connection("login", true).await.unwrap();
    let error = calling.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(vault(&runtime).load("login").await.unwrap().is_none());
    assert_eq!(login.log().await["revocations"], 2, "both new tokens were taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_tells_how_it_stands() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, login.document()).await;
    let state = async || {
        let all = runtime.store().connections().await.unwrap();
        all[0].sign_in.clone().unwrap()
    };
    let first = state().await;
    assert_eq!(first.at(trunkline::core::Timestamp::now()), SignInState::Ok);
    assert!(first.renewable && first.expires_at > first.last_success, "{first:?}");
    // Withdrawn at the login server: the next refresh says so, and so do the list and the events, in another process.
    let token = {
        let content = vault(&runtime).load("login").await.unwrap().unwrap().content;
        let record: Value = serde_json::from_str(content.expose()).unwrap();
        record["refreshToken"].as_str().unwrap().to_owned()
    };
    let form = [("token", &*token), ("client_id", "by-post"), ("client_secret", "by-post-secret")];
    assert!(http().post(login.url("/token/revocation")).form(&form).send().await.unwrap().status().is_success());
    expire(&*vault(&runtime), "login").await;
    drop(connected);
    let error = call(&anew(&runtime).await).await.unwrap_err();
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
    // Signed in again, it is over.
    drop(signed_in(&runtime, login.document()).await);
    assert_eq!(state().await.at(trunkline::core::Timestamp::now()), SignInState::Ok);
}

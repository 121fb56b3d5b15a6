//! Tokens, from the first sign-in to the hundredth refresh, against strict login servers: a refresh token is valid
//! once, and a second use revokes the sign-in.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::Runtime;
use trunkline_core::{Connected, Connections, Context, ErrorKind};
use trunkline_sandbox::{Options, RefreshPolicy, Sandbox};
use trunkline_tests::{Cli, approve, document, fact, few, requests, sandbox};

const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

async fn strict(lifetime: Duration) -> Sandbox {
    sandbox(Options { token_lifetime: lifetime, refresh_policy: RefreshPolicy::OneTime, ..few(2) }).await
}

/// Returns a connection document for a sign-in in the browser.
fn by_browser(sandbox: &Sandbox, connector: &str) -> Value {
    let mut settings = document(sandbox, connector);
    settings["flows"] = "authorization_code".into();
    settings["authorizationUrl"] = match connector {
        "mediaflow" => sandbox.endpoints().mediaflow.authorization_url.into(),
        _ => sandbox.endpoints().mediavalet.authorization_url.into(),
    };
    for only in ["username", "password", "refreshToken"] {
        settings.as_object_mut().unwrap().remove(only);
    }
    settings
}

async fn signed_in(runtime: &Runtime, settings: Value) -> Connected {
    let name = runtime.add_connection(settings).await.unwrap();
    let connected = runtime.connect(&name).await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    connected.finish_authorization(&begun, &approve(&begun.url).await).await.unwrap();
    connected
}

async fn call(connected: &Connected) -> trunkline_core::Result<Value> {
    let cx = Context::new("", connected.name(), Connections::default());
    connected.run("user.current", json!({}), &cx).await
}

/// Returns the grant types of the token requests.
async fn grants(sandbox: &Sandbox) -> Vec<String> {
    let log = requests(sandbox).await;
    log.iter().filter_map(|request| request["grant_type"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_with_an_expired_token_make_one_token_request() {
    let sandbox = strict(Duration::from_secs(20)).await;
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, by_browser(&sandbox, "mediavalet")).await;
    call(&connected).await.unwrap();
    assert_eq!(grants(&sandbox).await, ["authorization_code"]);

    // The token is old enough that a 401 can mean expiry; then all tokens are invalidated at once.
    tokio::time::sleep(Duration::from_millis(4_300)).await;
    sandbox.expire_tokens();
    // As in a flow, some calls share a client, and others have their own client for the same connection.
    let mut all = Vec::new();
    for number in 0..100 {
        let own = if number % 4 == 0 { runtime.connect("mediavalet").await.unwrap() } else { connected.clone() };
        all.push(tokio::spawn(async move { call(&own).await.map(drop) }));
    }
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(grants(&sandbox).await, ["authorization_code", "refresh_token"], "one refresh for all of them");
    let refused = requests(&sandbox).await.iter().filter(|request| request["status"] == 401).count();
    assert!(refused > 0, "the first calls had a 401");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_renewed_before_it_is_refused() {
    let sandbox = strict(Duration::from_secs(2)).await;
    let home = Cli::default();
    let connected = signed_in(&home.runtime(), by_browser(&sandbox, "mediavalet")).await;
    for _ in 0..24 {
        call(&connected).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let log = requests(&sandbox).await;
    assert!(log.iter().all(|request| request["status"] != 401), "every renewal is ahead of time");
    let refreshes = grants(&sandbox).await.iter().filter(|grant| *grant == "refresh_token").count();
    assert!((2..=12).contains(&refreshes), "{refreshes}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_refresh_token_is_stored_before_it_is_needed() {
    let sandbox = strict(Duration::from_secs(1)).await;
    let home = Cli::default();
    drop(signed_in(&home.runtime(), by_browser(&sandbox, "mediavalet")).await);
    for restart in 0..5 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        // The same as a new process for the store.
        let runtime = home.runtime();
        let connected = runtime.connect("mediavalet").await.unwrap();
        call(&connected).await.unwrap_or_else(|error| panic!("restart {restart}: {error:?}"));
    }
    let refreshes = grants(&sandbox).await.iter().filter(|grant| *grant == "refresh_token").count();
    assert!(refreshes >= 5, "{refreshes}");
    sandbox.stop().await;
}

/// The sabotage twin: with the vault entry from before the refresh, the sign-in is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_refresh_token_would_lose_the_sign_in() {
    use trunkline_core::{Secret, SignIn};
    let sandbox = strict(Duration::from_secs(1)).await;
    let home = Cli::default();
    let runtime = home.runtime();
    drop(signed_in(&runtime, by_browser(&sandbox, "mediavalet")).await);
    let old = runtime.ports().vault.load("mediavalet").await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    call(&runtime.connect("mediavalet").await.unwrap()).await.unwrap();
    let new = runtime.ports().vault.load("mediavalet").await.unwrap().unwrap();
    assert!(new.version > old.version && new.content.expose() != old.content.expose());
    let text = Secret::from(old.content.expose());
    assert!(runtime.ports().vault.replace("mediavalet", new.version, &text, &SignIn::default()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = call(&runtime.connect("mediavalet").await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Auth, Some("/flows")), "{error:?}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_refresh_token_keeps_the_previous_one() {
    let sandbox = strict(Duration::from_secs(1)).await;
    let home = Cli::default();
    drop(signed_in(&home.runtime(), by_browser(&sandbox, "mediaflow")).await);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        // Mediaflow responds to each refresh with `"refresh_token": ""`.
        call(&home.runtime().connect("mediaflow").await.unwrap()).await.unwrap();
    }
    let refreshes = grants(&sandbox).await.iter().filter(|grant| *grant == "refresh_token").count();
    assert!(refreshes >= 3, "{refreshes}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_can_only_be_finished_by_the_attempt_that_started_it() {
    let sandbox = strict(Duration::from_secs(3600)).await;
    let home = Cli::default();
    let runtime = home.runtime();
    let settings = by_browser(&sandbox, "mediavalet");
    runtime.add_connection(settings).await.unwrap();
    let connected = runtime.connect("mediavalet").await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let query: std::collections::HashMap<_, _> =
        begun.url.parse::<trunkline_rest::Url>().unwrap().query_pairs().into_owned().collect();
    assert_eq!((query["response_type"].as_str(), query["code_challenge_method"].as_str()), ("code", "S256"));
    assert_eq!((query["redirect_uri"].as_str(), query["scope"].as_str()), (CALLBACK, "openid api offline_access"));
    assert!(query["code_challenge"].len() == 43 && query["state"].len() >= 20, "{query:?}");
    assert_eq!(query["state"], begun.state.expose());
    assert!(!begun.url.contains(begun.verifier.expose()) && !begun.url.contains("sandbox-mediavalet-secret"));

    // The callback of another sign-in, and one with the verifier of another sign-in.
    let back = approve(&begun.url).await;
    let other = connected.begin_authorization(CALLBACK).unwrap();
    assert_ne!((other.state.expose(), other.verifier.expose()), (begun.state.expose(), begun.verifier.expose()));
    let error = connected.finish_authorization(&other, &back).await.unwrap_err();
    assert_eq!(grants(&sandbox).await, [""; 0], "the code is not sent: {error:?}");
    let mixed = trunkline_core::Authorization::new(
        begun.url.clone(),
        begun.redirect_uri.clone(),
        begun.state.clone(),
        other.verifier.clone(),
    );
    let error = connected.finish_authorization(&mixed, &back).await.unwrap_err();
    assert_eq!(fact(&error, "oauth"), Some("invalid_grant"), "{error:?}");

    // The right callback succeeds, but not a second time.
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let back = approve(&begun.url).await;
    connected.finish_authorization(&begun, &back).await.unwrap();
    assert_eq!(call(&connected).await.unwrap()["userName"], "integration@example.com");
    let before = grants(&sandbox).await;
    let error = connected.finish_authorization(&begun, &back).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert_eq!(grants(&sandbox).await, before, "the code is not sent twice");
    assert_eq!(call(&connected).await.unwrap()["userName"], "integration@example.com");
    sandbox.stop().await;
}

/// Several processes on one data directory, each with an expired token at the same moment.
async fn share(policy: RefreshPolicy) {
    let options = Options { token_lifetime: Duration::from_secs(2), refresh_policy: policy, ..few(2) };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    drop(signed_in(&cli.runtime(), by_browser(&sandbox, "mediavalet")).await);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let arguments = ["call", "mediavalet.user.current", "--connection", "mediavalet", "--json"];
        for answer in futures::future::join_all((0..3).map(|_| cli.run(&arguments))).await {
            answer.expect(0);
        }
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_sign_in_with_a_login_server_that_tolerates_a_race() {
    share(RefreshPolicy::OneTimeGrace(Duration::from_secs(30))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_sign_in_with_a_strict_login_server() {
    share(RefreshPolicy::OneTime).await;
}

/// The gateway refuses a wrong key with the same 401 as an expired token: no refresh token is used for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_subscription_key_refreshes_no_token() {
    let sandbox = strict(Duration::from_secs(2)).await;
    let home = Cli::default();
    let runtime = home.runtime();
    let mut settings = by_browser(&sandbox, "mediavalet");
    drop(signed_in(&runtime, settings.clone()).await);
    settings["subscriptionKey"] = "ffffffffffffffffffffffffffffffff".into();
    runtime.add_connection(settings).await.unwrap();
    // Old enough that a 401 could mean expiry.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let connected = runtime.connect("mediavalet").await.unwrap();
    for _ in 0..50 {
        let error = call(&connected).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/subscriptionKey")), "{error:?}");
    }
    assert_eq!(grants(&sandbox).await, ["authorization_code"]);
    sandbox.stop().await;
}

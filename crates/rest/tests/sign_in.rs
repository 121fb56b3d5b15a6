//! Sign-in in the browser: what it asks for, and what it takes for its answer.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashMap, sync::Arc};

use support::login::*;
use trunkline_core::*;
use trunkline_rest::*;

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

#[tokio::test]
async fn sign_in_in_the_browser() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let error = get(&client).await.unwrap_err();
    assert_eq!((error.kind(), login.asked()), (ErrorKind::Auth, 0));
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let asked = query(&begun.url);
    assert!(begun.url.starts_with("https://login.example.com/authorize?audience=api&"));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid api"),
        ("code_challenge_method", "S256"),
        ("state", begun.state.expose()),
    ] {
        assert_eq!(asked[name], value);
    }
    assert!(!begun.url.contains("client-secret") && begun.state.expose().len() >= 43);
    let back = format!("{CALLBACK}?code=c0de&state={}&iss=https%3A%2F%2Fiam.example.com", begun.state.expose());
    client.finish_authorization(&begun, &back).await.unwrap();
    let form = login.form();
    assert_eq!(
        (&*form["grant_type"], &*form["code"], &*form["redirect_uri"]),
        ("authorization_code", "c0de", CALLBACK)
    );
    assert_eq!(form["code_verifier"], begun.verifier.expose());
    assert_eq!(record(&vault).await["issuer"], "https://iam.example.com");
    get(&client).await.unwrap();
    assert_eq!(login.asked(), 1);
}

#[tokio::test]
async fn callbacks_that_are_not_ours() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let other = client.begin_authorization(CALLBACK).unwrap();
    let state = begun.state.expose();
    for (back, kind) in [
        (format!("{CALLBACK}?code=c"), ErrorKind::Auth),
        (format!("{CALLBACK}?code=c&state="), ErrorKind::Auth),
        (format!("{CALLBACK}?code=c&state={}", other.state.expose()), ErrorKind::Auth),
        (format!("{CALLBACK}?code=c&state={state}x"), ErrorKind::Auth),
        (format!("{CALLBACK}?code=c&state={state}&state={state}"), ErrorKind::Auth),
        (format!("{CALLBACK}?code=c&code=d&state={state}"), ErrorKind::Auth),
        (format!("{CALLBACK}?state={state}"), ErrorKind::Auth),
        (format!("http://evil.example/rest/v1/oauth2/callback?code=c&state={state}"), ErrorKind::Auth),
        (format!("http://127.0.0.1:8700/other?code=c&state={state}"), ErrorKind::Auth),
        (format!("{CALLBACK}?error=access_denied&state={state}"), ErrorKind::Auth),
        (format!("{CALLBACK}?error=invalid_scope&state={state}"), ErrorKind::Config),
        (format!("{CALLBACK}?error=server_error&code=c&state={state}"), ErrorKind::Unavailable),
        ("junk".into(), ErrorKind::Auth),
    ] {
        let error = client.finish_authorization(&begun, &back).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{back}: {error:?}");
        assert!(!format!("{error:?}").contains(state), "{error:?}");
    }
    assert_eq!(login.asked(), 0, "no code is redeemed");
    for bad in ["http://evil.example/callback", "javascript:alert(1)", "/callback"] {
        assert_eq!(client.begin_authorization(bad).unwrap_err().context("setting"), Some("/redirectUri"));
    }
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    assert!(client.begin_authorization(CALLBACK).is_err());
}

//! Sign-in in the browser: the authorization URL, and the callbacks that are accepted.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{fact, login::*, slot};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::ResponseTemplate;

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

#[tokio::test]
async fn a_sign_in_in_the_browser_stores_tokens() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let error = get(&client).await.unwrap_err();
    assert_eq!((error.kind(), login.asked()), (ErrorKind::Auth, 0));
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let sent = query(&begun.url);
    assert!(begun.url.starts_with("https://login.example.com/authorize?audience=api&"));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid api"),
        ("code_challenge_method", "S256"),
        ("state", begun.state.expose()),
    ] {
        assert_eq!(sent[name], value);
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
async fn callbacks_of_other_sign_ins_are_refused() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let other = client.begin_authorization(CALLBACK).unwrap();
    for (query, kind) in [
        ("?code=c", ErrorKind::Auth),
        ("?code=c&state=", ErrorKind::Auth),
        ("?code=c&state=OTHER", ErrorKind::Auth),
        ("?code=c&state=STATEx", ErrorKind::Auth),
        ("?code=c&state=STATE&state=STATE", ErrorKind::Auth),
        ("?code=c&code=d&state=STATE", ErrorKind::Auth),
        ("?state=STATE", ErrorKind::Auth),
        ("?code=&state=STATE", ErrorKind::Auth),
        ("?code=%20&state=STATE", ErrorKind::Auth),
        ("?error=server_error&code=&state=STATE", ErrorKind::Unavailable),
        ("http://evil.example/rest/v1/oauth2/callback?code=c&state=STATE", ErrorKind::Auth),
        ("http://127.0.0.1:8700/other?code=c&state=STATE", ErrorKind::Auth),
        ("?error=access_denied&state=STATE", ErrorKind::Auth),
        ("?error=invalid_scope&state=STATE", ErrorKind::Config),
        ("?error=server_error&code=c&state=STATE", ErrorKind::Unavailable),
        ("junk", ErrorKind::Auth),
    ] {
        let begun = client.begin_authorization(CALLBACK).unwrap();
        let state = begun.state.expose();
        let query = query.replace("OTHER", other.state.expose()).replace("STATE", state);
        let back = if query.starts_with('?') { format!("{CALLBACK}{query}") } else { query };
        let error = client.finish_authorization(&begun, &back).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{back}: {error:?}");
        assert!(!format!("{error:?}").contains(state), "{error:?}");
    }
    assert_eq!(login.asked(), 0, "no code is redeemed");
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let empty = format!("{CALLBACK}?code=&state={}", begun.state.expose());
    let error = client.finish_authorization(&begun, &empty).await.unwrap_err();
    assert!(error.to_string().contains("its code is empty"), "{error}");
    for bad in ["http://evil.example/callback", "javascript:alert(1)", "/callback"] {
        assert_eq!(client.begin_authorization(bad).unwrap_err().setting_pointer(), Some("/redirectUri"));
    }
    let client = with(&server, oauth(&server, refresh_token()), &vault);
    assert!(client.begin_authorization(CALLBACK).is_err());
}

fn back(begun: &Authorization) -> String {
    format!("{CALLBACK}?code=c0de&state={}", begun.state.expose())
}

#[tokio::test]
async fn a_sign_in_accepts_one_callback() {
    let (login, server) = login().await;
    login.delay(Duration::from_millis(50));
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let begun = client.begin_authorization(CALLBACK).unwrap();
    // A callback with another state does not end the attempt.
    client.finish_authorization(&begun, &format!("{CALLBACK}?code=c0de&state=guessed")).await.unwrap_err();
    let back = back(&begun);
    let all = futures::future::join_all((0..50).map(|_| client.finish_authorization(&begun, &back))).await;
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
    assert!(all.iter().filter_map(|one| one.as_ref().err()).all(|error| error.message().contains("before")), "{all:?}");
    assert_eq!(login.asked(), 1, "the code is sent once");
    get(&client).await.unwrap();

    // A refusal ends the attempt, too.
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let denied = format!("{CALLBACK}?error=access_denied&state={}", begun.state.expose());
    client.finish_authorization(&begun, &denied).await.unwrap_err();
    client.finish_authorization(&begun, &self::back(&begun)).await.unwrap_err();
    assert_eq!(login.asked(), 1);
}

#[tokio::test]
async fn a_sign_in_expires_after_ten_minutes() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let mut begun = client.begin_authorization(CALLBACK).unwrap();
    begun.begun_at = Timestamp::now() - (Authorization::LASTS + Duration::from_secs(1));
    let error = client.finish_authorization(&begun, &back(&begun)).await.unwrap_err();
    assert!(error.message().contains("10 minutes ago") && error.advice().is_some(), "{error:?}");
    // The clock was set back since, so the age of the attempt is not known.
    begun.begun_at = Timestamp::now() + Authorization::LASTS * 2;
    client.finish_authorization(&begun, &back(&begun)).await.unwrap_err();
    assert_eq!(login.asked(), 0, "the code is not sent");
    begun.begun_at = Timestamp::now() - Authorization::LASTS + Duration::from_secs(60);
    client.finish_authorization(&begun, &back(&begun)).await.unwrap();
}

#[tokio::test]
async fn a_callback_of_another_issuer_is_refused() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let auth = || Auth::OAuth(oauth(&server, Grant::AuthorizationCode));
    let known =
        |issuer: &str| crate::support::builder(&server.uri()).issuer(Some(issuer.into())).auth(auth(), slot(&vault));
    let client = known("https://login.example.com").build().unwrap();
    for other in ["https://evil.example", "https://login.example.com/", "https://LOGIN.example.com", ""] {
        let begun = client.begin_authorization(CALLBACK).unwrap();
        let iss: String = url::form_urlencoded::byte_serialize(other.as_bytes()).collect();
        let error = client.finish_authorization(&begun, &format!("{}&iss={iss}", back(&begun))).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Auth, Some("/issuer")), "{error:?}");
        assert!(error.message().contains(other) && error.message().contains("https://login.example.com"), "{error:?}");
        // An error of the other issuer is refused as well.
        let begun = client.begin_authorization(CALLBACK).unwrap();
        let denied = format!("{CALLBACK}?error=access_denied&state={}&iss={iss}", begun.state.expose());
        let error = client.finish_authorization(&begun, &denied).await.unwrap_err();
        assert_eq!(error.setting_pointer(), Some("/issuer"), "{error:?}");
    }
    assert_eq!(login.asked(), 0, "no code is sent");
    // The right issuer, and a callback without an issuer.
    for iss in ["&iss=https%3A%2F%2Flogin.example.com", ""] {
        let begun = client.begin_authorization(CALLBACK).unwrap();
        client.finish_authorization(&begun, &format!("{}{iss}", back(&begun))).await.unwrap();
        assert_eq!(record(&vault).await["issuer"], "https://login.example.com");
    }
    for invalid in ["login.example.com", "http://login.example.com"] {
        assert_eq!(known(invalid).build().err().unwrap().setting_pointer(), Some("/issuer"), "{invalid}");
    }
}

fn id_token(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none" })), part(claims))
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_is_refused() {
    let (login, server) = login().await;
    let good = |begun: &Authorization| {
        let nonce = begun.nonce.as_ref().unwrap().expose();
        json!({ "iss": "https://login.example.com", "aud": "client", "exp": 4_000_000_000u64, "nonce": nonce })
    };
    let attempt = async |claim: &str, value: Value, scopes: &[&str]| {
        let vault = Arc::<MemoryVault>::default();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let client = with(&server, OAuth { scopes, ..oauth(&server, Grant::AuthorizationCode) }, &vault);
        let begun = client.begin_authorization(CALLBACK).unwrap();
        let token = match (&begun.nonce, claim) {
            (Some(nonce), _) => {
                assert_eq!(query(&begun.url)["nonce"], nonce.expose());
                let mut claims = good(&begun);
                claims[claim] = value;
                id_token(&claims)
            }
            (None, _) => {
                assert!(!query(&begun.url).contains_key("nonce"));
                "junk".to_owned()
            }
        };
        let answer = json!({ "access_token": "a", "token_type": "bearer", "refresh_token": "r", "id_token": token });
        login.instead(ResponseTemplate::new(200).set_body_json(answer));
        let back = format!("{}&iss=https%3A%2F%2Flogin.example.com", back(&begun));
        let done = client.finish_authorization(&begun, &back).await;
        (done, slot(&vault).vault_entry().await.unwrap())
    };
    for (claim, value, setting) in [
        ("iss", json!("https://evil.example"), Some("/tokenUrl")),
        ("aud", json!("another"), Some("/clientId")),
        ("nonce", json!("another"), None),
        ("exp", json!(1_000_000_000), None),
    ] {
        let (done, stored) = attempt(claim, value, &["openid", "api"]).await;
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Auth, setting), "{claim}: {error:?}");
        assert!(fact(&error, "host").is_some() && stored.is_none(), "{claim}: nothing is stored");
    }
    let (done, stored) = attempt("sub", json!("ada"), &["openid", "api"]).await;
    done.unwrap();
    assert!(stored.is_some_and(|entry| !entry.content.expose().contains("idToken")));
    // Without the scope openid, the ID token is ignored.
    attempt("sub", json!("ada"), &["api"]).await.0.unwrap();
}

#[tokio::test]
async fn the_user_that_the_id_token_names_is_kept_when_the_tokens_are_renewed() {
    let (login, server) = login().await;
    let vault = Arc::<MemoryVault>::default();
    let client = with(&server, oauth(&server, Grant::AuthorizationCode), &vault);
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let nonce = begun.nonce.as_ref().unwrap().expose();
    let claims = json!({ "iss": "https://login.example.com", "aud": "client", "exp": 4_000_000_000u64, "nonce": nonce,
        "sub": "ada" });
    let answer = json!({ "access_token": "first", "token_type": "bearer", "refresh_token": "r", "expires_in": 1,
        "id_token": id_token(&claims) });
    login.instead(ResponseTemplate::new(200).set_body_json(answer));
    *login.0.refresh.lock().unwrap() = "r".to_owned();
    client.finish_authorization(&begun, &back(&begun)).await.unwrap();
    assert_eq!(record(&vault).await["account"], "ada");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    get(&client).await.unwrap();
    let renewed = record(&vault).await;
    assert_eq!((&renewed["account"], renewed["accessToken"] == "first"), (&json!("ada"), false));
}

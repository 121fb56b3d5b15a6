//! One sign-in: from the authorization URL to calls with the new tokens.

use std::time::Duration;

use serde_json::json;
use trunkline_core::{Authorization, ErrorKind, Timestamp};
use trunkline_tests::{Cli, fact, http};

use super::{CALLBACK, Login, call, signed_in, walk};

#[tokio::test]
async fn a_user_signs_in_and_calls_succeed() {
    let Some(login) = Login::start(&[]).await else { return };
    for (client, way) in [("by-post", "form"), ("by-basic", "basic")] {
        let home = Cli::default();
        let mut document = login.document();
        document["clientId"] = client.into();
        document["clientSecret"] = format!("{client}-secret").into();
        document["clientAuthentication"] = way.into();
        let connected = signed_in(&home.runtime(), document).await;
        assert_eq!(call(&connected).await.unwrap(), "ada", "{client}");
    }
    assert_eq!(login.token_requests().await, vec![("authorization_code".to_owned(), 200); 2]);
    // The API verifies tokens: another token is refused.
    let stranger = http().get(login.url("/api/me")).bearer_auth("made-up").send().await.unwrap();
    assert_eq!(stranger.status(), 401);
}

#[tokio::test]
async fn a_foreign_callback_is_not_redeemed() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let connected = signed_in(&runtime, login.document()).await;
    let requests_before = login.token_requests().await.len();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await;
    // The callback of another attempt.
    let other = connected.begin_authorization(CALLBACK).unwrap();
    let error = connected.finish_authorization(&other, &back).await.unwrap_err();
    assert!(error.message().contains("another sign-in"), "{error:?}");
    // The callback of another login server: the settings name the issuer.
    let issuer: String = percent(&login.url(""));
    assert!(back.contains(&issuer), "{back}");
    let mixed_up = back.replace(&issuer, &percent("https://evil.example"));
    let error = connected.finish_authorization(&begun, &mixed_up).await.unwrap_err();
    assert_eq!(error.setting_pointer(), Some("/issuer"), "{error:?}");
    // A callback that is too late.
    let mut begun = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await;
    begun.begun_at = Timestamp::now() - (Authorization::LASTS + Duration::from_secs(1));
    let error = connected.finish_authorization(&begun, &back).await.unwrap_err();
    assert!(error.message().contains("10 minutes"), "{error:?}");
    assert_eq!(login.token_requests().await.len(), requests_before, "no code was sent");
    // The previous sign-in stayed valid all the time.
    assert_eq!(call(&connected).await.unwrap(), "ada");
}

#[tokio::test]
async fn the_id_token_proves_the_issuer_of_the_tokens() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    let mut document = login.document();
    document.as_object_mut().unwrap().shift_remove("issuer");
    runtime.add_connection(document).await.unwrap();
    let connected = runtime.connect("login").await.unwrap();
    // Without a configured issuer, the issuer of the callback is compared with that of the ID token.
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await.replace(&percent(&login.url("")), &percent("https://evil.example"));
    let error = connected.finish_authorization(&begun, &back).await.unwrap_err();
    assert!(error.message().contains("ID token") && error.kind() == ErrorKind::Auth, "{error:?}");
    // The nonce of another attempt: an attacker has injected a code of their own into the browser.
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let other = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await;
    let begun = begun.with_nonce(other.nonce);
    let error = connected.finish_authorization(&begun, &back).await.unwrap_err();
    assert!(error.message().contains("another sign-in"), "{error:?}");
    assert!(call(&connected).await.is_err(), "nothing was stored");
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    connected.finish_authorization(&begun, &walk(&begun.url).await).await.unwrap();
    assert_eq!(call(&connected).await.unwrap(), "ada");
}

#[tokio::test]
async fn the_verifier_of_another_attempt_is_refused() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    runtime.add_connection(login.document()).await.unwrap();
    let connected = runtime.connect("login").await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let other = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await;
    let mixed = Authorization::new(begun.url, begun.redirect_uri, begun.state, other.verifier, Timestamp::now())
        .with_nonce(begun.nonce);
    let error = connected.finish_authorization(&mixed, &back).await.unwrap_err();
    assert_eq!(fact(&error, "oauth"), Some("invalid_grant"), "{error:?}");
    assert_eq!(login.token_requests().await, [("authorization_code".to_owned(), 400)]);
}

#[tokio::test]
async fn a_second_use_of_the_callback_does_no_harm() {
    let Some(login) = Login::start(&[]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    runtime.add_connection(login.document()).await.unwrap();
    let connected = runtime.connect("login").await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    let back = walk(&begun.url).await;
    let all = futures::future::join_all((0..50).map(|_| connected.finish_authorization(&begun, &back))).await;
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1, "{all:?}");
    assert_eq!(login.token_requests().await, [("authorization_code".to_owned(), 200)], "the code was sent once");
    assert_eq!(call(&connected).await.unwrap(), "ada");

    // The twin: a second request with the code revokes its tokens.
    let address = back.parse::<trunkline_rest::Url>().unwrap();
    let code = address.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let form = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
        "code_verifier": begun.verifier.expose(), "client_id": "by-post", "client_secret": "by-post-secret",
    });
    let again = http().post(login.url("/token")).form(&form).send().await.unwrap();
    assert_eq!(again.status(), 400);
    assert_eq!(call(&connected).await.unwrap_err().kind(), ErrorKind::Auth, "the login server revoked the tokens");
}

#[tokio::test]
async fn a_token_that_really_expires_is_renewed() {
    let Some(login) = Login::start(&["--lifetime", "2"]).await else { return };
    let home = Cli::default();
    let connected = signed_in(&home.runtime(), login.document()).await;
    for _ in 0..3 {
        assert_eq!(call(&connected).await.unwrap(), "ada");
        tokio::time::sleep(Duration::from_millis(2_100)).await;
    }
    assert_eq!(call(&connected).await.unwrap(), "ada");
    let log = login.log().await;
    assert!(log["tokensUsed"].as_u64().unwrap() >= 4, "{log}");
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%2E", ".")
}

//! A check against servers that say nothing, and what it costs a login server. Most of what a check tells is in the suite of
//! all crates (`tests/check`).
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::*;
use serde_json::json;
use tokio::net::TcpListener;
use trunkline_core::*;
use trunkline_rest::*;

/// The port of a server that takes connections and never says a word.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    port
}

fn oauth(token_url: &str, authorization_url: Option<&str>, grant: Grant) -> OAuth {
    OAuth {
        client_id: "id".into(),
        client_secret: None,
        client_auth: ClientAuth::Form,
        token_url: token_url.parse().unwrap(),
        authorization_url: authorization_url.map(|url| url.parse().unwrap()),
        revocation_url: None,
        redirect_uri: None,
        scopes: Vec::new(),
        grant,
    }
}

async fn check(client: &Client) -> CheckReport {
    client.check("thing.get", json!({ "id": 1 })).await
}

fn outcomes(checked: &CheckReport) -> Vec<(&'static str, StageOutcome)> {
    checked.stages.iter().map(|one| (one.stage, one.outcome)).collect()
}

#[tokio::test]
async fn silence_is_told_at_the_address() {
    let limits = ClientLimits { attempt: Duration::from_millis(300), ..quick() };
    let base = format!("http://127.0.0.1:{}", silent().await);
    let checked = check(&builder(&base).limits(limits.clone()).build().unwrap()).await;
    assert_eq!(outcomes(&checked), [("tcp", StageOutcome::Ok), ("call", StageOutcome::Failed)]);
    assert_eq!(checked.findings[0].pointer, "/endpointUrl");
    assert!(checked.findings[0].hint.is_some(), "{checked:?}");

    let server = Raw::new(vec![ok_json("1")]).await;
    let oauth = oauth(&format!("{base}/token"), None, Grant::ClientCredentials);
    let vault = Arc::<MemoryVault>::default();
    let client = builder(&server.base).limits(limits).auth(Auth::OAuth(oauth), slot(&vault)).build().unwrap();
    let checked = check(&client).await;
    let (ok, failed, skipped) = (StageOutcome::Ok, StageOutcome::Failed, StageOutcome::Skipped);
    assert_eq!(outcomes(&checked), [("tcp", ok), ("tcp", ok), ("token", failed), ("call", skipped)]);
    assert_eq!(checked.findings[0].pointer, "/tokenUrl");
    assert!(checked.findings[0].message.contains("did not respond"), "{checked:?}");
}

#[tokio::test]
#[ignore = "10 seconds: the time to connect"]
async fn silence_instead_of_tls_is_told_at_the_address() {
    let checked = check(&client(&format!("https://127.0.0.1:{}", silent().await))).await;
    assert_eq!(
        outcomes(&checked),
        [("tcp", StageOutcome::Failed), ("tls", StageOutcome::Skipped), ("call", StageOutcome::Skipped)]
    );
    assert!(checked.findings[0].message.contains("within 10s"), "{checked:?}");
}

#[tokio::test]
async fn a_host_that_answers_nonsense_to_the_first_question_is_reached() {
    // What the first, empty question is answered does not matter: only the call does.
    let server = Raw::answering(|_, request| match request.starts_with("HEAD ") {
        true => b"junk\r\n\r\n".to_vec(),
        false => ok_json("1"),
    });
    let checked = check(&client(&server.await.base)).await;
    assert_eq!((checked.is_ok(), &checked.findings[..]), (true, &[][..]));
}

#[tokio::test]
async fn no_host_sees_a_credential_before_its_turn() {
    let server = Raw::new(vec![ok_json("1")]).await;
    let vault = Arc::<MemoryVault>::default();
    let auth = Auth::ApiKey { header: "X-Key".into(), key: "canary-1".into() };
    let client = builder(&server.base).header("X-Other", "canary-2".into(), None).auth(auth, slot(&vault));
    assert!(check(&client.build().unwrap()).await.is_ok());
    let requests = server.requests.lock().unwrap();
    assert!(requests[0].starts_with("HEAD / ") && !requests[0].contains("canary"), "{requests:?}");
    assert!(requests[1].contains("canary-1") && requests[1].contains("canary-2"), "{requests:?}");
}

#[tokio::test]
async fn the_address_for_the_browser_leads_a_check_nowhere_else() {
    for allowed in [false, true] {
        let inside = Raw::new(vec![ok_json("1")]).await;
        let oauth = oauth("https://login.example.invalid/token", Some(&inside.base), Grant::AuthorizationCode);
        let vault = Arc::<MemoryVault>::default();
        let client = builder("https://api.example.invalid").auth(Auth::OAuth(oauth), slot(&vault));
        let checked = check(&client.private_network(allowed).build().unwrap()).await;
        let found = checked.findings.iter().find(|one| one.pointer == "/authorizationUrl");
        // Twin: where it is allowed, somebody knocks.
        assert_eq!((found.is_none(), inside.count() > 0), (allowed, allowed), "{checked:#?}");
        assert!(found.is_none_or(|one| one.severity == Severity::Warning), "{found:?}");
    }
}

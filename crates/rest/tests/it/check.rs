//! Checks of connections against servers that do not respond, and what a check sends. Most findings of a check are
//! tested in `tests/check` of the workspace.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::*;
use serde_json::json;
use tokio::net::TcpListener;
use trunkline_core::*;
use trunkline_rest::*;

/// Returns the port of a server that accepts connections and never responds.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
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

fn outcomes(report: &CheckReport) -> Vec<(&'static str, StageOutcome)> {
    report.stages.iter().map(|one| (one.stage, one.outcome)).collect()
}

#[tokio::test]
async fn a_silent_server_is_reported_with_its_setting() {
    let limits = ClientLimits { attempt: Duration::from_millis(300), ..quick() };
    let base = format!("http://127.0.0.1:{}", silent().await);
    let report = check(&builder(&base).limits(limits.clone()).build().unwrap()).await;
    assert_eq!(outcomes(&report), [("tcp", StageOutcome::Ok), ("call", StageOutcome::Failed)]);
    assert_eq!(report.findings[0].pointer, "/endpointUrl");
    assert!(report.findings[0].advice().is_some(), "{report:?}");

    let server = Raw::new(vec![ok_json("1")]).await;
    let oauth = oauth(&format!("{base}/token"), None, Grant::ClientCredentials);
    let vault = Arc::<MemoryVault>::default();
    let client = builder(&server.base).limits(limits).auth(Auth::OAuth(oauth), slot(&vault)).build().unwrap();
    let report = check(&client).await;
    let (ok, failed, skipped) = (StageOutcome::Ok, StageOutcome::Failed, StageOutcome::Skipped);
    assert_eq!(outcomes(&report), [("tcp", ok), ("tcp", ok), ("token", failed), ("call", skipped)]);
    assert_eq!(report.findings[0].pointer, "/tokenUrl");
    assert!(report.findings[0].message.contains("did not respond"), "{report:?}");
}

#[tokio::test]
#[ignore = "10 seconds: the time to connect"]
async fn silence_instead_of_tls_is_reported_with_the_host() {
    let report = check(&client(&format!("https://127.0.0.1:{}", silent().await))).await;
    assert_eq!(
        outcomes(&report),
        [("tcp", StageOutcome::Failed), ("tls", StageOutcome::Skipped), ("call", StageOutcome::Skipped)]
    );
    assert!(report.findings[0].message.contains("within 10s"), "{report:?}");
}

#[tokio::test]
async fn a_host_that_responds_with_nonsense_to_the_probe_is_reachable() {
    // The response to the probe of the host does not matter, only that to the call.
    let server = Raw::answering(|_, request| match request.starts_with("HEAD ") {
        true => b"junk\r\n\r\n".to_vec(),
        false => ok_json("1"),
    });
    let report = check(&client(&server.await.base)).await;
    assert_eq!((report.is_ok(), &report.findings[..]), (true, &[][..]));
}

#[tokio::test]
async fn the_probe_of_a_host_carries_no_credentials() {
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
async fn the_authorization_url_leads_a_check_to_no_private_host() {
    for allowed in [false, true] {
        let inside = Raw::new(vec![ok_json("1")]).await;
        let oauth = oauth("https://login.example.invalid/token", Some(&inside.base), Grant::AuthorizationCode);
        let vault = Arc::<MemoryVault>::default();
        let client = builder("https://api.example.invalid").auth(Auth::OAuth(oauth), slot(&vault));
        let report = check(&client.private_network(allowed).build().unwrap()).await;
        let found = report.findings.iter().find(|one| one.pointer == "/authorizationUrl");
        // The twin: the check connects to the host if that is allowed.
        assert_eq!((found.is_none(), inside.count() > 0), (allowed, allowed), "{report:#?}");
        assert!(found.is_none_or(|one| one.severity == Severity::Warning), "{found:?}");
    }
}

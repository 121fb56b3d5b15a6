//! Token responses that arrive after the callers have given up, or never: no credential is sent a second time while the
//! first request may still be in progress.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use serde_json::json;
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::ResponseTemplate;

use crate::support::{login::*, *};

const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";
/// The time of a call, and the later arrival of the response.
const ATTEMPT: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_millis(700);

/// Limits under which a token response may arrive late. `patient` is false in the sabotage twins.
fn limits(patient: bool) -> ClientLimits {
    let token_response = if patient { Duration::from_secs(20) } else { ATTEMPT };
    ClientLimits { attempt: ATTEMPT, token_response, ..quick() }
}

fn password() -> Grant {
    Grant::Password { username: "ann".into(), password: "right".into() }
}

fn client_of(base: &str, oauth: OAuth, vault: &Arc<MemoryVault>, patient: bool) -> Client {
    builder(base).limits(limits(patient)).auth(Auth::OAuth(oauth), slot(vault)).build().unwrap()
}

async fn call_within(client: &Client, time: Duration) -> Result<serde_json::Value> {
    client.call("thing.get", json!({ "id": 1 }), &cx().with_timeout(time)).await
}

/// Makes a call that gives up before the response arrives, then one that waits. Returns the number of token requests
/// and the outcome of the second call.
async fn called_twice(grant: Grant, patient: bool) -> (usize, Result<serde_json::Value>) {
    let (login, server) = login().await;
    login.delay(LATE);
    let client = client_of(&server.uri(), oauth(&server, grant), &Arc::default(), patient);
    let error = call_within(&client, ATTEMPT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    // The twin sends the credential again as soon as its pause has ended.
    if !patient {
        tokio::time::sleep(ATTEMPT * 3).await;
    }
    let second = call_within(&client, Duration::from_secs(10)).await;
    (login.asked(), second)
}

#[tokio::test]
async fn a_late_response_to_a_refresh_is_used() {
    let (asked, second) = called_twice(refresh_token(), true).await;
    assert_eq!((asked, second.is_ok()), (1, true), "{second:?}");
}

/// The sabotage twin: without patience, the same refresh token is sent again, and the sign-in is lost.
#[tokio::test]
async fn a_late_response_that_is_given_up_loses_the_sign_in() {
    let (asked, second) = called_twice(refresh_token(), false).await;
    assert!(asked > 1 && second.is_err(), "{asked} {second:?}");
}

#[tokio::test]
async fn a_late_response_to_a_password_or_to_client_credentials_is_used() {
    for grant in [password(), Grant::ClientCredentials] {
        let (asked, second) = called_twice(grant, true).await;
        assert_eq!((asked, second.is_ok()), (1, true), "{second:?}");
    }
}

/// The sabotage twin.
#[tokio::test]
async fn a_password_is_sent_again_without_patience() {
    let (asked, _) = called_twice(password(), false).await;
    assert!(asked > 1, "{asked}");
}

/// Signs in with a code whose response is late. Returns the number of requests and whether the sign-in succeeded.
async fn sign_in(patient: bool) -> (usize, bool) {
    let (login, server) = login().await;
    login.delay(LATE);
    let client = client_of(&server.uri(), oauth(&server, Grant::AuthorizationCode), &Arc::default(), patient);
    let begun = client.begin_authorization(CALLBACK).unwrap();
    let back = format!("{CALLBACK}?code=c0de&state={}", begun.state.expose());
    let done = client.finish_authorization(&begun, &back).await;
    // A second callback does not send the code again.
    assert!(client.finish_authorization(&begun, &back).await.is_err());
    (login.asked(), done.is_ok())
}

#[tokio::test]
async fn a_late_response_to_a_code_completes_the_sign_in() {
    assert_eq!(sign_in(true).await, (1, true));
    // The sabotage twin: the code is spent, and the user has to sign in again.
    assert_eq!(sign_in(false).await, (1, false));
}

#[tokio::test]
async fn another_client_of_the_connection_waits_for_the_late_response() {
    let (login, server) = login().await;
    login.delay(LATE);
    let vault = Arc::<MemoryVault>::default();
    let clients = [(); 2].map(|()| client_of(&server.uri(), oauth(&server, refresh_token()), &vault, true));
    let all = futures::future::join_all(clients.iter().map(get)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(login.asked(), 1);
}

#[tokio::test]
async fn a_late_response_that_no_caller_waits_for_is_stored() {
    let (login, server) = login().await;
    login.delay(LATE);
    let vault = Arc::<MemoryVault>::default();
    let client = client_of(&server.uri(), oauth(&server, refresh_token()), &vault, true);
    call_within(&client, ATTEMPT).await.unwrap_err();
    drop(client);
    tokio::time::sleep(LATE).await;
    assert_eq!(record(&vault).await["refreshToken"], "refresh-1");
    assert!(record(&vault).await["failed"].is_null() && record(&vault).await["attempts"].is_null());
}

/// Returns the number of token requests within three seconds of calls, after the first response was lost or a gateway
/// gave up. A pause is twice as long as an attempt.
async fn requests_after(response: Vec<u8>, grant: Grant, attempt: Duration) -> usize {
    let server = Raw::new(vec![response]).await;
    let token_url = format!("{}/token", server.base).parse().unwrap();
    let oauth = OAuth { token_url, ..oauth(&wiremock::MockServer::start().await, grant) };
    let limits = ClientLimits { attempt, token_response: Duration::from_secs(20), ..quick() };
    let client = builder(&server.base).limits(limits).auth(Auth::OAuth(oauth), slot(&Arc::default())).build().unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < end {
        let error = call_within(&client, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.count()
}

#[tokio::test]
async fn a_lost_response_is_not_followed_by_the_same_credential_before_a_pause() {
    let gateway = |status: u16| format!("HTTP/1.1 {status} Late\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access".to_vec();
    let each = [Vec::new(), cut, gateway(504), gateway(524)].into_iter().map(async |response| {
        for grant in [refresh_token(), password()] {
            let text = String::from_utf8_lossy(&response).into_owned();
            assert_eq!(requests_after(response.clone(), grant, Duration::from_secs(30)).await, 1, "{text:?}");
        }
    });
    futures::future::join_all(each).await;
    // The twin: with a short pause, the same token is sent again and again.
    assert!(requests_after(Vec::new(), refresh_token(), Duration::from_millis(50)).await > 3);
}

#[tokio::test]
async fn a_create_without_a_response_in_time_is_not_sent_again() {
    let server = wiremock::MockServer::start().await;
    let late = ResponseTemplate::new(200).set_body_json(json!({})).set_delay(LATE);
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(late).mount(&server).await;
    let builder = builder(&server.uri()).limits(limits(true)).idempotency_header(Some("Idempotency-Key".into()));
    let client = builder.build().unwrap();
    let error = client.call("thing.create", json!({ "name": "x" }), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome);
    tokio::time::sleep(LATE).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    // The twin: a call that may be repeated is.
    client.call("thing.get", json!({ "id": 1 }), &cx()).await.unwrap_err();
    assert!(server.received_requests().await.unwrap().len() > 2);
}

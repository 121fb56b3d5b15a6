//! Two tenants in one process, each with a runtime of its own. Each test has a twin that shares the port in question, and
//! shows that the same check then finds the sharing.

use serde_json::json;
use trunkline::{
    Cause, NewRun, Ports, SaveOptions,
    core::{ErrorKind, Timestamp},
    engine::{AcceptOutcome, TriggerEvent},
    flow::Flow,
    rest::{HttpEnvironment, HttpResponse},
};

use super::{FakeTransport, Received, ports, read, runtime, shop};

const SECRETS: [&str; 2] = ["canary-of-tenant-one", "canary-of-tenant-two"];

/// Answers a call with an error that quotes the secrets of both tenants.
fn indiscreet(_: &Received) -> HttpResponse {
    HttpResponse::of(400, json!({ "message": SECRETS.join(", ") }).to_string())
}

/// Returns which of the secrets the error of a call shows.
async fn shown(ports: &Ports, secret: &str) -> Vec<bool> {
    let runtime = runtime(ports);
    runtime.add_connection(shop(secret)).await.unwrap();
    let error = read(&runtime, "/orders").await.unwrap_err();
    let (text, json) = (format!("{error:?}"), runtime.redactor().redact_json(&SECRETS).to_string());
    assert!(text.contains("canary") || text.contains("***"), "the answer is quoted: {text}");
    SECRETS.map(|secret| text.contains(secret) || json.contains(secret)).to_vec()
}

#[tokio::test]
async fn each_tenant_redacts_its_own_secrets_and_knows_no_others() {
    let (one, two) = (ports(FakeTransport::new(indiscreet)), ports(FakeTransport::new(indiscreet)));
    assert_eq!(shown(&one, SECRETS[0]).await, [false, true]);
    assert_eq!(shown(&two, SECRETS[1]).await, [true, false]);
    // Still, after both have loaded their secrets.
    assert_eq!(shown(&one, SECRETS[0]).await, [false, true]);
}

#[tokio::test]
async fn tenants_with_one_redactor_know_the_secrets_of_both() {
    let one = ports(FakeTransport::new(indiscreet));
    let two = Ports { redactor: one.redactor.clone(), ..ports(FakeTransport::new(indiscreet)) };
    assert_eq!(shown(&one, SECRETS[0]).await, [false, true]);
    assert_eq!(shown(&two, SECRETS[1]).await, [false, false]);
}

/// The sabotage twin of all redaction: a secret that was not added is shown.
#[tokio::test]
async fn a_secret_that_was_not_added_is_shown() {
    let knows_nothing = ports(FakeTransport::new(indiscreet));
    assert_eq!(shown(&knows_nothing, "another-token").await, [true, true]);
}

/// Throttles the first tenant, and returns how many requests of the second one reach the service afterwards.
async fn requests_after_a_throttle(shares: bool) -> usize {
    let throttles = FakeTransport::new(|_: &Received| {
        let mut response = HttpResponse::of(429, "{}");
        response.headers.insert("retry-after", "3600".parse().unwrap());
        response
    });
    let one = ports(throttles.clone());
    let http = if shares { one.http.clone() } else { HttpEnvironment::new(throttles.clone()) };
    let two = Ports { http, ..Ports::in_memory() };
    // The second call of the same tenant is not sent: it would have to wait for an hour.
    let mut sent = Vec::new();
    for ports in [&one, &one, &two] {
        let runtime = runtime(ports);
        runtime.add_connection(shop("the same token")).await.unwrap();
        let error = read(&runtime, "/orders").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{error:?}");
        sent.push(throttles.received("/v1/orders").len());
    }
    assert_eq!(sent[..2], [1, 1]);
    sent[2] - sent[1]
}

#[tokio::test]
async fn a_throttled_tenant_does_not_slow_the_other() {
    assert_eq!(requests_after_a_throttle(false).await, 1);
}

#[tokio::test]
async fn tenants_with_one_environment_share_the_pace() {
    assert_eq!(requests_after_a_throttle(true).await, 0);
}

/// A login server that issues a token for each client, and a service that accepts it.
fn login(received: &Received) -> HttpResponse {
    match received.host.as_str() {
        "login.shop.test" => {
            let client = received.body.split('&').find_map(|pair| pair.strip_prefix("client_id=")).unwrap();
            let token = format!("token-of-{client}");
            HttpResponse::of(
                200,
                json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 }).to_string(),
            )
        }
        _ => HttpResponse::of(200, "{}"),
    }
}

fn oauth(client: &str) -> serde_json::Value {
    json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl": "https://api.shop.test/v1",
        "authentication": "oauth2", "flows": "client_credentials", "tokenUrl": "https://login.shop.test/token",
        "clientId": client, "clientSecret": "canary-of-a-client" })
}

#[tokio::test]
async fn connections_of_one_name_have_tokens_of_their_own() {
    let transport = FakeTransport::new(login);
    for (tenant, client) in [(ports(transport.clone()), "one"), (ports(transport.clone()), "two")] {
        let runtime = runtime(&tenant);
        runtime.add_connection(oauth(client)).await.unwrap();
        read(&runtime, "/orders").await.unwrap();
        // The token is known to the redactor of its tenant.
        let shown = ["one", "two"].map(|of| runtime.redactor().redact(&format!("token-of-{of}-x")).contains("token"));
        assert_eq!(shown, ["one", "two"].map(|of| of != client));
        runtime.drain_token_requests().await;
    }
    let sent: Vec<_> = transport.received("/v1/orders").into_iter().map(|one| one.authorization).collect();
    assert_eq!(sent, ["Bearer token-of-one", "Bearer token-of-two"]);
}

#[tokio::test]
async fn tenants_with_one_vault_use_the_same_token() {
    let transport = FakeTransport::new(login);
    let one = ports(transport.clone());
    let two = Ports { vault: one.vault.clone(), ..ports(transport.clone()) };
    for tenant in [&one, &two] {
        let runtime = runtime(tenant);
        runtime.add_connection(oauth("one")).await.unwrap();
        read(&runtime, "/orders").await.unwrap();
    }
    assert_eq!((transport.received("/token").len(), transport.received("/v1/orders").len()), (1, 2));
}

/// Saves a flow for the first tenant and starts it by the same trigger event for both. Returns whether the second tenant
/// has the flow, and whether its event was taken for a repetition.
async fn triggers(one: &Ports, two: &Ports) -> (bool, bool) {
    let document = json!({ "name": "feed", "steps": [{ "id": "one", "set": { "a": 1 } }] });
    let flow = Flow::from_value(document).unwrap();
    let (keys, through) = (vec!["7".into()], Some(Timestamp::now()));
    let event = TriggerEvent { flow: "feed".into(), keys, through, ..TriggerEvent::default() };
    let (one, two) = (runtime(one), runtime(two));
    one.save_flow(&flow, SaveOptions::default()).await.unwrap();
    let has_flow = !two.flows().saved_flows().await.unwrap().is_empty();
    let saved = one.flows().saved_flow("feed").await.unwrap();
    let new = || NewRun::of_saved(saved.clone(), flow.clone(), json!({}));
    let first = one.accept_run(new(), Cause::Trigger(&event)).await.unwrap();
    assert!(matches!(first, AcceptOutcome::New(_)));
    if !has_flow {
        two.save_flow(&flow, SaveOptions::default()).await.unwrap();
    }
    let second = two.accept_run(new(), Cause::Trigger(&event)).await.unwrap();
    (has_flow, matches!(second, AcceptOutcome::Duplicate(_)))
}

#[tokio::test]
async fn flows_and_trigger_events_belong_to_their_tenant() {
    let transport = || FakeTransport::new(|_: &Received| unreachable!("nothing is sent"));
    assert_eq!(triggers(&ports(transport()), &ports(transport())).await, (false, false));
}

#[tokio::test]
async fn tenants_with_one_store_share_flows_and_trigger_events() {
    let one = ports(FakeTransport::new(|_: &Received| unreachable!("nothing is sent")));
    assert_eq!(triggers(&one, &one.clone()).await, (true, true));
}

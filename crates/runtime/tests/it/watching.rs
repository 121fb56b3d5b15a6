//! The events of all runs and the changes of sign-ins as one stream.

use futures::StreamExt;
use serde_json::{Value, json};
use trunkline::{
    Runtime, WatchedEvent,
    core::{ErrorKind, ReauthCause, Secret, SignIn, SignInState},
    flow::Flow,
    operations::{
        Caller, OutputStream,
        event_watch::{WatchAllRuns, WatchQuery},
    },
};

use crate::{FakeTransport, ports, runtime, shop};

async fn watch(runtime: &Runtime, flow: Option<&str>, after: Option<&str>) -> OutputStream<WatchedEvent> {
    let query = WatchQuery { flow: flow.map(str::to_owned), after: after.map(str::to_owned) };
    runtime.stream::<WatchAllRuns>(&Caller::owner(), query).await.unwrap()
}

async fn next(stream: &mut OutputStream<WatchedEvent>) -> Value {
    json!(stream.next().await.unwrap().unwrap())
}

#[tokio::test]
async fn runs_and_changes_of_sign_ins_are_one_stream() {
    let runtime = runtime(&ports(FakeTransport::new(|_| trunkline::rest::HttpResponse::of(200, "{}"))));
    runtime.add_connection(shop("canary-token")).await.unwrap();
    let mut all = watch(&runtime, None, None).await;
    let mut other = watch(&runtime, Some("other"), None).await;
    let start = next(&mut all).await;
    assert_eq!((&start["of"], &next(&mut other).await["of"]), (&json!("start"), &json!("start")));
    let flow = json!({ "name": "nothing", "steps": [{ "id": "one", "skip": "canary-token" }] });
    let flow = Flow::from_value(flow).unwrap();
    // The redactor knows the secret of the connection from its use.
    runtime.connect("shop").await.unwrap();
    let run = runtime.start(&flow, json!({}), [].into()).await.unwrap().wait().await.unwrap();
    let reason = "the login server has revoked canary-token".to_owned();
    let state = SignInState::ReauthRequired { cause: ReauthCause::Revoked, reason };
    let changed = SignIn { state, ..SignIn::default() };
    let vault = runtime.ports().vault.clone();
    assert!(vault.replace("shop", 0, &Secret::from("tokens"), &changed).await.unwrap());
    let (mut events, mut connections) = (Vec::new(), Vec::new());
    while connections.is_empty() || events.last().is_none_or(|last: &Value| last["event"] != "finished") {
        let event = next(&mut all).await;
        assert!(!event.to_string().contains("canary"), "{event}");
        if event["of"] == "connection" { connections.push(event) } else { events.push(event) }
    }
    assert!(events.iter().all(|event| event["run"] == json!(run.id) && event["flow"] == "nothing"), "{events:?}");
    assert!(events.iter().map(|event| event["seq"].as_u64().unwrap()).eq(1..=events.len() as u64));
    assert_eq!((&connections[0]["connection"], &connections[0]["state"]), (&json!("shop"), &json!("reauth_required")));
    // A watcher of another flow gets the change of the sign-in only, and continues behind it.
    let change = next(&mut other).await;
    assert_eq!(change["of"], "connection");
    let mut again = watch(&runtime, None, start["id"].as_str()).await;
    let mut repeated = Vec::new();
    while repeated.len() < events.len() + 1 {
        repeated.push(next(&mut again).await);
    }
    assert_eq!(
        repeated.iter().filter(|event| event["of"] == "run").collect::<Vec<_>>(),
        events.iter().collect::<Vec<_>>()
    );
    let wrong = WatchQuery { after: Some("1".to_owned()), flow: None };
    let refused = runtime.stream::<WatchAllRuns>(&Caller::owner(), wrong).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

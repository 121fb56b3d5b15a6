//! Saved flows: what a saved flow has, what stays when it is replaced, and the connections it uses.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::support::{Home, connection, settings};
use serde_json::{Value, json};
use trunkline_core::{ErrorKind, NextStep, Secret};
use trunkline_engine::FlowVersions;
use trunkline_store::{ConnectionStore, FlowStore, FlowToSave, FlowUse};

fn flow(version: &str, connections: &[(&str, &str)], active: bool) -> FlowToSave {
    let named = |(binding, name): &(&str, &str)| ((*binding).to_owned(), (*name).to_owned());
    FlowToSave {
        name: "copy".into(),
        version: version.into(),
        document: json!({ "name": "copy", "about": version }),
        connections: connections.iter().map(named).collect(),
        input: json!({ "folder": 7 }).as_object().unwrap().clone(),
        active,
        restart: false,
        called: BTreeMap::new(),
    }
}

#[tokio::test]
async fn a_saved_flow_is_returned_unchanged() {
    let home = Home::new();
    let store = home.open().unwrap();
    store.save_flow(flow("v1", &[("source", "dam")], true), None).await.unwrap();
    drop(store);
    let store = home.open().unwrap();
    let saved = store.saved_flow("copy").await.unwrap();
    assert_eq!((&*saved.version, saved.active), ("v1", true));
    assert_eq!(store.flow("v1").await.unwrap(), json!({ "name": "copy", "about": "v1" }));
    assert_eq!((&saved.connections["source"], &saved.input["folder"]), (&"dam".to_owned(), &json!(7)));
    assert_eq!((saved.through, saved.token_hash.clone(), saved.has_secret), (None, None, false));
    assert_eq!(store.saved_flows().await.unwrap(), [saved]);
    for missing in [
        store.saved_flow("copi").await.map(drop),
        store.deactivate_flow("copi", None).await,
        store.remove_flow("copi", None).await,
        store.set_webhook_token("copi", vec![1]).await,
        store.set_webhook_secret("copi", Some(&Secret::from("signing"))).await,
    ] {
        let error = missing.unwrap_err();
        assert_eq!((error.kind(), error.advice().as_deref()), (ErrorKind::NotFound, Some("did you mean copy?")));
    }
}

#[tokio::test]
async fn a_flow_is_replaced_only_on_request_and_keeps_its_webhook() {
    let home = Home::new();
    let store = home.open().unwrap();
    store.save_flow(flow("v1", &[], true), None).await.unwrap();
    store.set_webhook_token("copy", vec![1, 2]).await.unwrap();
    store.set_webhook_secret("copy", Some(&Secret::from("signing-canary"))).await.unwrap();
    let error = store.save_flow(flow("v2", &[], false), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let before = store.saved_flow("copy").await.unwrap();
    assert_eq!(before.version, "v1");

    store.save_flow(flow("v2", &[], false), Some(&before)).await.unwrap();
    let saved = store.saved_flow("copy").await.unwrap();
    assert_eq!((&*saved.version, saved.active, saved.has_secret), ("v2", false, true));
    assert_eq!(saved.token_hash, Some(vec![1, 2]));
    assert_eq!(store.webhook_secret("copy").await.unwrap().unwrap().expose(), "signing-canary");

    // Another document under an existing version, which runs may be pinned to.
    let mut forged = flow("v1", &[], true);
    forged.document = json!({ "name": "copy", "about": "another" });
    assert_eq!(store.save_flow(forged, Some(&saved)).await.unwrap_err().kind(), ErrorKind::Conflict);

    store.remove_flow("copy", None).await.unwrap();
    assert_eq!(store.saved_flow("copy").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.webhook_secret("copy").await.unwrap().is_none());
}

#[tokio::test]
async fn the_secret_of_a_webhook_is_sealed_and_rotated() {
    let home = Home::new();
    let store = home.open().unwrap();
    for name in ["copy", "other"] {
        store.save_flow(FlowToSave { name: name.into(), ..flow("v1", &[], true) }, None).await.unwrap();
        store.set_webhook_token(name, vec![1]).await.unwrap();
    }
    store.set_webhook_secret("copy", Some(&Secret::from("signing-canary"))).await.unwrap();
    let clear =
        |home: &Home| home.bytes().values().any(|bytes| bytes.windows(14).any(|window| window == b"signing-canary"));
    assert!(!clear(&home));
    let rotated = store.rotate_key(|_| {}).await.unwrap();
    assert_eq!(rotated.values, 1);
    let key: Value = home
        .sqlite()
        .query_row("SELECT key_id FROM webhooks WHERE sealed IS NOT NULL", [], |row| row.get::<_, String>(0))
        .unwrap()
        .into();
    assert_eq!(key, rotated.key);
    assert_eq!(store.webhook_secret("copy").await.unwrap().unwrap().expose(), "signing-canary");
    // A sealed secret belongs to its flow.
    home.sqlite()
        .execute("UPDATE webhooks SET (key_id, sealed) = (SELECT key_id, sealed FROM webhooks WHERE flow = 'copy')", [])
        .unwrap();
    assert_eq!(store.webhook_secret("other").await.unwrap_err().kind(), ErrorKind::Store);
    assert!(!clear(&home));
}

#[tokio::test]
async fn a_connection_of_an_active_flow_is_not_removed_without_force() {
    let home = Home::new();
    let store = home.open().unwrap();
    for name in ["dam", "spare"] {
        store.put_connection(&connection(name, "s", "p"), &settings()).await.unwrap();
    }
    store.save_flow(flow("v1", &[("source", "dam"), ("target", "dam")], true), None).await.unwrap();
    let used = |active| vec![FlowUse { flow: "copy".into(), active }];
    let listed = store.connections().await.unwrap();
    assert_eq!((&listed[0].flows, &listed[1].flows), (&used(true), &vec![]));

    let error = store.remove_connection("dam", false, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let force = NextStep::ForceRemove { connection: "dam".to_owned() };
    assert!(error.message().contains("copy") && error.next_steps().contains(&force), "{error:?}");
    store.remove_connection("spare", false, None).await.unwrap();

    store.deactivate_flow("copy", None).await.unwrap();
    assert_eq!(store.connections().await.unwrap()[0].flows, used(false));
    store.remove_connection("dam", false, None).await.unwrap();

    store.put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    store.activate_flow(&store.saved_flow("copy").await.unwrap(), &BTreeMap::new(), false).await.unwrap();
    store.remove_connection("dam", true, None).await.unwrap();
    assert!(store.connections().await.unwrap().is_empty());
}

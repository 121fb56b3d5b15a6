//! Connections: what is stored, what is shown, and what is removed.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline_core::{Connection, ErrorKind, NextStep, Secret, SignIn, Timestamp};
use trunkline_engine::RunStatus;

use super::samples::{TestedStore, accepted, add, connection, finish, flow, kind, settings};
use crate::connections::connection_store::{ConnectionUse, FlowUse};

pub(super) async fn a_saved_connection_is_returned_unchanged(store: TestedStore) {
    let (store, saved) = (store.connections, connection("dam", "s3cret"));
    store.put_connection(&saved, &settings()).await.unwrap();
    assert_eq!(store.connection("dam").await.unwrap().document().to_string(), saved.document().to_string());
    let masked = json!({
        "name": "dam", "connector": "dam-v1.0", "endpointUrl": "https://dam.test", "clientSecret": "***",
        "flow": { "username": "u", "password": "***" }
    });
    assert_eq!(store.masked_connection("dam").await.unwrap().to_string(), masked.to_string(), "keys in their order");
    let listed = store.connections().await.unwrap();
    assert_eq!((listed.len(), &*listed[0].name, &*listed[0].connector), (1, "dam", "dam-v1.0"));
    assert!(listed[0].sign_in.is_none() && listed[0].used_by.is_empty() && listed[0].flows.is_empty());
    assert!(listed[0].created_at > Timestamp::from_millis(1_700_000_000_000));
}

pub(super) async fn references_to_secrets_stay_as_they_are(store: TestedStore) {
    let mut saved = connection("dam", "");
    saved.settings["clientSecret"] = json!({ "env": "DAM_SECRET" });
    saved.settings["flow"]["password"] = json!({ "file": "/run/secrets/dam" });
    store.connections.put_connection(&saved, &settings()).await.unwrap();
    assert_eq!(store.connections.masked_connection("dam").await.unwrap(), saved.document());
    assert_eq!(store.connections.connection("dam").await.unwrap().document(), saved.document());
}

pub(super) async fn a_value_that_cannot_be_a_secret_is_rejected(store: TestedStore) {
    for wrong in [json!("***"), json!(7), json!(["canary"]), json!({ "env": "A", "text": "canary" }), json!(null)] {
        let mut one = connection("dam", "");
        one.settings["clientSecret"] = wrong;
        let error = store.connections.put_connection(&one, &settings()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error:?}").contains("canary"), "an error must not repeat what may be a secret");
    }
    assert!(store.connections.connections().await.unwrap().is_empty(), "nothing was stored");
}

pub(super) async fn a_replaced_connection_keeps_its_tokens(store: TestedStore) {
    add(&store, "dam").await;
    assert!(store.vault.replace("dam", 0, &Secret::from("tokens"), &SignIn::default()).await.unwrap());
    let first = store.connections.connections().await.unwrap().remove(0);
    assert_eq!(first.sign_in, Some(SignIn::default()));
    store.connections.put_connection(&connection("dam", "two"), &settings()).await.unwrap();
    assert_eq!(store.connections.connection("dam").await.unwrap().settings["clientSecret"], "two");
    assert_eq!(store.vault.load("dam").await.unwrap().unwrap().content.expose(), "tokens");
    let second = store.connections.connections().await.unwrap().remove(0);
    assert_eq!((second.created_at, second.sign_in), (first.created_at, first.sign_in));
    assert!(second.updated_at >= first.updated_at);
}

pub(super) async fn a_removed_connection_leaves_nothing(store: TestedStore) {
    add(&store, "dam").await;
    add(&store, "other").await;
    assert!(store.vault.replace("dam", 0, &Secret::from("tokens"), &SignIn::default()).await.unwrap());
    let tokens = store.connections.remove_connection("dam", false, None).await.unwrap();
    assert_eq!(tokens.unwrap().expose(), "tokens", "the caller can revoke them");
    assert_eq!(kind(store.connections.connection("dam").await), ErrorKind::NotFound);
    assert!(store.vault.load("dam").await.unwrap().is_none());
    assert!(store.connections.sign_in_events(Some("dam"), 0, 999).await.unwrap().is_empty());
    assert_eq!(store.connections.connections().await.unwrap().len(), 1);
    assert!(store.connections.remove_connection("other", false, None).await.unwrap().is_none(), "it had no tokens");
}

pub(super) async fn an_unknown_connection_is_not_found(store: TestedStore) {
    for name in ["mediaflow", "dam-test", "dam-live"] {
        add(&store, name).await;
    }
    let store = store.connections;
    for error in [
        store.connection("mediafow").await.unwrap_err(),
        store.masked_connection("mediafow").await.unwrap_err(),
        store.remove_connection("mediafow", false, None).await.unwrap_err(),
        store.remove_connection("mediafow", true, None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.next_steps().is_empty(), "the nearest name: {error:?}");
    }
    let names: Vec<_> = store.connections().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["dam-live", "dam-test", "mediaflow"], "sorted");
}

pub(super) async fn names_may_have_any_characters(store: TestedStore) {
    let names = ["", "a/b", "'; DROP TABLE connections; --", "Ä ~1", "a", "a\u{0}b"];
    for name in names {
        let one = Connection { name: name.into(), ..connection("", name) };
        store.connections.put_connection(&one, &settings()).await.unwrap();
    }
    for name in names {
        assert_eq!(store.connections.connection(name).await.unwrap().settings["clientSecret"], name, "{name:?}");
    }
    assert_eq!(store.connections.connections().await.unwrap().len(), names.len());
}

pub(super) async fn a_connection_of_an_unfinished_run_is_not_removed(store: TestedStore) {
    for name in ["dam", "spare"] {
        add(&store, name).await;
    }
    let run = accepted(&store, "a1", "dam").await;
    let used = |status| vec![ConnectionUse { run: run.clone(), flow: "copy".into(), status }];
    let connections = &store.connections;
    let listed = connections.connections().await.unwrap();
    assert_eq!((&listed[0].used_by, &listed[1].used_by), (&used(RunStatus::Running), &vec![]), "once, by one run");
    assert_eq!(kind(connections.remove_connection("dam", false, None).await), ErrorKind::Conflict);
    connections.remove_connection("spare", false, None).await.unwrap();
    // A failed run can be resumed.
    finish(&store, &run, RunStatus::Failed).await;
    assert_eq!(connections.connections().await.unwrap()[0].used_by, used(RunStatus::Failed));
    assert_eq!(kind(connections.remove_connection("dam", false, None).await), ErrorKind::Conflict);
    assert!(connections.connection("dam").await.is_ok(), "it is still there");
    connections.remove_connection("dam", true, None).await.unwrap();
    // A run that has ended in another way cannot.
    add(&store, "dam").await;
    finish(&store, &run, RunStatus::Succeeded).await;
    assert!(connections.connections().await.unwrap()[0].used_by.is_empty());
    connections.remove_connection("dam", false, None).await.unwrap();
}

pub(super) async fn a_connection_of_an_active_flow_is_not_removed(store: TestedStore) {
    for name in ["dam", "spare"] {
        add(&store, name).await;
    }
    let (connections, flows) = (&store.connections, &store.flows);
    flows.save_flow(flow("copy", "v1", &[("source", "dam"), ("target", "dam")], true), None).await.unwrap();
    let used = |active| vec![FlowUse { flow: "copy".into(), active }];
    let listed = connections.connections().await.unwrap();
    assert_eq!((&listed[0].flows, &listed[1].flows), (&used(true), &vec![]));
    let error = connections.remove_connection("dam", false, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.next_steps().contains(&NextStep::DeactivateFlow { flow: Some("copy".into()) }), "{error:?}");
    flows.deactivate_flow("copy", None).await.unwrap();
    assert_eq!(connections.connections().await.unwrap()[0].flows, used(false));
    connections.remove_connection("dam", false, None).await.unwrap();
    add(&store, "dam").await;
    flows.activate_flow(&flows.saved_flow("copy").await.unwrap(), &BTreeMap::new(), false).await.unwrap();
    connections.remove_connection("dam", true, None).await.unwrap();
}

//! Two callers at once: what one of them has found is still so when it writes.
//!
//! Each behaviour is tried in several rounds, with both callers on threads of their own if the runtime has several.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use trunkline_core::{ErrorKind, Result, RunId, Secret, SignIn};
use trunkline_engine::TriggerEvent;

use crate::{connections::connection_store::Replacement, flows::flow_store::FlowToSave};

use super::samples::{TestedStore, add, connection, document, flow, kind, settings, started};

/// The number of rounds: a gap between a look and a write is not met each time.
const ROUNDS: usize = 20;

/// Asserts that one of two callers succeeded, and that the other one got an error of this kind.
fn one_succeeds<T, U>(one: Result<T>, other: Result<U>, refusal: ErrorKind) {
    let refused: Vec<_> = [one.err(), other.err()].into_iter().flatten().map(|error| error.kind()).collect();
    assert_eq!(refused, [refusal], "one of two callers at once succeeds");
}

pub(super) async fn of_two_additions_of_a_name_one_succeeds(store: TestedStore) {
    for round in 0..ROUNDS {
        let name = format!("dam{round}");
        let add = |secret: &'static str| {
            let (store, one) = (store.connections.clone(), connection(&name, secret));
            tokio::spawn(async move { store.save_connections(&[(&one, &settings())], Replacement::Never).await })
        };
        let (one, other) = tokio::join!(add("one"), add("other"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let first = if one.is_ok() { "one" } else { "other" };
        one_succeeds(one, other, ErrorKind::Conflict);
        let saved = store.connections.connection(&name).await.unwrap();
        assert_eq!(saved.settings["clientSecret"], first, "the first one stays");
    }
}

pub(super) async fn a_list_of_connections_is_added_as_a_whole_or_not_at_all(store: TestedStore) {
    for round in 0..ROUNDS {
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        let add = |names: [&str; 2]| {
            let (store, all) = (store.connections.clone(), names.map(|name| connection(name, "s3cret")));
            let settings = settings();
            tokio::spawn(async move {
                store.save_connections(&all.each_ref().map(|one| (one, &settings)), Replacement::Never).await
            })
        };
        let (one, other) = tokio::join!(add([&a, &b]), add([&c, &b]));
        let (one, other) = (one.unwrap(), other.unwrap());
        let missing = if one.is_ok() { &c } else { &a };
        one_succeeds(one, other, ErrorKind::Conflict);
        assert_eq!(kind(store.connections.connection(missing).await), ErrorKind::NotFound, "none of a refused list");
        assert!(store.connections.connection(&b).await.is_ok());
    }
    let (good, mut bad) = (connection("good", "s3cret"), connection("bad", "s3cret"));
    bad.settings["clientSecret"] = json!("***");
    let settings = settings();
    let list = [(&good, &settings), (&bad, &settings)];
    assert_eq!(kind(store.connections.save_connections(&list, Replacement::Always).await), ErrorKind::Config);
    assert_eq!(kind(store.connections.connection("good").await), ErrorKind::NotFound);
}

pub(super) async fn of_two_flows_of_a_name_one_is_saved(store: TestedStore) {
    for round in 0..ROUNDS {
        let name = format!("copy{round}");
        let save = |version: &'static str| {
            let (flows, flow) = (store.flows.clone(), flow(&name, version, &[], true));
            tokio::spawn(async move { flows.save_flow(flow, None).await })
        };
        let (one, other) = tokio::join!(save("v1"), save("v2"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let first = if one.is_ok() { "v1" } else { "v2" };
        one_succeeds(one, other, ErrorKind::Conflict);
        assert_eq!(store.flows.saved_flow(&name).await.unwrap().version, first);
    }
}

pub(super) async fn of_two_replacements_of_a_flow_one_succeeds(store: TestedStore) {
    let flows = &store.flows;
    for round in 0..ROUNDS {
        let name = format!("copy{round}");
        flows.save_flow(flow(&name, "v1", &[], true), None).await.unwrap();
        let looked = flows.saved_flow(&name).await.unwrap();
        let replace = |version: &'static str| {
            let (flows, flow, looked) = (flows.clone(), flow(&name, version, &[], true), looked.clone());
            tokio::spawn(async move { flows.save_flow(flow, Some(&looked)).await })
        };
        let (one, other) = tokio::join!(replace("v2"), replace("v3"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let first = if one.is_ok() { "v2" } else { "v3" };
        one_succeeds(one, other, ErrorKind::Conflict);
        assert_eq!(flows.saved_flow(&name).await.unwrap().version, first, "the second one has not seen the first");
    }
    // Each part of what was looked at counts, and nothing else.
    let save = async |name: &str, changed: FlowToSave| {
        flows.save_flow(flow(name, "v1", &[], true), None).await.unwrap();
        let looked = flows.saved_flow(name).await.unwrap();
        flows.save_flow(FlowToSave { name: name.into(), ..changed }, Some(&looked)).await.unwrap();
        flows.save_flow(flow(name, "v3", &[], true), Some(&looked)).await
    };
    let same = || flow("", "v1", &[], true);
    assert_eq!(kind(save("activity", FlowToSave { active: false, ..same() }).await), ErrorKind::Conflict);
    assert_eq!(kind(save("input", FlowToSave { input: Map::new(), ..same() }).await), ErrorKind::Conflict);
    assert_eq!(kind(save("bindings", flow("", "v1", &[("source", "dam")], true)).await), ErrorKind::Conflict);
    save("unchanged", same()).await.unwrap();
}

/// A flow is checked before it is activated, so a flow that replaces it in between is not activated.
pub(super) async fn a_flow_that_was_replaced_is_not_activated(store: TestedStore) {
    let flows = &store.flows;
    for round in 0..ROUNDS {
        let name = format!("copy{round}");
        flows.save_flow(flow(&name, "v1", &[], false), None).await.unwrap();
        let looked = flows.saved_flow(&name).await.unwrap();
        let (store, checked) = (flows.clone(), looked.clone());
        let activation = tokio::spawn(async move { store.activate_flow(&checked, &BTreeMap::new(), false).await });
        let (store, unchecked) = (flows.clone(), flow(&name, "v2", &[], false));
        let replacement = tokio::spawn(async move { store.save_flow(unchecked, Some(&looked)).await });
        let (activation, replacement) = tokio::join!(activation, replacement);
        one_succeeds(activation.unwrap(), replacement.unwrap(), ErrorKind::Conflict);
        let saved = flows.saved_flow(&name).await.unwrap();
        assert!(!(saved.active && saved.version == "v2"), "a flow is active that was not checked");
    }
    flows.save_flow(flow("copy", "v1", &[("source", "dam")], false), None).await.unwrap();
    let looked = flows.saved_flow("copy").await.unwrap();
    flows.activate_flow(&looked, &BTreeMap::new(), false).await.unwrap();
    flows.activate_flow(&looked, &BTreeMap::new(), false).await.unwrap();
    let active = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(flow("copy", "v1", &[("source", "other")], false), Some(&active)).await.unwrap();
    assert_eq!(
        kind(flows.activate_flow(&looked, &BTreeMap::new(), false).await),
        ErrorKind::Conflict,
        "its connections were checked"
    );
    flows.deactivate_flow("copy", None).await.unwrap();
}

/// A flow is checked with the flows that it calls, so it is not saved or activated with others.
pub(super) async fn a_flow_whose_called_flow_was_replaced_is_neither_saved_nor_activated(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("called", "v1", &[], false), None).await.unwrap();
    let with = |version: &str| BTreeMap::from([("called".to_owned(), version.to_owned())]);
    let calls = |called: &str| FlowToSave { called: with(called), ..flow("calls", "v0", &[], false) };
    let before = flows.saved_flow("called").await.unwrap();
    flows.save_flow(flow("called", "v2", &[], false), Some(&before)).await.unwrap();
    assert_eq!(kind(flows.save_flow(calls("v1"), None).await), ErrorKind::Conflict);
    flows.save_flow(calls("v2"), None).await.unwrap();
    let saved = flows.saved_flow("calls").await.unwrap();
    assert_eq!(kind(flows.activate_flow(&saved, &with("v1"), false).await), ErrorKind::Conflict);
    flows.activate_flow(&saved, &with("v2"), false).await.unwrap();
    flows.deactivate_flow("calls", None).await.unwrap();
    flows.remove_flow("called", None).await.unwrap();
    assert_eq!(kind(flows.activate_flow(&saved, &with("v2"), false).await), ErrorKind::Conflict, "it is gone");
}

/// What a document gets by replacing a connection was agreed to for that connection as it was.
pub(super) async fn a_connection_is_replaced_only_as_it_was_looked_at(store: TestedStore) {
    let connections = &store.connections;
    add(&store, "dam").await;
    let look = async || {
        let seen = connections.seen_connection("dam").await.unwrap();
        Replacement::AsSeen(BTreeMap::from([("dam".to_owned(), seen)]))
    };
    let (new, settings) = (connection("dam", "new"), settings());
    let replace = async |seen: &Replacement| connections.save_connections(&[(&new, &settings)], seen.clone()).await;
    let seen = look().await;
    assert!(store.vault.replace("dam", 0, &Secret::from("tokens"), &SignIn::default()).await.unwrap());
    assert_eq!(kind(replace(&seen).await), ErrorKind::Conflict, "it was signed in meanwhile");
    let seen = look().await;
    let mut other = connection("dam", "s3cret");
    other.settings.insert("endpointUrl".into(), "https://elsewhere.test".into());
    connections.put_connection(&other, &settings).await.unwrap();
    assert_eq!(kind(replace(&seen).await), ErrorKind::Conflict, "it has another host meanwhile");
    let (seen, looked) = (look().await, connections.seen_connection("dam").await.unwrap());
    other.settings.insert("clientSecret".into(), "another".into());
    connections.put_connection(&other, &settings).await.unwrap();
    assert_eq!(kind(replace(&seen).await), ErrorKind::Conflict, "it has another secret meanwhile");
    assert_eq!(kind(connections.remove_connection("dam", true, Some(&looked)).await), ErrorKind::Conflict);
    let nothing = Replacement::AsSeen(BTreeMap::new());
    assert_eq!(kind(replace(&nothing).await), ErrorKind::Conflict, "it was added meanwhile");
    replace(&look().await).await.unwrap();
    assert_eq!(connections.connection("dam").await.unwrap().settings["clientSecret"], "new");
    let looked = connections.seen_connection("dam").await.unwrap();
    connections.remove_connection("dam", false, Some(&looked)).await.unwrap();
    replace(&nothing).await.unwrap();
}

pub(super) async fn of_two_changes_of_a_connection_one_succeeds(store: TestedStore) {
    for round in 0..ROUNDS {
        let name = format!("dam{round}");
        add(&store, &name).await;
        let read = store.connections.connection(&name).await.unwrap();
        let change = |setting: &'static str| {
            let (store, previous, mut changed) = (store.connections.clone(), read.clone(), read.clone());
            changed.settings.insert(setting.into(), "changed".into());
            tokio::spawn(async move { store.replace_connection(&previous, &changed, &settings()).await })
        };
        let (one, other) = tokio::join!(change("tokenUrl"), change("clientSecret"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let first = if one.is_ok() { "tokenUrl" } else { "clientSecret" };
        one_succeeds(one, other, ErrorKind::Conflict);
        let saved = store.connections.connection(&name).await.unwrap();
        let changed =
            ["tokenUrl", "clientSecret"].into_iter().filter(|one| saved.settings.get(*one) == Some(&json!("changed")));
        assert_eq!(changed.collect::<Vec<_>>(), [first], "the second one has not seen the first");
    }
    let (read, other) = (store.connections.connection("dam0").await.unwrap(), connection("dam0", "another"));
    store.connections.put_connection(&other, &settings()).await.unwrap();
    let late = store.connections.replace_connection(&read, &read, &settings()).await;
    assert_eq!(kind(late), ErrorKind::Conflict, "a secret counts too");
    store.connections.remove_connection("dam0", false, None).await.unwrap();
    let late = store.connections.replace_connection(&other, &other, &settings()).await;
    assert_eq!(kind(late), ErrorKind::NotFound, "a removed connection does not come back");
}

/// Either the run has its connection, or it was removed before the run was there: never both.
pub(super) async fn a_removal_and_a_use_exclude_each_other(store: TestedStore) {
    for round in 0..ROUNDS {
        let name = format!("dam{round}");
        add(&store, &name).await;
        let (connections, removed) = (store.connections.clone(), name.clone());
        let removal = tokio::spawn(async move { connections.remove_connection(&removed, false, None).await });
        let (vault, renewed) = (store.vault.clone(), name.clone());
        let renewal = async move { vault.replace(&renewed, 0, &Secret::from("tokens"), &SignIn::default()).await };
        let (removal, renewal) = tokio::join!(removal, tokio::spawn(renewal));
        let (removal, renewal) = (removal.unwrap().unwrap(), renewal.unwrap());
        // The tokens were there and are returned, so that they can be revoked, or they were refused.
        assert_eq!(removal.is_some(), renewal.is_ok());
        assert!(store.vault.load(&name).await.unwrap().is_none(), "a removed connection has no tokens");
    }
}

pub(super) async fn of_two_removals_one_succeeds(store: TestedStore) {
    for round in 0..ROUNDS {
        let name = format!("one{round}");
        add(&store, &name).await;
        store.flows.save_flow(flow(&name, "v1", &[], false), None).await.unwrap();
        let connection = || {
            let (store, name) = (store.connections.clone(), name.clone());
            tokio::spawn(async move { store.remove_connection(&name, true, None).await })
        };
        let flow = || {
            let (store, name) = (store.flows.clone(), name.clone());
            tokio::spawn(async move { store.remove_flow(&name, None).await })
        };
        let (one, other, first, second) = tokio::join!(connection(), connection(), flow(), flow());
        one_succeeds(one.unwrap(), other.unwrap(), ErrorKind::NotFound);
        one_succeeds(first.unwrap(), second.unwrap(), ErrorKind::NotFound);
    }
}

pub(super) async fn one_event_starts_one_run(store: TestedStore) {
    store.flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    for round in 0..ROUNDS {
        let accept = |run: &str| {
            let (journal, run) = (store.journal.clone(), RunId::from(format!("{run}{round}")));
            let event =
                TriggerEvent { flow: "copy".into(), keys: vec![format!("key{round}")], ..TriggerEvent::default() };
            tokio::spawn(async move {
                journal.accept_triggered(&run, "v1", &document("v1"), started("dam"), &event).await.unwrap()
            })
        };
        let (one, other) = tokio::join!(accept("a"), accept("b"));
        let earlier: Vec<_> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
        assert_eq!(earlier.len(), 1, "the second of two deliveries gets the run of the first: {earlier:?}");
    }
}

pub(super) async fn of_two_versions_of_one_name_one_is_kept(store: TestedStore) {
    for round in 0..ROUNDS {
        let version = format!("v{round}");
        let save = |name: &str, text: &str| {
            let mut one = flow(&format!("{name}{round}"), &version, &[], true);
            one.document = document(text);
            let flows = store.flows.clone();
            tokio::spawn(async move { flows.save_flow(one, None).await })
        };
        let (one, other) = tokio::join!(save("a", "one"), save("b", "other"));
        one_succeeds(one.unwrap(), other.unwrap(), ErrorKind::Conflict);
    }
}

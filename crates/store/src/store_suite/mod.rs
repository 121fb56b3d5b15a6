//! A test suite for implementations of [`ConnectionStore`] and [`FlowStore`]: the behaviours that a host relies on.
//!
//! Any crate can run it over its own store. Add this crate with the feature `suite` to the `[dev-dependencies]`, and
//! call [`run`] in a test with a function that makes an empty store:
//!
//! ```
//! use std::sync::Arc;
//! use trunkline_store::{MemoryStore, store_suite};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // Your store in place of this one.
//! store_suite::run(async || {
//!     let store = Arc::new(MemoryStore::default());
//!     let journal = Arc::new(store.journal());
//!     store_suite::TestedStore { connections: store.clone(), vault: store.clone(), flows: store, journal }
//! })
//! .await;
//! # });
//! ```
//!
//! A failed check panics, and its backtrace names the behaviour. The journal has a suite of its own,
//! [`journal_suite`](trunkline_engine::journal_suite).
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod suite_connections;
mod suite_flows;
mod suite_vault;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use trunkline_core::{Connection, ErrorKind, Result, RunId, Schema, Timestamp, Vault};
use trunkline_engine::{Flush, Journal, RunEvent, RunStatus};

use crate::{
    connections::connection_store::ConnectionStore,
    flows::flow_store::{FlowStore, FlowToSave},
};

/// The ports of one store.
#[derive(Clone)]
pub struct TestedStore {
    /// Its connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// The vault of these connections.
    pub vault: Arc<dyn Vault>,
    /// Its saved flows.
    pub flows: Arc<dyn FlowStore>,
    /// The journal whose runs use the connections.
    pub journal: Arc<dyn Journal>,
}

/// Checks all behaviours of a store. `fresh` returns an empty store each time it is called.
///
/// # Panics
///
/// If the store lacks a behaviour. The backtrace names it.
pub async fn run<F: AsyncFn() -> TestedStore>(fresh: F) {
    suite_connections::a_saved_connection_is_returned_unchanged(fresh().await).await;
    suite_connections::references_to_secrets_stay_as_they_are(fresh().await).await;
    suite_connections::a_value_that_cannot_be_a_secret_is_rejected(fresh().await).await;
    suite_connections::a_replaced_connection_keeps_its_tokens(fresh().await).await;
    suite_connections::a_removed_connection_leaves_nothing(fresh().await).await;
    suite_connections::an_unknown_connection_is_not_found(fresh().await).await;
    suite_connections::names_may_have_any_characters(fresh().await).await;
    suite_connections::a_connection_of_an_unfinished_run_is_not_removed(fresh().await).await;
    suite_connections::a_connection_of_an_active_flow_is_not_removed(fresh().await).await;
    suite_vault::of_two_replacements_of_a_version_one_succeeds(fresh().await).await;
    suite_vault::tokens_do_not_come_back(fresh().await).await;
    suite_vault::changes_of_a_sign_in_are_events(fresh().await).await;
    suite_flows::a_saved_flow_is_returned_unchanged(fresh().await).await;
    suite_flows::a_flow_is_replaced_only_on_request(fresh().await).await;
    suite_flows::a_removed_flow_leaves_nothing(fresh().await).await;
    suite_flows::an_unknown_flow_is_not_found(fresh().await).await;
    suite_flows::a_version_never_changes(fresh().await).await;
    suite_flows::what_a_trigger_has_handled_is_saved(fresh().await).await;
}

/// A settings schema with two secrets, one of them in a nested object.
fn settings() -> Schema {
    let secret = json!({ "writeOnly": true });
    Schema::from(json!({ "properties": {
        "clientSecret": secret, "flow": { "oneOf": [{ "properties": { "password": secret } }] }
    } }))
}

fn connection(name: &str, client_secret: &str) -> Connection {
    Connection::from_value(json!({
        "name": name, "connector": "dam-v1.0", "endpointUrl": "https://dam.test", "clientSecret": client_secret,
        "flow": { "username": "u", "password": "pa\"ss\u{0}wörd" }
    }))
    .unwrap()
}

async fn add(store: &TestedStore, name: &str) {
    store.connections.put_connection(&connection(name, "s3cret"), &settings()).await.unwrap();
}

fn flow(name: &str, version: &str, connections: &[(&str, &str)], active: bool) -> FlowToSave {
    let named = |(binding, name): &(&str, &str)| ((*binding).to_owned(), (*name).to_owned());
    FlowToSave {
        name: name.into(),
        version: version.into(),
        document: document(version),
        connections: connections.iter().map(named).collect(),
        input: json!({ "z": 7, "a": "Ä" }).as_object().unwrap().clone(),
        active,
    }
}

fn document(version: &str) -> Value {
    json!({ "name": "copy", "about": version, "a": [] })
}

fn started(connection: &str) -> RunEvent {
    RunEvent::Started {
        flow: "copy".into(),
        version: "v1".into(),
        input: json!({}),
        connections: BTreeMap::from([("source".into(), connection.into()), ("target".into(), connection.into())]),
        calls: BTreeMap::new(),
        retry: None,
        at: Timestamp::from_millis(1),
    }
}

async fn accepted(store: &TestedStore, run: &str, connection: &str) -> RunId {
    let run = RunId::from(run);
    store.journal.accept(&run, "v1", &document("v1"), started(connection), Flush::Now).await.unwrap();
    run
}

async fn finish(store: &TestedStore, run: &RunId, status: RunStatus) {
    let finished = RunEvent::Finished { status, error: None, at: Timestamp::from_millis(2) };
    store.journal.append(run, vec![finished], Flush::Now).await.unwrap();
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("this must fail").kind()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn memory() -> TestedStore {
        let store = Arc::new(MemoryStore::default());
        let journal = Arc::new(store.journal());
        TestedStore { connections: store.clone(), vault: store.clone(), flows: store, journal }
    }

    #[tokio::test]
    async fn the_store_in_memory_passes_the_store_suite() {
        run(async || memory()).await;
    }

    #[tokio::test]
    async fn the_journal_of_the_store_in_memory_passes_the_journal_suite() {
        trunkline_engine::journal_suite::run(async || MemoryStore::default().journal()).await;
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn the_embedded_store_passes_the_store_suite() {
        let homes = std::sync::Mutex::new(Vec::new());
        let fresh = async || {
            let home = tempfile::tempdir().unwrap();
            let key = crate::KeySource::File(home.path().join("key"));
            let store = Arc::new(crate::Store::open(&home.path().join("data"), key).unwrap());
            homes.lock().unwrap().push(home);
            TestedStore { connections: store.clone(), vault: store.clone(), flows: store.clone(), journal: store }
        };
        run(fresh).await;
    }

    /// Returns whether the suite accepts a store.
    fn passes(fresh: fn() -> TestedStore) -> bool {
        let suite = move || tokio::runtime::Runtime::new().unwrap().block_on(run(async || fresh()));
        std::thread::spawn(suite).join().is_ok()
    }

    /// Sabotage twins: ports that do not know of each other break promises, and the suite finds each of them.
    #[test]
    fn the_suite_finds_ports_that_do_not_belong_together() {
        assert!(passes(memory), "an unchanged store passes");
        assert!(!passes(|| TestedStore { vault: memory().vault, ..memory() }), "tokens of a removed connection");
        assert!(!passes(|| TestedStore { journal: memory().journal, ..memory() }), "runs that use a connection");
        assert!(!passes(|| TestedStore { flows: memory().flows, ..memory() }), "flows that use a connection");
        let other: fn() -> TestedStore =
            || TestedStore { vault: Arc::new(trunkline_core::MemoryVault::default()), ..memory() };
        assert!(!passes(other), "a vault that accepts tokens of a connection that does not exist");
    }
}

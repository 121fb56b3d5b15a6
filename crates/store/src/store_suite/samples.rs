//! The ports of a store under test, and what the checks put into it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use trunkline_core::{Connection, ErrorKind, Result, RunId, Schema, Timestamp, Vault};
use trunkline_engine::{Flush, Journal, KeyForm, RunEvent, RunStatus};

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

/// A settings schema with two secrets, one of them in a nested object.
pub(super) fn settings() -> Schema {
    let secret = json!({ "writeOnly": true });
    Schema::from(json!({ "properties": {
        "clientSecret": secret, "flow": { "oneOf": [{ "properties": { "password": secret } }] }
    } }))
}

pub(super) fn connection(name: &str, client_secret: &str) -> Connection {
    Connection::from_value(json!({
        "name": name, "connector": "dam-v1.0", "endpointUrl": "https://dam.test", "clientSecret": client_secret,
        "flow": { "username": "u", "password": "pa\"ss\u{0}wörd" }
    }))
    .unwrap()
}

pub(super) async fn add(store: &TestedStore, name: &str) {
    store.connections.put_connection(&connection(name, "s3cret"), &settings()).await.unwrap();
}

pub(super) fn flow(name: &str, version: &str, connections: &[(&str, &str)], active: bool) -> FlowToSave {
    let named = |(binding, name): &(&str, &str)| ((*binding).to_owned(), (*name).to_owned());
    FlowToSave {
        name: name.into(),
        version: version.into(),
        document: document(version),
        connections: connections.iter().map(named).collect(),
        input: json!({ "z": 7, "a": "Ä" }).as_object().unwrap().clone(),
        active,
        restart: false,
        called: BTreeMap::new(),
    }
}

pub(super) fn document(version: &str) -> Value {
    json!({ "name": "copy", "about": version, "a": [] })
}

pub(super) fn started(connection: &str) -> RunEvent {
    RunEvent::Started {
        flow: "copy".into(),
        version: "v1".into(),
        input: json!({}),
        connections: BTreeMap::from([("source".into(), connection.into()), ("target".into(), connection.into())]),
        calls: BTreeMap::new(),
        retry: None,
        start_error: None,
        trigger: None,
        keys: KeyForm::default(),
        at: Timestamp::from_millis(1),
    }
}

pub(super) async fn accepted(store: &TestedStore, run: &str, connection: &str) -> RunId {
    let run = RunId::from(run);
    store.journal.accept(&run, "v1", &document("v1"), started(connection), Flush::Now).await.unwrap();
    run
}

pub(super) async fn finish(store: &TestedStore, run: &RunId, status: RunStatus) {
    let finished = RunEvent::Finished { status, error: None, at: Timestamp::from_millis(2) };
    store.journal.append(run, vec![finished], Flush::Now).await.unwrap();
}

pub(super) fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("this must fail").kind()
}

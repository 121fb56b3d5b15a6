//! Documents that are saved as the caller has seen them: of two callers, one changes a document, and what it did not
//! mean to change stays.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};
use trunkline::{
    core::{Connection, ErrorDetail, ErrorKind, Schema, Secret},
    operations::{
        Caller,
        connection_put::{ConnectionPatch, ConnectionToPut, PatchConnection, PutConnection},
        connections::{AddConnections, ConnectionName, ConnectionRemoval, GetConnection, RemoveConnection},
        flow_put::{FlowPut, FlowToPut, PutFlow},
        flows::{ActivateFlow, DeactivateFlow, FlowChange, FlowName, GetFlow, RemoveFlow},
    },
    store::{
        ConnectionStore, ConnectionSummary, FlowStore, FlowToSave, Replacement, SavedFlow, SeenConnection, SignInEvent,
        TriggerDelivery, TriggerFinding, TriggerStarts,
    },
};

use super::*;

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A runtime with the connection shop, and with the flow copy.
async fn prepared(ports: &Ports) -> Runtime {
    let runtime = runtime(ports);
    let added = json!({ "connections": shop("canary"), "allow_references": true });
    runtime.execute::<AddConnections>(&Caller::owner(), from(added)).await.unwrap();
    let flow = put_flow(&runtime, "a", json!({ "if_none_match": "*" })).await.unwrap();
    assert!(flow.created);
    runtime
}

fn no_service() -> Arc<dyn HttpTransport> {
    FakeTransport::new(|_: &Received| unreachable!())
}

fn document(id: &str) -> Value {
    let step = json!({ "id": id, "action": "request", "connection": "to", "input": { "path": "/" } });
    json!({ "name": "copy", "connections": { "to": "http" }, "steps": [step] })
}

async fn put_flow(runtime: &Runtime, id: &str, condition: Value) -> Result<FlowPut> {
    let mut input = json!({ "name": "copy", "document": document(id), "connections": { "to": "shop" } });
    input.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
    runtime.execute::<PutFlow>(&Caller::owner(), from(input)).await
}

async fn tag_of_flow(runtime: &Runtime) -> String {
    let name = FlowName { name: "copy".into() };
    runtime.execute::<GetFlow>(&Caller::owner(), name).await.unwrap().etag
}

async fn get(runtime: &Runtime) -> (Value, String) {
    let name = ConnectionName { name: "shop".into() };
    let got = runtime.execute::<GetConnection>(&Caller::owner(), name).await.unwrap();
    (got.document, got.etag)
}

/// Saves the connection in the place of the one with this entity tag.
async fn put(runtime: &Runtime, document: Value, if_match: Option<&str>) -> Result<String> {
    let input = json!({ "name": "shop", "document": document, "if_match": if_match });
    runtime.execute::<PutConnection>(&Caller::owner(), from(input)).await.map(|saved| saved.etag)
}

async fn patch(runtime: &Runtime, patch: Value) -> Result<String> {
    let input: ConnectionPatch = from(json!({ "name": "shop", "patch": patch }));
    runtime.execute::<PatchConnection>(&Caller::owner(), input).await.map(|saved| saved.etag)
}

async fn saved(runtime: &Runtime) -> Map<String, Value> {
    runtime.connections().connection("shop").await.unwrap().settings
}

fn is_not_as_expected<T>(result: Result<T>) -> bool {
    result.err().is_some_and(|error| error.kind() == ErrorKind::Conflict && error.has(&ErrorDetail::NotAsExpected))
}

/// Lets two callers change the flow and the connection as both have seen them, and returns how many of each succeed.
async fn two_at_once(runtime: &Runtime) -> (usize, usize) {
    let flow = tag_of_flow(runtime).await;
    let (document, connection) = get(runtime).await;
    let flows = async |id: &str| put_flow(runtime, id, json!({ "if_match": flow })).await.is_ok();
    let connections = async |path: &str| {
        let mut changed = document.clone();
        changed["endpointUrl"] = format!("https://api.shop.test/{path}").into();
        put(runtime, changed, Some(&connection)).await.is_ok()
    };
    let (one, other, first, second) = tokio::join!(flows("b"), flows("c"), connections("b"), connections("c"));
    (usize::from(one) + usize::from(other), usize::from(first) + usize::from(second))
}

/// A runtime whose stores write only after both callers have looked.
async fn slow(is_protected: bool) -> Runtime {
    let ports = Ports::in_memory();
    let (connections, flows) = (ports.connections.clone(), ports.flows.clone());
    let store = Arc::new(WritesLater { connections, flows, is_protected });
    prepared(&Ports { connections: store.clone(), flows: store, ..ports }).await
}

#[tokio::test(start_paused = true)]
async fn of_two_callers_that_have_seen_a_document_one_changes_it() {
    let runtime = slow(true).await;
    for round in 0..100 {
        assert_eq!(two_at_once(&runtime).await, (1, 1), "round {round}");
        put_flow(&runtime, "a", json!({ "if_match": "*" })).await.unwrap();
        patch(&runtime, json!({ "endpointUrl": "https://api.shop.test/v1" })).await.unwrap();
    }
}

/// The sabotage twin: a store that does not compare when it writes loses one of the two changes.
#[tokio::test(start_paused = true)]
async fn without_the_comparison_in_the_transaction_both_callers_succeed() {
    assert_eq!(two_at_once(&slow(false).await).await, (2, 2));
}

#[tokio::test]
async fn a_document_that_was_read_is_saved_again_without_a_loss() {
    let runtime = prepared(&ports(no_service())).await;
    let mut with_all = shop("canary");
    for token in [json!("canary"), json!({ "env": "SHOP_TOKEN" })] {
        with_all["token"] = token;
        let input = json!({ "connections": with_all, "replace": true, "allow_references": true });
        runtime.execute::<AddConnections>(&Caller::owner(), from(input)).await.unwrap();
        let before = saved(&runtime).await;
        let (document, tag) = get(&runtime).await;
        assert!(!document.to_string().contains("canary"), "{document}");
        let next = put(&runtime, document.clone(), Some(&tag)).await.unwrap();
        assert_eq!(saved(&runtime).await, before, "nothing has changed");
        // It was saved again: a caller that has seen it before has not seen this.
        assert!(is_not_as_expected(put(&runtime, document.clone(), Some(&tag)).await));
        put(&runtime, document, Some(&next)).await.unwrap();
        patch(&runtime, json!({ "name": "shop" })).await.unwrap();
        assert_eq!(saved(&runtime).await, before);
    }
    let flow = runtime.execute::<GetFlow>(&Caller::owner(), FlowName { name: "copy".into() }).await.unwrap();
    let mut read = serde_json::to_value(&flow).unwrap();
    read["if_match"] = flow.etag.clone().into();
    let put = runtime.execute::<PutFlow>(&Caller::owner(), from::<FlowToPut>(read)).await.unwrap();
    assert_eq!((put.created, &put.etag), (false, &flow.etag));
    let again = runtime.execute::<GetFlow>(&Caller::owner(), FlowName { name: "copy".into() }).await.unwrap();
    assert_eq!((again.document, again.flow.connections), (flow.document, flow.flow.connections));
}

#[tokio::test]
async fn a_changed_document_keeps_secrets_only_for_its_hosts() {
    let runtime = prepared(&ports(no_service())).await;
    let (mut document, tag) = get(&runtime).await;
    patch(&runtime, json!({ "endpointUrl": "https://api.shop.test/v2" })).await.unwrap();
    assert_eq!(saved(&runtime).await["token"], "canary", "a secret that is left out stays");
    // A secret alone makes another state, although the document is shown as before.
    let before = get(&runtime).await;
    patch(&runtime, json!({ "token": "canary3" })).await.unwrap();
    let after = get(&runtime).await;
    assert!(before.0 == after.0 && before.1 != after.1);
    document["endpointUrl"] = "https://evil.test/".into();
    assert!(is_not_as_expected(put(&runtime, document.clone(), Some(&tag)).await));
    for change in [
        put(&runtime, document.clone(), None).await,
        patch(&runtime, json!({ "endpointUrl": "https://evil.test/" })).await,
    ] {
        let error = change.unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.message().contains("evil.test"), "{error}");
        assert!(!error.to_string().contains("canary"));
    }
    assert_eq!(saved(&runtime).await["endpointUrl"], "https://api.shop.test/v2", "nothing has changed");
    // A reference that stays would send the secret of this machine to the new host.
    patch(&runtime, json!({ "token": { "env": "SHOP_TOKEN" } })).await.unwrap_err();
    let allowed = json!({ "name": "shop", "patch": { "token": { "env": "SHOP_TOKEN" } }, "allow_references": true });
    runtime.execute::<PatchConnection>(&Caller::owner(), from(allowed)).await.unwrap();
    let error = patch(&runtime, json!({ "endpointUrl": "https://evil.test/" })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    // The sabotage twin: for the same hosts, both are kept.
    patch(&runtime, json!({ "endpointUrl": "https://api.shop.test/v3" })).await.unwrap();
    // With its own secret, the new host gets nothing of the old one.
    patch(&runtime, json!({ "endpointUrl": "https://other.test/", "token": "new" })).await.unwrap();
}

#[tokio::test]
async fn a_change_that_the_caller_does_not_expect_is_not_made() {
    let runtime = prepared(&ports(no_service())).await;
    let error = put_flow(&runtime, "b", json!({})).await.map(|_| ()).unwrap_err();
    assert!(error.has(&ErrorDetail::ExpectationMissing), "{error}");
    let (old_flow, (document, old)) = (tag_of_flow(&runtime).await, get(&runtime).await);
    put_flow(&runtime, "b", json!({ "if_match": format!("\"x\", {old_flow}") })).await.unwrap();
    patch(&runtime, json!({ "token": "new" })).await.unwrap();
    let state = async || (tag_of_flow(&runtime).await, get(&runtime).await);
    let now = state().await;
    let owner = &Caller::owner();
    for tag in [&*old_flow, "\"x\"", &format!("W/{}", now.0)] {
        let change = || FlowChange { name: "copy".into(), if_match: Some(tag.to_owned()) };
        assert!(is_not_as_expected(put_flow(&runtime, "c", json!({ "if_match": tag })).await), "{tag}");
        assert!(is_not_as_expected(runtime.execute::<ActivateFlow>(owner, change()).await), "{tag}");
        assert!(is_not_as_expected(runtime.execute::<DeactivateFlow>(owner, change()).await), "{tag}");
        assert!(is_not_as_expected(runtime.execute::<RemoveFlow>(owner, change()).await), "{tag}");
    }
    assert!(is_not_as_expected(put_flow(&runtime, "c", json!({ "if_none_match": "*" })).await));
    let removal = |tag: &str| ConnectionRemoval { name: "shop".into(), force: true, if_match: Some(tag.to_owned()) };
    assert!(is_not_as_expected(runtime.execute::<RemoveConnection>(owner, removal(&old)).await));
    let new: ConnectionToPut = from(json!({ "name": "shop", "document": document, "if_none_match": "*" }));
    assert!(is_not_as_expected(runtime.execute::<PutConnection>(owner, new).await));
    assert_eq!(state().await, now, "nothing has changed");
    // With the right tags, the same changes are made.
    let change = |tag: String| FlowChange { name: "copy".into(), if_match: Some(tag) };
    runtime.execute::<DeactivateFlow>(owner, change(now.0)).await.unwrap();
    runtime.execute::<ActivateFlow>(owner, change(tag_of_flow(&runtime).await)).await.unwrap();
    runtime.execute::<RemoveFlow>(owner, change(tag_of_flow(&runtime).await)).await.unwrap();
    runtime.execute::<RemoveConnection>(owner, removal(&now.1.1)).await.unwrap();
    assert!(is_not_as_expected(put(&runtime, document, Some(&now.1.1)).await), "it is gone");
}

/// A store that writes later than it is asked to and, unless it is protected, whatever the caller has seen.
struct WritesLater {
    connections: Arc<dyn ConnectionStore>,
    flows: Arc<dyn FlowStore>,
    is_protected: bool,
}

#[async_trait]
impl ConnectionStore for WritesLater {
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: Replacement) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let replace = if self.is_protected { replace } else { Replacement::Always };
        self.connections.save_connections(connections, replace).await
    }

    async fn replace_connection(&self, previous: &Connection, new: &Connection, settings: &Schema) -> Result<()> {
        self.connections.replace_connection(previous, new, settings).await
    }

    async fn connection(&self, name: &str) -> Result<Connection> {
        self.connections.connection(name).await
    }

    async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        self.connections.connections().await
    }

    async fn seen_connection(&self, name: &str) -> Result<SeenConnection> {
        self.connections.seen_connection(name).await
    }

    async fn remove_connection(
        &self,
        name: &str,
        force: bool,
        seen: Option<&SeenConnection>,
    ) -> Result<Option<Secret>> {
        self.connections.remove_connection(name, force, seen).await
    }

    async fn sign_in_events(&self, connection: Option<&str>, after: u64, most: usize) -> Result<Vec<SignInEvent>> {
        self.connections.sign_in_events(connection, after, most).await
    }
}

#[async_trait]
impl FlowStore for WritesLater {
    async fn save_flow(&self, flow: FlowToSave, previous: Option<&SavedFlow>) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = match previous {
            Some(_) if !self.is_protected => Some(self.flows.saved_flow(&flow.name).await?),
            seen => seen.cloned(),
        };
        self.flows.save_flow(flow, now.as_ref()).await
    }

    async fn saved_flows(&self) -> Result<Vec<SavedFlow>> {
        self.flows.saved_flows().await
    }

    async fn saved_flow(&self, name: &str) -> Result<SavedFlow> {
        self.flows.saved_flow(name).await
    }

    async fn activate_flow(&self, checked: &SavedFlow, called: &BTreeMap<String, String>, restart: bool) -> Result<()> {
        self.flows.activate_flow(checked, called, restart).await
    }

    async fn deactivate_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        self.flows.deactivate_flow(name, seen).await
    }

    async fn remove_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        self.flows.remove_flow(name, seen).await
    }

    async fn set_findings(&self, name: &str, findings: Vec<TriggerFinding>) -> Result<()> {
        self.flows.set_findings(name, findings).await
    }

    async fn set_starts(&self, name: &str, starts: TriggerStarts) -> Result<()> {
        self.flows.set_starts(name, starts).await
    }

    async fn set_webhook_token(&self, name: &str, hash: Vec<u8>) -> Result<()> {
        self.flows.set_webhook_token(name, hash).await
    }

    async fn set_webhook_secret(&self, name: &str, secret: Option<&Secret>) -> Result<()> {
        self.flows.set_webhook_secret(name, secret).await
    }

    async fn add_deliveries(&self, name: &str, deliveries: Vec<TriggerDelivery>) -> Result<()> {
        self.flows.add_deliveries(name, deliveries).await
    }

    async fn deliveries(&self, name: &str) -> Result<Vec<TriggerDelivery>> {
        self.flows.deliveries(name).await
    }

    async fn webhook_secret(&self, name: &str) -> Result<Option<Secret>> {
        self.flows.webhook_secret(name).await
    }
}

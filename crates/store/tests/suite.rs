//! The stores of this crate have the behaviours that every store must have, and the suite finds stores that do not.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use trunkline_core::{Connection, Error, ErrorKind, MemoryVault, Result, Schema, Secret};
use trunkline_engine::journal_suite;
use trunkline_store::{
    ConnectionStore, ConnectionSummary, FlowStore, FlowToSave, MemoryStore, Replacement, SavedFlow, SeenConnection,
    SignInEvent, TriggerDelivery, TriggerFinding, TriggerStarts,
    store_suite::{TestedStore, run},
};

fn memory() -> TestedStore {
    let store = Arc::new(MemoryStore::default());
    let journal = Arc::new(store.journal());
    TestedStore { connections: store.clone(), vault: store.clone(), flows: store, journal }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_passes_the_store_suite() {
    run(async || memory()).await;
}

#[tokio::test]
async fn the_journal_of_the_store_in_memory_passes_the_journal_suite() {
    journal_suite::run(async || MemoryStore::default().journal()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_passes_the_store_suite() {
    let homes = std::sync::Mutex::new(Vec::new());
    let fresh = async || {
        let home = tempfile::tempdir().unwrap();
        let key = trunkline_store::KeySource::File(home.path().join("key"));
        let store = Arc::new(trunkline_store::Store::open(&home.path().join("data"), key).unwrap());
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
    let other: fn() -> TestedStore = || TestedStore { vault: Arc::new(MemoryVault::default()), ..memory() };
    assert!(!passes(other), "a vault that accepts tokens of a connection that does not exist");
}

/// A change that is made in two steps: a look and, in a second transaction, the writing.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    Addition,
    Change,
    Replacement,
    Activation,
    Consent,
    Called,
    Removal,
}

/// A store with a gap.
struct LooksFirst(Arc<MemoryStore>, Gap);

impl LooksFirst {
    fn store(gap: Gap) -> TestedStore {
        let store = Arc::new(MemoryStore::default());
        let (journal, looks_first) = (Arc::new(store.journal()), Arc::new(LooksFirst(store.clone(), gap)));
        TestedStore { connections: looks_first.clone(), vault: store, flows: looks_first, journal }
    }

    /// Waits between the look and the writing, if this is the gap.
    async fn waits(&self, gap: Gap) -> bool {
        tokio::time::sleep(Duration::from_millis(u64::from(self.1 == gap))).await;
        self.1 == gap
    }
}

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "it exists, or was changed").next("look again")
}

#[trunkline_core::async_trait]
impl ConnectionStore for LooksFirst {
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: Replacement) -> Result<()> {
        let known = self.0.connections().await?;
        let is_known = |(one, _): &(&Connection, &Schema)| known.iter().any(|known| known.name == one.name);
        if connections.iter().any(is_known) && matches!(replace, Replacement::Never) {
            return Err(conflict());
        }
        let gap = if matches!(replace, Replacement::Never) { Gap::Addition } else { Gap::Consent };
        let is_gap = self.waits(gap).await;
        self.0.save_connections(connections, if is_gap { Replacement::Always } else { replace }).await
    }

    async fn replace_connection(&self, previous: &Connection, new: &Connection, settings: &Schema) -> Result<()> {
        if self.0.connection(&new.name).await?.document() != previous.document() {
            return Err(conflict());
        }
        if self.waits(Gap::Change).await {
            return self.0.put_connection(new, settings).await;
        }
        self.0.replace_connection(previous, new, settings).await
    }

    async fn connection(&self, name: &str) -> Result<Connection> {
        self.0.connection(name).await
    }

    async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        self.0.connections().await
    }

    async fn seen_connection(&self, name: &str) -> Result<SeenConnection> {
        self.0.seen_connection(name).await
    }

    async fn remove_connection(
        &self,
        name: &str,
        force: bool,
        seen: Option<&SeenConnection>,
    ) -> Result<Option<Secret>> {
        self.0.remove_connection(name, force, seen.filter(|_| self.1 != Gap::Removal)).await
    }

    async fn sign_in_events(&self, connection: Option<&str>, after: u64, most: usize) -> Result<Vec<SignInEvent>> {
        self.0.sign_in_events(connection, after, most).await
    }
}

#[trunkline_core::async_trait]
impl FlowStore for LooksFirst {
    async fn save_flow(&self, mut flow: FlowToSave, previous: Option<&SavedFlow>) -> Result<()> {
        if self.1 == Gap::Called {
            flow.called.clear();
        }
        let Some(looked) = previous else { return self.0.save_flow(flow, None).await };
        if !looked.is_unchanged(&self.0.saved_flow(&flow.name).await?) {
            return Err(conflict());
        }
        if self.waits(Gap::Replacement).await {
            let now = self.0.saved_flow(&flow.name).await?;
            return self.0.save_flow(flow, Some(&now)).await;
        }
        self.0.save_flow(flow, previous).await
    }

    async fn activate_flow(&self, checked: &SavedFlow, called: &BTreeMap<String, String>, restart: bool) -> Result<()> {
        if !checked.is_same_flow(&self.0.saved_flow(&checked.name).await?) {
            return Err(conflict());
        }
        if self.waits(Gap::Activation).await {
            let now = self.0.saved_flow(&checked.name).await?;
            return self.0.activate_flow(&now, called, restart).await;
        }
        self.0.activate_flow(checked, called, restart).await
    }

    async fn saved_flows(&self) -> Result<Vec<SavedFlow>> {
        self.0.saved_flows().await
    }

    async fn saved_flow(&self, name: &str) -> Result<SavedFlow> {
        self.0.saved_flow(name).await
    }

    async fn deactivate_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        self.0.deactivate_flow(name, seen.filter(|_| self.1 != Gap::Removal)).await
    }

    async fn remove_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        self.0.remove_flow(name, seen.filter(|_| self.1 != Gap::Removal)).await
    }

    async fn set_starts(&self, name: &str, starts: TriggerStarts) -> Result<()> {
        self.0.set_starts(name, starts).await
    }
    async fn add_deliveries(&self, name: &str, deliveries: Vec<TriggerDelivery>) -> Result<()> {
        self.0.add_deliveries(name, deliveries).await
    }

    async fn deliveries(&self, name: &str) -> Result<Vec<TriggerDelivery>> {
        self.0.deliveries(name).await
    }

    async fn set_findings(&self, name: &str, findings: Vec<TriggerFinding>) -> Result<()> {
        self.0.set_findings(name, findings).await
    }

    async fn set_webhook_token(&self, name: &str, hash: Vec<u8>) -> Result<()> {
        self.0.set_webhook_token(name, hash).await
    }

    async fn set_webhook_secret(&self, name: &str, secret: Option<&Secret>) -> Result<()> {
        self.0.set_webhook_secret(name, secret).await
    }

    async fn webhook_secret(&self, name: &str) -> Result<Option<Secret>> {
        self.0.webhook_secret(name).await
    }
}

/// Sabotage twins of the checks of two callers at once.
#[test]
fn the_suite_finds_a_store_that_looks_first_and_writes_later() {
    assert!(passes(|| LooksFirst::store(Gap::None)), "a store that also compares when it writes passes");
    assert!(!passes(|| LooksFirst::store(Gap::Addition)), "two additions of one name both succeed");
    assert!(!passes(|| LooksFirst::store(Gap::Change)), "the second change of a connection undoes the first");
    assert!(!passes(|| LooksFirst::store(Gap::Replacement)), "the second replacement of a flow undoes the first");
    assert!(!passes(|| LooksFirst::store(Gap::Activation)), "a flow that was not checked is active");
    assert!(!passes(|| LooksFirst::store(Gap::Consent)), "a sign-in gets another host than was agreed to");
    assert!(!passes(|| LooksFirst::store(Gap::Removal)), "what is removed is not what the caller has seen");
    assert!(!passes(|| LooksFirst::store(Gap::Called)), "a flow calls one that was not checked");
}

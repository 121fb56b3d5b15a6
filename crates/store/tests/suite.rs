//! The stores of this crate have the behaviours that every store must have, and the suite finds stores that do not.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{Connection, Error, ErrorKind, MemoryVault, Result, Schema, Secret};
use trunkline_engine::journal_suite;
use trunkline_store::{
    ConnectionStore, ConnectionSummary, MemoryStore, SignInEvent,
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

/// A store that looks for a name, and writes in a second transaction.
struct LooksFirst(Arc<MemoryStore>);

#[trunkline_core::async_trait]
impl ConnectionStore for LooksFirst {
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: bool) -> Result<()> {
        let known = self.0.connections().await?;
        if let Some((one, _)) = connections.iter().find(|(one, _)| known.iter().any(|known| known.name == one.name))
            && !replace
        {
            return Err(Error::new(ErrorKind::Conflict, format!("there is already a connection {}", one.name)));
        }
        tokio::task::yield_now().await;
        self.0.save_connections(connections, true).await
    }

    async fn connection(&self, name: &str) -> Result<Connection> {
        self.0.connection(name).await
    }

    async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        self.0.connections().await
    }

    async fn masked_connection(&self, name: &str) -> Result<Value> {
        self.0.masked_connection(name).await
    }

    async fn remove_connection(&self, name: &str, force: bool) -> Result<Option<Secret>> {
        self.0.remove_connection(name, force).await
    }

    async fn sign_in_events(&self, connection: Option<&str>, after: u64) -> Result<Vec<SignInEvent>> {
        self.0.sign_in_events(connection, after).await
    }
}

/// Sabotage twin of the checks of two callers at once.
#[test]
fn the_suite_finds_a_store_that_looks_first_and_writes_later() {
    let fresh: fn() -> TestedStore = || {
        let store = Arc::new(MemoryStore::default());
        let journal = Arc::new(store.journal());
        let connections = Arc::new(LooksFirst(store.clone()));
        TestedStore { connections, vault: store.clone(), flows: store, journal }
    };
    assert!(!passes(fresh), "two additions of one name both succeed");
}

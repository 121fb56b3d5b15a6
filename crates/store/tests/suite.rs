//! The stores of this crate have the behaviours that every store must have, and the suite finds stores that do not.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use trunkline_core::MemoryVault;
use trunkline_engine::journal_suite;
use trunkline_store::{
    MemoryStore,
    store_suite::{TestedStore, run},
};

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
    journal_suite::run(async || MemoryStore::default().journal()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
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

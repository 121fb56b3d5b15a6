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

mod samples;
mod suite_connections;
mod suite_flows;
mod suite_vault;

pub use samples::TestedStore;

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
    suite_flows::what_was_found_about_a_trigger_is_saved(fresh().await).await;
    suite_flows::a_trigger_that_watches_something_else_starts_again(fresh().await).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{TestedStore, run};
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

//! A test suite for implementations of [`ConnectionStore`](crate::ConnectionStore) and [`FlowStore`](crate::FlowStore): the behaviours that a host relies on.
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
mod suite_at_once;
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
    suite_at_once::of_two_additions_of_a_name_one_succeeds(fresh().await).await;
    suite_at_once::a_list_of_connections_is_added_as_a_whole_or_not_at_all(fresh().await).await;
    suite_at_once::of_two_flows_of_a_name_one_is_saved(fresh().await).await;
    suite_at_once::of_two_replacements_of_a_flow_one_succeeds(fresh().await).await;
    suite_at_once::a_flow_that_was_replaced_is_not_activated(fresh().await).await;
    suite_at_once::a_flow_whose_called_flow_was_replaced_is_neither_saved_nor_activated(fresh().await).await;
    suite_at_once::of_two_changes_of_a_connection_one_succeeds(fresh().await).await;
    suite_at_once::a_connection_is_replaced_only_as_it_was_looked_at(fresh().await).await;
    suite_at_once::a_removal_and_a_use_exclude_each_other(fresh().await).await;
    suite_at_once::of_two_removals_one_succeeds(fresh().await).await;
    suite_at_once::one_event_starts_one_run(fresh().await).await;
    suite_at_once::of_two_versions_of_one_name_one_is_kept(fresh().await).await;
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
    suite_flows::the_secret_of_a_webhook_is_removed(fresh().await).await;
    suite_flows::what_was_found_about_a_trigger_is_saved(fresh().await).await;
    suite_flows::the_latest_deliveries_to_a_trigger_are_kept_with_its_flow(fresh().await).await;
    suite_flows::the_starts_of_a_trigger_are_saved_and_stay_with_their_flow(fresh().await).await;
    suite_flows::a_trigger_that_watches_something_else_starts_again(fresh().await).await;
}

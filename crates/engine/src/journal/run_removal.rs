//! What a journal does when runs are removed.

use async_trait::async_trait;
use trunkline_core::{Result, RunId};
use trunkline_flow::Retention;

/// The removal of ended runs, and the setting after which time they are removed.
#[async_trait]
pub trait RunRemoval: Send + Sync {
    /// Removes a run: its events, the outcomes of its items and its process log. What is remembered of items across
    /// runs ([`RunIndex::before`](crate::RunIndex::before)), deduplication keys and flow versions stay. The caller holds the claim of the run.
    ///
    /// From the first change on no other method finds the run, also if the process ends before the removal has.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, `conflict` if [`RunSummary::check_removal`](crate::RunSummary::check_removal) refuses it. The check and the
    /// first change are one transaction.
    async fn remove_run(&self, run: &RunId) -> Result<()>;

    /// Returns how long runs are kept after they have ended, where their flow does not decide it. It is `None` while
    /// nothing is to be removed because no operator has decided that: in a storage that an earlier version has made.
    ///
    /// # Errors
    ///
    /// `store` if the setting cannot be read, or is not one that was written here.
    async fn retention(&self) -> Result<Option<Retention>>;

    /// Sets how long runs are kept after they have ended. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be written.
    async fn set_retention(&self, retention: Retention) -> Result<()>;
}

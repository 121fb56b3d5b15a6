//! Which process works on a run.

use async_trait::async_trait;
use trunkline_core::{Result, RunId};

use crate::{journal::RunClaim, run::RunNote};

/// The right to work on a run.
#[async_trait]
pub trait RunClaims: Send + Sync {
    /// Claims the exclusive right to work on a run. The run need not exist yet. The claim is given back when it is
    /// dropped, and when the process that holds it ends in whichever way.
    ///
    /// After an append to the run has failed, the next claim makes the journal read the run from disk again.
    ///
    /// # Errors
    ///
    /// `conflict` while the claim is held, by this process or another one.
    async fn claim(&self, run: &RunId) -> Result<RunClaim>;

    /// Returns whether this process or another one holds the claim of a run. It is asked often, so it should not take
    /// the claim to find that out: a process that claims the run at this moment would be refused.
    ///
    /// # Errors
    ///
    /// `store` if that cannot be found out.
    async fn is_claimed(&self, run: &RunId) -> Result<bool>;

    /// Notes what a run does, in place of an earlier note; `None` removes it. A note is for displays and need not
    /// survive a power cut. The default implementation stores nothing: a run is then shown as running, or as left.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be written.
    async fn note(&self, _run: &RunId, _note: Option<&RunNote>) -> Result<()> {
        Ok(())
    }

    /// Returns the note about a run.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be read.
    async fn noted(&self, _run: &RunId) -> Result<Option<RunNote>> {
        Ok(None)
    }

    /// Adds a mark to a run: it is active, and has recorded nothing for a while. If the process dies now, the run may be
    /// the cause. A mark has to survive the death of the process; it need not survive a power cut.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be written.
    async fn mark_active(&self, run: &RunId) -> Result<()>;

    /// Returns the number of marks of a run.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn active_marks(&self, run: &RunId) -> Result<u32>;

    /// Removes all marks of a run.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be removed.
    async fn clear_active(&self, run: &RunId) -> Result<()>;
}

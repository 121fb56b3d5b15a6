//! Reruns of failed items.

use std::collections::BTreeMap;

use trunkline_core::{Result, RunId};
use trunkline_engine::{AcceptedRun, RunHandle};
use trunkline_flow::Flow;

use crate::runtime::Runtime;

impl Runtime {
    /// Reruns the failed items of a run as a new run with the same connections, see
    /// [`Engine::rerun_failed`](trunkline_engine::Engine::rerun_failed). A connection that only the corrected flow declares is
    /// bound to the only connection of its connector.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has not ended, was rerun before, or has no failed items; `config` if the corrected flow does not
    /// fit.
    pub async fn rerun_failed(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<RunHandle> {
        Ok(self.engine().begin(self.accept_rerun(id, flow, unknown).await?))
    }

    /// Accepts such a rerun without starting it. [`Engine::begin`](trunkline_engine::Engine::begin) starts it.
    ///
    /// # Errors
    ///
    /// As [`Runtime::rerun_failed`].
    pub async fn accept_rerun(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<AcceptedRun> {
        let run = self.engine().run(id).await?;
        let mut bindings: BTreeMap<_, _> = run.connections;
        if let Some(flow) = &flow {
            bindings.retain(|binding, _| flow.connections().contains_key(binding));
            bindings = self.all_bindings(flow, bindings).await?;
            self.accept(flow, &bindings).await?;
        }
        self.engine().accept_rerun(id, flow, self.connect_all(&bindings).await?, unknown).await
    }
}

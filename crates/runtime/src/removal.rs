//! The removal of connections, and of ended runs: by an operator, and by their age.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result, RunId};
use trunkline_engine::{RunFilter, RunStatus, RunSummary};
use trunkline_flow::Retention;
use trunkline_store::SeenConnection;

use crate::runtime::{Removal, Runtime};

/// The number of runs that are listed at a time.
const PAGE: usize = 200;

/// What a removal of runs by age has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pruned {
    /// The number of runs that were removed.
    pub removed: u64,
    /// The number of runs that are as old and were kept: they have unknown outcomes, or a rerun needs them.
    pub kept: u64,
}

impl Runtime {
    /// Removes a connection with its secrets and tokens, and revokes the tokens at its login server where that is possible
    /// (RFC 7009). The returned [`Removal`] says whether the login server did so.
    ///
    /// # Errors
    ///
    /// `conflict` if an active flow or an unfinished run uses the connection, unless `force` is set. `not_found` if there is
    /// no such connection.
    pub async fn remove_connection(&self, name: &str, force: bool) -> Result<Removal> {
        self.remove_seen_connection(name, force, None).await
    }

    /// Like [`Runtime::remove_connection`], of a connection that has to be as the caller has `seen` it.
    pub(crate) async fn remove_seen_connection(
        &self,
        name: &str,
        force: bool,
        seen: Option<&SeenConnection>,
    ) -> Result<Removal> {
        // The client is made first: afterwards there are no settings to make it from.
        let connected = self.connect(name).await;
        let tokens = self.connections().remove_connection(name, force, seen).await?;
        self.clients().pop(name);
        let revoked = match (connected, tokens) {
            (Ok(connected), Some(tokens)) => connected.sign_out(&tokens).await,
            (Err(error), Some(_)) => Err(error),
            (_, None) => Ok(()),
        };
        Ok(revoked.map_or_else(Removal::TokensNotRevoked, |()| Removal::Complete))
    }

    /// Removes an ended run, with its events, items, log and staged files. What is remembered of items across runs
    /// stays.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has not ended or a process works on it, if it has unknown outcomes, or if a rerun needs
    /// it. `not_found` if there is no such run.
    pub async fn remove_run(&self, run: &RunId) -> Result<()> {
        // Nothing resumes or reruns it meanwhile.
        let _claim = self.journal().claim(run).await?;
        self.journal().remove_run(run).await?;
        if let Some(staging) = &self.ports().staging {
            staging.unstage(run.as_str(), None).await;
        }
        self.journal().clear_active(run).await
    }

    /// Removes the ended runs that pass the filter and `chosen`, newest first, so that a rerun is removed before the
    /// run that it repeats. Runs that must not be removed are kept.
    ///
    /// # Errors
    ///
    /// `store` if the store fails, or if a run is damaged: the others are removed then. The runs that were removed before
    /// stay removed.
    pub async fn prune(&self, filter: &RunFilter, chosen: impl Fn(&RunSummary) -> bool + Send) -> Result<Pruned> {
        let (mut pruned, mut after, mut damaged) = (Pruned::default(), None, None);
        loop {
            let page = self.journal().run_page(filter, after.as_ref(), PAGE).await?;
            damaged = damaged.or_else(|| page.damaged.first().cloned());
            for run in page.runs.iter().filter(|run| run.status != RunStatus::Running && chosen(run)) {
                // Looked at first, because most of those that are kept are kept again each time.
                let removed = match run.check_removal(None) {
                    Ok(()) => self.remove_run(&run.id).await,
                    refused => refused,
                };
                match removed {
                    Ok(()) => pruned.removed += 1,
                    Err(error) if error.kind() == ErrorKind::Conflict => pruned.kept += 1,
                    // Another process has removed it.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            match (page.next, damaged) {
                (None, None) => return Ok(pruned),
                (None, Some(damaged)) => return Err(Error::new(ErrorKind::Store, damaged)),
                (next, found) => (after, damaged) = (next, found),
            }
        }
    }

    /// Removes the runs whose retention is over: that of their saved flow, or else that of the store. As long as the
    /// retention of the store is not decided, nothing is removed.
    ///
    /// # Errors
    ///
    /// `store` if the store fails.
    pub async fn apply_retention(&self) -> Result<Pruned> {
        let Some(of_store) = self.journal().retention().await? else { return Ok(Pruned::default()) };
        let mut own = BTreeMap::new();
        for saved in self.flows().saved_flows().await? {
            // A flow that cannot be read decides nothing, and its runs are kept until it can.
            let retention =
                self.saved_flow(&saved.name).await.map_or(Some(Retention::Forever), |(_, flow)| flow.retention());
            own.extend(retention.map(|retention| (saved.name, retention)));
        }
        let mut all = Pruned::default();
        let flows = own.iter().map(|(name, retention)| (Some(name), *retention));
        for (flow, retention) in flows.chain([(None, of_store)]) {
            let Retention::For(length) = retention else { continue };
            let ended_before = Some(self.now() - length);
            let filter = RunFilter { flow: flow.cloned(), ended_before, ..RunFilter::default() };
            let pruned = self.prune(&filter, |run| flow.is_some() || !own.contains_key(&run.flow)).await?;
            all.removed += pruned.removed;
            all.kept += pruned.kept;
        }
        Ok(all)
    }
}

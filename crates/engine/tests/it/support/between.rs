//! A journal in front of another one. Its watcher sees each change and can simulate that the process dies.

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath, async_trait};
use trunkline_engine::{
    Flush, Item, ItemOutcome, Journal, PreviousOutcome, RunClaim, RunEvent, RunSummary, TriggerEvent,
};

/// A request to change the journal.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    Accept,
    Claim,
    Append(&'a [RunEvent], Flush),
}

/// Observes the requests of an engine to its journal, and can make them fail.
pub trait Watcher: Send + Sync {
    /// Called before a request. An error keeps it from the journal.
    fn before(&self, asked: Asked<'_>) -> Result<()>;
    /// Called after a request. An error hides its result: the change is done, and the engine does not know.
    fn after(&self) -> Result<()> {
        Ok(())
    }
    /// Returns whether a replay contains the event.
    fn shows(&self, _event: &RunEvent) -> bool {
        true
    }
}

/// Returns the error of every request of a process that has died.
pub fn died<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Store, "the process has died"))
}

pub struct Between<W> {
    pub inner: Arc<dyn Journal>,
    pub watcher: W,
}

#[async_trait]
impl<W: Watcher> Journal for Between<W> {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        self.watcher.before(Asked::Accept)?;
        self.inner.accept(run, version, flow, started, flush).await?;
        self.watcher.after()
    }
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        fired: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        self.watcher.before(Asked::Accept)?;
        let earlier = self.inner.accept_triggered(run, version, flow, started, fired).await?;
        self.watcher.after().map(|()| earlier)
    }
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        self.inner.keep_version(version, flow).await
    }
    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.watcher.before(Asked::Append(&events, flush))?;
        self.inner.append(run, events, flush).await?;
        self.watcher.after()
    }
    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        let visit = &mut |event: RunEvent| {
            if self.watcher.shows(&event) {
                visit(event);
            }
        };
        self.inner.replay(run, visit).await
    }
    async fn flow(&self, version: &str) -> Result<Value> {
        self.inner.flow(version).await
    }
    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.inner.item(run, step, key).await
    }
    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        self.inner.items(run, status, after, most).await
    }
    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        self.inner.before(run, step, key).await
    }
    async fn runs(&self) -> Result<Vec<RunSummary>> {
        self.inner.runs().await
    }
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        self.watcher.before(Asked::Claim)?;
        // If the watcher fails, the claim is dropped, as the operating system would release it with the process.
        let claim = self.inner.claim(run).await?;
        self.watcher.after().map(|()| claim)
    }
    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        self.inner.cancel_requested(run).await
    }
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.inner.signals(run, after).await
    }
}

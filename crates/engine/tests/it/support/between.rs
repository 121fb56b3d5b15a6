//! A journal in front of another one. Its watcher sees each change and can simulate that the process dies.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, async_trait};
use trunkline_engine::{
    EventLog, Flush, Journal, JournalParts, RunClaim, RunClaims, RunEvent, RunNote, TriggerDeduplication, TriggerEvent,
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

/// Returns a journal whose watcher sees each change. What a watcher does not see comes from the other journal itself.
pub fn watched<W: Watcher + 'static>(inner: Arc<dyn Journal>, watcher: Arc<W>) -> Arc<JournalParts> {
    let between = Arc::new(Between { inner: inner.clone(), watcher });
    Arc::new(JournalParts {
        events: between.clone(),
        deduplication: between.clone(),
        claims: between,
        ..JournalParts::of(inner)
    })
}

struct Between<W> {
    inner: Arc<dyn Journal>,
    watcher: Arc<W>,
}

#[async_trait]
impl<W: Watcher> EventLog for Between<W> {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        self.watcher.before(Asked::Accept)?;
        self.inner.accept(run, version, flow, started, flush).await?;
        self.watcher.after()
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
    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        self.inner.cancel_requested(run).await
    }
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.inner.signals(run, after).await
    }
}

#[async_trait]
impl<W: Watcher> TriggerDeduplication for Between<W> {
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
    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        self.inner.not_taken(flow, feed, keys).await
    }
    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        self.inner.taken_by(flow, feed, key).await
    }
    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.inner.remember_trigger(event).await
    }
    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.inner.forget_trigger(flow).await
    }
}

#[async_trait]
impl<W: Watcher> RunClaims for Between<W> {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        self.watcher.before(Asked::Claim)?;
        // If the watcher fails, the claim is dropped, as the operating system would release it with the process.
        let claim = self.inner.claim(run).await?;
        self.watcher.after().map(|()| claim)
    }
    async fn is_claimed(&self, run: &RunId) -> Result<bool> {
        self.inner.is_claimed(run).await
    }
    async fn note(&self, run: &RunId, note: Option<&RunNote>) -> Result<()> {
        self.inner.note(run, note).await
    }
    async fn noted(&self, run: &RunId) -> Result<Option<RunNote>> {
        self.inner.noted(run).await
    }
    async fn mark_active(&self, run: &RunId) -> Result<()> {
        self.inner.mark_active(run).await
    }
    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        self.inner.active_marks(run).await
    }
    async fn clear_active(&self, run: &RunId) -> Result<()> {
        self.inner.clear_active(run).await
    }
}

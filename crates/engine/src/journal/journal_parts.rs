//! A journal that is put together from the concerns of others.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{Result, RunId, StepPath};
use trunkline_flow::Retention;

use crate::{
    journal::{
        EventLog, EventPage, EventPlace, FlowVersions, Flush, FoundItem, FoundPlace, Item, Journal, LogEntry, LogPage,
        PreviousOutcome, ProcessLog, RememberedItem, RunClaim, RunClaims, RunFilter, RunIndex, RunPage, RunPlace,
        RunRemoval, TriggerDeduplication, TriggerEvent,
    },
    run::{ItemOutcome, RunEvent, RunNote, RunStatus},
};

/// A [`Journal`] whose concerns come from different places. It forwards each call.
///
/// Start with the parts of one journal and replace what differs. The events, the index, the deduplication keys and the
/// flow versions change in one transaction, so a replacement of one of them has to stand in front of the same storage,
/// as a wrapper does. The process log and the claims may be stored elsewhere.
///
/// ```
/// use std::sync::Arc;
/// use trunkline_engine::{Engine, JournalParts, MemoryJournal, ProcessLog};
///
/// /// Stores no process log.
/// struct NoLog;
/// impl ProcessLog for NoLog {}
///
/// let parts = JournalParts::of(Arc::new(MemoryJournal::default()));
/// let engine = Engine::new(Arc::new(JournalParts { log: Arc::new(NoLog), ..parts }));
/// ```
#[derive(Clone)]
pub struct JournalParts {
    /// The events of runs.
    pub events: Arc<dyn EventLog>,
    /// What is found without a replay.
    pub index: Arc<dyn RunIndex>,
    /// The deduplication keys of triggers.
    pub deduplication: Arc<dyn TriggerDeduplication>,
    /// The documents of flow versions.
    pub versions: Arc<dyn FlowVersions>,
    /// The process log.
    pub log: Arc<dyn ProcessLog>,
    /// The claims of runs.
    pub claims: Arc<dyn RunClaims>,
    /// The removal of ended runs.
    pub removal: Arc<dyn RunRemoval>,
}

impl JournalParts {
    /// Returns the concerns of one journal.
    pub fn of(journal: Arc<dyn Journal>) -> JournalParts {
        JournalParts {
            events: journal.clone(),
            index: journal.clone(),
            deduplication: journal.clone(),
            versions: journal.clone(),
            log: journal.clone(),
            claims: journal.clone(),
            removal: journal,
        }
    }
}

#[async_trait]
impl EventLog for JournalParts {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        self.events.accept(run, version, flow, started, flush).await
    }

    async fn wait_stored(&self, run: &RunId) -> Result<()> {
        self.events.wait_stored(run).await
    }

    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.events.append(run, events, flush).await
    }

    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        self.events.replay(run, visit).await
    }

    async fn events(&self, run: &RunId, after: u64) -> Result<(RunStatus, Vec<(u64, RunEvent)>)> {
        self.events.events(run, after).await
    }

    async fn all_events(&self, after: Option<EventPlace>) -> Result<EventPage> {
        self.events.all_events(after).await
    }

    async fn step_events(&self, run: &RunId, step: &StepPath) -> Result<Vec<RunEvent>> {
        self.events.step_events(run, step).await
    }

    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        self.events.cancel_requested(run).await
    }

    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.events.signals(run, after).await
    }
}

#[async_trait]
impl RunIndex for JournalParts {
    async fn run_page(&self, filter: &RunFilter, after: Option<&RunPlace>, most: usize) -> Result<RunPage> {
        self.index.run_page(filter, after, most).await
    }

    async fn runs_starting_with(&self, start: &str, most: usize) -> Result<Vec<RunId>> {
        self.index.runs_starting_with(start, most).await
    }

    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.index.item(run, step, key).await
    }

    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        self.index.items(run, status, after, most).await
    }

    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        self.index.before(run, step, key).await
    }

    async fn find_items(
        &self,
        keys: &[String],
        prefix: bool,
        after: Option<&FoundPlace>,
        most: usize,
    ) -> Result<Vec<FoundItem>> {
        self.index.find_items(keys, prefix, after, most).await
    }

    async fn remembered(
        &self,
        flow: &str,
        keys: &[String],
        after: Option<RememberedItem>,
        most: usize,
    ) -> Result<Vec<RememberedItem>> {
        self.index.remembered(flow, keys, after, most).await
    }

    async fn forget(&self, flow: &str, keys: &[String]) -> Result<u64> {
        self.index.forget(flow, keys).await
    }
}

#[async_trait]
impl TriggerDeduplication for JournalParts {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        self.deduplication.accept_triggered(run, version, flow, started, trigger).await
    }

    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        self.deduplication.not_taken(flow, feed, keys).await
    }

    async fn count_taken(&self, flow: &str) -> Result<Option<u64>> {
        self.deduplication.count_taken(flow).await
    }

    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        self.deduplication.taken_by(flow, feed, key).await
    }

    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.deduplication.remember_trigger(event).await
    }

    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.deduplication.forget_trigger(flow).await
    }
}

#[async_trait]
impl FlowVersions for JournalParts {
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        self.versions.keep_version(version, flow).await
    }

    async fn flow(&self, version: &str) -> Result<Value> {
        self.versions.flow(version).await
    }
}

#[async_trait]
impl ProcessLog for JournalParts {
    async fn log(&self, run: &RunId, entry: LogEntry) -> Result<()> {
        self.log.log(run, entry).await
    }

    async fn logged(&self, run: &RunId, after: u64) -> Result<LogPage> {
        self.log.logged(run, after).await
    }
}

#[async_trait]
impl RunClaims for JournalParts {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        self.claims.claim(run).await
    }

    async fn is_claimed(&self, run: &RunId) -> Result<bool> {
        self.claims.is_claimed(run).await
    }

    async fn note(&self, run: &RunId, note: Option<&RunNote>) -> Result<()> {
        self.claims.note(run, note).await
    }

    async fn noted(&self, run: &RunId) -> Result<Option<RunNote>> {
        self.claims.noted(run).await
    }

    async fn mark_active(&self, run: &RunId) -> Result<()> {
        self.claims.mark_active(run).await
    }

    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        self.claims.active_marks(run).await
    }

    async fn clear_active(&self, run: &RunId) -> Result<()> {
        self.claims.clear_active(run).await
    }
}

#[async_trait]
impl RunRemoval for JournalParts {
    async fn remove_run(&self, run: &RunId) -> Result<()> {
        self.removal.remove_run(run).await
    }

    async fn retention(&self) -> Result<Option<Retention>> {
        self.removal.retention().await
    }

    async fn set_retention(&self, retention: Retention) -> Result<()> {
        self.removal.set_retention(retention).await
    }
}

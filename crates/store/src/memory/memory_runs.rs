//! The journal of a store in memory: runs are accepted under the lock of the tables.

use std::collections::BTreeSet;

use serde_json::Value;
use trunkline_core::{Result, RunId, StepPath, async_trait};
use trunkline_engine::{EventLog, EventPage, EventPlace, Flush, RunEvent, TriggerDeduplication, TriggerEvent};

use crate::memory::memory_store::{MemoryStore, Tables};

/// The concerns of the journal that have to do with the tables.
pub(crate) struct MemoryRuns(pub(crate) MemoryStore);

impl Tables {
    /// Saves the time up to which the trigger of a saved flow has handled everything.
    fn handled(&mut self, trigger: &TriggerEvent) {
        if let (Some(through), Some(flow)) = (trigger.through, self.flows.get_mut(&trigger.flow)) {
            flow.saved.through = Some(through);
        }
    }
}

#[async_trait]
impl EventLog for MemoryRuns {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        let _tables = self.0.lock().await;
        self.0.runs.accept(run, version, flow, started, flush).await
    }

    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.0.runs.append(run, events, flush).await
    }

    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        self.0.runs.replay(run, visit).await
    }

    async fn all_events(&self, after: Option<EventPlace>) -> Result<EventPage> {
        self.0.runs.all_events(after).await
    }

    async fn step_events(&self, run: &RunId, step: &StepPath) -> Result<Vec<RunEvent>> {
        self.0.runs.step_events(run, step).await
    }

    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        self.0.runs.cancel_requested(run).await
    }

    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.0.runs.signals(run, after).await
    }
}

#[async_trait]
impl TriggerDeduplication for MemoryRuns {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        let mut tables = self.0.lock().await;
        let earlier = self.0.runs.accept_triggered(run, version, flow, started, trigger).await?;
        if earlier.is_none() {
            tables.handled(trigger);
        }
        Ok(earlier)
    }

    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        self.0.runs.not_taken(flow, feed, keys).await
    }

    async fn count_taken(&self, flow: &str) -> Result<Option<u64>> {
        self.0.runs.count_taken(flow).await
    }

    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        self.0.runs.taken_by(flow, feed, key).await
    }

    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.0.lock().await.handled(&event);
        self.0.runs.remember_trigger(event).await
    }

    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.0.runs.forget_trigger(flow).await
    }
}

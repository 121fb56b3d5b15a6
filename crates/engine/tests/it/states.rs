//! What a run does that has not ended: it is left if no process works on it or keeps it.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use trunkline_core::{Result, RunId, async_trait};
use trunkline_engine::{
    Engine, Flush, Journal, JournalParts, MemoryJournal, RunClaim, RunClaims, RunNote, RunState, RunStatus,
};
use trunkline_flow::Flow;

/// The sabotage: a journal that does not look whether the process lives.
struct Credulous(Arc<MemoryJournal>);

#[async_trait]
impl RunClaims for Credulous {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        self.0.claim(run).await
    }
    async fn is_claimed(&self, _: &RunId) -> Result<bool> {
        Ok(true)
    }
    async fn note(&self, run: &RunId, note: Option<&RunNote>) -> Result<()> {
        self.0.note(run, note).await
    }
    async fn noted(&self, run: &RunId) -> Result<Option<RunNote>> {
        self.0.noted(run).await
    }
    async fn mark_active(&self, run: &RunId) -> Result<()> {
        self.0.mark_active(run).await
    }
    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        self.0.active_marks(run).await
    }
    async fn clear_active(&self, run: &RunId) -> Result<()> {
        self.0.clear_active(run).await
    }
}

/// Accepts a run, and returns its states: while its process works on it, while the process keeps it in a queue, and after
/// the process has ended.
async fn states(journal: Arc<dyn Journal>) -> [RunState; 3] {
    let flow = Flow::from_value(json!({ "name": "f", "steps": [{ "id": "s", "skip": "nothing" }] })).unwrap();
    let (process, other) = (Engine::new(journal.clone()), Engine::new(journal));
    let accepted = process.accept(&flow, json!({}), BTreeMap::new(), Flush::Now).await.unwrap();
    let run = accepted.id().clone();
    let state = async || other.state_of(&run, RunStatus::Running).await.unwrap().unwrap();
    let works = state().await;
    process.note(&run, Some(RunState::Queued { behind: None, limit: Some(1) })).await;
    drop(accepted);
    let keeps = state().await;
    drop(process);
    [works, keeps, state().await]
}

const QUEUED: RunState = RunState::Queued { behind: None, limit: Some(1) };

#[tokio::test]
async fn a_run_is_left_when_its_process_has_ended() {
    let states = states(Arc::new(MemoryJournal::default())).await;
    assert_eq!(states, [RunState::Running, QUEUED, RunState::Left]);
}

/// The sabotage twin: a run whose process has ended is shown as if the process lived.
#[tokio::test]
async fn without_a_look_at_the_claim_a_dead_run_seems_to_be_queued() {
    let inner = Arc::new(MemoryJournal::default());
    let parts = JournalParts { claims: Arc::new(Credulous(inner.clone())), ..JournalParts::of(inner) };
    assert_eq!(states(Arc::new(parts)).await, [RunState::Running, QUEUED, QUEUED]);
}

#[tokio::test]
async fn an_ended_run_does_nothing_and_a_skipped_one_says_why() {
    let engine = Engine::new(Arc::new(MemoryJournal::default()));
    let flow = Flow::from_value(json!({ "name": "f", "input": { "type": "object" }, "steps": [
        { "id": "none", "each": "{{ input.none }}", "steps": [{ "id": "s", "skip": "never" }] },
        { "id": "end", "skip": "nothing is new" }] }));
    let input = json!({ "none": [] });
    let run = engine.start(&flow.unwrap(), input, BTreeMap::new()).await.unwrap().wait().await.unwrap();
    assert_eq!((run.status, run.skipped.as_deref()), (RunStatus::Succeeded, Some("nothing is new")));
    assert_eq!(run.ledger[&"none".into()].total(), 0, "an empty list has a ledger");
    for status in [RunStatus::Running, run.status] {
        assert_eq!(engine.state_of(&run.id, status).await.unwrap(), None, "also if the status was read before the end");
    }
}

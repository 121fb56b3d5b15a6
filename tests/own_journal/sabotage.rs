//! Sabotage twins: the suite finds a journal that breaks one promise.

use std::{collections::BTreeSet, fs, sync::Arc, thread};

use serde_json::Value;
use trunkline_core::{Result, RunId, Timestamp, async_trait};
use trunkline_engine::{
    EventLog, FlowVersions, Flush, Journal, JournalParts, MemoryJournal, RunClaim, RunClaims, RunEvent, RunRemoval,
    RunStatus, TriggerDeduplication, TriggerEvent, journal_suite,
};
use trunkline_flow::Retention;

use super::{Files, file_journal::FileJournal};

/// Returns whether the journal suite accepts a journal.
fn passes(journal: impl Fn(Arc<MemoryJournal>) -> JournalParts + Send + 'static) -> bool {
    let suite = move || {
        let fresh = async || journal(Arc::new(MemoryJournal::default()));
        tokio::runtime::Runtime::new().unwrap().block_on(journal_suite::run(fresh));
    };
    thread::spawn(suite).join().is_ok()
}

/// Loses one kind of event.
struct Forgetful(Arc<MemoryJournal>);

#[async_trait]
impl EventLog for Forgetful {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        self.0.accept(run, version, flow, started, flush).await
    }
    async fn append(&self, run: &RunId, mut events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        events.retain(|event| !matches!(event, RunEvent::BatchFinished { .. }));
        self.0.append(run, events, flush).await
    }
    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        self.0.replay(run, visit).await
    }
    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        self.0.cancel_requested(run).await
    }
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.0.signals(run, after).await
    }
}

/// Gives a run to each process that asks for it.
struct Generous;

#[async_trait]
impl RunClaims for Generous {
    async fn claim(&self, _: &RunId) -> Result<RunClaim> {
        Ok(RunClaim::new(()))
    }
    async fn is_claimed(&self, _: &RunId) -> Result<bool> {
        Ok(false)
    }
    async fn mark_active(&self, _: &RunId) -> Result<()> {
        Ok(())
    }
    async fn active_marks(&self, _: &RunId) -> Result<u32> {
        Ok(0)
    }
    async fn clear_active(&self, _: &RunId) -> Result<()> {
        Ok(())
    }
}

/// Accepts a run for a key that is taken.
struct Repeating(Arc<MemoryJournal>);

#[async_trait]
impl TriggerDeduplication for Repeating {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        _: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        self.0.accept(run, version, flow, started, Flush::Now).await.map(|()| None)
    }
    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        self.0.not_taken(flow, feed, keys).await
    }
    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        self.0.taken_by(flow, feed, key).await
    }
    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.0.remember_trigger(event).await
    }
    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.0.forget_trigger(flow).await
    }
}

/// Ignores another document of a version that it has.
struct Careless(Arc<MemoryJournal>);

#[async_trait]
impl FlowVersions for Careless {
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        self.0.keep_version(version, flow).await.or(Ok(()))
    }
    async fn flow(&self, version: &str) -> Result<Value> {
        self.0.flow(version).await
    }
}

/// Removes a run that has not ended, or has unknown outcomes.
struct Reckless(Arc<MemoryJournal>);

#[async_trait]
impl RunRemoval for Reckless {
    async fn remove_run(&self, run: &RunId) -> Result<()> {
        let (status, at) = (RunStatus::Succeeded, Timestamp::now());
        self.0.append(run, vec![RunEvent::Finished { status, error: None, at }], Flush::Now).await?;
        self.0.remove_run(run).await
    }
    async fn retention(&self) -> Result<Option<Retention>> {
        self.0.retention().await
    }
    async fn set_retention(&self, retention: Retention) -> Result<()> {
        self.0.set_retention(retention).await
    }
}

#[test]
fn the_journal_suite_finds_a_broken_promise() {
    let parts = |memory: &Arc<MemoryJournal>| JournalParts::of(memory.clone() as Arc<dyn Journal>);
    assert!(passes(move |memory| parts(&memory)), "an unchanged journal passes");
    assert!(!passes(move |memory| JournalParts { events: Arc::new(Forgetful(memory.clone())), ..parts(&memory) }));
    assert!(!passes(move |memory| JournalParts { claims: Arc::new(Generous), ..parts(&memory) }));
    assert!(!passes(move |memory| JournalParts { removal: Arc::new(Reckless(memory.clone())), ..parts(&memory) }));
    assert!(!passes(move |memory| JournalParts {
        deduplication: Arc::new(Repeating(memory.clone())),
        ..parts(&memory)
    }));
    assert!(!passes(move |memory| JournalParts { versions: Arc::new(Careless(memory.clone())), ..parts(&memory) }));
}

/// Returns whether the suite accepts a journal whose file is changed by the crash.
fn survives(crash: fn(&mut Vec<u8>)) -> bool {
    let suite = move || {
        let files = Files::new();
        let reopen = async |before: FileJournal| {
            let mut content = fs::read(before.path()).unwrap();
            crash(&mut content);
            fs::write(before.path(), content).unwrap();
            FileJournal::open(before.path()).unwrap()
        };
        let checked = journal_suite::run_reopening(async || files.fresh(), reopen);
        tokio::runtime::Runtime::new().unwrap().block_on(checked);
    };
    thread::spawn(suite).join().is_ok()
}

#[test]
fn the_journal_suite_finds_what_a_crash_has_lost() {
    assert!(survives(|_| {}), "an unchanged file passes");
    assert!(survives(|content| content.extend(br#"[{"Event":["a1",{"ev"#)), "a line that a crash has cut is dropped");
    assert!(!survives(|content| content.truncate(content.len() - 2)), "the last flushed line is lost");
    assert!(!survives(Vec::clear));
}

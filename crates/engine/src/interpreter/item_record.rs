//! What is recorded of the lists of a run: how far a list was read, and the outcomes of its items.

use std::collections::HashSet;

use serde_json::Value;
use trunkline_core::{Result, StepPath, memory_of};

use crate::{
    interpreter::{
        record::{COPIES, RunRecord},
        step_recorder::MAX_WARNINGS,
    },
    journal::Flush,
    run::{ItemNote, ItemOutcome, KeyForm, Ledger, ListPosition, RunEvent, RunNotification},
};

/// An item and its outcome.
pub(super) struct FinishedItem {
    pub(super) key: String,
    /// The item's fingerprint, if it is remembered across runs.
    pub(super) once: Option<String>,
    pub(super) outcome: ItemOutcome,
    /// What is kept of it beside the outcome.
    pub(super) note: ItemNote,
}

/// How far a list was read.
pub(super) struct ListedItems {
    /// The number of items read in all.
    pub(super) all: u64,
    /// The number of those that were read just now.
    pub(super) more: u64,
    /// Whether these are all items of the list.
    pub(super) last: bool,
}

impl RunRecord {
    /// Returns the outcome of an item, if it has one.
    pub(super) async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.run.journal().item(self.run.id(), each, key).await
    }

    /// Returns the warnings of the steps of an item, each once, and not more than of one step.
    pub(super) fn warnings_in(&self, item: &StepPath) -> Vec<String> {
        let earlier = self.previous.iter().flat_map(|previous| previous.warnings_in(item)).cloned();
        let mut found: Vec<_> = self.run.read(|run| earlier.chain(run.warnings_in(item).cloned()).collect());
        let mut seen = HashSet::new();
        found.retain(|warning| seen.len() < MAX_WARNINGS && seen.insert(warning.clone()));
        found
    }

    /// Returns whether the run has to work on an item. A rerun skips the items that did not fail.
    pub(super) async fn wants(&self, each: &StepPath, key: &str) -> Result<bool> {
        let Some(previous) = &self.previous else { return Ok(true) };
        if let Some(wanted) = previous.wants(each, key) {
            return Ok(wanted);
        }
        for run in previous.runs() {
            if self.run.journal().item(run, each, key).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the form of the keys of the run's items.
    pub(super) fn key_form(&self) -> KeyForm {
        self.run.read(|run| run.keys)
    }

    /// Returns the name of the batch in which an earlier run worked on an item.
    pub(super) fn batch(&self, each: &StepPath, key: &str) -> Option<String> {
        self.with_previous(|previous| previous.batch(each, key).map(str::to_owned))
    }

    /// Returns the number of items of an `each` that have an outcome.
    pub(super) fn ended(&self, each: &StepPath) -> u64 {
        self.run.read(|run| run.counter(each).ended())
    }

    /// Returns where a list continues.
    pub(super) fn position(&self, each: &StepPath) -> ListPosition {
        self.run.read(|run| run.position(each))
    }

    /// Returns the number of items after that position that have an outcome already, if it is known.
    pub(super) fn ahead(&self, each: &StepPath) -> Option<u64> {
        self.run.read(|run| run.ahead(each))
    }

    /// Returns the outcomes of an `each` step's items so far.
    pub(super) fn ledger(&self, each: &StepPath) -> Ledger {
        self.run.read(|run| run.ledger.get(each).cloned().unwrap_or_default())
    }

    /// Fails with `limit` if the items of a list have collected more than they may.
    pub(super) fn check_collected(&self, each: &StepPath) -> Result<()> {
        self.run.read(|run| run.check_collected(each))
    }

    /// Returns the first items that failed in this list, or in the lists below this path.
    pub(super) fn failures(&self, within: &StepPath) -> Vec<Value> {
        self.run.read(|run| run.failures(within))
    }

    /// Records how far a list was read.
    pub(super) async fn listed(&self, each: &StepPath, ListedItems { all, more, last }: ListedItems) -> Result<()> {
        self.notify(RunNotification::Listed { step: each.clone(), items: more, last });
        // A resumed run reads the same pages again.
        if !self.run.read(|run| run.is_news(each, all, last)) {
            return Ok(());
        }
        let listed = RunEvent::Listed { step: each.clone(), items: all, last, at: self.now() };
        self.run.record(listed, Flush::Later).await
    }

    /// Records the outcomes of items, and the name of their batch, if they were worked on in one.
    pub(super) async fn finish_items(
        &self,
        each: &StepPath,
        batch: Option<String>,
        finished: Vec<FinishedItem>,
    ) -> Result<()> {
        let at = self.now();
        let item = |FinishedItem { key, once, outcome, note }: &FinishedItem| RunEvent::ItemFinished {
            step: each.clone(),
            key: key.clone(),
            outcome: outcome.clone(),
            once: once.clone(),
            note: note.clone(),
            at,
        };
        let mut events: Vec<_> = finished.iter().map(item).collect();
        events.extend(batch.map(|batch| RunEvent::BatchFinished { step: each.clone(), batch }));
        let collected: Vec<_> = finished.iter().filter_map(|item| item.note.collected.as_ref()).collect();
        let memory = COPIES * collected.iter().map(|collected| memory_of(&collected.value)).sum::<u64>();
        let held = match collected.is_empty() {
            true => None,
            false => Some(self.memory.reserve(&format!("the values that {each} collects"), memory).await?),
        };
        self.run.record_all(events, Flush::Later).await?;
        held.into_iter().for_each(|held| self.hold(held));
        for FinishedItem { key, outcome, .. } in finished {
            let (status, reason) = (outcome.status(), outcome.reason().map(str::to_owned));
            self.notify(RunNotification::ItemFinished { step: each.clone(), key, status, reason });
        }
        Ok(())
    }

    /// Records that all `read` items before the cursor `next` have outcomes, and `ahead` items after it, if that is
    /// known.
    pub(super) async fn finish_page(
        &self,
        each: &StepPath,
        (next, read): (Option<Value>, u64),
        ahead: Option<u64>,
    ) -> Result<()> {
        let finished = RunEvent::PageFinished { step: each.clone(), next, ahead, read: Some(read) };
        self.run.record(finished, Flush::Later).await
    }

    /// Records that a list seems to have changed while it was read, unless that is recorded already.
    pub(super) async fn list_changed(&self, each: &StepPath, reason: String) -> Result<()> {
        if self.ledger(each).maybe_incomplete.is_some() {
            return Ok(());
        }
        let message = format!("the list changed while it was read; items may be missing: {reason}");
        self.notify(RunNotification::Warning { step: each.clone(), message });
        self.run.record(RunEvent::ListChanged { step: each.clone(), reason, at: self.now() }, Flush::Later).await
    }
}

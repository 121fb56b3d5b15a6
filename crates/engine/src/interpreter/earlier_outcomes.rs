//! Items whose outcome follows from earlier runs: missing ones are reported, unchanged ones are skipped, and unknown ones
//! are left to an operator.

use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep, Result, StepPath};

use crate::{
    interpreter::{item_record::FinishedItem, record::RunRecord},
    journal::PreviousOutcome,
    run::ItemOutcome,
};

impl RunRecord {
    /// Records the items that a rerun should have repeated and did not encounter as failed, so that none is lost
    /// silently. It is called when all steps have ended: no list can yield such an item any more.
    pub(crate) async fn record_missing_items(&self) -> Result<()> {
        for failed in self.previous.iter().flat_map(|previous| previous.all_wanted()) {
            let mut has_outcome = self.item(&failed.step, &failed.key).await?.is_some();
            for (each, key) in failed.step.ancestors().iter().filter_map(StepPath::split) {
                let outer = self.item(&each, &key).await?;
                has_outcome |= outer.is_some_and(|outcome| !matches!(outcome, ItemOutcome::Done));
            }
            if !has_outcome {
                let message =
                    "the item did not occur again: its list no longer contains it, or the flow skips its list";
                let error = Error::new(ErrorKind::NotFound, message)
                    .hint("if it was removed from the list on purpose, nothing is left to do");
                let (key, outcome) = (failed.key.clone(), ItemOutcome::Failed { error });
                self.finish_items(&failed.step, None, vec![FinishedItem { key, once: None, outcome }]).await?;
            }
        }
        Ok(())
    }

    /// Returns the outcome of an item that must not be worked on: an earlier run has done it and its fingerprint is
    /// unchanged, or an earlier run may have done it.
    pub(super) async fn unchanged(&self, each: &StepPath, key: &str, fingerprint: &str) -> Result<Option<ItemOutcome>> {
        let before = self.run.journal().before(self.run.id(), each, key).await?;
        Ok(before.and_then(|before| self.outcome_without_work(before, &each.join(key), fingerprint)))
    }

    fn outcome_without_work(&self, before: PreviousOutcome, item: &StepPath, fingerprint: &str) -> Option<ItemOutcome> {
        let run = &before.run;
        if !before.unknown {
            let reason = format!("unchanged since run {run}");
            return (before.fingerprint == fingerprint).then_some(ItemOutcome::Skipped { reason });
        }
        // A rerun of that run looks it up.
        if self.previous.as_ref().is_some_and(|previous| previous.runs().contains(run)) {
            return None;
        }
        let message = format!("run {run} may have done it; the outcome is unknown, so it is not repeated");
        let run = run.as_str().to_owned();
        let error = Error::new(ErrorKind::UnknownOutcome, message)
            .next(NextStep::ResolveStep { run: run.clone(), step: Some(item.as_str().to_owned()) })
            .next(NextStep::RerunRun { run: run.clone(), unknown: true, corrected: false })
            .with_detail(ErrorDetail::UnknownSince { run });
        Some(ItemOutcome::Unknown { error })
    }
}

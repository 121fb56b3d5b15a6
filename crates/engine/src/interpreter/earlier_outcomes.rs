//! Items whose outcome follows from earlier runs: missing ones are reported, unchanged ones are skipped, and unknown ones
//! are left to an operator.

use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep, Result, StepPath};

use crate::{
    interpreter::{
        groups::{Fingerprint, TYPED},
        item_record::FinishedItem,
        record::RunRecord,
    },
    journal::PreviousOutcome,
    run::{ItemKey, ItemNote, ItemOutcome, key_form::NO_KEY},
};

impl RunRecord {
    /// Records the items that a rerun should have repeated and did not encounter as failed, so that none is lost
    /// silently. It is called when all steps have ended: no list can yield such an item any more.
    pub(crate) async fn record_missing_items(&self) -> Result<()> {
        for failed in self.previous.iter().flat_map(|previous| previous.all_wanted()) {
            let mut has_outcome = self.item(&failed.step, &failed.key).await?.is_some();
            for (each, key) in failed.step.ancestors().iter().filter_map(StepPath::split) {
                let outer = self.item(&each, &key).await?;
                has_outcome |= outer.is_some_and(|outcome| !matches!(outcome, ItemOutcome::Done { .. }));
            }
            if !has_outcome {
                let (key, outcome) = (failed.key.clone(), outcome_of_missing(&failed.key));
                self.finish_items(
                    &failed.step,
                    None,
                    vec![FinishedItem { key, once: None, outcome, note: ItemNote::default() }],
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Returns the outcome of an item that must not be worked on: an earlier run has done it and its fingerprint is
    /// unchanged, or an earlier run may have done it.
    pub(super) async fn unchanged(
        &self,
        each: &StepPath,
        key: &ItemKey,
        fingerprint: &Fingerprint,
    ) -> Result<Option<ItemOutcome>> {
        let item = each.join(key.in_form(self.key_form()));
        let before = self.remembered(each, key).await?;
        Ok(before.and_then(|before| self.outcome_without_work(before, &item, fingerprint)))
    }

    /// Returns what is remembered of an item, whichever form its key had then. Where the forms of a key differ, its
    /// text in one form may be another key in the other one.
    async fn remembered(&self, each: &StepPath, key: &ItemKey) -> Result<Option<PreviousOutcome>> {
        let same = key.typed == key.plain;
        let is_typed = |before: &PreviousOutcome| before.fingerprint.starts_with(TYPED);
        let (journal, run) = (self.run.journal(), self.run.id());
        let before = journal.before(run, each, &key.typed).await?.filter(|before| same || is_typed(before));
        if same || before.is_some() {
            return Ok(before);
        }
        let before = journal.before(run, each, &key.plain).await?;
        Ok(before.filter(|before| key.is_respelled() || !is_typed(before)))
    }

    fn outcome_without_work(
        &self,
        before: PreviousOutcome,
        item: &StepPath,
        fingerprint: &Fingerprint,
    ) -> Option<ItemOutcome> {
        let run = &before.run;
        if !before.unknown {
            let reason = format!("unchanged since run {run}");
            fn untyped(fingerprint: &str) -> &str {
                fingerprint.trim_start_matches(TYPED)
            }
            let known = [&fingerprint.text, &fingerprint.as_written].map(|text| untyped(text));
            return known.contains(&untyped(&before.fingerprint)).then_some(ItemOutcome::Skipped { reason });
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

/// Returns the outcome of an item that a rerun did not encounter.
fn outcome_of_missing(key: &str) -> ItemOutcome {
    if key.starts_with(NO_KEY) {
        let reason = "the item had no key; it has one now, or its list no longer contains it".to_owned();
        return ItemOutcome::Skipped { reason };
    }
    let message = "the item did not occur again: its list no longer contains it, or the flow skips its list";
    let error = Error::new(ErrorKind::NotFound, message)
        .hint("if it was removed from the list on purpose, nothing is left to do");
    ItemOutcome::Failed { error }
}

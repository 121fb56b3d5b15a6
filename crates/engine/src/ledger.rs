//! What becomes of items that are not worked on: told instead of lost, left to a person instead of done blindly.

use std::sync::Arc;

use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    Before, ItemOutcome, RunId, StepPath,
    durability::{Durability, Ended, Journaled},
    retry::Earlier,
};

impl Journaled {
    /// Records of the items that were to be gone over and have not been met that they are still at fault: none is lost
    /// silently. A flow that is through has met all that it could.
    pub(crate) async fn tell_missing(&self, earlier: Arc<Earlier>) -> Result<()> {
        for fault in earlier.all_wanted() {
            let mut told = self.item(&fault.step, &fault.key).await?.is_some();
            for (each, key) in fault.step.around().iter().filter_map(StepPath::split) {
                let around = self.item(&each, &key).await?;
                told |= around.is_some_and(|outcome| !matches!(outcome, ItemOutcome::Done));
            }
            if !told {
                let message = "the item was not met again: it is not in the list any more, or the flow passes it by";
                let error = Error::new(ErrorKind::NotFound, message)
                    .hint("if it was taken out of the list on purpose, nothing is left to do");
                let (key, outcome) = (fault.key.clone(), ItemOutcome::Failed { error });
                self.finish_items(&fault.step, None, vec![Ended { key, once: None, outcome }]).await?;
            }
        }
        Ok(())
    }

    /// What an item comes to without being worked on.
    pub(crate) fn since(&self, before: Before, each: &StepPath, key: &str, fingerprint: &str) -> Option<ItemOutcome> {
        let run = &before.run;
        if !before.unknown {
            let reason = format!("unchanged since run {run}");
            return (before.fingerprint == fingerprint).then_some(ItemOutcome::Skipped { reason });
        }
        // A run that goes over that one looks it up.
        if self.earlier(|earlier| Some(earlier.runs().contains(run))) == Some(true) {
            return None;
        }
        let message = format!("run {run} may have done it: nobody knows, and it is not done again blindly");
        let hint = format!(
            "`trunkline runs settle {run} {} done|retry|fail` says what became of it; `trunkline runs retry {run} --unknown` \
             looks it up, where the action can do that",
            each.join(key)
        );
        Some(ItemOutcome::Unknown { error: Error::new(ErrorKind::UnknownOutcome, message).hint(hint).with("run", run) })
    }
}

/// What nobody knows says how a person settles it.
pub(crate) fn left_to_a_person(run: &RunId, step: &StepPath, error: Error) -> Error {
    if error.kind() != ErrorKind::UnknownOutcome {
        return error;
    }
    let before = error.advice().map(|advice| format!("{advice}; then ")).unwrap_or_default();
    error.hint(format!("{before}`trunkline runs settle {run} {step} done|retry|fail` says what became of it"))
}

//! What becomes of items after their run: gone over again by another one, told instead of lost, left to a person instead of
//! done blindly.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use trunkline_core::{Connected, Error, ErrorKind, Result};

use crate::{
    AcceptedRun, Engine, Flow, Flush, ItemOutcome, PreviousOutcome, RerunOf, RunEvent, RunHandle, RunId, RunStatus,
    StepPath, TriggerEvent,
    durability::{Durability, Ended, Journaled},
    previous_run::PreviousRun,
};

/// How many different reasons a ledger tells apart; the rest is counted together.
const MAX_REASONS: usize = 50;

/// What became of the items of one `each` step: how many, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Items whose steps all ran.
    pub done: u64,
    /// Skipped items, counted by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Failed items, counted by reason.
    pub failed: BTreeMap<String, u64>,
    /// Items of which nobody knows, counted by reason.
    pub unknown: BTreeMap<String, u64>,
    /// What was noticed, if the list changed while it was read: items of it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

impl Ledger {
    /// How many items have an outcome.
    pub fn total(&self) -> u64 {
        self.done
            + [&self.skipped, &self.failed, &self.unknown].iter().flat_map(|reasons| reasons.values()).sum::<u64>()
    }

    /// How many items failed or are unknown.
    pub fn faults(&self) -> u64 {
        self.failed.values().chain(self.unknown.values()).sum()
    }

    pub(crate) fn add(&mut self, other: Ledger) {
        self.done += other.done;
        self.maybe_incomplete = self.maybe_incomplete.take().or(other.maybe_incomplete);
        let theirs = [other.skipped, other.failed, other.unknown];
        for (ours, theirs) in [&mut self.skipped, &mut self.failed, &mut self.unknown].into_iter().zip(theirs) {
            theirs.into_iter().for_each(|(reason, count)| tally(ours, &reason, count));
        }
    }

    pub(crate) fn count(&mut self, outcome: &ItemOutcome) {
        match self.reasons(outcome) {
            None => self.done += 1,
            Some(reasons) => tally(reasons, outcome.reason().unwrap_or_default(), 1),
        }
    }

    /// An outcome that was counted and is none any more.
    pub(crate) fn discount(&mut self, outcome: &ItemOutcome) {
        let Some(reasons) = self.reasons(outcome) else {
            self.done = self.done.saturating_sub(1);
            return;
        };
        let reason = outcome.reason().unwrap_or_default();
        let reason = if reasons.contains_key(reason) { reason } else { OTHERS };
        if let Some(count) = reasons.get_mut(reason) {
            *count -= 1;
        }
        reasons.retain(|_, count| *count > 0);
    }

    /// What counts outcomes of this kind by their reasons.
    fn reasons(&mut self, outcome: &ItemOutcome) -> Option<&mut BTreeMap<String, u64>> {
        match outcome {
            ItemOutcome::Done => None,
            ItemOutcome::Skipped { .. } => Some(&mut self.skipped),
            ItemOutcome::Failed { .. } => Some(&mut self.failed),
            ItemOutcome::Unknown { .. } => Some(&mut self.unknown),
        }
    }
}

/// What reasons are counted under that are too many.
const OTHERS: &str = "other reasons";

pub(crate) fn tally(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    let known = reasons.len() < MAX_REASONS || reasons.contains_key(reason);
    *reasons.entry(if known { reason } else { OTHERS }.to_owned()).or_default() += count;
}

impl Engine {
    /// Begins a run that goes over the items that failed in an earlier one, and no others; with `unknown` also over those of
    /// which nobody knows: they are looked up first. Without another flow it is pinned to the versions of the earlier run.
    ///
    /// A corrected flow has the same name, and the `each` steps with failed items under the same ids. What the earlier run
    /// created or deleted and has recorded is not called again, as long as the step has the same path and calls the same
    /// action on the same slot; waits that are over stay so. All else runs again: lists are read anew, and an item that is
    /// not in them any more is told as failed.
    ///
    /// A run that an error has stopped is taken to its end with a corrected flow in this way, also where it has not come to
    /// all items; it cannot be resumed after that.
    ///
    /// Fails with `conflict` if somebody works on the run, if it has not ended or can be resumed as it is, if nothing failed,
    /// or if it was gone over before: then it is the later run that can be gone over.
    pub async fn rerun_failed(
        &self,
        id: &RunId,
        flow: Option<Flow>,
        slots: BTreeMap<String, Connected>,
        unknown: bool,
    ) -> Result<RunHandle> {
        Ok(self.begin(self.accept_rerun(id, flow, slots, unknown).await?))
    }

    /// The same without beginning it: for hosts that say when.
    pub async fn accept_rerun(
        &self,
        id: &RunId,
        flow: Option<Flow>,
        slots: BTreeMap<String, Connected>,
        unknown: bool,
    ) -> Result<AcceptedRun> {
        let _claim = self.journal().claim(id).await?;
        let run = self.run(id).await?;
        let conflict = |message: String| Error::new(ErrorKind::Conflict, message);
        let twice = |by: &RunId| {
            conflict(format!("run {id} was gone over by run {by} already"))
                .hint(format!("`trunkline runs retry {by}` goes over what failed in both"))
        };
        if let Some(by) = &run.rerun_by {
            return Err(twice(by));
        }
        if run.status == RunStatus::Running {
            return Err(conflict(format!("run {id} has not ended"))
                .hint(format!("`trunkline runs resume {id}` takes it to its end")));
        }
        let stopped = run.status == RunStatus::Failed;
        if stopped && flow.is_none() && self.bounds(&self.flow_of(&run).await?, &run).check(self.now()).is_ok() {
            return Err(conflict(format!("run {id} was stopped by an error")).hint(format!(
                "`trunkline runs resume {id}` goes on with it; `trunkline runs retry {id} --flow NAME|FILE` does so with a \
                 corrected flow"
            )));
        }
        let flow = match flow {
            Some(flow) if flow.name() != run.flow => {
                let message = format!("run {id} is one of flow {}, not of {}", run.flow, flow.name());
                return Err(Error::new(ErrorKind::Config, message).hint("a corrected flow keeps its name"));
            }
            Some(flow) => flow,
            None => self.flow_of(&run).await?,
        };
        let retry = RerunOf { run: id.clone(), unknown };
        let earlier = PreviousRun::read(&**self.journal(), &retry, &flow).await?;
        match earlier.count() {
            _ if stopped => {}
            (0, 0) => return Err(conflict(format!("no item of run {id} has failed"))),
            (0, left) if !unknown => {
                let message = format!("no item of run {id} has failed; of {left} nobody knows the outcome");
                return Err(conflict(message).hint(format!(
                    "--unknown looks them up, where the action can do that; `trunkline runs settle {id} STEP \
                     done|retry|fail` says what became of one"
                )));
            }
            _ => {}
        }
        let missing: Vec<_> = earlier.missing(&flow).into_iter().collect();
        if !missing.is_empty() {
            let message = format!(
                "items failed in steps that version {} of flow {} does not have, or not in the same way (batch): {}",
                flow.version(),
                flow.name(),
                missing.join(", ")
            );
            return Err(Error::new(ErrorKind::Config, message).hint("an `each` keeps its id when a flow is corrected"));
        }
        let (mut accepted, started) = self.prepare(&flow, run.input.clone(), slots, Some(retry)).await?;
        // No flow has such a name.
        let once = TriggerEvent { flow: format!("~retry {id}"), keys: vec!["retry".to_owned()], through: None };
        let before =
            self.journal().accept_triggered(accepted.id(), flow.version(), flow.document(), started, &once).await?;
        let by = before.clone().unwrap_or_else(|| accepted.id().clone());
        self.journal().append(id, vec![RunEvent::Rerun { by: by.clone(), at: self.now() }], Flush::Now).await?;
        if before.is_some() {
            return Err(twice(&by));
        }
        accepted.earlier = Some(Arc::new(earlier));
        Ok(accepted)
    }
}

impl Journaled {
    /// Records of the items that were to be gone over and have not been met that they are still at fault: none is lost
    /// silently. A flow that is through has met all that it could.
    pub(crate) async fn tell_missing(&self, earlier: Arc<PreviousRun>) -> Result<()> {
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
    pub(crate) fn since(
        &self,
        before: PreviousOutcome,
        each: &StepPath,
        key: &str,
        fingerprint: &str,
    ) -> Option<ItemOutcome> {
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

//! The outcomes of items after their run: failed items are repeated by another run, missing ones are reported, and
//! unknown ones are left to an operator.
//!
//! No item is lost silently, and nothing is created twice because its outcome was not known.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use trunkline_core::{Connected, Error, ErrorDetail, ErrorKind, NextStep, Result, RunId, StepPath};
use trunkline_flow::Flow;

use crate::{
    AcceptedRun, Engine, Flush, ItemOutcome, PreviousOutcome, RerunOf, Run, RunEvent, RunHandle, RunStatus,
    TriggerEvent,
    durability::{Durability, FinishedItem, JournaledRun},
    previous_run::PreviousRun,
};

/// The number of different reasons that a ledger counts; further ones are counted together.
const MAX_REASONS: usize = 50;

/// The outcomes of the items of one `each` step: how many, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// The number of items whose steps all ran.
    pub done: u64,
    /// The numbers of skipped items, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The numbers of failed items, by reason.
    pub failed: BTreeMap<String, u64>,
    /// The numbers of items with an unknown outcome, by reason.
    pub unknown: BTreeMap<String, u64>,
    /// The evidence, if the list seems to have changed while it was read: items of it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

impl Ledger {
    /// Returns the number of items that have an outcome.
    pub fn total(&self) -> u64 {
        self.done
            + [&self.skipped, &self.failed, &self.unknown].iter().flat_map(|reasons| reasons.values()).sum::<u64>()
    }

    /// Returns the number of items that failed or are unknown.
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

    /// Removes an outcome that was counted before.
    pub(crate) fn discount(&mut self, outcome: &ItemOutcome) {
        let Some(reasons) = self.reasons(outcome) else {
            self.done = self.done.saturating_sub(1);
            return;
        };
        let reason = outcome.reason().unwrap_or_default();
        let reason = if reasons.contains_key(reason) { reason } else { OTHER_REASONS };
        if let Some(count) = reasons.get_mut(reason) {
            *count -= 1;
        }
        reasons.retain(|_, count| *count > 0);
    }

    /// Returns the counts by reason for outcomes of this kind; nothing for `Done`, which has no reasons.
    fn reasons(&mut self, outcome: &ItemOutcome) -> Option<&mut BTreeMap<String, u64>> {
        match outcome {
            ItemOutcome::Done => None,
            ItemOutcome::Skipped { .. } => Some(&mut self.skipped),
            ItemOutcome::Failed { .. } => Some(&mut self.failed),
            ItemOutcome::Unknown { .. } => Some(&mut self.unknown),
        }
    }
}

/// The name under which further reasons are counted.
const OTHER_REASONS: &str = "other reasons";

pub(crate) fn tally(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    let counted = reasons.len() < MAX_REASONS || reasons.contains_key(reason);
    *reasons.entry(if counted { reason } else { OTHER_REASONS }.to_owned()).or_default() += count;
}

impl Engine {
    /// Starts a run that repeats the failed items of an earlier one, and no others. With `unknown`, it also repeats
    /// items with an unknown outcome, after their actions have looked them up. Without another flow, the new run is
    /// pinned to the versions of the earlier run.
    ///
    /// A corrected flow has the same name, and its `each` steps with failed items have the same ids. A step that
    /// created or deleted something in the earlier run, and has recorded it, is not called again, as long as it has the
    /// same path and calls the same action on the same connection binding. Waits that have ended are not repeated
    /// either. Everything else is executed again: lists are read again, and a failed item that a list no longer
    /// contains is reported as failed.
    ///
    /// If an error has stopped the earlier run, a corrected flow also works on the items that the run did not reach.
    /// The earlier run cannot be resumed after that.
    ///
    /// # Errors
    ///
    /// - `conflict` if another process works on the run, if it has not ended or can be resumed as it is, if no item
    ///   failed, or if it was rerun before: only the latest rerun can be rerun.
    /// - `not_found` if there is no such run.
    /// - `config` if the flow has another name or lacks an `each` step with failed items, or if a connection binding
    ///   has no connection.
    pub async fn rerun_failed(
        &self,
        id: &RunId,
        flow: Option<Flow>,
        bindings: BTreeMap<String, Connected>,
        unknown: bool,
    ) -> Result<RunHandle> {
        Ok(self.begin(self.accept_rerun(id, flow, bindings, unknown).await?))
    }

    /// Accepts a rerun as [`rerun_failed`](Engine::rerun_failed) does, without starting it. [`Engine::begin`] starts
    /// it.
    ///
    /// # Errors
    ///
    /// As [`rerun_failed`](Engine::rerun_failed).
    pub async fn accept_rerun(
        &self,
        id: &RunId,
        flow: Option<Flow>,
        bindings: BTreeMap<String, Connected>,
        unknown: bool,
    ) -> Result<AcceptedRun> {
        let _claim = self.journal().claim(id).await?;
        let run = self.run(id).await?;
        self.check_rerun(&run, flow.is_some()).await?;
        let flow = match flow {
            Some(flow) if flow.name() != run.flow => {
                let message = format!("run {id} is a run of flow {}, not of {}", run.flow, flow.name());
                return Err(Error::new(ErrorKind::Config, message).hint("a corrected flow keeps its name"));
            }
            Some(flow) => flow,
            None => self.flow_of(&run).await?,
        };
        let retry = RerunOf { run: id.clone(), unknown };
        let previous = PreviousRun::read(&**self.journal(), &retry, &flow).await?;
        check_failed_items(&run, &previous, &flow, unknown)?;
        let (mut accepted, started) = self.prepare(&flow, run.input.clone(), bindings, Some(retry)).await?;
        // A deduplication key, so that two processes cannot rerun the same run. No flow has such a name.
        let once = TriggerEvent { flow: format!("~retry {id}"), keys: vec!["retry".to_owned()], through: None };
        let other =
            self.journal().accept_triggered(accepted.id(), flow.version(), flow.document(), started, &once).await?;
        let by = other.clone().unwrap_or_else(|| accepted.id().clone());
        self.journal().append(id, vec![RunEvent::Rerun { by: by.clone(), at: self.now() }], Flush::Now).await?;
        if other.is_some() {
            return Err(rerun_already(id, &by));
        }
        accepted.previous = Some(Arc::new(previous));
        Ok(accepted)
    }

    /// Fails if a run is not in a state in which it can be rerun.
    async fn check_rerun(&self, run: &Run, with_flow: bool) -> Result<()> {
        let id = &run.id;
        if let Some(by) = &run.rerun_by {
            return Err(rerun_already(id, by));
        }
        if run.status == RunStatus::Running {
            return Err(conflict(format!("run {id} has not ended"))
                .next(NextStep::ResumeRun { run: Some(id.as_str().to_owned()) }));
        }
        let stopped = run.status == RunStatus::Failed;
        if stopped && !with_flow && self.bounds(&self.flow_of(run).await?, run).check(self.now()).is_ok() {
            return Err(conflict(format!("run {id} was stopped by an error"))
                .next(NextStep::ResumeRun { run: Some(id.as_str().to_owned()) })
                .next(NextStep::RerunRun { run: id.as_str().to_owned(), unknown: false, corrected: true }));
        }
        Ok(())
    }
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

fn rerun_already(id: &RunId, by: &RunId) -> Error {
    conflict(format!("run {id} was already rerun as run {by}"))
        .next(NextStep::RerunRun { run: by.as_str().to_owned(), unknown: false, corrected: false })
        .next("that repeats the items that failed in both")
}

/// Fails if there is no item to repeat, or if the flow has no step for one.
fn check_failed_items(run: &Run, previous: &PreviousRun, flow: &Flow, unknown: bool) -> Result<()> {
    let id = &run.id;
    match previous.count() {
        _ if run.status == RunStatus::Failed => {}
        (0, 0) => return Err(conflict(format!("no item of run {id} has failed"))),
        (0, left) if !unknown => {
            let message = format!("no item of run {id} has failed, but the outcome of {left} is unknown");
            return Err(conflict(message)
                .next(NextStep::RerunRun { run: id.as_str().to_owned(), unknown: true, corrected: false })
                .next(NextStep::ResolveStep { run: id.as_str().to_owned(), step: None }));
        }
        _ => {}
    }
    let missing: Vec<_> = previous.missing(flow).into_iter().collect();
    if !missing.is_empty() {
        let message = format!(
            "items failed in steps that version {} of flow {} does not have, or not in the same way (batch): {}",
            flow.version(),
            flow.name(),
            missing.join(", ")
        );
        return Err(Error::new(ErrorKind::Config, message).hint("an `each` keeps its id when a flow is corrected"));
    }
    Ok(())
}

impl JournaledRun {
    /// Records the items that a rerun should have repeated and did not encounter as failed, so that none is lost
    /// silently. It is called when all steps have ended: no list can yield such an item any more.
    pub(crate) async fn record_missing_items(&self, previous: Arc<PreviousRun>) -> Result<()> {
        for failed in previous.all_wanted() {
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

    /// Returns the outcome of an item that must not be worked on because of its outcome in an earlier run: it is
    /// unchanged since, or it may have been done.
    pub(crate) fn outcome_without_work(
        &self,
        before: PreviousOutcome,
        item: &StepPath,
        fingerprint: &str,
    ) -> Option<ItemOutcome> {
        let run = &before.run;
        if !before.unknown {
            let reason = format!("unchanged since run {run}");
            return (before.fingerprint == fingerprint).then_some(ItemOutcome::Skipped { reason });
        }
        // A rerun of that run looks it up.
        if self.with_previous(|previous| Some(previous.runs().contains(run))) == Some(true) {
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

/// Adds to an error with an unknown outcome how an operator resolves it.
pub(crate) fn with_resolve_hint(run: &RunId, step: &StepPath, error: Error) -> Error {
    if error.kind() != ErrorKind::UnknownOutcome {
        return error;
    }
    error.next(NextStep::ResolveStep { run: run.as_str().to_owned(), step: Some(step.as_str().to_owned()) })
}

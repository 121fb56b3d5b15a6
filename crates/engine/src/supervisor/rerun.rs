//! Runs that repeat the failed items of an earlier run.
//!
//! No item is lost silently, and nothing is created twice because its outcome was not known.

use std::{collections::BTreeMap, sync::Arc};

use trunkline_core::{Connected, Error, ErrorKind, NextStep, Result, RunId};
use trunkline_flow::Flow;

use crate::{
    interpreter::previous_run::PreviousRun,
    journal::{Flush, TriggerEvent},
    run::{RerunOf, Run, RunEvent, RunStatus},
    supervisor::{AcceptedRun, Engine, RunHandle},
};

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
        let (mut accepted, mut started) = self.prepare(&flow, run.input.clone(), bindings, Some(retry)).await?;
        // The failed items are found again by their keys.
        if let RunEvent::Started { keys, .. } = &mut started {
            *keys = run.keys;
        }
        accepted.run.keys = run.keys;
        // A deduplication key, so that two processes cannot rerun the same run. No flow has such a name.
        let (flow_name, keys) = (format!("~retry {id}"), vec!["retry".to_owned()]);
        let once = TriggerEvent { flow: flow_name, keys, ..TriggerEvent::default() };
        let other =
            self.journal().accept_triggered(accepted.id(), flow.version(), flow.document(), started, &once).await?;
        let by = other.clone().unwrap_or_else(|| accepted.id().clone());
        self.journal().append(id, vec![RunEvent::Rerun { by: by.clone(), at: self.now() }], Flush::Now).await?;
        if other.is_some() {
            return Err(rerun_already(id, &by));
        }
        self.note(id, None).await;
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

//! The record of a run, as the interpreter reads and writes it.
//!
//! The interpreter is deterministic except for the results, times and outcomes that it takes from here. Each of them is
//! recorded once, and a resumed run takes the recorded one: so it follows the same path and repeats nothing. Results of
//! earlier runs count as recorded, if the run is a rerun.
//!
//! A [`JournaledRun`] stores the events. Which ones is decided here and in the neighbours of this module: for calls in
//! `recorded_call` and `reconcile`, for failed attempts in `retries`, for lists in `item_record` and `earlier_outcomes`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use trunkline_core::{
    Clock, Error, ErrorKind, HeldMemory, MemoryAccount, Result, RunId, StepPath, Timestamp, memory_of,
};
use trunkline_flow::Logging;

use crate::{
    interpreter::previous_run::PreviousRun,
    journal::{
        Flush, LogEntry,
        journaled_run::JournaledRun,
        process_log::{LoggedAttempt, LoggedCall},
    },
    run::{Run, RunEvent, RunLimits, RunNotification, Waiting, notification::Subscribers},
};

/// A value is in the state of the run and in the scope of its expressions.
pub(crate) const COPIES: u64 = 2;

/// The record of a run: what is recorded already, and how more is recorded.
pub(crate) struct RunRecord {
    pub(crate) run: JournaledRun,
    /// The earlier runs, if this run is a rerun.
    pub(crate) previous: Option<Arc<PreviousRun>>,
    pub(crate) subscribers: Arc<Subscribers>,
    /// The source of all recorded times.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: RunLimits,
    /// Which calls the process log gets.
    pub(crate) logging: Logging,
    pub(crate) memory: MemoryAccount,
    /// The memory of the values in the state of the run.
    pub(crate) held: Mutex<Option<HeldMemory>>,
    /// Whether steps are tried again.
    pub(crate) retries: bool,
}

impl RunRecord {
    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends a notification to the run's subscribers.
    pub(crate) fn notify(&self, notification: RunNotification) {
        self.subscribers.send(notification);
    }

    /// Calls a function with the earlier runs, if this run is a rerun.
    pub(super) fn with_previous<T>(&self, visit: impl FnOnce(&PreviousRun) -> Option<T>) -> Option<T> {
        self.previous.as_deref().and_then(visit)
    }

    /// Returns the recorded result of a step.
    pub(super) fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.run.read(|run| run.result(step)).or_else(|| self.with_previous(|previous| previous.result(step)))
    }

    /// Returns the run whose id is part of a step's idempotency key: an earlier run, if this one continues its attempt.
    pub(super) fn begun_in(&self, step: &StepPath) -> RunId {
        self.with_previous(|previous| previous.run_of(step).cloned()).unwrap_or_else(|| self.run.id().clone())
    }

    /// Returns the checkpoint of the last attempt of a step, in this run or in an earlier one.
    pub(super) fn checkpoint(&self, step: &StepPath) -> Option<Value> {
        let previous = || self.with_previous(|previous| previous.checkpoint(step));
        self.run.read(|run| run.checkpoint(step)).or_else(previous)
    }

    /// Returns whether an attempt that was interrupted, in this run or in an earlier one, may have taken effect.
    pub(super) fn is_unclear(&self, step: &StepPath) -> bool {
        self.run.read(|run| run.started(step))
            || self.previous.as_ref().is_some_and(|previous| previous.is_unclear(step))
    }

    /// Fails if the run has recorded as many results as it may.
    pub(super) fn check_recorded(&self) -> Result<()> {
        self.limits.recorded(self.run.read(|run| run.recorded()))
    }

    /// Records the output of a step that calls no action itself, and when it began, if that is known.
    pub(super) async fn finish(&self, step: &StepPath, output: Value, began: Option<Timestamp>) -> Result<()> {
        self.check_recorded()?;
        let memory = self.output_memory(step, &output).await?;
        let (attempt, at) = (self.attempt_number(step), self.now());
        let finished = RunEvent::StepFinished { step: step.clone(), output, warnings: Vec::new(), attempt, began, at };
        self.run.record(finished, Flush::Later).await?;
        self.hold(memory);
        self.notify(RunNotification::StepFinished { step: step.clone() });
        Ok(())
    }

    /// Checks the size of an output, and reserves its memory. [`hold`](RunRecord::hold) takes it once it is recorded.
    pub(super) async fn output_memory(&self, step: &StepPath, output: &Value) -> Result<HeldMemory> {
        let what = format!("the output of step {step}");
        self.limits.payload(&what, output)?;
        self.memory.reserve(&what, COPIES * memory_of(output)).await
    }

    /// Reserves the memory of the state that the run begins with, unless that is done.
    pub(crate) async fn hold_state(&self, bytes: u64) -> Result<()> {
        let is_held = self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_held {
            self.hold(self.memory.reserve("the state of the run", bytes).await?);
        }
        Ok(())
    }

    /// Adds memory to that of the state of the run, and returns to the process what the state does not need any more.
    pub(crate) fn hold(&self, more: HeldMemory) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        held.iter_mut().for_each(|held| held.shrink(COPIES * self.run.read(Run::memory)));
        drop(held);
        self.memory.trim();
    }

    /// Records why a `skip` step has ended the steps of the run.
    pub(super) async fn skip_run(&self, reason: String) -> Result<()> {
        self.run.record(RunEvent::Skipped { reason, at: self.now() }, Flush::Later).await
    }

    /// Records that a step has failed for good, unless its result is recorded already.
    pub(super) async fn fail(&self, step: &StepPath, error: &Error) -> Result<()> {
        if self.result(step).is_some() {
            return Ok(());
        }
        let (attempt, error, at) = (self.attempt_number(step), error.clone(), self.now());
        let failed = RunEvent::StepFailed { step: step.clone(), error, attempt, began: None, at };
        self.run.record(failed, Flush::Later).await
    }

    /// Returns the deadline of a step with a timeout of this length, counted from when the step first began.
    pub(super) async fn deadline(&self, step: &StepPath, after: Duration) -> Result<Timestamp> {
        if let Some(until) = self.run.read(|run| run.deadline(step)) {
            return Ok(until);
        }
        let until = self.now() + after;
        self.run.record(RunEvent::DeadlineSet { step: step.clone(), until }, Flush::Later).await?;
        Ok(until)
    }

    /// Records the condition that a step waits for. If the step has begun before, the recorded condition is returned.
    pub(super) async fn wait(&self, step: &StepPath, wait: Waiting) -> Result<Waiting> {
        let wait = match self.run.read(|run| run.wait(step)) {
            Some(begun) => begun,
            None => {
                let began = RunEvent::WaitBegan { step: step.clone(), wait: wait.clone() };
                self.run.record(began, Flush::Now).await?;
                wait
            }
        };
        self.notify(RunNotification::Waiting { step: step.clone(), wait: wait.clone() });
        Ok(wait)
    }

    /// Waits for a signal and returns its payload.
    pub(super) async fn signal(&self, name: &str) -> Value {
        self.run.received(|run| run.signal(name)).await
    }

    /// Adds a call to the process log, if the flow logs such calls.
    pub(super) async fn log(
        &self,
        step: &StepPath,
        began: Timestamp,
        call: LoggedCall<'_>,
        result: Result<&Value, &Error>,
    ) {
        let interrupted = matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled);
        if !self.logging.includes(result.is_ok()) || interrupted {
            return;
        }
        let attempt = LoggedAttempt { step, number: self.attempt_number(step), began, took: self.now().since(began) };
        let entry = LogEntry::new(attempt, &call, result);
        // A journal that can no longer write fails the next append, where it matters.
        let _ = self.run.journal().log(self.run.id(), entry).await;
    }
}

//! Durability with a [`Journal`]: every result, time and outcome that the interpreter depends on is recorded, so a resumed
//! run takes the same path and repeats nothing that is recorded.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use trunkline_core::{
    ByteProgress, Effect, Error, ErrorDetail, ErrorKind, NextStep, Recorder, Result, RunId, StepPath, Timestamp,
};
use trunkline_flow::Logging;

use crate::{
    interpreter::durability::{Attempt, Durability, FinishedItem},
    journal::{
        Flush, Journal, LogEntry,
        process_log::{LoggedAttempt, LoggedCall},
    },
    run::{
        FailedAttempts, ItemOutcome, Ledger, ListPosition, Run, RunEvent, RunLimits, RunNotification, Waiting,
        failure::is_transient, notification::Subscribers, time::Clock,
    },
    supervisor::previous_run::PreviousRun,
};

/// How often a step is attempted again after a look-up has found that the last attempt had no effect. After that, an
/// operator has to check.
const MAX_RECONCILED_ATTEMPTS: usize = 3;

/// Durability with a [`Journal`].
#[derive(Clone)]
pub(crate) struct JournaledRun(Arc<Inner>);

struct Inner {
    id: RunId,
    run: Mutex<Run>,
    /// Wakes the steps that wait for a signal.
    signalled: Notify,
    parts: JournaledRunParts,
}

/// The parts of a [`JournaledRun`] besides the run.
pub(crate) struct JournaledRunParts {
    pub(crate) journal: Arc<dyn Journal>,
    /// The earlier runs, if this run is a rerun.
    pub(crate) previous: Option<Arc<PreviousRun>>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) clock: Clock,
    pub(crate) limits: RunLimits,
    /// Whether each event is flushed before anything else happens.
    pub(crate) flush_every_step: bool,
    pub(crate) logging: Logging,
}

/// How the attempts of a step ended.
struct AttemptEnd {
    result: Result<Value>,
    /// Whether an attempt may have taken effect all the same.
    unclear: bool,
}

impl JournaledRun {
    pub(crate) fn new(run: Run, parts: JournaledRunParts) -> Self {
        JournaledRun(Arc::new(Inner { id: run.id.clone(), run: Mutex::new(run), signalled: Notify::new(), parts }))
    }

    /// Calls a function with the state of the run.
    pub(crate) fn with_run<T>(&self, visit: impl FnOnce(&mut Run) -> T) -> T {
        visit(&mut self.0.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies signals that other processes have recorded.
    pub(crate) fn receive_signals(&self, signals: Vec<RunEvent>) {
        self.with_run(|run| signals.into_iter().for_each(|signal| run.apply(signal)));
        self.0.signalled.notify_waiters();
    }

    /// Appends an event to the journal, then applies it.
    pub(crate) async fn record(&self, event: RunEvent, flush: Flush) -> Result<()> {
        self.record_all(vec![event], flush).await
    }

    /// Records several events at once: after a crash, all of them are there or none.
    async fn record_all(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.append(events.clone(), flush).await?;
        self.with_run(|run| events.into_iter().for_each(|event| run.apply(event)));
        Ok(())
    }

    async fn append(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        let flush = if self.0.parts.flush_every_step { Flush::Now } else { flush };
        self.0.parts.journal.append(&self.0.id, events, flush).await
    }

    /// Calls a function with the earlier runs, if this run is a rerun.
    pub(crate) fn with_previous<T>(&self, visit: impl FnOnce(&PreviousRun) -> Option<T>) -> Option<T> {
        self.0.parts.previous.as_deref().and_then(visit)
    }

    /// Writes all recorded events to disk and leaves the run to be resumed. Returns its state.
    pub(crate) async fn suspend(&self) -> Result<Run> {
        self.append(Vec::new(), Flush::Now).await?;
        Ok(self.with_run(|run| std::mem::replace(run, Run::new(run.id.clone()))))
    }

    /// Fails if the run has recorded as many results as it may.
    fn check_recorded(&self) -> Result<()> {
        let limit = self.0.parts.limits.recorded;
        if self.with_run(|run| run.recorded()) < limit {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Limit, format!("the run has recorded {limit} steps, the limit"));
        Err(error.hint("divide the work among several runs").with_detail(ErrorDetail::EndsRun))
    }

    /// Attempts a step until its outcome is clear. A `Create` with an unknown outcome is looked up before it is
    /// repeated.
    async fn attempt(
        &self,
        step: &StepPath,
        effect: Effect,
        attempt: &dyn Attempt,
        recorder: &Arc<StepRecorder>,
    ) -> AttemptEnd {
        let previous = || self.with_previous(|previous| previous.checkpoint(step));
        let checkpoint = || self.with_run(|run| run.checkpoint(step)).or_else(previous);
        let started = self.with_run(|run| run.started(step));
        let mut unclear = effect == Effect::Create
            && (started || self.with_previous(|previous| Some(previous.is_unclear(step))) == Some(true));
        let mut last =
            Error::new(ErrorKind::UnknownOutcome, format!("{step} was interrupted; it may have taken effect"));
        for _ in 0..=MAX_RECONCILED_ATTEMPTS {
            if unclear {
                match attempt.reconcile(checkpoint(), recorder.clone()).await {
                    Ok(Some(output)) => return AttemptEnd { result: Ok(output), unclear: false },
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::Cancelled || is_transient(&error) => {
                        return AttemptEnd { result: Err(error), unclear: true };
                    }
                    // The error of the look-up alone could be retryable, and the call would be repeated.
                    Err(error) => {
                        return AttemptEnd { result: Err(last.with("look_up", &error).source(error)), unclear: true };
                    }
                }
            }
            let began = self.now();
            let result = attempt.run(checkpoint(), recorder.clone()).await;
            self.log(step, began, attempt.logged_call(), result.as_ref()).await;
            match result {
                Err(error) if error.kind() == ErrorKind::UnknownOutcome => (unclear, last) = (true, error),
                result => return AttemptEnd { result, unclear: false },
            }
        }
        AttemptEnd { result: Err(last), unclear: true }
    }
}

#[async_trait]
impl Durability for JournaledRun {
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value> {
        if let Some(recorded) = self.result(step) {
            return recorded;
        }
        self.check_recorded()?;
        let (number, began) = (self.failed_attempts(step).count + 1, self.now());
        let careful = matches!(effect, Effect::Create | Effect::Delete);
        let flush = if careful { Flush::Now } else { Flush::Later };
        if careful && !self.with_run(|run| run.started(step)) {
            let started = RunEvent::StepStarted { step: step.clone(), attempt: number, at: began };
            // Appended and not applied: in the state of the run, `started` stands for an interrupted attempt.
            self.append(vec![started], flush).await?;
        }
        let recorder = Arc::new(StepRecorder { run: self.clone(), step: step.clone(), warnings: Mutex::default() });
        let AttemptEnd { result, unclear } = self.attempt(step, effect, attempt, &recorder).await;
        let result = result.map_err(|error| with_resolve_hint(&self.0.id, step, error)).and_then(|output| {
            self.0.parts.limits.payload(&format!("the output of step {step}"), &output)?;
            Ok(output)
        });
        let warnings = std::mem::take(&mut *recorder.warnings());
        let event = match &result {
            Ok(output) => {
                let (step, output) = (step.clone(), output.clone());
                RunEvent::StepFinished { step, output, warnings, attempt: number, began: Some(began), at: self.now() }
            }
            // The call was interrupted and may have taken effect. Nothing is recorded, so a resumed run looks it up.
            Err(error) if error.kind() == ErrorKind::Cancelled || (unclear && is_transient(error)) => return result,
            Err(error) => {
                let (step, error) = (step.clone(), error.clone());
                RunEvent::StepFailed { step, error, attempt: number, began: Some(began), at: self.now() }
            }
        };
        match &result {
            Ok(_) => tracing::debug!("done"),
            Err(error) => tracing::info!(kind = error.kind().as_str(), "failed: {error}"),
        }
        self.record(event, flush).await?;
        self.notify(match &result {
            Ok(_) => RunNotification::StepFinished { step: step.clone() },
            Err(error) => RunNotification::StepFailed { step: step.clone(), message: error.to_string() },
        });
        result
    }

    async fn log(&self, step: &StepPath, began: Timestamp, call: LoggedCall<'_>, result: Result<&Value, &Error>) {
        let interrupted = matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled);
        if !self.0.parts.logging.includes(result.is_ok()) || interrupted {
            return;
        }
        let (number, took) = (self.failed_attempts(step).count + 1, self.now().since(began));
        let entry = LogEntry::new(LoggedAttempt { step, number, began, took }, &call, result);
        // A journal that can no longer write fails the next append, where it matters.
        let _ = self.0.parts.journal.log(&self.0.id, entry).await;
    }

    fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.with_run(|run| run.result(step)).or_else(|| self.with_previous(|previous| previous.result(step)))
    }

    async fn finish(&self, step: &StepPath, output: Value, began: Option<Timestamp>) -> Result<()> {
        self.check_recorded()?;
        self.0.parts.limits.payload(&format!("the output of {step}"), &output)?;
        let (attempt, warnings, at) = (self.failed_attempts(step).count + 1, Vec::new(), self.now());
        let finished = RunEvent::StepFinished { step: step.clone(), output, warnings, attempt, began, at };
        self.record(finished, Flush::Later).await?;
        self.notify(RunNotification::StepFinished { step: step.clone() });
        Ok(())
    }

    async fn fail(&self, step: &StepPath, error: &Error) -> Result<()> {
        if self.result(step).is_some() {
            return Ok(());
        }
        let (attempt, error, at) = (self.failed_attempts(step).count + 1, error.clone(), self.now());
        let failed = RunEvent::StepFailed { step: step.clone(), error, attempt, began: None, at };
        self.record(failed, Flush::Later).await
    }

    fn failed_attempts(&self, step: &StepPath) -> FailedAttempts {
        self.with_run(|run| run.failed_attempts(step))
    }

    async fn retry(&self, step: &StepPath, error: &Error, after: Duration) -> Result<()> {
        let (step, at) = (step.clone(), self.now());
        let (until, attempt) = (at + after, self.failed_attempts(&step).count + 1);
        tracing::info!(step = %step, attempt, kind = error.kind().as_str(), ?after, "the step is tried again: {error}");
        self.notify(RunNotification::StepRetried { step: step.clone(), message: error.to_string(), until });
        self.record(RunEvent::StepRetried { step, error: error.clone(), attempt, until, at }, Flush::Later).await
    }

    async fn deadline(&self, step: &StepPath, after: Duration) -> Result<Timestamp> {
        if let Some(until) = self.with_run(|run| run.deadline(step)) {
            return Ok(until);
        }
        let until = self.now() + after;
        self.record(RunEvent::DeadlineSet { step: step.clone(), until }, Flush::Later).await?;
        Ok(until)
    }

    async fn wait(&self, step: &StepPath, wait: Waiting) -> Result<Waiting> {
        let begun = self.with_run(|run| run.wait(step));
        let known = begun.is_some();
        let wait = begun.unwrap_or(wait);
        if !known {
            self.record(RunEvent::WaitBegan { step: step.clone(), wait: wait.clone() }, Flush::Now).await?;
        }
        self.notify(RunNotification::Waiting { step: step.clone(), wait: wait.clone() });
        Ok(wait)
    }

    async fn signal(&self, name: &str) -> Value {
        loop {
            // Registered before the check, so a signal that arrives in between is not missed.
            let signalled = self.0.signalled.notified();
            if let Some(payload) = self.with_run(|run| run.signal(name)) {
                return payload;
            }
            signalled.await;
        }
    }

    fn now(&self) -> Timestamp {
        (self.0.parts.clock)()
    }

    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.0.parts.journal.item(&self.0.id, each, key).await
    }

    async fn wants(&self, each: &StepPath, key: &str) -> Result<bool> {
        let Some(previous) = &self.0.parts.previous else { return Ok(true) };
        if let Some(wanted) = previous.wants(each, key) {
            return Ok(wanted);
        }
        for run in previous.runs() {
            if self.0.parts.journal.item(run, each, key).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn batch(&self, each: &StepPath, key: &str) -> Option<String> {
        self.with_previous(|previous| previous.batch(each, key).map(str::to_owned))
    }

    async fn unchanged(&self, each: &StepPath, key: &str, fingerprint: &str) -> Result<Option<ItemOutcome>> {
        let before = self.0.parts.journal.before(&self.0.id, each, key).await?;
        Ok(before.and_then(|before| self.outcome_without_work(before, &each.join(key), fingerprint)))
    }

    fn begun_in(&self, step: &StepPath) -> RunId {
        self.with_previous(|previous| previous.run_of(step).cloned()).unwrap_or_else(|| self.0.id.clone())
    }

    fn ended(&self, each: &StepPath) -> u64 {
        self.with_run(|run| run.counter(each).ended())
    }

    async fn listed(&self, each: &StepPath, items: u64, more: u64, last: bool) -> Result<()> {
        self.notify(RunNotification::Listed { step: each.clone(), items: more, last });
        // A resumed run reads the same pages again.
        match self.with_run(|run| run.is_news(each, items, last)) {
            true => {
                let listed = RunEvent::Listed { step: each.clone(), items, last, at: self.now() };
                self.record(listed, Flush::Later).await
            }
            false => Ok(()),
        }
    }

    async fn finish_items(&self, each: &StepPath, batch: Option<String>, finished: Vec<FinishedItem>) -> Result<()> {
        let at = self.now();
        let item = |FinishedItem { key, once, outcome }: &FinishedItem| RunEvent::ItemFinished {
            step: each.clone(),
            key: key.clone(),
            outcome: outcome.clone(),
            once: once.clone(),
            at,
        };
        let mut events: Vec<_> = finished.iter().map(item).collect();
        events.extend(batch.map(|batch| RunEvent::BatchFinished { step: each.clone(), batch }));
        self.record_all(events, Flush::Later).await?;
        for FinishedItem { key, outcome, .. } in finished {
            let (status, reason) = (outcome.status(), outcome.reason().map(str::to_owned));
            self.notify(RunNotification::ItemFinished { step: each.clone(), key, status, reason });
        }
        Ok(())
    }

    fn position(&self, each: &StepPath) -> ListPosition {
        self.with_run(|run| run.position(each))
    }

    fn ahead(&self, each: &StepPath) -> Option<u64> {
        self.with_run(|run| run.ahead(each))
    }

    async fn finish_page(&self, each: &StepPath, next: Option<Value>, ahead: u64) -> Result<()> {
        self.record(RunEvent::PageFinished { step: each.clone(), next, ahead: Some(ahead) }, Flush::Later).await
    }

    async fn list_changed(&self, each: &StepPath, reason: String) -> Result<()> {
        if self.ledger(each).maybe_incomplete.is_some() {
            return Ok(());
        }
        let message = format!("the list changed while it was read; items may be missing: {reason}");
        self.notify(RunNotification::Warning { step: each.clone(), message });
        self.record(RunEvent::ListChanged { step: each.clone(), reason, at: self.now() }, Flush::Later).await
    }

    fn ledger(&self, each: &StepPath) -> Ledger {
        self.with_run(|run| run.ledger.get(each).cloned().unwrap_or_default())
    }

    fn notify(&self, notification: RunNotification) {
        self.0.parts.subscribers.send(notification);
    }
}

/// Records what an action reports while a step is in flight.
struct StepRecorder {
    run: JournaledRun,
    step: StepPath,
    /// The warnings so far. They are recorded with the end of the step.
    warnings: Mutex<Vec<String>>,
}

/// The number of warnings of a step that are recorded.
const MAX_WARNINGS: usize = 20;

impl StepRecorder {
    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Recorder for StepRecorder {
    async fn checkpoint(&self, value: Value) -> Result<()> {
        self.run.record(RunEvent::Checkpoint { step: self.step.clone(), value }, Flush::Now).await
    }

    fn progress(&self, progress: ByteProgress) {
        self.run.notify(RunNotification::Progress { step: self.step.clone(), bytes: progress.bytes });
    }

    fn warning(&self, message: &str) {
        self.run.notify(RunNotification::Warning { step: self.step.clone(), message: message.to_owned() });
        let mut warnings = self.warnings();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(message.to_owned());
        }
    }
}

/// Adds to an error with an unknown outcome how an operator resolves it.
fn with_resolve_hint(run: &RunId, step: &StepPath, error: Error) -> Error {
    if error.kind() != ErrorKind::UnknownOutcome {
        return error;
    }
    error.next(NextStep::ResolveStep { run: run.as_str().to_owned(), step: Some(step.as_str().to_owned()) })
}

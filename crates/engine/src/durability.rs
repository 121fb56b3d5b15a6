//! What the interpreter needs of whoever makes runs durable, and the one that does it with our own [`Journal`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use trunkline_core::{ByteProgress, Effect, Error, ErrorKind, Recorder, Result, Retry, Timestamp};

use crate::{
    Flush, ItemOutcome, Journal, Ledger, LogEntry, Run, RunEvent, RunId, RunLimits, RunNotification, StepPath, Waiting,
    ledger::left_to_a_person,
    notification::Subscribers,
    previous_run::PreviousRun,
    process_log::{About, Logging},
    time::{Clock, Timer, ends_the_run, milliseconds},
};

/// How often an attempt that turned out not to have happened is made again before somebody has to look.
const MAX_RECONCILED_ATTEMPTS: usize = 3;

/// One way to make a step's effect happen, attempted as often as durability asks.
#[async_trait]
pub(crate) trait Attempt: Send + Sync {
    /// Tries it, with what an earlier attempt left behind.
    async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value>;
    /// Finds out what became of an attempt that ended unclear.
    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>>;
    /// What is called.
    fn about(&self) -> About<'_>;
}

/// What the interpreter asks of an engine that keeps runs: our journal, or another one's.
///
/// The interpreter is deterministic but for what it gets through this trait.
#[async_trait]
pub(crate) trait Durability: Send + Sync {
    /// The step's recorded result, or else that of an attempt, recorded.
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value>;
    /// Adds a call to the process log, if it is one of those that are logged.
    async fn log(&self, step: &StepPath, began: Timestamp, about: About<'_>, result: Result<&Value, &Error>);
    /// How a step ended, if that is recorded.
    fn result(&self, step: &StepPath) -> Option<Result<Value>>;
    /// Records that a step ended well which calls nothing itself; when it began, if that is known.
    async fn finish(&self, step: &StepPath, output: Value, began: Option<Timestamp>) -> Result<()>;
    /// Records that a step has failed for good, unless its end is recorded already.
    async fn fail(&self, step: &StepPath, error: &Error) -> Result<()>;
    /// How many tries of a step have failed, and when the next one may begin.
    fn tries(&self, step: &StepPath) -> (u32, Timer);
    /// Records that a step is tried again: what failed in it is forgotten.
    async fn retry(&self, step: &StepPath, error: &Error, after: Duration) -> Result<()>;
    /// When a step's time is over that may take so long: counted from when it first began.
    async fn deadline(&self, step: &StepPath, after: Duration) -> Result<Timestamp>;
    /// What a step waits for: what it began to wait for, if it has begun before.
    async fn wait(&self, step: &StepPath, wait: Waiting) -> Result<Waiting>;
    /// What came with a signal, as soon as there is one.
    async fn signal(&self, name: &str) -> Value;
    /// Milliseconds since 1970.
    fn now(&self) -> Timestamp;
    /// The outcome of an item, if it has one.
    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;
    /// How many items of an `each` have an outcome.
    fn ended(&self, each: &StepPath) -> u64;
    /// Records that an `each` knows of so many items in all, `more` than before, and whether that is all of them.
    async fn listed(&self, each: &StepPath, items: u64, more: u64, last: bool) -> Result<()>;
    /// Whether an item is this run's business: all are, unless it goes over what failed in an earlier one.
    async fn wants(&self, each: &StepPath, key: &str) -> Result<bool>;
    /// What an item was called together with others when an earlier run worked on it.
    fn batch(&self, each: &StepPath, key: &str) -> Option<String>;
    /// What an item comes to without being worked on, since an earlier run has done it when it was like this, or may have.
    async fn unchanged(&self, each: &StepPath, key: &str, fingerprint: &str) -> Result<Option<ItemOutcome>>;
    /// The run whose idempotency keys a step has: an earlier one, if it goes on with what that has begun.
    fn begun_in(&self, step: &StepPath) -> RunId;
    /// Records the outcomes of items; of those that were worked on in a batch also what that was called.
    async fn finish_items(&self, each: &StepPath, batch: Option<String>, ended: Vec<Ended>) -> Result<()>;
    /// Where a list goes on: nothing recorded, the cursor of a page, or `Some(None)` if it is through.
    fn position(&self, each: &StepPath) -> Option<Option<Value>>;
    /// How many items after that position have an outcome already, if that is known.
    fn ahead(&self, each: &StepPath) -> Option<u64>;
    /// Records that all items before this cursor have outcomes, and so many after it.
    async fn finish_page(&self, each: &StepPath, next: Option<Value>, ahead: u64) -> Result<()>;
    /// Records that a list seems to have changed while it was read, unless that is recorded already.
    async fn list_changed(&self, each: &StepPath, reason: String) -> Result<()>;
    /// What became of an `each` step's items so far.
    fn ledger(&self, each: &StepPath) -> Ledger;
    /// Tells those who watch.
    fn notify(&self, notice: RunNotification);
}

/// An item that has come to its outcome.
pub(crate) struct Ended {
    pub(crate) key: String,
    /// What it was like, where that is remembered across runs.
    pub(crate) once: Option<String>,
    pub(crate) outcome: ItemOutcome,
}

/// Durability by our own journal.
#[derive(Clone)]
pub(crate) struct Journaled(Arc<Inner>);

struct Inner {
    journal: Arc<dyn Journal>,
    id: RunId,
    run: Mutex<Run>,
    /// What the runs before have left to one that goes over what failed.
    earlier: Option<Arc<PreviousRun>>,
    watchers: Arc<Subscribers>,
    /// Wakes those who wait for a signal.
    signalled: Notify,
    clock: Clock,
    limits: RunLimits,
    /// Whether each event is flushed before anything else happens.
    every_step: bool,
    log: Logging,
}

impl Journaled {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        run: Run,
        earlier: Option<Arc<PreviousRun>>,
        watchers: Arc<Subscribers>,
        (clock, limits): (Clock, RunLimits),
        (every_step, log): (bool, Logging),
    ) -> Self {
        let (id, signalled) = (run.id.clone(), Notify::new());
        let run = Mutex::new(run);
        let inner = Inner { journal, id, run, earlier, watchers, signalled, clock, limits, every_step, log };
        Journaled(Arc::new(inner))
    }

    /// Looks at the state of the run.
    pub(crate) fn with_run<T>(&self, look: impl FnOnce(&mut Run) -> T) -> T {
        look(&mut self.0.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes signals into account that others have journaled.
    pub(crate) fn heard(&self, signals: Vec<RunEvent>) {
        self.with_run(|run| signals.into_iter().for_each(|signal| run.apply(signal)));
        self.0.signalled.notify_waiters();
    }

    /// Journals an event, then takes it into account.
    pub(crate) async fn record(&self, event: RunEvent, flush: Flush) -> Result<()> {
        self.record_all(vec![event], flush).await
    }

    /// The same for several at once: all of them are there after a crash, or none.
    async fn record_all(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.append(events.clone(), flush).await?;
        self.with_run(|run| events.into_iter().for_each(|event| run.apply(event)));
        Ok(())
    }

    async fn append(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        let flush = if self.0.every_step { Flush::Now } else { flush };
        self.0.journal.append(&self.0.id, events, flush).await
    }

    pub(crate) fn earlier<T>(&self, look: impl FnOnce(&PreviousRun) -> Option<T>) -> Option<T> {
        self.0.earlier.as_deref().and_then(look)
    }

    /// Leaves the run to be resumed, once all that was recorded is on disk.
    pub(crate) async fn park(&self) -> Result<Run> {
        self.append(Vec::new(), Flush::Now).await?;
        Ok(self.with_run(|run| std::mem::replace(run, Run::new(run.id.clone()))))
    }

    /// Only so many results are recorded.
    fn has_room(&self) -> Result<()> {
        let limit = self.0.limits.recorded;
        if self.with_run(|run| run.recorded()) < limit {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Limit, format!("the run has recorded {limit} steps, the limit"));
        Err(ends_the_run(error.hint("divide the work among several runs")))
    }

    /// Attempts until the outcome is clear: a `Create` of which nobody knows is looked up before it is tried again. Also says
    /// whether an earlier attempt may have taken effect all the same.
    async fn attempt(
        &self,
        step: &StepPath,
        effect: Effect,
        attempt: &dyn Attempt,
        recorder: &Arc<StepRecorder>,
    ) -> (Result<Value>, bool) {
        let earlier = || self.earlier(|earlier| earlier.checkpoint(step));
        let checkpoint = || self.with_run(|run| run.checkpoint(step)).or_else(earlier);
        let started = self.with_run(|run| run.started(step));
        let mut unclear = effect == Effect::Create
            && (started || self.earlier(|earlier| Some(earlier.is_unclear(step))) == Some(true));
        let mut last =
            Error::new(ErrorKind::UnknownOutcome, format!("{step} was interrupted; it may have taken effect"));
        for _ in 0..=MAX_RECONCILED_ATTEMPTS {
            if unclear {
                match attempt.reconcile(checkpoint(), recorder.clone()).await {
                    Ok(Some(output)) => return (Ok(output), false),
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::Cancelled || passes(&error) => return (Err(error), true),
                    // Also if the look-up may work later: whoever heard of its failure alone would make the call again.
                    Err(error) => return (Err(last.with("look_up", &error).source(error)), true),
                }
            }
            let began = self.now();
            let result = attempt.run(checkpoint(), recorder.clone()).await;
            self.log(step, began, attempt.about(), result.as_ref()).await;
            match result {
                Err(error) if error.kind() == ErrorKind::UnknownOutcome => (unclear, last) = (true, error),
                result => return (result, false),
            }
        }
        (Err(last), true)
    }
}

/// What stops a run instead of failing one item: a resumed run tries the step again.
pub(crate) fn concerns_the_run(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Auth | ErrorKind::Store | ErrorKind::Cancelled)
}

/// What keeps a run from going on for now, though nothing is wrong with it: a full disk, too many open files. Nothing is
/// concluded from it; the run is left to be resumed.
pub(crate) fn passes(error: &Error) -> bool {
    error.kind() == ErrorKind::Store && error.retryable() != Retry::Never
}

#[async_trait]
impl Durability for Journaled {
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value> {
        if let Some(recorded) = self.result(step) {
            return recorded;
        }
        self.has_room()?;
        let (number, began) = (self.tries(step).0 + 1, self.now());
        let careful = matches!(effect, Effect::Create | Effect::Delete);
        let flush = if careful { Flush::Now } else { Flush::Later };
        if careful && !self.with_run(|run| run.started(step)) {
            let started = RunEvent::StepStarted { step: step.clone(), attempt: number, at: began };
            // Not taken into account until an attempt was made: `started` is what tells an interrupted attempt.
            self.append(vec![started], flush).await?;
        }
        let recorder =
            Arc::new(StepRecorder { journaled: self.clone(), step: step.clone(), warnings: Mutex::default() });
        let (result, unclear) = self.attempt(step, effect, attempt, &recorder).await;
        let result = result.map_err(|error| left_to_a_person(&self.0.id, step, error)).and_then(|output| {
            self.0.limits.payload(&format!("the output of step {step}"), &output)?;
            Ok(output)
        });
        let warnings = std::mem::take(&mut *recorder.warnings());
        let event = match &result {
            Ok(output) => {
                let (step, output) = (step.clone(), output.clone());
                RunEvent::StepFinished { step, output, warnings, attempt: number, began: Some(began), at: self.now() }
            }
            // Whether a call that was broken off took effect is not known: nothing is recorded, so that it is looked up.
            Err(error) if error.kind() == ErrorKind::Cancelled || (unclear && passes(error)) => return result,
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

    async fn log(&self, step: &StepPath, began: Timestamp, about: About<'_>, result: Result<&Value, &Error>) {
        let broken_off = matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled);
        if !self.0.log.takes(result.is_ok()) || broken_off {
            return;
        }
        let (attempt, took) = (self.tries(step).0 + 1, milliseconds(self.now().since(began)));
        let entry = LogEntry::new(step, attempt, (began, took), &about).ended(result, &about);
        // A journal that can take nothing any more says so when it matters.
        let _ = self.0.journal.log(&self.0.id, entry).await;
    }

    fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.with_run(|run| run.result(step)).or_else(|| self.earlier(|earlier| earlier.result(step)))
    }

    async fn finish(&self, step: &StepPath, output: Value, began: Option<Timestamp>) -> Result<()> {
        self.has_room()?;
        self.0.limits.payload(&format!("the output of {step}"), &output)?;
        let (attempt, warnings, at) = (self.tries(step).0 + 1, Vec::new(), self.now());
        let finished = RunEvent::StepFinished { step: step.clone(), output, warnings, attempt, began, at };
        self.record(finished, Flush::Later).await?;
        self.notify(RunNotification::StepFinished { step: step.clone() });
        Ok(())
    }

    async fn fail(&self, step: &StepPath, error: &Error) -> Result<()> {
        if self.result(step).is_some() {
            return Ok(());
        }
        let (attempt, error, at) = (self.tries(step).0 + 1, error.clone(), self.now());
        let failed = RunEvent::StepFailed { step: step.clone(), error, attempt, began: None, at };
        self.record(failed, Flush::Later).await
    }

    fn tries(&self, step: &StepPath) -> (u32, Timer) {
        self.with_run(|run| run.tries(step))
    }

    async fn retry(&self, step: &StepPath, error: &Error, after: Duration) -> Result<()> {
        let (step, at) = (step.clone(), self.now());
        let (until, attempt) = (at + after, self.tries(&step).0 + 1);
        tracing::info!(step = %step, attempt, kind = error.kind().as_str(), ?after, "is tried again: {error}");
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
            // Made before the look, so that none that comes in between is missed.
            let signalled = self.0.signalled.notified();
            if let Some(payload) = self.with_run(|run| run.signal(name)) {
                return payload;
            }
            signalled.await;
        }
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.0.journal.item(&self.0.id, each, key).await
    }

    async fn wants(&self, each: &StepPath, key: &str) -> Result<bool> {
        let Some(earlier) = &self.0.earlier else { return Ok(true) };
        if let Some(wanted) = earlier.wants(each, key) {
            return Ok(wanted);
        }
        for run in earlier.runs() {
            if self.0.journal.item(run, each, key).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn batch(&self, each: &StepPath, key: &str) -> Option<String> {
        self.earlier(|earlier| earlier.batch(each, key).map(str::to_owned))
    }

    async fn unchanged(&self, each: &StepPath, key: &str, fingerprint: &str) -> Result<Option<ItemOutcome>> {
        let before = self.0.journal.before(&self.0.id, each, key).await?;
        Ok(before.and_then(|before| self.since(before, each, key, fingerprint)))
    }

    fn begun_in(&self, step: &StepPath) -> RunId {
        self.earlier(|earlier| earlier.run_of(step).cloned()).unwrap_or_else(|| self.0.id.clone())
    }

    fn ended(&self, each: &StepPath) -> u64 {
        self.with_run(|run| run.listed(each).count())
    }

    async fn listed(&self, each: &StepPath, items: u64, more: u64, last: bool) -> Result<()> {
        self.notify(RunNotification::Listed { step: each.clone(), items: more, last });
        // A run that is resumed reads the same pages again.
        match self.with_run(|run| run.is_news(each, items, last)) {
            true => {
                let listed = RunEvent::Listed { step: each.clone(), items, last, at: self.now() };
                self.record(listed, Flush::Later).await
            }
            false => Ok(()),
        }
    }

    async fn finish_items(&self, each: &StepPath, batch: Option<String>, ended: Vec<Ended>) -> Result<()> {
        let at = self.now();
        let item = |Ended { key, once, outcome }: &Ended| RunEvent::ItemFinished {
            step: each.clone(),
            key: key.clone(),
            outcome: outcome.clone(),
            once: once.clone(),
            at,
        };
        let mut events: Vec<_> = ended.iter().map(item).collect();
        events.extend(batch.map(|batch| RunEvent::BatchFinished { step: each.clone(), batch }));
        self.record_all(events, Flush::Later).await?;
        for Ended { key, outcome, .. } in ended {
            let (status, reason) = (outcome.status(), outcome.reason().map(str::to_owned));
            self.notify(RunNotification::ItemFinished { step: each.clone(), key, status, reason });
        }
        Ok(())
    }

    fn position(&self, each: &StepPath) -> Option<Option<Value>> {
        self.with_run(|run| run.position(each).cloned())
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
        let message = format!("the list changed while it was read, items may be missing: {reason}");
        self.notify(RunNotification::Warning { step: each.clone(), message });
        self.record(RunEvent::ListChanged { step: each.clone(), reason, at: self.now() }, Flush::Later).await
    }

    fn ledger(&self, each: &StepPath) -> Ledger {
        self.with_run(|run| run.ledger.get(each).cloned().unwrap_or_default())
    }

    fn notify(&self, notice: RunNotification) {
        self.0.watchers.tell(notice);
    }
}

struct StepRecorder {
    journaled: Journaled,
    step: StepPath,
    /// What services said so far, kept with the step's end.
    warnings: Mutex<Vec<String>>,
}

/// How many warnings of a step are kept.
const MAX_WARNINGS: usize = 20;

impl StepRecorder {
    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Recorder for StepRecorder {
    async fn checkpoint(&self, value: Value) -> Result<()> {
        self.journaled.record(RunEvent::Checkpoint { step: self.step.clone(), value }, Flush::Now).await
    }

    fn progress(&self, progress: ByteProgress) {
        self.journaled.notify(RunNotification::Progress { step: self.step.clone(), bytes: progress.bytes });
    }

    fn warning(&self, message: &str) {
        self.journaled.notify(RunNotification::Warning { step: self.step.clone(), message: message.to_owned() });
        let mut warnings = self.warnings();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(message.to_owned());
        }
    }
}

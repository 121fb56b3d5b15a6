//! What the interpreter needs of whoever makes runs durable, and the one that does it with our own [`Journal`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;
use trunkline_core::{Effect, Error, ErrorKind, Progress, Recorder, Result};

use crate::{Flush, ItemOutcome, Journal, Ledger, Run, RunEvent, RunId, RunStatus, StepPath};

/// How often an attempt that turned out not to have happened is made again before somebody has to look.
const MAX_RECONCILED_ATTEMPTS: usize = 3;

/// What somebody who watches a run sees.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// An `each` step knows of more items to work on.
    Listed {
        /// The `each` step.
        step: StepPath,
        /// How many more.
        items: u64,
        /// Whether these were the last.
        last: bool,
    },
    /// Bytes went from one system to another.
    Progress {
        /// The step that moved them.
        step: StepPath,
        /// How many since the last notice.
        bytes: u64,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        step: StepPath,
    },
    /// A service said something although its call succeeded.
    Warning {
        /// The step that called it.
        step: StepPath,
        /// What it said.
        message: String,
    },
    /// A step ended badly.
    StepFailed {
        /// Which.
        step: StepPath,
        /// Why.
        message: String,
    },
    /// An item has its outcome.
    ItemFinished {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// `done`, `skipped`, `failed` or `unknown`.
        status: &'static str,
        /// Why it is not done.
        reason: Option<String>,
    },
    /// The run ended.
    Finished {
        /// How.
        status: RunStatus,
    },
}

/// One way to make a step's effect happen, attempted as often as durability asks.
#[async_trait]
pub(crate) trait Attempt: Send + Sync {
    /// Tries it, with what an earlier attempt left behind.
    async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value>;
    /// Finds out what became of an attempt that ended unclear.
    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>>;
}

/// What the interpreter asks of an engine that keeps runs: our journal, or another one's.
///
/// The interpreter is deterministic but for what it gets through this trait.
#[async_trait]
pub(crate) trait Durability: Send + Sync {
    /// The step's recorded result, or else that of an attempt, recorded.
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value>;
    /// The outcome of an item, if it has one.
    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;
    /// Records an item's outcome.
    async fn finish_item(&self, each: &StepPath, key: String, outcome: ItemOutcome) -> Result<()>;
    /// Where a list goes on: nothing recorded, the cursor of a page, or `Some(None)` if it is through.
    fn position(&self, each: &StepPath) -> Option<Option<Value>>;
    /// Records that all items before this cursor have outcomes.
    async fn finish_page(&self, each: &StepPath, next: Option<Value>) -> Result<()>;
    /// What became of an `each` step's items so far.
    fn ledger(&self, each: &StepPath) -> Ledger;
    /// Tells those who watch.
    fn notify(&self, notice: Notice);
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Durability by our own journal.
#[derive(Clone)]
pub(crate) struct Journaled {
    journal: Arc<dyn Journal>,
    id: RunId,
    run: Arc<Mutex<Run>>,
    watchers: broadcast::Sender<Notice>,
}

impl Journaled {
    pub(crate) fn new(journal: Arc<dyn Journal>, run: Run, watchers: broadcast::Sender<Notice>) -> Self {
        Journaled { journal, id: run.id.clone(), run: Arc::new(Mutex::new(run)), watchers }
    }

    /// Looks at the state of the run.
    pub(crate) fn with_run<T>(&self, look: impl FnOnce(&mut Run) -> T) -> T {
        look(&mut self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Journals an event, then takes it into account.
    pub(crate) async fn record(&self, event: RunEvent, flush: Flush) -> Result<()> {
        self.journal.append(&self.id, vec![event.clone()], flush).await?;
        self.with_run(|run| run.apply(event));
        Ok(())
    }

    /// Leaves the run to be resumed, once all that was recorded is on disk.
    pub(crate) async fn park(&self) -> Result<Run> {
        self.journal.append(&self.id, Vec::new(), Flush::Now).await?;
        Ok(self.with_run(|run| std::mem::replace(run, Run::new(run.id.clone()))))
    }

    /// Attempts until the outcome is clear: a `Create` of which nobody knows is looked up before it is tried again.
    async fn attempt(
        &self,
        step: &StepPath,
        effect: Effect,
        attempt: &dyn Attempt,
        recorder: &Arc<StepRecorder>,
    ) -> Result<Value> {
        let checkpoint = || self.with_run(|run| run.checkpoint(step));
        let mut unclear = effect == Effect::Create && self.with_run(|run| run.started(step));
        let mut last =
            Error::new(ErrorKind::UnknownOutcome, format!("{step} was interrupted; it may have taken effect"));
        for _ in 0..=MAX_RECONCILED_ATTEMPTS {
            if unclear {
                match attempt.reconcile(checkpoint(), recorder.clone()).await {
                    Ok(Some(output)) => return Ok(output),
                    Ok(None) => {}
                    // The look-up itself may fail for now; only "cannot be known" is final.
                    Err(error) if error.kind() == ErrorKind::UnknownOutcome => return Err(last.source(error)),
                    Err(error) => return Err(error),
                }
            }
            match attempt.run(checkpoint(), recorder.clone()).await {
                Err(error) if error.kind() == ErrorKind::UnknownOutcome => (unclear, last) = (true, error),
                result => return result,
            }
        }
        Err(last)
    }
}

/// What stops a run instead of failing one item: a resumed run tries the step again.
pub(crate) fn concerns_the_run(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Auth | ErrorKind::Store | ErrorKind::Cancelled)
}

#[async_trait]
impl Durability for Journaled {
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value> {
        if let Some(recorded) = self.with_run(|run| run.result(step)) {
            return recorded;
        }
        let careful = matches!(effect, Effect::Create | Effect::Delete);
        let flush = if careful { Flush::Now } else { Flush::Later };
        if careful && !self.with_run(|run| run.started(step)) {
            let started = RunEvent::StepStarted { step: step.clone(), at: now() };
            // Not taken into account until an attempt was made: `started` is what tells an interrupted attempt.
            self.journal.append(&self.id, vec![started], flush).await?;
        }
        let recorder =
            Arc::new(StepRecorder { journaled: self.clone(), step: step.clone(), warnings: Mutex::default() });
        let result = self.attempt(step, effect, attempt, &recorder).await;
        let warnings = std::mem::take(&mut *recorder.warnings());
        let event = match &result {
            Ok(output) => RunEvent::StepFinished { step: step.clone(), output: output.clone(), warnings, at: now() },
            // Whether a call that was broken off took effect is not known: nothing is recorded, so that it is looked up.
            Err(error) if error.kind() == ErrorKind::Cancelled => return result,
            Err(error) => RunEvent::StepFailed { step: step.clone(), error: error.clone(), at: now() },
        };
        self.record(event, flush).await?;
        self.notify(match &result {
            Ok(_) => Notice::StepFinished { step: step.clone() },
            Err(error) => Notice::StepFailed { step: step.clone(), message: error.to_string() },
        });
        result
    }

    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.journal.item(&self.id, each, key).await
    }

    async fn finish_item(&self, each: &StepPath, key: String, outcome: ItemOutcome) -> Result<()> {
        let notice = Notice::ItemFinished {
            step: each.clone(),
            key: key.clone(),
            status: outcome.status(),
            reason: outcome.reason().map(str::to_owned),
        };
        let event = RunEvent::ItemFinished { step: each.clone(), key, outcome, at: now() };
        self.record(event, Flush::Later).await?;
        self.notify(notice);
        Ok(())
    }

    fn position(&self, each: &StepPath) -> Option<Option<Value>> {
        self.with_run(|run| run.position(each).cloned())
    }

    async fn finish_page(&self, each: &StepPath, next: Option<Value>) -> Result<()> {
        self.record(RunEvent::PageFinished { step: each.clone(), next }, Flush::Later).await
    }

    fn ledger(&self, each: &StepPath) -> Ledger {
        self.with_run(|run| run.ledger.get(each).cloned().unwrap_or_default())
    }

    fn notify(&self, notice: Notice) {
        // Nobody watching is fine.
        let _ = self.watchers.send(notice);
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

    fn progress(&self, progress: Progress) {
        self.journaled.notify(Notice::Progress { step: self.step.clone(), bytes: progress.bytes });
    }

    fn warning(&self, message: &str) {
        self.journaled.notify(Notice::Warning { step: self.step.clone(), message: message.to_owned() });
        let mut warnings = self.warnings();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(message.to_owned());
        }
    }
}

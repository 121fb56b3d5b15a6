//! Which run works when: at once, after others of its flow, or not at all.
//!
//! A run that has to wait is on disk like one at work, and nobody holds it: so what waits, what a crash has left behind, and
//! what a full disk has stopped, is taken up in the same way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Retry};
use trunkline_engine::{AcceptOutcome, AcceptedRun, ActivityMonitor, Flow, Journal, Overlap, Run, RunId, RunStatus};
use trunkline_store::SavedFlow;

use super::health::Health;
use crate::{Runtime, flows::Cause};

/// How many wait.
const MOST_WAITING: usize = 1000;

/// How long what the machine kept from working is left alone, so that nobody spins.
const REST: Duration = Duration::from_secs(5);

pub(crate) struct Dispatcher {
    runtime: Runtime,
    health: Arc<Health>,
    closing: CancellationToken,
    /// How many runs work at the same time, in all. Those that only wait do not count.
    at_once: usize,
    state: Mutex<State>,
    /// One after the other, where a flow's runs must not overlap.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    idle: Notify,
}

#[derive(Default)]
struct State {
    working: HashMap<RunId, Working>,
    waiting: VecDeque<Waiting>,
    /// When each flow had its last turn, counted in turns.
    turns: HashMap<String, u64>,
    /// Nothing is taken up before.
    paused_until: Option<Instant>,
    /// Who wants to hear of the end of a run.
    heard_by: HashMap<RunId, Vec<oneshot::Sender<Arc<Run>>>>,
}

struct Working {
    flow: String,
    /// How many runs of its flow may be at work at once.
    limit: usize,
    /// Once it has begun.
    activity: Option<ActivityMonitor>,
}

struct Waiting {
    run: RunId,
    flow: String,
    /// How many runs of its flow may be at work at once.
    limit: usize,
}

/// What became of a start.
pub(crate) enum Started {
    /// There is a run; it may have to wait.
    Run(RunId),
    /// An earlier run has taken this.
    Duplicate(RunId),
    /// The flow says to skip what comes while it is at work.
    Skipped,
}

impl State {
    /// How many runs of a flow are at work, those that only wait among them.
    fn of_flow(&self, flow: &str) -> usize {
        self.working.values().filter(|one| one.flow == flow).count()
    }

    fn waits(&self, flow: &str) -> bool {
        self.waiting.iter().any(|one| one.flow == flow)
    }

    fn begin(&mut self, run: RunId, flow: String, limit: usize) {
        let turn = self.turns.values().max().copied().unwrap_or_default() + 1;
        self.turns.insert(flow.clone(), turn);
        self.working.insert(run, Working { flow, limit, activity: None });
    }

    fn is_full(&self, at_once: usize) -> bool {
        let is_idle = |one: &Working| one.activity.as_ref().is_some_and(ActivityMonitor::is_idle);
        self.working.values().filter(|one| !is_idle(one)).count() >= at_once
    }
}

impl Dispatcher {
    pub(crate) fn new(runtime: Runtime, health: Arc<Health>, at_once: usize, closing: CancellationToken) -> Arc<Self> {
        let (state, turns, idle) = (Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Dispatcher { runtime, health, closing, at_once, state, turns, idle })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the runs that nobody works on although they are not over, oldest first.
    pub(crate) async fn take_up(self: &Arc<Self>) -> Result<()> {
        let mut left = self.runtime.store().runs().await?;
        left.retain(|run| run.status == RunStatus::Running);
        for run in left.into_iter().rev() {
            self.line_up(run.id, run.flow).await;
        }
        self.advance();
        Ok(())
    }

    /// Starts a run of a kept flow as its `overlap` says. What it takes is on disk with it.
    pub(crate) async fn start(
        self: &Arc<Self>,
        kept: SavedFlow,
        flow: &Flow,
        input: Value,
        cause: Cause<'_>,
    ) -> Result<Started> {
        let name = &*kept.name.clone();
        let limit = flow.overlap().at_once();
        let turn =
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let _turn = if limit < usize::MAX { Some(turn.lock().await) } else { None };
        self.health.check()?;
        if self.closing.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, "Trunkline is being stopped").hint("try again in a minute"));
        }
        let waits = {
            let state = self.lock();
            if state.waiting.len() >= MOST_WAITING {
                return Err(Error::new(ErrorKind::RateLimited, format!("{MOST_WAITING} runs are waiting already"))
                    .hint("try again when some have ended"));
            }
            let busy = state.of_flow(name) >= limit || state.waits(name);
            if busy && flow.overlap() == Overlap::Skip {
                return Ok(Started::Skipped);
            }
            busy || state.is_full(self.at_once)
        };
        let accepted = self.runtime.accept_saved(kept, flow, input, cause).await;
        let accepted = match accepted.inspect_err(|error| self.health.met(error))? {
            AcceptOutcome::New(accepted) => *accepted,
            AcceptOutcome::Duplicate(run) => return Ok(Started::Duplicate(run)),
        };
        let run = accepted.id().clone();
        if waits {
            drop(accepted);
            self.lock().waiting.push_back(Waiting { run: run.clone(), flow: name.to_owned(), limit });
            self.advance();
        } else {
            self.lock().begin(run.clone(), name.to_owned(), limit);
            self.work(run.clone(), Some(accepted));
        }
        Ok(Started::Run(run))
    }

    /// Accepts a rerun of the failed items of a run, see [`Runtime::rerun_failed`]. `flow` names a saved flow that replaces
    /// the run's own.
    pub(crate) async fn rerun(self: &Arc<Self>, id: &RunId, flow: Option<&str>, unknown: bool) -> Result<RunId> {
        let corrected = match flow {
            Some(name) => Some(self.runtime.link(&self.runtime.saved_flow(name).await?.1).await?),
            None => None,
        };
        let accepted = self.runtime.accept_rerun(id, corrected, unknown).await?;
        let (run, flow) = (accepted.id().clone(), accepted.flow().name().to_owned());
        drop(accepted);
        self.line_up(run.clone(), flow).await;
        self.advance();
        Ok(run)
    }

    /// Goes on with a run that was stopped.
    pub(crate) async fn resume(self: &Arc<Self>, id: &RunId) -> Result<()> {
        let is_here = |state: &State| state.working.contains_key(id) || state.waiting.iter().any(|one| one.run == *id);
        let run = self.runtime.engine().run(id).await?;
        if is_here(&self.lock()) || !matches!(run.status, RunStatus::Running | RunStatus::Failed) {
            let message = format!("run {id} is {} and needs nobody to go on with it", run.status.as_str());
            return Err(
                Error::new(ErrorKind::Conflict, message).hint("only a run that was stopped by an error can be resumed")
            );
        }
        self.line_up(run.id, run.flow).await;
        self.advance();
        Ok(())
    }

    /// Lets a run of this flow wait for its turn.
    async fn line_up(&self, run: RunId, flow: String) {
        let kept = self.runtime.saved_flow(&flow).await;
        let limit = kept.map_or(usize::MAX, |(_, flow)| flow.overlap().at_once());
        self.lock().waiting.push_back(Waiting { run, flow, limit });
    }

    /// Tells how a run ended that works or waits here; closed without a word if it came to a stop.
    pub(crate) fn end_of(&self, run: &RunId) -> Option<oneshot::Receiver<Arc<Run>>> {
        let mut state = self.lock();
        let is_here = state.working.contains_key(run) || state.waiting.iter().any(|one| one.run == *run);
        is_here.then(|| {
            let (tell, told) = oneshot::channel();
            state.heard_by.entry(run.clone()).or_default().push(tell);
            told
        })
    }

    /// Whether runs of a flow are at work or wait.
    pub(crate) fn is_busy(&self, flow: &str) -> bool {
        let state = self.lock();
        state.of_flow(flow) > 0 || state.waits(flow)
    }

    /// Begins what waits and need not any more: of the flow whose last turn was longest ago, so that one with many runs does
    /// not hold up others. To be called again from time to time, for runs that have begun to wait.
    pub(crate) fn advance(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let paused = state.paused_until.is_some_and(|until| until > Instant::now());
                if self.closing.is_cancelled() || paused || !self.health.is_good() || state.is_full(self.at_once) {
                    return;
                }
                let free = |one: &Waiting| state.of_flow(&one.flow) < one.limit;
                let free = state.waiting.iter().enumerate().filter(|(_, one)| free(one));
                let Some((at, _)) = free.min_by_key(|(_, one)| state.turns.get(&one.flow)) else { return };
                let Some(next) = state.waiting.remove(at) else { return };
                let run = next.run.clone();
                state.begin(next.run, next.flow, next.limit);
                run
            };
            self.work(next, None);
        }
    }

    fn work(self: &Arc<Self>, run: RunId, accepted: Option<AcceptedRun>) {
        let this = self.clone();
        tokio::spawn(async move {
            let running = match accepted {
                Some(accepted) => Ok(this.runtime.engine().begin(accepted)),
                None => this.runtime.resume(&run).await,
            };
            let ended = match running {
                Ok(running) => {
                    if let Some(working) = this.lock().working.get_mut(&run) {
                        working.activity = Some(running.activity());
                    }
                    running.wait().await.map(Arc::new)
                }
                Err(error) => Err(error),
            };
            match &ended {
                Ok(_) => {}
                // Another process works on it, or somebody has cancelled it while it waited.
                Err(error) if error.kind() == ErrorKind::Conflict => tracing::info!(%run, "left alone: {error}"),
                Err(error) if error.kind() == ErrorKind::Store && error.retryable() != Retry::Never => {
                    tracing::warn!(%run, "is left until the machine can go on: {error}");
                    this.health.met(error);
                    let mut state = this.lock();
                    state.paused_until = Some(Instant::now() + REST);
                    // In one go: a run that neither works nor waits could be overtaken by the next of its flow.
                    if let Some(Working { flow, limit, .. }) = state.working.remove(&run) {
                        state.waiting.push_front(Waiting { run: run.clone(), flow, limit });
                    }
                }
                Err(error) => {
                    this.health.met(error);
                    tracing::error!(%run, "cannot be worked on: {error}");
                }
            }
            let heard_by = {
                let mut state = this.lock();
                state.working.remove(&run);
                state.heard_by.remove(&run).unwrap_or_default()
            };
            if let Ok(end) = ended {
                // Nobody waiting any more is fine.
                heard_by.into_iter().for_each(|one| drop(one.send(end.clone())));
            }
            this.idle.notify_waiters();
            this.advance();
        });
    }

    /// Begins nothing new, and waits until all runs have come to a safe point.
    pub(crate) async fn close(&self) {
        self.runtime.engine().drain();
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.lock().working.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

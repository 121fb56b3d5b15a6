//! Decides when each run starts: at once, after other runs of its flow, or not at all.
//!
//! A queued run is stored like an active one, but no task holds it. So queued runs, runs that a crash interrupted, and
//! runs that a full disk stopped are resumed in the same way. So are runs that wait for long: they are suspended, and
//! only their ids stay in memory until they are due, see `suspended`.

mod crashes;
mod failed_start;
mod notes;
mod suspended;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crashes::SuspectedRuns;
use suspended::SuspendedRun;
use tokio::sync::{Notify, oneshot};
use trunkline::{Cause, NewRerun, NewRun, RunLauncher, Runtime, StartOutcome};
use trunkline_core::{CancellationToken, Error, ErrorKind, MemoryAccount, Result, Retry, RunId, async_trait};
use trunkline_engine::{
    AcceptOutcome, AcceptedRun, ActivityMonitor, Flush, ResumeOptions, Run, RunFilter, RunState, RunStatus,
};
use trunkline_flow::Overlap;

use trunkline_store::{DeliveryOutcome, TriggerDelivery};

use crate::{health::Health, resumption::Resumption, starts::Starts};

/// The maximum number of queued runs.
const MAX_QUEUED: usize = 1000;

/// The pause after a failure of the store, before the next run is started.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Starts runs within the limits of the server and of each flow.
pub(crate) struct Dispatcher {
    runtime: Runtime,
    health: Arc<Health>,
    closing: CancellationToken,
    /// The maximum number of active runs. Runs that wait for a time or a signal do not count.
    at_once: usize,
    state: Mutex<State>,
    /// A lock for each flow whose runs are limited in number, so that two starts of it do not pass the limit together.
    start_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Notified when a run ends or stops.
    run_stopped: Notify,
    /// A run that waits for at least this long is suspended.
    shortest_wait: Duration,
    resumption: Arc<Resumption>,
    /// What triggers have started, and could not start.
    pub(crate) starts: Starts,
}

#[derive(Default)]
struct State {
    active: HashMap<RunId, ActiveRun>,
    /// Runs that wait for long.
    suspended: HashMap<RunId, SuspendedRun>,
    queue: VecDeque<QueuedRun>,
    suspected: SuspectedRuns,
    /// For each flow the number of its latest start, where all starts are numbered in order.
    order: HashMap<String, u64>,
    /// No run is started before this time.
    paused_until: Option<Instant>,
    /// The callers that wait for the end of a run.
    subscribers: HashMap<RunId, Vec<oneshot::Sender<Arc<Run>>>>,
}

struct ActiveRun {
    flow: String,
    /// The maximum number of active runs of its flow.
    limit: usize,
    /// Set once the run has started.
    activity: Option<ActivityMonitor>,
    /// The memory of its values.
    memory: MemoryAccount,
}

impl ActiveRun {
    /// Returns whether the run only waits: for a time, for a signal, or for memory before it starts.
    fn is_idle(&self) -> bool {
        self.activity.as_ref().map_or_else(|| self.memory.is_waiting(), ActivityMonitor::is_idle)
    }
}

struct QueuedRun {
    run: RunId,
    flow: String,
    /// The maximum number of active runs of its flow.
    limit: usize,
    /// Whether its process may have died while it was active.
    after_crash: bool,
    /// In how many crashes it was active without progress.
    crashes: u32,
    /// Why it is queued, as it was noted last.
    noted: Option<RunState>,
}

/// How a run is started.
enum Start {
    Accepted(Box<AcceptedRun>),
    Resumed(ResumeOptions),
}

impl State {
    /// Returns the number of active runs of a flow, including those that wait for a time or a signal.
    fn active_runs(&self, flow: &str) -> usize {
        let active = self.active.values().map(|one| &one.flow);
        let all = active.chain(self.suspended.values().map(|one| &one.flow));
        all.filter(|one| *one == flow).count()
    }

    fn has_queued(&self, flow: &str) -> bool {
        self.queue.iter().any(|one| one.flow == flow)
    }

    /// Returns whether a run is active, suspended or queued.
    fn has(&self, run: &RunId) -> bool {
        self.active.contains_key(run)
            || self.suspended.contains_key(run)
            || self.queue.iter().any(|one| one.run == *run)
    }

    fn begin(&mut self, run: RunId, flow: String, limit: usize, memory: MemoryAccount) {
        let number = self.order.values().max().copied().unwrap_or_default() + 1;
        self.order.insert(flow.clone(), number);
        self.active.insert(run, ActiveRun { flow, limit, activity: None, memory });
    }

    fn is_full(&self, at_once: usize) -> bool {
        self.active.values().filter(|one| !one.is_idle()).count() >= at_once
    }
}

impl Dispatcher {
    pub(crate) fn new(runtime: Runtime, health: Arc<Health>, at_once: usize, closing: CancellationToken) -> Arc<Self> {
        let (state, start_locks, run_stopped) = (Mutex::default(), Mutex::default(), Notify::new());
        let shortest_wait = suspended::SHORTEST_WAIT;
        Arc::new(Dispatcher {
            runtime,
            health,
            closing,
            at_once,
            state,
            start_locks,
            run_stopped,
            shortest_wait,
            resumption: Arc::default(),
            starts: Starts::default(),
        })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Returns the runs that connections have stopped.
    pub(crate) fn resumption(&self) -> Arc<Resumption> {
        self.resumption.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the unfinished runs of the store, oldest first, and starts as many as possible.
    pub(crate) async fn resume_all(self: &Arc<Self>) -> Result<()> {
        let of = |status| RunFilter { status: Some(status), ..RunFilter::default() };
        let journal = self.runtime.journal();
        self.find_suspended(&journal.runs_in(&of(RunStatus::Failed)).await?).await;
        let unfinished = journal.runs_in(&of(RunStatus::Running)).await?;
        for run in unfinished.into_iter().rev() {
            self.enqueue(run.id, run.flow, true).await;
        }
        self.advance();
        self.watch_suspended();
        Ok(())
    }

    /// Starts, queues or skips a run, as the `overlap` of its flow says. The deduplication keys of its trigger event are
    /// stored together with the run.
    ///
    /// # Errors
    ///
    /// `unavailable` if the server is stopping, `rate_limited` if too many runs are queued, `store` if the store fails;
    /// otherwise as [`Runtime::start`].
    pub(crate) async fn dispatch(self: &Arc<Self>, new: NewRun, cause: Cause<'_>) -> Result<StartOutcome> {
        let (name, overlap) = (&*new.flow.name().to_owned(), new.flow.overlap());
        let limit = overlap.at_once();
        let locks = || self.start_locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = locks().entry(name.to_owned()).or_default().clone();
        let _start = if limit < usize::MAX { Some(lock.lock().await) } else { None };
        self.health.check()?;
        if self.closing.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, "Trunkline is stopping").hint("try again in a minute"));
        }
        let is_queued = {
            let state = self.lock();
            if state.queue.len() >= MAX_QUEUED {
                return Err(Error::new(ErrorKind::RateLimited, format!("{MAX_QUEUED} runs are queued already"))
                    .hint("try again when some of them have ended"));
            }
            let busy = state.active_runs(name) >= limit || state.has_queued(name);
            if busy && overlap == Overlap::Skip {
                return Ok(StartOutcome::Skipped);
            }
            busy || state.is_full(self.at_once)
        };
        let accepted = self.runtime.accept_run(new, cause).await;
        let accepted = match accepted.inspect_err(|error| self.health.report(error))? {
            AcceptOutcome::New(accepted) => *accepted,
            AcceptOutcome::Duplicate(run) => return Ok(StartOutcome::Duplicate(run)),
        };
        let run = accepted.id().clone();
        // A run that waits for memory takes none: it is resumed from the journal.
        if is_queued || !accepted.has_memory() {
            let mut queued = QueuedRun::new(run.clone(), name.to_owned(), limit);
            self.note_queued(&mut queued).await;
            drop(accepted);
            self.lock().queue.push_back(queued);
            self.advance();
        } else {
            let memory = accepted.account();
            self.lock().begin(run.clone(), name.to_owned(), limit, memory);
            self.spawn(run.clone(), Start::Accepted(Box::new(accepted)));
        }
        Ok(StartOutcome::Run(run))
    }

    /// Adds a run to the queue. The limit of its flow is that of the saved flow; without a saved flow, there is none.
    async fn enqueue(&self, run: RunId, flow: String, after_crash: bool) {
        let saved = self.runtime.saved_flow(&flow).await;
        let limit = saved.map_or(usize::MAX, |(_, flow)| flow.overlap().at_once());
        let crashes = if after_crash { self.crashes_of(&run).await } else { 0 };
        let mut queued = QueuedRun { after_crash, crashes, ..QueuedRun::new(run, flow, limit) };
        self.note_queued(&mut queued).await;
        self.lock().queue.push_back(queued);
    }

    /// Returns a receiver for the end of a run, or `None` if the run is neither active nor queued here. The channel
    /// closes without a value if the run stops before its end.
    pub(crate) fn end_of(&self, run: &RunId) -> Option<oneshot::Receiver<Arc<Run>>> {
        let mut state = self.lock();
        state.has(run).then(|| {
            let (sender, receiver) = oneshot::channel();
            state.subscribers.entry(run.clone()).or_default().push(sender);
            receiver
        })
    }

    /// Returns whether a flow has active or queued runs.
    pub(crate) fn is_busy(&self, flow: &str) -> bool {
        let state = self.lock();
        state.active_runs(flow) > 0 || state.has_queued(flow)
    }

    /// Starts as many queued runs as the limits allow. The flow whose latest start is longest ago comes first, so that
    /// a flow with many runs does not delay the others. This has to be called from time to time: active runs that have
    /// started to wait make room without a notification.
    pub(crate) fn advance(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let paused = state.paused_until.is_some_and(|until| until > Instant::now());
                if self.closing.is_cancelled() || paused || !self.health.is_ok() || state.is_full(self.at_once) {
                    return;
                }
                let fits = |one: &QueuedRun| state.active_runs(&one.flow) < one.limit && state.may_be_tried(one);
                let ready = state.queue.iter().enumerate().filter(|(_, one)| fits(one));
                let Some((at, _)) = ready.min_by_key(|(_, one)| (state.order.get(&one.flow), one.crashes)) else {
                    return;
                };
                let Some(next) = state.queue.remove(at) else { return };
                self.try_run(&mut state, &next);
                let (run, memory) = (next.run.clone(), self.runtime.engine().account());
                state.begin(next.run, next.flow, next.limit, memory.clone());
                (run, ResumeOptions { after_crash: next.after_crash, memory: Some(memory) })
            };
            let (run, options) = next;
            self.spawn(run, Start::Resumed(options));
        }
    }

    /// Spawns the task that runs a run until it ends or stops.
    fn spawn(self: &Arc<Self>, run: RunId, start: Start) {
        let this = self.clone();
        tokio::spawn(async move {
            let handle = match start {
                Start::Accepted(accepted) => Ok(this.runtime.engine().begin(*accepted)),
                Start::Resumed(options) => this.runtime.resume_with(&run, options).await,
            };
            let ended = match handle {
                Ok(handle) => {
                    if let Some(active) = this.lock().active.get_mut(&run) {
                        active.activity = Some(handle.activity());
                    }
                    let ended = this.wait(handle).await;
                    if let Ok((run, Some(wait))) = &ended
                        && this.suspended(run, *wait)
                    {
                        this.run_stopped.notify_waiters();
                        return this.advance();
                    }
                    ended.map(|(run, _)| Arc::new(run))
                }
                Err(error) => Err(error),
            };
            match &ended {
                Ok(run) => this.resumption.ended(run),
                // Another process works on the run, or it was cancelled while it was queued.
                Err(error) if error.kind() == ErrorKind::Conflict => tracing::info!(%run, "is not started: {error}"),
                Err(error) if error.kind() == ErrorKind::Store && error.retryable() != Retry::Never => {
                    tracing::warn!(%run, "is queued until the store works again: {error}");
                    this.health.report(error);
                    let mut state = this.lock();
                    state.paused_until = Some(Instant::now() + STORE_PAUSE);
                    // Under one lock: if the run were neither active nor queued for a moment, the next run of its flow
                    // could overtake it.
                    if let Some(ActiveRun { flow, limit, .. }) = state.active.remove(&run) {
                        state.queue.push_front(QueuedRun::new(run.clone(), flow, limit));
                    }
                }
                Err(error) => {
                    this.health.report(error);
                    tracing::error!(%run, "cannot continue: {error}");
                    this.runtime.engine().note(&run, None).await;
                    this.report_if_suspended(&run).await;
                }
            }
            let subscribers = {
                let mut state = this.lock();
                state.active.remove(&run);
                state.subscribers.remove(&run).unwrap_or_default()
            };
            if let Ok(end) = ended {
                // A caller that does not wait any more has dropped its receiver.
                subscribers.into_iter().for_each(|one| drop(one.send(end.clone())));
            }
            this.run_stopped.notify_waiters();
            this.advance();
        });
    }

    /// Records what a delivery to the trigger of a flow has led to now.
    pub(crate) fn delivered(&self, flow: &str, trigger: &str, outcome: DeliveryOutcome) {
        let delivery = TriggerDelivery { at: self.runtime.now(), trigger: trigger.to_owned(), outcome };
        self.starts.delivered(flow, delivery);
    }

    /// Starts no further runs, and waits until all active runs have stopped at a safe point.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.starts.flush(&self.runtime).await {
            tracing::warn!("what triggers have started last is not recorded: {error}");
        }
        self.runtime.engine().drain();
        loop {
            let mut stopped = std::pin::pin!(self.run_stopped.notified());
            stopped.as_mut().enable();
            if self.lock().active.is_empty() {
                return;
            }
            stopped.await;
        }
    }
}

/// Starts the runs that callers of the API ask for. The runtime of the dispatcher has the same engine as the one that is
/// passed.
#[async_trait]
impl RunLauncher for Dispatcher {
    async fn start(self: Arc<Self>, _: &Runtime, new: NewRun) -> Result<StartOutcome> {
        self.dispatch(new, Cause::Caller(Flush::Now)).await
    }

    async fn resume(self: Arc<Self>, _: &Runtime, id: &RunId) -> Result<()> {
        let run = self.runtime.engine().run(id).await?;
        if self.lock().has(id) || !matches!(run.status, RunStatus::Running | RunStatus::Failed) {
            let message = format!("run {id} is {} and cannot be resumed", run.status.as_str());
            return Err(
                Error::new(ErrorKind::Conflict, message).hint("only a run that was stopped by an error can be resumed")
            );
        }
        self.enqueue(run.id, run.flow, false).await;
        self.advance();
        Ok(())
    }

    async fn rerun(self: Arc<Self>, _: &Runtime, rerun: NewRerun) -> Result<RunId> {
        let accepted = self.runtime.accept_rerun(&rerun.run, rerun.flow, rerun.unknown).await?;
        let (run, flow) = (accepted.id().clone(), accepted.flow().name().to_owned());
        self.note_queued(&mut QueuedRun::new(run.clone(), flow.clone(), usize::MAX)).await;
        drop(accepted);
        self.enqueue(run.clone(), flow, false).await;
        self.advance();
        Ok(run)
    }
}

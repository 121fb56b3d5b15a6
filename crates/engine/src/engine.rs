//! Accepts runs, works on them, takes them up again, stops them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::broadcast,
    task::{AbortHandle, JoinHandle},
};
use tracing::Instrument;
use trunkline_core::{CancellationToken, Connected, Diagnostic, Error, ErrorKind, Result, Staging, Timestamp};

use crate::{
    ActivityMonitor, Claim, Flow, Flush, Journal, RerunOf, Run, RunEvent, RunId, RunLimits, RunNotification, RunStatus,
    StepPath, TriggerEvent,
    cancellation::Stop,
    durability::{Durability, Journaled, concerns_the_run, passes},
    interpreter::{Interpreter, joined},
    notification::Subscribers,
    previous_run::{PreviousRun, versions},
    time::{Bounds, Clock, system},
};

/// How often a run looks whether another process wants it to stop, or has sent a signal that it waits for.
const POLL: Duration = Duration::from_millis(500);

/// How long a signal's name may be.
const LONGEST_NAME: usize = 200;

/// Runs flows durably: what it accepts is in the journal, and can be resumed by any engine on the same journal.
#[derive(Clone)]
pub struct Engine {
    journal: Arc<dyn Journal>,
    clock: Clock,
    limits: RunLimits,
    draining: CancellationToken,
    staging: Option<Arc<dyn Staging>>,
}

/// A run that is on disk and has not begun.
pub struct AcceptedRun {
    flow: Flow,
    run: Run,
    slots: BTreeMap<String, Connected>,
    claim: Claim,
    pub(crate) earlier: Option<Arc<PreviousRun>>,
}

impl AcceptedRun {
    /// The run's name.
    pub fn id(&self) -> &RunId {
        &self.run.id
    }

    /// The flow that it is a run of.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// What became of a run that a trigger wants to start.
pub enum AcceptOutcome {
    /// It is on disk.
    New(Box<AcceptedRun>),
    /// There is none: this earlier run has taken what it was to be handed.
    Duplicate(RunId),
}

/// A run being worked on in the background.
pub struct RunHandle {
    id: RunId,
    // Weak, so that watchers hear the end of it however the run ends.
    watchers: Weak<Subscribers>,
    cancellation: CancellationToken,
    activity: ActivityMonitor,
    task: JoinHandle<Result<Run>>,
}

impl RunHandle {
    /// The run's name; it is on disk.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// What happens from now on; a watcher that is too slow misses some notices, never outcomes: those are in the journal.
    pub fn notifications(&self) -> broadcast::Receiver<RunNotification> {
        self.watchers.upgrade().map_or_else(Subscribers::over, |watchers| watchers.watch())
    }

    /// Tells whether it works, or only waits.
    pub fn activity(&self) -> ActivityMonitor {
        self.activity.clone()
    }

    /// Stops the run: nothing new is begun, and steps in flight are broken off.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// Waits for the end. An `Err` means that the end could not be recorded, or that the machine kept the run from going on
    /// (a full disk, too many open files): it is left to be resumed. How it ended otherwise is in [`Run::status`].
    pub async fn wait(self) -> Result<Run> {
        self.task.await.map_err(|error| Error::new(ErrorKind::Internal, "the run's task was lost").source(error))?
    }
}

impl Engine {
    /// An engine on this journal.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Engine {
            journal,
            clock: system(),
            limits: RunLimits::default(),
            draining: CancellationToken::new(),
            staging: None,
        }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: RunLimits) -> Self {
        Engine { limits, ..self }
    }

    /// The same with another clock. For tests of what takes days.
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Engine { clock: Arc::new(clock), ..self }
    }

    /// The same with a place where steps spill files.
    pub fn with_staging(self, staging: Arc<dyn Staging>) -> Self {
        Engine { staging: Some(staging), ..self }
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    pub(crate) fn limits(&self) -> &RunLimits {
        &self.limits
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Stops all runs of this engine at their next safe point, for good: steps in flight go on to their ends, nothing new is
    /// begun, and the runs can be resumed by another engine. [`RunHandle::wait`] gives them back as running.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Accepts a run and begins to work on it. `slots` says which connection fills which slot of the flow.
    pub async fn start(&self, flow: &Flow, input: Value, slots: BTreeMap<String, Connected>) -> Result<RunHandle> {
        Ok(self.begin(self.accept(flow, input, slots, Flush::Now).await?))
    }

    /// Accepts a run: it is on disk. [`Engine::begin`] works on it; if it is dropped instead, it waits to be resumed.
    ///
    /// [`Flush::Later`] is for a run that nobody hears of before it ends: it comes to disk with the first of its events that
    /// have to, before anything is created or deleted, and else soon. A crash may undo it up to there.
    pub async fn accept(
        &self,
        flow: &Flow,
        input: Value,
        slots: BTreeMap<String, Connected>,
        flush: Flush,
    ) -> Result<AcceptedRun> {
        let (accepted, started) = self.prepare(flow, input, slots, None).await?;
        let flush = if flow.flushes_every_step() { Flush::Now } else { flush };
        self.journal.accept(accepted.id(), flow.version(), flow.document(), started, flush).await?;
        Ok(accepted)
    }

    /// The same, on disk, for what a trigger has seen, unless an earlier run has taken that.
    pub async fn accept_triggered(
        &self,
        flow: &Flow,
        input: Value,
        slots: BTreeMap<String, Connected>,
        fired: &TriggerEvent,
    ) -> Result<AcceptOutcome> {
        let (accepted, started) = self.prepare(flow, input, slots, None).await?;
        let journal = &self.journal;
        Ok(match journal.accept_triggered(accepted.id(), flow.version(), flow.document(), started, fired).await? {
            None => AcceptOutcome::New(Box::new(accepted)),
            Some(earlier) => AcceptOutcome::Duplicate(earlier),
        })
    }

    /// Begins to work on an accepted run.
    pub fn begin(&self, accepted: AcceptedRun) -> RunHandle {
        let AcceptedRun { flow, run, slots, claim, earlier } = accepted;
        self.work(flow, run, slots, claim, earlier)
    }

    pub(crate) async fn prepare(
        &self,
        flow: &Flow,
        input: Value,
        slots: BTreeMap<String, Connected>,
        retry: Option<RerunOf>,
    ) -> Result<(AcceptedRun, RunEvent)> {
        fill(flow, &slots)?;
        if let Some(name) = flow.calls().find(|name| !flow.linked().contains_key(*name)) {
            let message = format!("the flow {} calls {name}, and was not linked with it", flow.name());
            return Err(Error::new(ErrorKind::Config, message).hint("link it with the flows it calls before a run"));
        }
        if let Some(length) = flow.timeout().filter(|length| *length > self.limits.run_time) {
            let message =
                format!("the flow {} may take {length:?}; the limit is {:?}", flow.name(), self.limits.run_time);
            return Err(Error::new(ErrorKind::Limit, message).setting("/timeout"));
        }
        let what = format!("the input of flow {}", flow.name());
        self.limits.payload(&what, &input)?;
        if let Some(schema) = flow.input() {
            schema.accept(&what, &input)?;
        }
        let id = RunId::new(self.now());
        let claim = self.journal.claim(&id).await?;
        let started = RunEvent::Started {
            flow: flow.name().to_owned(),
            version: flow.version().to_owned(),
            input,
            connections: slots.iter().map(|(slot, connected)| (slot.clone(), connected.name().to_owned())).collect(),
            calls: versions(flow),
            retry,
            at: self.now(),
        };
        for called in flow.linked().values() {
            self.journal.keep_version(called.version(), called.document()).await?;
        }
        let mut run = Run::new(id);
        run.apply(started.clone());
        Ok((AcceptedRun { flow: flow.clone(), run, slots, claim, earlier: None }, started))
    }

    /// A run as it stands.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        let mut run = Run::new(id.clone());
        self.journal.replay(id, &mut |event| run.apply(event)).await?;
        Ok(run)
    }

    /// The flow a run is pinned to, linked with those it calls.
    pub async fn flow_of(&self, run: &Run) -> Result<Flow> {
        flow_of(&*self.journal, run).await
    }

    /// Takes up a run that a crash, or an error that concerned all of it, has stopped. Recorded steps are not called again.
    pub async fn resume(&self, id: &RunId, slots: BTreeMap<String, Connected>) -> Result<RunHandle> {
        let claim = self.journal.claim(id).await?;
        // Read under the claim: nobody else adds to it now.
        let mut run = self.run(id).await?;
        if let RunStatus::Succeeded | RunStatus::Partial | RunStatus::Cancelled = run.status {
            let message = format!("run {id} has ended ({}) and cannot be resumed", run.status.as_str());
            return Err(Error::new(ErrorKind::Conflict, message).hint("start a new run of its flow"));
        }
        if let Some(by) = &run.rerun_by {
            let message = format!("run {id} was gone over by run {by} and cannot be resumed");
            return Err(Error::new(ErrorKind::Conflict, message).hint(format!("`trunkline runs resume {by}` goes on")));
        }
        let flow = self.flow_of(&run).await?;
        fill(&flow, &slots)?;
        // One that was only interrupted still has to come to its end.
        if run.status == RunStatus::Failed
            && let Err(over) = self.bounds(&flow, &run).check(self.now())
        {
            let message = format!("run {id} cannot be resumed: {over}");
            return Err(Error::new(ErrorKind::Conflict, message).hint("start a new run of its flow"));
        }
        let resumed = RunEvent::Resumed { at: self.now() };
        self.journal.append(id, vec![resumed.clone()], Flush::Now).await?;
        run.apply(resumed);
        let earlier = match &run.retry {
            Some(retry) => Some(Arc::new(PreviousRun::read(&*self.journal, retry, &flow).await?)),
            None => None,
        };
        Ok(self.work(flow, run, slots, claim, earlier))
    }

    /// Asks a run to stop, in whatever process it is worked on. A run that nobody works on is ended at once.
    pub async fn cancel(&self, id: &RunId) -> Result<()> {
        not_ended(&self.run(id).await?)?;
        self.journal.append(id, vec![RunEvent::CancelRequested { at: self.now() }], Flush::Now).await?;
        match self.journal.claim(id).await {
            Ok(_claim) => {
                // It may have come to its own end since it was looked at.
                not_ended(&self.run(id).await?)?;
                let finished = RunEvent::Finished { status: RunStatus::Cancelled, error: None, at: self.now() };
                self.journal.append(id, vec![finished], Flush::Now).await?;
                unstage(self.staging.as_ref(), id).await;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a run a signal, in whatever process it is worked on, also before it waits for it. Whether somebody works on it;
    /// otherwise it hears the signal when it is resumed.
    pub async fn signal(&self, id: &RunId, name: &str, payload: Value) -> Result<bool> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            let message = format!("a signal's name has 1 to {LONGEST_NAME} bytes, not {}", name.len());
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let run = self.run(id).await?;
        not_ended(&run)?;
        if run.signal(name).is_some() {
            let message = format!("run {id} was sent the signal {name} already: the first one counts");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.limits.payload(&format!("what comes with the signal {name}"), &payload)?;
        let signalled = RunEvent::Signalled { name: name.to_owned(), payload, at: self.now() };
        self.journal.append(id, vec![signalled], Flush::Now).await?;
        match self.journal.claim(id).await {
            Ok(_claim) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn bounds(&self, flow: &Flow, run: &Run) -> Bounds {
        let length = flow.timeout().unwrap_or(self.limits.run_time);
        Bounds::of_run(run.started_at + length, length)
    }

    fn work(
        &self,
        flow: Flow,
        run: Run,
        slots: BTreeMap<String, Connected>,
        claim: Claim,
        earlier: Option<Arc<PreviousRun>>,
    ) -> RunHandle {
        let watchers = Arc::<Subscribers>::default();
        let cancellation = CancellationToken::new();
        if run.cancel_requested {
            cancellation.cancel();
        }
        let (id, input, name) = (run.id.clone(), run.input.clone(), run.flow.clone());
        let bounds = self.bounds(&flow, &run);
        let given = (self.clock.clone(), self.limits.clone());
        let journaled = Journaled::new(
            self.journal.clone(),
            run,
            earlier.clone(),
            watchers.clone(),
            given,
            (flow.flushes_every_step(), flow.logging()),
        );
        let poll = Abort(self.poll(&id, journaled.clone(), cancellation.clone()));
        let stop = Stop { cancellation: cancellation.clone(), draining: self.draining.clone() };
        let (durability, limits) = (Arc::new(journaled.clone()), self.limits.clone());
        let activity = ActivityMonitor::default();
        let given = (stop.clone(), activity.clone());
        let interpreter = Interpreter::new(id.clone(), flow, slots, durability, given, limits, self.staging.clone());
        let (staging, of) = (self.staging.clone(), id.clone());
        let span = tracing::info_span!("run", run = %id, flow = name);
        let task = tokio::spawn(async move {
            let (_claim, _poll) = (claim, poll);
            // In a task of its own, so that a panic ends the run as failed instead of leaving it open.
            // A run that is out of time still runs its failure handler.
            let outside = Bounds::of_run(Timestamp::MAX, Duration::MAX);
            let end = interpreter.flow(input, StepPath::default(), bounds, outside).instrument(span);
            let end = joined(tokio::spawn(end)).await;
            if matches!(&end, Err(error) if error.kind() == ErrorKind::Cancelled) && stop.parks() {
                return journaled.park().await;
            }
            let end = match end {
                Ok(output) => match earlier {
                    Some(earlier) => journaled.tell_missing(earlier).await.map(|()| output),
                    None => Ok(output),
                },
                failed => failed,
            };
            if let Err(error) = &end
                && passes(error)
                && !stop.cancellation.is_cancelled()
            {
                tracing::warn!("the run is left to be resumed: {error}");
                let _ = journaled.park().await;
                return Err(error.clone());
            }
            let run = finish(&journaled, end, &stop).await?;
            // What stopped it may pass, and its steps go on from their checkpoints then.
            if run.status != RunStatus::Failed || !run.error.as_ref().is_some_and(concerns_the_run) {
                unstage(staging.as_ref(), &of).await;
            }
            Ok(run)
        });
        RunHandle { id, watchers: Arc::downgrade(&watchers), cancellation, activity, task }
    }

    /// Looks what other processes want of the run.
    fn poll(&self, id: &RunId, journaled: Journaled, cancellation: CancellationToken) -> AbortHandle {
        let (journal, id) = (self.journal.clone(), id.clone());
        tokio::spawn(async move {
            let mut seen = 0;
            loop {
                tokio::time::sleep(POLL).await;
                if let Ok(true) = journal.cancel_requested(&id).await {
                    // The other process has recorded it; here it is only taken into account.
                    journaled.with_run(|run| run.cancel_requested = true);
                    return cancellation.cancel();
                }
                if journaled.with_run(|run| run.awaits_signal())
                    && let Ok((signals, last)) = journal.signals(&id, seen).await
                {
                    seen = last;
                    journaled.heard(signals);
                }
            }
        })
        .abort_handle()
    }
}

/// The flow a run is pinned to, linked with those it calls.
pub(crate) async fn flow_of(journal: &dyn Journal, run: &Run) -> Result<Flow> {
    let faulty = |found: Vec<Diagnostic>| {
        let error = Diagnostic::into_error(&format!("the flow of run {}", run.id), &found);
        error.unwrap_or_else(|| Error::new(ErrorKind::Config, "the flow cannot be read any more"))
    };
    let mut called = BTreeMap::new();
    for (name, version) in &run.calls {
        let flow = Flow::from_value(journal.flow(version).await?).map_err(faulty)?;
        called.insert(name.clone(), flow);
    }
    let flow = Flow::from_value(journal.flow(&run.version).await?).map_err(faulty)?;
    flow.link(&|name| called.get(name).cloned()).map_err(faulty)
}

/// Removes what the steps of a run have spilled.
async fn unstage(staging: Option<&Arc<dyn Staging>>, run: &RunId) {
    if let Some(staging) = staging {
        staging.unstage(run.as_str(), None).await;
    }
}

/// A run that has ended for good takes nothing any more; a failed one can still be resumed.
fn not_ended(run: &Run) -> Result<()> {
    if run.finished_at.is_some() && run.status != RunStatus::Failed {
        let message = format!("run {} has ended already ({})", run.id, run.status.as_str());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

/// Ends a background task with its owner.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn finish(journaled: &Journaled, end: Result<Value>, stop: &Stop) -> Result<Run> {
    let faults = journaled.with_run(|run| run.ledger.values().map(crate::Ledger::faults).sum::<u64>());
    let (status, error) = match end {
        Ok(_) if faults > 0 => (RunStatus::Partial, None),
        Ok(_) => (RunStatus::Succeeded, None),
        Err(error) if error.kind() == ErrorKind::Cancelled => (RunStatus::Cancelled, None),
        // A failed run could be resumed; nobody wants that of this one.
        Err(error) if stop.cancellation.is_cancelled() => (RunStatus::Cancelled, Some(error)),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    let (run, flow) = journaled.with_run(|run| (run.id.clone(), run.flow.clone()));
    match &error {
        None => tracing::info!(%run, flow, "the run is over: {}", status.as_str()),
        Some(error) => tracing::warn!(%run, flow, kind = error.kind().as_str(), "the run has failed: {error}"),
    }
    journaled.record(RunEvent::Finished { status, error, at: journaled.now() }, Flush::Now).await?;
    journaled.notify(RunNotification::Finished { status });
    Ok(journaled.with_run(|run| std::mem::replace(run, Run::new(run.id.clone()))))
}

/// Every slot has a connection, and of the right connector.
fn fill(flow: &Flow, slots: &BTreeMap<String, Connected>) -> Result<()> {
    for (slot, connector) in flow.connections() {
        let Some(connected) = slots.get(slot) else {
            return Err(Error::new(ErrorKind::Config, format!("flow {} needs a connection for {slot}", flow.name()))
                .hint(format!("name one of {connector} with `--connection {slot}=NAME`")));
        };
        let found = &connected.connector().spec().name;
        if found != connector {
            let message =
                format!("{} is a connection to {found}, but {slot} needs one to {connector}", connected.name());
            return Err(Error::new(ErrorKind::Config, message).hint("`trunkline connection list` shows them all"));
        }
    }
    match slots.keys().find(|slot| !flow.connections().contains_key(*slot)) {
        Some(slot) => Err(Error::new(ErrorKind::Config, format!("flow {} has no slot {slot}", flow.name()))),
        None => Ok(()),
    }
}

//! The engine: accepts runs, executes them in the background, resumes and stops them.
//!
//! An engine holds no state that is not in the journal. Any engine on the same journal can resume a run, and a claim
//! makes sure that only one process works on it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use trunkline_core::{
    CancellationToken, Clock, Connected, Diagnostic, Error, ErrorKind, MemoryAccount, MemoryBudget, NextStep, Result,
    RunId, Staging, SystemClock, Timestamp,
};
use trunkline_flow::Flow;

use crate::{
    interpreter::{bounds::Bounds, previous_run::versions, record::COPIES},
    journal::{Flush, Journal, RunClaim, TriggerEvent, pinned_flow::pinned_flow},
    run::{KeyForm, RerunOf, Run, RunEvent, RunLimits, RunStatus},
    supervisor::{AcceptOutcome, AcceptedRun, RunHandle, run_end::unstage},
};

/// The memory of a run for which the budget is not asked, in bytes: most runs need no more.
const RUN_MEMORY: u64 = 1 << 20;
/// The longest name of a signal, in bytes.
const MAX_SIGNAL_NAME: usize = 200;

/// Executes flows durably. Accepted runs are in the journal, and any engine on the same journal can resume them.
///
/// A clone is the same engine: it has the same journal and is drained together with the original.
///
/// # Life of a run
///
/// [`start`](Engine::start) accepts a run and works on it in a background task. A host that decides itself when a run
/// begins calls [`accept`](Engine::accept) or [`accept_triggered`](Engine::accept_triggered), and then
/// [`begin`](Engine::begin). After a crash, an error of the whole run or a [`drain`](Engine::drain),
/// [`resume`](Engine::resume) continues it. An ended run with failed items is repeated by
/// [`rerun_failed`](Engine::rerun_failed), and an unknown outcome is resolved by
/// [`resolve_unknown`](Engine::resolve_unknown).
///
/// [`cancel`](Engine::cancel) and [`signal`](Engine::signal) reach a run in whatever process works on it.
/// [`run`](Engine::run), [`watch`](Engine::watch), [`timeline`](Engine::timeline) and [`log`](Engine::log) read the
/// journal only.
///
/// # Errors
///
/// Each method lists its errors. Those that read or write the journal may also return `store`, see [`Journal`].
#[derive(Clone)]
pub struct Engine {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: RunLimits,
    pub(super) draining: CancellationToken,
    pub(super) staging: Option<Arc<dyn Staging>>,
    pub(super) memory: MemoryBudget,
    /// Held while the events of a run are read: what they become is in memory twice for a moment.
    pub(super) reading: Arc<tokio::sync::Mutex<()>>,
    /// An id that this process has claimed, so that others see that it lives.
    pub(super) process: Arc<tokio::sync::OnceCell<(RunId, RunClaim)>>,
}

impl Engine {
    /// Returns an engine on this journal, with the default limits, the system's clock and no staging.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Engine {
            journal,
            clock: Arc::new(SystemClock),
            limits: RunLimits::default(),
            draining: CancellationToken::new(),
            staging: None,
            memory: MemoryBudget::default(),
            reading: Arc::default(),
            process: Arc::default(),
        }
    }

    /// Returns the engine with other limits.
    pub fn with_limits(self, limits: RunLimits) -> Self {
        Engine { limits, ..self }
    }

    /// Returns the engine with another clock. All times that the engine records or compares with recorded ones are read
    /// from it.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Engine { clock, ..self }
    }

    /// Returns the engine with a place where steps stage copies of files.
    pub fn with_staging(self, staging: Arc<dyn Staging>) -> Self {
        Engine { staging: Some(staging), ..self }
    }

    /// Returns the engine with another budget of the memory that the values of its runs take.
    pub fn with_memory(self, memory: MemoryBudget) -> Self {
        Engine { memory, ..self }
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    pub(crate) fn limits(&self) -> &RunLimits {
        &self.limits
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Suspends all runs of this engine at their next safe point: steps in flight run to their ends, and nothing new is
    /// begun. It cannot be undone; another engine can resume the runs. [`RunHandle::wait`] returns them with the status
    /// `Running`.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Accepts a run and begins to work on it. `bindings` has a connection for each connection binding of the flow.
    ///
    /// # Errors
    ///
    /// As [`accept`](Engine::accept).
    pub async fn start(&self, flow: &Flow, input: Value, bindings: BTreeMap<String, Connected>) -> Result<RunHandle> {
        Ok(self.begin(self.accept(flow, input, bindings, Flush::Now).await?))
    }

    /// Accepts a run. [`Engine::begin`] works on it; if it is dropped instead, the run waits to be resumed.
    ///
    /// With [`Flush::Now`], the run is on disk when this returns. [`Flush::Later`] is for a run whose id is not
    /// returned to any caller before it ends: it is written to disk soon, and always before it creates or deletes
    /// anything. A crash before that may undo it.
    ///
    /// # Errors
    ///
    /// - `config` if a connection binding has no connection or one of another connector, or if the flow is not linked
    ///   with the flows it calls.
    /// - `invalid_input` if the input does not match the flow's schema.
    /// - `limit` if the input is too large or the flow's timeout too long.
    pub async fn accept(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        flush: Flush,
    ) -> Result<AcceptedRun> {
        let (accepted, started) = self.prepare(flow, input, bindings, None).await?;
        let flush = if flow.flushes_every_step() { Flush::Now } else { flush };
        self.journal.accept(accepted.id(), flow.version(), flow.document(), started, flush).await?;
        Ok(accepted)
    }

    /// Accepts a run for a trigger's event, unless an earlier run has taken one of its deduplication keys. The run and
    /// the keys are on disk when this returns.
    ///
    /// # Errors
    ///
    /// As [`accept`](Engine::accept).
    pub async fn accept_triggered(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        trigger: &TriggerEvent,
    ) -> Result<AcceptOutcome> {
        let kind = flow.trigger().map(|one| one.kind().to_owned());
        self.accept_keyed(flow, input, bindings, trigger, kind).await
    }

    /// Accepts a run that a caller starts once, unless an earlier run has taken one of the keys of `once`. The run and the
    /// keys are on disk when this returns.
    ///
    /// # Errors
    ///
    /// As [`accept`](Engine::accept).
    pub async fn accept_once(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        once: &TriggerEvent,
    ) -> Result<AcceptOutcome> {
        self.accept_keyed(flow, input, bindings, once, None).await
    }

    async fn accept_keyed(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        trigger: &TriggerEvent,
        kind: Option<String>,
    ) -> Result<AcceptOutcome> {
        let (accepted, mut started) = self.prepare(flow, input, bindings, None).await?;
        if let RunEvent::Started { trigger, .. } = &mut started {
            *trigger = kind;
        }
        let journal = &self.journal;
        Ok(match journal.accept_triggered(accepted.id(), flow.version(), flow.document(), started, trigger).await? {
            None => AcceptOutcome::New(Box::new(accepted)),
            Some(earlier) => AcceptOutcome::Duplicate(earlier),
        })
    }

    /// Checks and claims a new run. Returns it with its first event, which is not stored yet.
    pub(crate) async fn prepare(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        retry: Option<RerunOf>,
    ) -> Result<(AcceptedRun, RunEvent)> {
        check_bindings(flow, &bindings)?;
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
        let input = flow.with_defaults(input);
        self.limits.payload(&what, &input)?;
        if let Some(schema) = flow.input() {
            schema.accept(&what, &input)?;
        }
        self.claimed(flow, input, bindings, retry, None).await
    }

    /// Accepts a run that its trigger could not start, for this reason: none of its steps runs, only the failure handler
    /// of the flow, and the run ends as failed. The input does not have to fit, and connections may be missing.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be recorded.
    pub async fn accept_failed(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        reason: &Error,
    ) -> Result<AcceptedRun> {
        let input = flow.with_defaults(input);
        let input = self.limits.payload("the input", &input).map_or_else(|_| Value::Object(Map::new()), |()| input);
        let (accepted, started) = self.claimed(flow, input, bindings, None, Some(reason.clone())).await?;
        self.journal.accept(accepted.id(), flow.version(), flow.document(), started, Flush::Now).await?;
        Ok(accepted)
    }

    /// Claims a new run. Returns it with its first event, which is not stored yet.
    pub(super) async fn claimed(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, Connected>,
        retry: Option<RerunOf>,
        start_error: Option<Error>,
    ) -> Result<(AcceptedRun, RunEvent)> {
        let id = RunId::new(self.now());
        let claim = self.journal.claim(&id).await?;
        let started = RunEvent::Started {
            flow: flow.name().to_owned(),
            version: flow.version().to_owned(),
            input,
            connections: bindings.iter().map(|(name, connected)| (name.clone(), connected.name().to_owned())).collect(),
            calls: versions(flow),
            retry,
            start_error,
            trigger: None,
            keys: KeyForm::Equal,
            at: self.now(),
        };
        for called in flow.linked().values() {
            self.journal.keep_version(called.version(), called.document()).await?;
        }
        let mut run = Run::new(id);
        run.apply(started.clone());
        let memory = self.account();
        let held = memory.try_reserve(COPIES * run.memory());
        Ok((
            AcceptedRun { flow: flow.clone(), run, bindings, claim, previous: None, memory, held, after_crash: false },
            started,
        ))
    }

    /// Returns the current state of a run.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if an event cannot be read.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        let _one = self.reading.lock().await;
        self.read(id).await
    }

    /// Reads the state of a run. The caller holds the lock `reading`.
    pub(super) async fn read(&self, id: &RunId) -> Result<Run> {
        let mut run = Run::new(id.clone());
        self.journal.replay(id, &mut |event| run.apply(event)).await?;
        Ok(run)
    }

    /// Returns the flow version that a run is pinned to, linked with the flows it calls.
    ///
    /// # Errors
    ///
    /// `not_found` if the journal does not have the version, and `config` if it can no longer be read.
    pub async fn flow_of(&self, run: &Run) -> Result<Flow> {
        pinned_flow(&*self.journal, run).await
    }

    /// Asks a run to stop, in whatever process works on it. A run that no process works on is ended at once.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has ended, and `not_found` if there is no such run.
    pub async fn cancel(&self, id: &RunId) -> Result<()> {
        check_not_ended(&self.run(id).await?)?;
        self.journal.append(id, vec![RunEvent::CancelRequested { at: self.now() }], Flush::Now).await?;
        match self.journal.claim(id).await {
            Ok(_claim) => {
                // It may have ended by itself since the first check.
                check_not_ended(&self.run(id).await?)?;
                let finished = RunEvent::Finished { status: RunStatus::Cancelled, error: None, at: self.now() };
                self.journal.append(id, vec![finished], Flush::Now).await?;
                self.journal.clear_active(id).await?;
                self.note(id, None).await;
                unstage(self.staging.as_ref(), id).await;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to a run, in whatever process works on it, also before the run waits for it.
    ///
    /// Returns whether a process works on the run. Otherwise, the run receives the signal when it is resumed.
    ///
    /// # Errors
    ///
    /// - `conflict` if the run has ended, or if it was sent a signal of this name before.
    /// - `not_found` if there is no such run.
    /// - `invalid_input` if the name is empty or longer than 200 bytes, and `limit` if the payload is too large.
    pub async fn signal(&self, id: &RunId, name: &str, payload: Value) -> Result<bool> {
        if name.is_empty() || name.len() > MAX_SIGNAL_NAME {
            let message = format!("a signal's name has 1 to {MAX_SIGNAL_NAME} bytes, not {}", name.len());
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let run = self.run(id).await?;
        check_not_ended(&run)?;
        if run.signal(name).is_some() {
            let message = format!("run {id} was already sent the signal {name}; the first one counts");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.limits.payload(&format!("the payload of the signal {name}"), &payload)?;
        let signalled = RunEvent::Signalled { name: name.to_owned(), payload, at: self.now() };
        self.journal.append(id, vec![signalled], Flush::Now).await?;
        match self.journal.claim(id).await {
            Ok(_claim) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns the account of the memory that a new run takes.
    pub fn account(&self) -> MemoryAccount {
        self.memory.account(RUN_MEMORY)
    }

    pub(crate) fn bounds(&self, flow: &Flow, run: &Run) -> Bounds {
        let length = flow.timeout().unwrap_or(self.limits.run_time);
        Bounds::of_run(run.started_at + length, length)
    }
}

/// Fails if the run has ended for good. A failed run can still be resumed.
fn check_not_ended(run: &Run) -> Result<()> {
    if run.finished_at.is_some() && run.status != RunStatus::Failed {
        let message = format!("run {} has already ended ({})", run.id, run.status.as_str());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

/// Fails unless exactly the connection bindings of the flow have connections, each of the right connector.
pub(super) fn check_bindings(flow: &Flow, bindings: &BTreeMap<String, Connected>) -> Result<()> {
    // First, since a misspelt name leaves another one without a connection.
    Diagnostic::accept(&format!("flow {}", flow.name()), &flow.unknown_bindings(bindings.keys()))?;
    for (binding, connector) in flow.connections() {
        let Some(connected) = bindings.get(binding) else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("flow {} needs a connection for {binding}", flow.name()),
            )
            .next(NextStep::BindConnection {
                flow: None,
                binding: binding.clone(),
                connector: Some(connector.clone()),
                connections: Vec::new(),
            }));
        };
        let found = &connected.connector().spec().name;
        if found != connector {
            let message =
                format!("{} is a connection to {found}, but {binding} needs one to {connector}", connected.name());
            return Err(Error::new(ErrorKind::Config, message).next(NextStep::ListConnections));
        }
    }
    Ok(())
}

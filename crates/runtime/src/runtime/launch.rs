//! The port through which runs are started: at once, as the command line does, or within the limits of a server.
//!
//! The operations `runs.start`, `runs.resume` and `runs.rerun` use it, so that they are the same for every door.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};
use trunkline_core::{Error, Result, RunId, async_trait};
use trunkline_engine::{AcceptOutcome, Flush, RunHandle, TriggerEvent};
use trunkline_flow::Flow;
use trunkline_store::SavedFlow;

use super::Runtime;

/// What starts a run, see [`Runtime::accept_run`].
#[derive(Clone, Copy, Debug)]
pub enum Cause<'a> {
    /// A trigger event, which starts at most one run.
    Trigger(&'a TriggerEvent),
    /// A trigger that could not start a run, for this reason: only the failure handler of the flow runs.
    FailedStart(&'a Error),
    /// A caller that gets the id of the run at once ([`Flush::Now`]) or only its result at the end.
    Caller(Flush),
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The flow. If it is not linked with the flows that it calls, it is linked with saved flows.
    pub flow: Flow,
    /// The input.
    pub input: Value,
    /// The connection for each connection that the flow declares. One that is missing is bound to the only connection
    /// of its connector.
    pub bindings: BTreeMap<String, String>,
    /// Whether the flow is a saved one, which was checked when it was saved.
    pub is_saved: bool,
    /// The keys for which a caller starts one run, however often it asks.
    pub once: Option<TriggerEvent>,
}

impl NewRun {
    /// Returns a run of a saved flow. `input` is laid over the input that is saved with the flow.
    pub fn of_saved(saved: SavedFlow, flow: Flow, input: Value) -> NewRun {
        let SavedFlow { input: default, connections: bindings, .. } = saved;
        NewRun { flow, input: with_default_input(default, input), bindings, is_saved: true, once: None }
    }
}

/// A rerun to be started, see [`Runtime::rerun_failed`].
#[derive(Clone, Debug)]
pub struct NewRerun {
    /// The run whose failed items are rerun.
    pub run: RunId,
    /// The corrected flow, linked with the flows that it calls.
    pub flow: Option<Flow>,
    /// Whether items with an unknown outcome are rerun too.
    pub unknown: bool,
}

/// The outcome of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// There is a new run, which may be queued.
    Run(RunId),
    /// An earlier run was started for the same trigger event.
    Duplicate(RunId),
    /// The flow skips further runs while one is active.
    Skipped,
}

/// Starts runs. A host that limits or queues runs implements it, see [`Runtime::with_launcher`].
#[async_trait]
pub trait RunLauncher: Send + Sync {
    /// Starts, queues or skips a run.
    ///
    /// # Errors
    ///
    /// As [`Runtime::start`], or `unavailable` and `rate_limited` if no run can be started now.
    async fn start(self: Arc<Self>, runtime: &Runtime, new: NewRun) -> Result<StartOutcome>;

    /// Resumes a run that was stopped, at once or later.
    ///
    /// # Errors
    ///
    /// As [`Runtime::resume`].
    async fn resume(self: Arc<Self>, runtime: &Runtime, run: &RunId) -> Result<()>;

    /// Starts or queues a rerun, and returns the id of the new run.
    ///
    /// # Errors
    ///
    /// As [`Runtime::rerun_failed`].
    async fn rerun(self: Arc<Self>, runtime: &Runtime, rerun: NewRerun) -> Result<RunId>;

    /// Returns the handle of a run that was started here, once. There is none if the launcher keeps no handles.
    fn take_handle(&self, run: &RunId) -> Option<RunHandle> {
        let _ = run;
        None
    }
}

/// Starts runs at once, on the engine of the runtime, and keeps the handle of each until it is taken. The handles of
/// runs that have ended are dropped with the next start.
#[derive(Default)]
pub struct LocalLauncher(Mutex<HashMap<RunId, RunHandle>>);

impl LocalLauncher {
    fn handles(&self) -> MutexGuard<'_, HashMap<RunId, RunHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, handle: RunHandle) -> RunId {
        let (run, mut handles) = (handle.id().clone(), self.handles());
        handles.retain(|_, one| !one.is_finished());
        handles.insert(run.clone(), handle);
        run
    }
}

#[async_trait]
impl RunLauncher for LocalLauncher {
    async fn start(self: Arc<Self>, runtime: &Runtime, new: NewRun) -> Result<StartOutcome> {
        if new.once.is_some() {
            return Ok(match runtime.accept_run(new, Cause::Caller(Flush::Now)).await? {
                AcceptOutcome::New(accepted) => StartOutcome::Run(self.keep(runtime.engine().begin(*accepted))),
                AcceptOutcome::Duplicate(run) => StartOutcome::Duplicate(run),
            });
        }
        let flow = runtime.linked(&new.flow).await?;
        let handle = runtime.start_bound(&flow, new.input, new.bindings).await?;
        Ok(StartOutcome::Run(self.keep(handle)))
    }

    async fn resume(self: Arc<Self>, runtime: &Runtime, run: &RunId) -> Result<()> {
        self.keep(runtime.resume(run).await?);
        Ok(())
    }

    async fn rerun(self: Arc<Self>, runtime: &Runtime, rerun: NewRerun) -> Result<RunId> {
        Ok(self.keep(runtime.rerun_failed(&rerun.run, rerun.flow, rerun.unknown).await?))
    }

    fn take_handle(&self, run: &RunId) -> Option<RunHandle> {
        self.handles().remove(run)
    }
}

/// Lays the input of a run over the default input. An input that is not an object is used as it is.
pub(crate) fn with_default_input(mut default: Map<String, Value>, input: Value) -> Value {
    match input {
        Value::Object(own) => {
            default.extend(own);
            default.into()
        }
        other => other,
    }
}

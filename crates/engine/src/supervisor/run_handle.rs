//! Runs on their way: accepted, and running in the background.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use tokio::{sync::broadcast, task::JoinHandle};
use trunkline_core::{CancellationToken, Connected, Error, ErrorKind, HeldMemory, MemoryAccount, Result, RunId};
use trunkline_flow::Flow;

use crate::{
    interpreter::{ActivityMonitor, previous_run::PreviousRun},
    journal::RunClaim,
    run::{Run, RunNotification, notification::Subscribers},
};

/// A run that is accepted and has not begun. [`Engine::begin`](crate::Engine::begin) works on it. If it is dropped, the
/// run waits to be resumed.
pub struct AcceptedRun {
    pub(crate) flow: Flow,
    pub(crate) run: Run,
    pub(crate) bindings: BTreeMap<String, Connected>,
    pub(crate) claim: RunClaim,
    /// The earlier runs, if this run is a rerun.
    pub(crate) previous: Option<Arc<PreviousRun>>,
    pub(crate) memory: MemoryAccount,
    /// The memory of the state of the run, if there was enough at once.
    pub(crate) held: Option<HeldMemory>,
    /// Whether it was active when its process died: then it counts as active without progress at once.
    pub(crate) after_crash: bool,
}

impl AcceptedRun {
    /// Returns the run's id.
    pub fn id(&self) -> &RunId {
        &self.run.id
    }

    /// Returns the account of the memory of its values.
    pub fn account(&self) -> MemoryAccount {
        self.memory.clone()
    }

    /// Returns whether the memory of its values is reserved. A run without it should be dropped and resumed, so that it
    /// takes no memory while it waits for some.
    pub fn has_memory(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the flow of the run.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// The outcome of [`Engine::accept_triggered`](crate::Engine::accept_triggered).
pub enum AcceptOutcome {
    /// The run is accepted and on disk.
    New(Box<AcceptedRun>),
    /// No run was accepted, because this earlier run has taken one of the deduplication keys.
    Duplicate(RunId),
}

/// A running run, which a background task works on. Dropping the handle does not stop the run.
pub struct RunHandle {
    pub(crate) id: RunId,
    /// Weak, so the channel closes with the run, however the run ends.
    pub(crate) subscribers: Weak<Subscribers>,
    pub(crate) cancellation: CancellationToken,
    pub(crate) suspension: CancellationToken,
    pub(crate) activity: ActivityMonitor,
    pub(crate) task: JoinHandle<Result<Run>>,
}

impl RunHandle {
    /// Returns the run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Subscribes to the run's notifications from now on. The channel closes when the run ends.
    ///
    /// A slow subscriber misses some of them; the outcomes are in the journal in any case.
    pub fn notifications(&self) -> broadcast::Receiver<RunNotification> {
        self.subscribers.upgrade().map_or_else(Subscribers::closed, |subscribers| subscribers.subscribe())
    }

    /// Returns a monitor that reports whether the run calls actions or only waits.
    pub fn activity(&self) -> ActivityMonitor {
        self.activity.clone()
    }

    /// Returns whether the run has ended or was drained, so that [`wait`](RunHandle::wait) returns at once.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Cancels the run: nothing new is begun, and steps in flight are interrupted.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// Returns the token that suspends this run at its next safe point, as [`Engine::drain`](crate::Engine::drain) does
    /// with all runs.
    pub fn suspension(&self) -> CancellationToken {
        self.suspension.clone()
    }

    /// Waits until the run ends or is drained, and returns its state. A failed run does not return an error: see
    /// [`Run::status`] and [`Run::error`].
    ///
    /// # Errors
    ///
    /// `store` if the end could not be recorded, or if the machine prevents the run from continuing (a full disk, too
    /// many open files). The run is left to be resumed. `internal` if the run's task panicked.
    pub async fn wait(self) -> Result<Run> {
        self.task.await.map_err(|error| Error::new(ErrorKind::Internal, "the run's task was lost").source(error))?
    }
}

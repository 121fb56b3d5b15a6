//! Resumes runs that were stopped because a connection did not work: it needed a new sign-in, its login server refused,
//! or its service was down.
//!
//! The idea: such a run continues by itself, without an operator, when all of its connections work again. A new sign-in
//! is seen within seconds. Otherwise the connections are checked after pauses that grow, so that a login server that
//! refuses is not asked all the time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trunkline::{RunLauncher, Runtime};
use trunkline_core::{CancellationToken, ErrorKind, Result, RunId, Severity, Timestamp};
use trunkline_engine::{Run, RunFilter, RunStatus};

use crate::health::Health;

/// The time between two looks at the sign-ins of connections.
const TICK: Duration = Duration::from_secs(2);
/// The pause before the connections of a stopped run are checked for the first time. It doubles with each check.
const FIRST_PAUSE: Duration = Duration::from_secs(20);
/// The longest pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// A run that was stopped longer ago is left to an operator: its staged files are gone.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The most runs that are remembered. An operator resumes the others.
const MAX_STOPPED: usize = 1000;

/// The stopped runs of this server.
#[derive(Default)]
pub(crate) struct Resumption(Mutex<HashMap<RunId, StoppedRun>>);

#[derive(Clone, Debug)]
struct StoppedRun {
    connections: Vec<String>,
    stopped_at: Timestamp,
    /// The number of checks and resumptions so far.
    tries: u32,
    next: Instant,
    /// Whether the run was resumed and has not ended since.
    resumed: bool,
}

impl Resumption {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, StoppedRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the end of a run, and remembers the run if a connection has stopped it.
    pub(crate) fn ended(&self, run: &Run) {
        let mut stopped = self.lock();
        let before = stopped.remove(&run.id);
        let Some(at) = run.finished_at.filter(|_| run.is_stopped_by_connection() && run.rerun_by.is_none()) else {
            return;
        };
        if run.connections.is_empty() || stopped.len() >= MAX_STOPPED {
            return;
        }
        if before.is_none() {
            let kind = run.error.as_ref().map(|error| error.kind().as_str());
            tracing::warn!(run = %run.id, flow = run.flow, kind, "stopped; resumed when its connections work again");
        }
        let tries = before.map_or(0, |before| before.tries);
        let connections = run.connections.values().cloned().collect();
        let next = Instant::now() + pause(tries);
        stopped.insert(run.id.clone(), StoppedRun { connections, stopped_at: at, tries, next, resumed: false });
    }

    /// Checks the connections of stopped runs from now on, until `closing` is cancelled, beginning with the runs that
    /// earlier servers have left.
    pub(crate) fn start(
        self: Arc<Self>,
        runtime: Runtime,
        launcher: Arc<dyn RunLauncher>,
        health: Arc<Health>,
        closing: CancellationToken,
    ) {
        tokio::spawn(async move {
            let mut loaded = false;
            loop {
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                if !health.is_ok() {
                    continue;
                }
                let done = async {
                    if !loaded {
                        self.load(&runtime).await?;
                    }
                    loaded = true;
                    self.tick(&runtime, &launcher).await
                };
                if let Err(error) = done.await {
                    health.report(&error);
                    tracing::warn!("stopped runs cannot be resumed now: {error}");
                }
            }
        });
    }

    /// Remembers the runs that connections have stopped before this server was started.
    async fn load(&self, runtime: &Runtime) -> Result<()> {
        let now = runtime.now();
        let is_recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) < GIVEN_UP_AFTER);
        let filter = RunFilter { status: Some(RunStatus::Failed), ..RunFilter::default() };
        let mut failed = runtime.journal().runs_in(&filter).await?;
        failed.retain(|run| is_recent(run.finished_at));
        for run in failed.into_iter().take(MAX_STOPPED) {
            self.ended(&runtime.engine().run(&run.id).await?);
        }
        Ok(())
    }

    /// Resumes the runs whose connections work again.
    async fn tick(&self, runtime: &Runtime, launcher: &Arc<dyn RunLauncher>) -> Result<()> {
        let waiting = |run: &StoppedRun| !run.resumed;
        if !self.lock().values().any(waiting) {
            return Ok(());
        }
        let summaries = runtime.connections().connections().await?;
        let signed_in: HashMap<_, _> =
            summaries.into_iter().filter_map(|one| Some((one.name, one.sign_in?.last_success?))).collect();
        let now = runtime.now();
        self.lock().retain(|_, run| now.since(run.stopped_at) < GIVEN_UP_AFTER);
        let is_due = |run: &StoppedRun| {
            let is_new = |name: &String| signed_in.get(name).is_some_and(|at| *at > run.stopped_at);
            waiting(run) && (run.next <= Instant::now() || (run.tries == 0 && run.connections.iter().any(is_new)))
        };
        let due: Vec<_> =
            self.lock().iter().filter(|(_, run)| is_due(run)).map(|(id, run)| (id.clone(), run.clone())).collect();
        let mut works = BTreeMap::new();
        for (id, run) in due {
            let mut all = true;
            for name in &run.connections {
                let known = works.get(name).copied();
                let one = match known {
                    Some(one) => one,
                    None => does_work(runtime, name).await?,
                };
                works.insert(name.clone(), one);
                all &= one;
            }
            if let Some(stopped) = self.lock().get_mut(&id) {
                stopped.tries += 1;
                stopped.next = Instant::now() + pause(stopped.tries);
                stopped.resumed = all;
            }
            if all {
                tracing::info!(run = %id, "resumed: its connections work again");
                match launcher.clone().resume(runtime, &id).await {
                    Ok(()) => {}
                    // It was rerun, cancelled or resumed meanwhile.
                    Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                        self.lock().remove(&id);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a connection passes its check.
async fn does_work(runtime: &Runtime, name: &str) -> Result<bool> {
    match runtime.connect(name).await {
        Ok(connected) => {
            let findings = connected.check().await.findings;
            Ok(findings.iter().all(|found| found.severity != Severity::Error))
        }
        Err(error) if error.kind() == ErrorKind::Store => Err(error),
        Err(_) => Ok(false),
    }
}

fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE)
}

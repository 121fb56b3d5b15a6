//! Which run works when: at once, after others of its flow, or not at all.
//!
//! A run that has to wait is on disk like one at work, and nobody holds it: so what waits, and what a crash has left behind,
//! is taken up in the same way.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::{Notify, broadcast};
use trunkline_core::{CancellationToken, Error, ErrorKind, Result};
use trunkline_engine::{Acceptance, Accepted, Fired, Journal, Overlap, RunId, RunStatus};

use crate::Runtime;

/// How many runs work at the same time.
const MOST_AT_WORK: usize = 64;
/// How many wait.
const MOST_WAITING: usize = 1000;

pub(crate) struct Dispatcher {
    runtime: Runtime,
    closing: CancellationToken,
    state: Mutex<State>,
    /// One after the other, where a flow's runs must not overlap.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    ended: broadcast::Sender<RunId>,
    idle: Notify,
}

#[derive(Default)]
struct State {
    /// The runs at work, and their flows.
    working: HashMap<RunId, String>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    run: RunId,
    flow: String,
    /// Whether it has to wait for others of its flow.
    alone: bool,
}

/// What became of a start.
pub(crate) enum Started {
    /// There is a run; it may have to wait.
    Run(RunId),
    /// An earlier run has taken this.
    Before(RunId),
    /// The flow says to skip what comes while it is at work.
    Skipped,
}

impl State {
    fn is_at_work(&self, flow: &str) -> bool {
        self.working.values().any(|one| one == flow)
    }

    fn is_busy(&self, flow: &str) -> bool {
        self.is_at_work(flow) || self.waiting.iter().any(|one| one.flow == flow)
    }
}

impl Dispatcher {
    pub(crate) fn new(runtime: Runtime, closing: CancellationToken) -> Arc<Self> {
        let (ended, _) = broadcast::channel(1024);
        let (state, turns, idle) = (Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Dispatcher { runtime, closing, state, turns, ended, idle })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the runs that nobody works on although they are not over, oldest first.
    pub(crate) async fn take_up(self: &Arc<Self>) -> Result<()> {
        let mut left = self.runtime.store().runs().await?;
        left.retain(|run| run.status == RunStatus::Running);
        for run in left.into_iter().rev() {
            let overlap = self.runtime.kept_flow(&run.flow).await.map_or(Overlap::Parallel, |(_, flow)| flow.overlap());
            let alone = overlap != Overlap::Parallel;
            self.lock().waiting.push_back(Waiting { run: run.id, flow: run.flow, alone });
        }
        self.advance();
        Ok(())
    }

    /// Starts a run of a kept flow as its `overlap` says. What it takes is on disk with it.
    pub(crate) async fn start(
        self: &Arc<Self>,
        name: &str,
        input: Value,
        slots: BTreeMap<String, String>,
        fired: Option<&Fired>,
    ) -> Result<Started> {
        let (mut kept, flow) = self.runtime.kept_flow(name).await?;
        kept.connections.extend(slots);
        let alone = flow.overlap() != Overlap::Parallel;
        let turn =
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let _turn = if alone { Some(turn.lock().await) } else { None };
        if self.closing.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, "Trunkline is being stopped").hint("try again in a minute"));
        }
        let waits = {
            let state = self.lock();
            if state.waiting.len() >= MOST_WAITING {
                return Err(Error::new(ErrorKind::RateLimited, format!("{MOST_WAITING} runs are waiting already"))
                    .hint("try again when some have ended"));
            }
            let busy = state.is_busy(name);
            if busy && flow.overlap() == Overlap::Skip {
                return Ok(Started::Skipped);
            }
            (alone && busy) || state.working.len() >= MOST_AT_WORK
        };
        let accepted = match self.runtime.accept_kept(kept, &flow, input, fired).await? {
            Acceptance::New(accepted) => *accepted,
            Acceptance::Before(run) => return Ok(Started::Before(run)),
        };
        let run = accepted.id().clone();
        if waits {
            drop(accepted);
            self.lock().waiting.push_back(Waiting { run: run.clone(), flow: name.to_owned(), alone });
            self.advance();
        } else {
            self.lock().working.insert(run.clone(), name.to_owned());
            self.work(run.clone(), Some(accepted));
        }
        Ok(Started::Run(run))
    }

    /// Tells of runs that have come to an end or a stop. To be asked before a run is started.
    pub(crate) fn ends(&self) -> broadcast::Receiver<RunId> {
        self.ended.subscribe()
    }

    /// Whether runs of a flow are at work or wait.
    pub(crate) fn is_busy(&self, flow: &str) -> bool {
        self.lock().is_busy(flow)
    }

    /// Begins what waits and need not any more.
    fn advance(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                if self.closing.is_cancelled() || state.working.len() >= MOST_AT_WORK {
                    return;
                }
                let free = |one: &Waiting| !one.alone || !state.is_at_work(&one.flow);
                let Some(at) = state.waiting.iter().position(free) else { return };
                let Some(next) = state.waiting.remove(at) else { return };
                state.working.insert(next.run.clone(), next.flow);
                next.run
            };
            self.work(next, None);
        }
    }

    fn work(self: &Arc<Self>, run: RunId, accepted: Option<Accepted>) {
        let this = self.clone();
        tokio::spawn(async move {
            let running = match accepted {
                Some(accepted) => Ok(this.runtime.engine().begin(accepted)),
                None => this.runtime.resume(&run).await,
            };
            let ended = match running {
                Ok(running) => running.wait().await.map(drop),
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => {}
                // Another process works on it, or somebody has cancelled it while it waited.
                Err(error) if error.kind() == ErrorKind::Conflict => tracing::info!(%run, "left alone: {error}"),
                Err(error) => tracing::error!(%run, "cannot be worked on: {error}"),
            }
            this.lock().working.remove(&run);
            // Nobody waiting for it is fine.
            let _ = this.ended.send(run);
            this.idle.notify_waiters();
            this.advance();
        });
    }

    /// Begins nothing new, and waits until all runs have come to a safe point.
    pub(crate) async fn close(&self) {
        self.runtime.engine().park();
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

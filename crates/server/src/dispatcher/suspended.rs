//! Runs that wait for long: for a time, or for a signal. They are suspended, and resumed from the journal when they are
//! due. Meanwhile a run takes a few hundred bytes, whatever the size of its input.

use std::{sync::Arc, time::Duration};

use trunkline_core::{Result, RunId};
use trunkline_engine::{Run, RunEvent, RunHandle, RunStatus, WaitEnd};

use super::{ActiveRun, Dispatcher, QueuedRun};

/// A run that waits for less is not suspended: resuming it reads its events again.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_secs(30);
/// The time between two looks at what a run waits for.
const LOOK: Duration = Duration::from_millis(250);
/// The time between two looks for suspended runs that are due.
const TICK: Duration = Duration::from_secs(1);
/// The most suspended runs whose signals and cancellation are looked up at a time.
const MOST_LOOKED_UP: usize = 200;

/// A run that is suspended until it is due.
pub(super) struct SuspendedRun {
    pub(super) flow: String,
    /// The maximum number of active runs of its flow.
    limit: usize,
    wait: WaitEnd,
    /// The names of the signals that it waits for.
    signals: Vec<String>,
    /// The number of the last event that was looked at.
    seen: u64,
    /// The number of the last look.
    looked_up: u64,
}

impl Dispatcher {
    /// Waits until a run ends or stops. If it waits for long, it is suspended, and the end of its wait is returned.
    pub(super) async fn wait(&self, handle: RunHandle) -> Result<(Run, Option<WaitEnd>)> {
        let (id, activity) = (handle.id().clone(), handle.activity());
        let (suspension, mut waits) = (handle.suspension(), None);
        let mut end = std::pin::pin!(handle.wait());
        loop {
            tokio::select! {
                biased;
                ended = &mut end => return ended.map(|run| (run, waits)),
                () = tokio::time::sleep(LOOK), if waits.is_none() => {
                    let now = self.runtime.now();
                    waits = activity.waits_until(now).filter(|wait| wait.left(now) >= self.shortest_wait);
                    if waits.is_some() {
                        self.runtime.engine().note(&id, Some(activity.state(now))).await;
                        suspension.cancel();
                    }
                }
            }
        }
    }

    /// Keeps a run that was suspended until it is due. Returns `false` if it has ended meanwhile, or if the server stops.
    pub(super) fn suspended(&self, run: &Run, wait: WaitEnd) -> bool {
        if run.status != RunStatus::Running || self.closing.is_cancelled() {
            return false;
        }
        let signals = run.waiting.values().filter_map(|wait| wait.signal.clone()).collect();
        let mut state = self.lock();
        let Some(ActiveRun { flow, limit, .. }) = state.active.remove(&run.id) else { return false };
        let suspended = SuspendedRun { flow, limit, wait, signals, seen: 0, looked_up: 0 };
        state.suspended.insert(run.id.clone(), suspended);
        true
    }

    /// Queues suspended runs that are due, from now on and until the server stops.
    pub(super) fn watch_suspended(self: &Arc<Self>) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut look = 0;
            loop {
                tokio::select! {
                    () = this.closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                look += 1;
                this.forget_resumed().await;
                this.note_queue().await;
                let mut due = this.timed_out();
                for run in this.next_looked_up(look) {
                    if this.is_called(&run).await {
                        due.push(run);
                    }
                }
                if !due.is_empty() {
                    due.iter().for_each(|run| this.wake(run));
                    this.advance();
                }
            }
        });
    }

    /// Returns the runs whose wait is over.
    fn timed_out(&self) -> Vec<RunId> {
        let now = self.runtime.now();
        let state = self.lock();
        let due = state.suspended.iter().filter(|(_, one)| one.wait.left(now).is_zero());
        due.map(|(run, _)| run.clone()).collect()
    }

    /// Returns the runs whose last look is longest ago, and marks them as looked at.
    fn next_looked_up(&self, look: u64) -> Vec<RunId> {
        let mut state = self.lock();
        let mut all: Vec<_> = state.suspended.iter_mut().collect();
        all.sort_by_key(|(_, one)| one.looked_up);
        all.truncate(MOST_LOOKED_UP);
        let looked_up = |(run, one): (&RunId, &mut SuspendedRun)| {
            one.looked_up = look;
            run.clone()
        };
        all.into_iter().map(looked_up).collect()
    }

    /// Returns whether a run was cancelled, or has got a signal that it waits for, by whichever process.
    async fn is_called(&self, run: &RunId) -> bool {
        let journal = self.runtime.journal();
        if journal.cancel_requested(run).await.unwrap_or(false) {
            return true;
        }
        let (awaits, seen) = match self.lock().suspended.get(run) {
            Some(one) => (!one.signals.is_empty(), one.seen),
            None => return false,
        };
        if !awaits {
            return false;
        }
        let Ok((signals, last)) = journal.signals(run, seen).await else { return false };
        let mut state = self.lock();
        let Some(one) = state.suspended.get_mut(run) else { return false };
        one.seen = last;
        signals.iter().any(|event| matches!(event, RunEvent::Signalled { name, .. } if one.signals.contains(name)))
    }

    /// Moves a suspended run to the front of the queue.
    fn wake(&self, run: &RunId) {
        let mut state = self.lock();
        if let Some(SuspendedRun { flow, limit, .. }) = state.suspended.remove(run) {
            state.queue.push_front(QueuedRun::new(run.clone(), flow, limit));
        }
    }
}

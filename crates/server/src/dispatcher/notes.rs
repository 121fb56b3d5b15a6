//! Why runs are queued, as every process shows it: noted when a run joins the queue, and again when the reason changes.

use trunkline_core::RunId;
use trunkline_engine::RunState;

use super::{Dispatcher, QueuedRun, State};

impl QueuedRun {
    /// Returns a run that was not active in a crash.
    pub(super) fn new(run: RunId, flow: String, limit: usize) -> QueuedRun {
        QueuedRun { run, flow, limit, after_crash: false, crashes: 0, noted: None }
    }
}

impl State {
    /// Returns why the run at this position of the queue is there: its flow has as many earlier runs as it may have at
    /// the same time, or the server has. Otherwise it waits for memory.
    fn reason(&self, queued: &QueuedRun, position: usize, at_once: usize) -> RunState {
        let active = self.active.iter().map(|(run, one)| (run, &one.flow));
        let suspended = self.suspended.iter().map(|(run, one)| (run, &one.flow));
        let before = self.queue.iter().take(position).map(|one| (&one.run, &one.flow));
        let earlier = active.chain(suspended).chain(before).filter(|(_, flow)| **flow == queued.flow);
        let earlier: Vec<_> = earlier.map(|(run, _)| run).collect();
        let behind = earlier.iter().min().filter(|_| earlier.len() >= queued.limit).map(|run| (*run).clone());
        let limit = (behind.is_none() && self.is_full(at_once)).then_some(at_once as u64);
        RunState::Queued { behind, limit }
    }
}

impl Dispatcher {
    /// Notes why a run is queued that joins the queue.
    pub(super) async fn note_queued(&self, queued: &mut QueuedRun) {
        let reason = {
            let state = self.lock();
            state.reason(queued, state.queue.len(), self.at_once)
        };
        self.runtime.engine().note(&queued.run, Some(reason.clone())).await;
        queued.noted = Some(reason);
    }

    /// Notes the reasons of all queued runs for which they have changed.
    pub(super) async fn note_queue(&self) {
        let changed: Vec<_> = {
            let mut state = self.lock();
            let all = state.queue.iter().enumerate();
            let reasons: Vec<_> = all.map(|(position, one)| state.reason(one, position, self.at_once)).collect();
            let queue = state.queue.iter_mut().zip(reasons).filter(|(one, reason)| one.noted.as_ref() != Some(reason));
            queue.map(|(one, reason)| (one.run.clone(), one.noted.insert(reason).clone())).collect()
        };
        for (run, reason) in changed {
            // It may have been started meanwhile, and its note was removed.
            if self.lock().queue.iter().any(|one| one.run == run) {
                self.runtime.engine().note(&run, Some(reason)).await;
            }
        }
    }
}

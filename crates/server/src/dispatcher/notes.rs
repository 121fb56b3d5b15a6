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
    /// Returns why a run is queued: its flow works on as many runs as it may, or the server does. Otherwise it waits
    /// for memory.
    fn reason(&self, queued: &QueuedRun, at_once: usize) -> RunState {
        let of_flow = self.active.iter().map(|(run, one)| (run, &one.flow));
        let of_flow = of_flow.chain(self.suspended.iter().map(|(run, one)| (run, &one.flow)));
        let earlier = of_flow.filter(|(_, flow)| **flow == queued.flow).map(|(run, _)| run).min();
        let behind = earlier.filter(|_| self.active_runs(&queued.flow) >= queued.limit).cloned();
        let limit = (behind.is_none() && self.is_full(at_once)).then_some(at_once as u64);
        RunState::Queued { behind, limit }
    }
}

impl Dispatcher {
    /// Notes why a run is queued that joins the queue.
    pub(super) async fn note_queued(&self, queued: &mut QueuedRun) {
        let reason = self.lock().reason(queued, self.at_once);
        self.runtime.engine().note(&queued.run, Some(reason.clone())).await;
        queued.noted = Some(reason);
    }

    /// Notes the reasons of all queued runs for which they have changed.
    pub(super) async fn note_queue(&self) {
        let changed: Vec<_> = {
            let mut state = self.lock();
            let changed = state.queue.iter().map(|one| state.reason(one, self.at_once));
            let reasons: Vec<_> = changed.collect();
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

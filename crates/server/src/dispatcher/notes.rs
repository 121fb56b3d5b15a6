//! Why runs are queued, as every process shows it: noted when a run joins the queue, and again when the reason changes.

use std::collections::HashMap;

use trunkline_core::RunId;
use trunkline_engine::RunState;

use super::{Dispatcher, QueuedRun, State};

impl QueuedRun {
    /// Returns a run that was not active in a crash.
    pub(super) fn new(run: RunId, flow: String, limit: usize) -> QueuedRun {
        QueuedRun { run, flow, limit, after_crash: false, crashes: 0, noted: None }
    }
}

/// Counts a run of a flow, and remembers the oldest one.
fn count<'a>(earlier: &mut HashMap<&'a str, (usize, &'a RunId)>, flow: &'a str, run: &'a RunId) {
    let (count, oldest) = earlier.entry(flow).or_insert((0, run));
    *count += 1;
    *oldest = (*oldest).min(run);
}

impl State {
    /// Returns why the runs of the queue are there, in its order, and last the one that joins it: the flow has as many
    /// earlier runs as it may have at the same time, or the server has. Otherwise the run waits for memory.
    fn reasons(&self, joins: Option<&QueuedRun>, at_once: usize) -> Vec<RunState> {
        let (mut earlier, is_full) = (HashMap::<&str, (usize, &RunId)>::new(), self.is_full(at_once));
        self.active.iter().for_each(|(run, one)| count(&mut earlier, &one.flow, run));
        self.suspended.iter().for_each(|(run, one)| count(&mut earlier, &one.flow, run));
        let queue = self.queue.iter().chain(joins).map(|one| {
            let found = earlier.get(one.flow.as_str()).filter(|(count, _)| *count >= one.limit);
            let behind = found.map(|(_, oldest)| (*oldest).clone());
            count(&mut earlier, &one.flow, &one.run);
            let limit = (behind.is_none() && is_full).then_some(at_once as u64);
            RunState::Queued { behind, limit }
        });
        queue.collect()
    }
}

impl Dispatcher {
    /// Notes why a run is queued that joins the queue.
    pub(super) async fn note_queued(&self, queued: &mut QueuedRun) {
        queued.noted = self.lock().reasons(Some(queued), self.at_once).pop();
        self.runtime.engine().note(&queued.run, queued.noted.clone()).await;
    }

    /// Notes the reasons of all queued runs for which they have changed.
    pub(super) async fn note_queue(&self) {
        let changed: Vec<_> = {
            let mut state = self.lock();
            let reasons = state.reasons(None, self.at_once);
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

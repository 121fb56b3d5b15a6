//! The background task that works on a run.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::AbortHandle;
use tracing::Instrument;
use trunkline_core::{CancellationToken, StepPath, Timestamp};

use crate::{
    interpreter::{
        ActivityMonitor, FlowBounds, Interpreter, InterpreterParts,
        bounds::Bounds,
        cancellation::Stop,
        joined,
        record::{COPIES, RunRecord},
    },
    journal::journaled_run::JournaledRun,
    run::{RunEvent, notification::Subscribers},
    supervisor::{AcceptedRun, Engine, RunHandle, run_end::conclude, run_notes::Noted},
};

/// How often a run checks whether another process has asked it to stop, or has sent a signal that it waits for.
const POLL: Duration = Duration::from_millis(500);
/// A run that has recorded nothing for this long since it was started is marked as active. Most runs of few steps are over
/// by then, and need no mark.
const FIRST_MARK: Duration = Duration::from_millis(100);

impl Engine {
    /// Begins to work on an accepted run, in a background task.
    pub fn begin(&self, accepted: AcceptedRun) -> RunHandle {
        let AcceptedRun { flow, run, bindings, claim, previous, memory, held, after_crash } = accepted;
        let subscribers = Arc::<Subscribers>::default();
        let cancellation = CancellationToken::new();
        if run.cancel_requested {
            cancellation.cancel();
        }
        let suspension = self.draining.child_token();
        let (id, name, needed) = (run.id.clone(), run.flow.clone(), COPIES * run.memory());
        // A run that is out of time still runs its failure handler.
        let unlimited = Bounds::of_run(Timestamp::MAX, Duration::MAX);
        let bounds = FlowBounds { steps: self.bounds(&flow, &run), handler: unlimited };
        let record = Arc::new(RunRecord {
            run: JournaledRun::new(run, self.journal.clone(), flow.flushes_every_step()),
            previous,
            subscribers: subscribers.clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
            logging: flow.logging(),
            memory,
            held: Mutex::new(held),
            retries: true,
        });
        let stop = Stop { cancellation: cancellation.clone(), draining: suspension.clone() };
        let (activity, staging) = (ActivityMonitor::default(), self.staging.clone());
        let poll = AbortOnDrop(self.poll(record.run.clone(), stop.clone(), activity.clone()));
        let interpreter = Interpreter::new(InterpreterParts {
            flow,
            bindings,
            record: record.clone(),
            stop: stop.clone(),
            activity: activity.clone(),
            staging: staging.clone(),
        });
        let engine = self.clone();
        let span = tracing::info_span!("run", run = %id, flow = name);
        let task = tokio::spawn(async move {
            let _claim = claim;
            if after_crash {
                record.run.mark(0).await;
            }
            let result = match record.hold_state(needed).await {
                Ok(()) => {
                    let input = record.run.read(|run| run.input.clone());
                    let result = interpreter.flow(input, StepPath::default(), bounds).instrument(span);
                    // A task of its own, so a panic ends the run as failed instead of leaving it open.
                    joined(tokio::spawn(result)).await
                }
                Err(error) => Err(error),
            };
            drop(poll);
            let ended = conclude(&record, result, &stop, staging.as_ref()).await;
            if let Ok(run) = &ended {
                engine.note_end(run).await;
            }
            ended
        });
        RunHandle { id, subscribers: Arc::downgrade(&subscribers), cancellation, suspension, activity, task }
    }

    /// Polls the journal for cancellations and signals from other processes. Marks the run as active while it records
    /// nothing and does not only wait. Notes what the run does.
    fn poll(&self, run: JournaledRun, stop: Stop, activity: ActivityMonitor) -> AbortHandle {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FIRST_MARK).await;
            let (mut last_seen, mut records, mut noted) = (0, 0, Noted::default());
            loop {
                if !activity.is_idle() {
                    records = run.mark(records).await;
                }
                tokio::time::sleep(POLL).await;
                // A server has noted a run that it suspends.
                if !stop.is_requested() {
                    engine.note_activity(&run, &activity, &mut noted).await;
                }
                if let Ok(true) = run.journal().cancel_requested(run.id()).await {
                    // The other process has recorded it; here it is only applied.
                    run.receive(vec![RunEvent::CancelRequested { at: engine.now() }]);
                    return stop.cancellation.cancel();
                }
                if run.read(|run| run.awaits_signal())
                    && let Ok((signals, last)) = run.journal().signals(run.id(), last_seen).await
                {
                    last_seen = last;
                    run.receive(signals);
                }
            }
        })
        .abort_handle()
    }
}

/// Aborts a background task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! What an action reports while its step is in flight: checkpoints are recorded, progress and warnings reach the
//! subscribers, and some warnings are recorded with the end of the step.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{ByteProgress, Clock, Quota, Recorder, Result, StepPath};

use crate::{
    interpreter::{ActivityMonitor, interpreter::Interpreter},
    journal::{Flush, journaled_run::JournaledRun},
    run::{RunEvent, RunNotification, notification::Subscribers},
};

/// The number of warnings of a step that are recorded.
pub(super) const MAX_WARNINGS: usize = 20;

/// Receives what the action of a step reports.
pub(super) struct StepRecorder {
    run: JournaledRun,
    subscribers: Arc<Subscribers>,
    activity: ActivityMonitor,
    clock: Arc<dyn Clock>,
    /// The name of the connection that the action runs on.
    connection: String,
    step: StepPath,
    warnings: Mutex<Vec<String>>,
}

impl StepRecorder {
    pub(super) fn new(interpreter: &Interpreter, connection: &str, step: &StepPath) -> Arc<StepRecorder> {
        let record = interpreter.record();
        Arc::new(StepRecorder {
            run: record.run.clone(),
            subscribers: record.subscribers.clone(),
            activity: interpreter.activity().clone(),
            clock: record.clock.clone(),
            connection: connection.to_owned(),
            step: step.clone(),
            warnings: Mutex::default(),
        })
    }

    /// Takes the warnings that are recorded with the end of the step.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Recorder for StepRecorder {
    async fn checkpoint(&self, value: Value) -> Result<()> {
        self.run.record(RunEvent::Checkpoint { step: self.step.clone(), value }, Flush::Now).await
    }

    fn progress(&self, progress: ByteProgress) {
        self.subscribers.send(RunNotification::Progress { step: self.step.clone(), bytes: progress.bytes });
    }

    fn warning(&self, message: &str) {
        self.subscribers.send(RunNotification::Warning { step: self.step.clone(), message: message.to_owned() });
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MAX_WARNINGS {
            warnings.push(message.to_owned());
        }
    }

    fn paused(&self, left: Duration) {
        self.activity.pause(self.clock.now() + left, &self.connection);
    }

    fn quota(&self, quota: Quota) {
        self.activity.count(quota, self.clock.now(), &self.connection);
    }
}

//! One attempt of a step's call of an action, within the step's time limit.
//!
//! A `Create` that runs out of time has an unknown outcome, so it is looked up before anything else happens.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use trunkline_core::{Connected, Context, Effect, Error, ErrorKind, Recorder, Result, RunId, StepPath};
use trunkline_flow::{Step, StepKind};
use uuid::Uuid;

use crate::{
    interpreter::{
        bounds::Bounds,
        interpreter::{Interpreter, cancelled},
    },
    journal::process_log::LoggedCall,
};

/// The longest duration of a call, retries included, if its flow sets no timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// The time that a look-up has, even if the step's deadline has passed.
const LOOK_UP_TIME: Duration = Duration::from_secs(60);

/// A step's call of an action.
pub(super) struct ActionCall<'a> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) connected: &'a Connected,
    pub(super) action: &'a str,
    pub(super) effect: Effect,
    pub(super) input: Value,
    pub(super) path: &'a StepPath,
    pub(super) bounds: &'a Bounds,
}

impl ActionCall<'_> {
    /// Makes one attempt, with the checkpoint of an earlier one.
    pub(super) async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value> {
        let now = || self.interpreter.record().now();
        // An attempt is repeated after its look-up. In a run that is drained, it still runs to its end.
        if self.interpreter.is_cancelled() {
            return Err(cancelled());
        }
        self.bounds.check(now())?;
        let _activity = self.interpreter.activity().call();
        let cx = self.interpreter.context(self.connected, self.path, self.bounds).with_recorder(recorder, checkpoint);
        let result = tokio::select! {
            biased;
            result = self.connected.run(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(self.bounds.timer()) => Err(match self.effect {
                Effect::Create => self.bounds.error().into_kind(ErrorKind::UnknownOutcome),
                _ => self.bounds.error(),
            }),
            () = self.interpreter.grace_period_over() => Err(cancelled()),
        };
        match result {
            // The action may notice the deadline before the timer does.
            Err(error) if self.bounds.check(now()).is_err() && error.kind() != ErrorKind::Cancelled => {
                let kind = if error.kind() == ErrorKind::UnknownOutcome { error.kind() } else { ErrorKind::Timeout };
                Err(self.bounds.error().into_kind(kind).source(error))
            }
            result => result,
        }
    }

    /// Looks up whether an earlier attempt took effect. Returns its output, or nothing if it had no effect.
    pub(super) async fn look_up(
        &self,
        checkpoint: Option<Value>,
        recorder: Arc<dyn Recorder>,
    ) -> Result<Option<Value>> {
        let _activity = self.interpreter.activity().call();
        // A possible effect of the step is looked up even if its deadline has passed.
        let bounds = self.bounds.at_least(self.interpreter.record().now(), LOOK_UP_TIME);
        let cx = self.interpreter.context(self.connected, self.path, &bounds).with_recorder(recorder, checkpoint);
        tokio::select! {
            biased;
            result = self.connected.reconcile(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(bounds.timer()) => {
                let message = format!("the outcome of {} could not be looked up in time", self.action);
                Err(Error::new(ErrorKind::UnknownOutcome, message))
            }
        }
    }

    /// Returns the call for the process log.
    pub(super) fn logged(&self) -> LoggedCall<'_> {
        let spec = self.connected.connector().action_spec(self.action).ok();
        let (connection, redactor) = (self.connected.name(), self.connected.redactor());
        LoggedCall { action: self.action, connection, input: &self.input, spec, redactor }
    }
}

impl Interpreter {
    /// Returns the context for a call of an action within these bounds.
    pub(super) fn context(&self, connected: &Connected, path: &StepPath, bounds: &Bounds) -> Context {
        let (run, key) = self.idempotency_key(path);
        let left = bounds.left(self.record().now());
        let cx = Context::new(&key, connected.name(), self.files().clone())
            .with_cancellation(self.parts().stop.cancellation.clone())
            .with_memory(self.record().memory.clone())
            .with_timeout(left.min(CALL_TIMEOUT));
        match &self.parts().staging {
            Some(staging) => cx.with_staging(staging.clone(), run.as_str()),
            None => cx,
        }
    }

    /// Returns the run in which a step was begun, and its idempotency key, which is the same for each attempt.
    fn idempotency_key(&self, path: &StepPath) -> (RunId, String) {
        let run = self.record().begun_in(path);
        let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{run}/{path}").as_bytes());
        (run, key.to_string())
    }

    /// Removes the staged copies of a step that has ended.
    pub(super) async fn unstage(&self, step: &Step, path: &StepPath) {
        if let (Some(staging), StepKind::Action(_)) = (&self.parts().staging, &step.kind) {
            let (run, key) = self.idempotency_key(path);
            staging.unstage(run.as_str(), Some(&key)).await;
        }
    }
}

//! A step's call whose beginning and result are recorded: a call with a recorded result is not made again.

use serde_json::Value;
use tracing::Instrument;
use trunkline_core::{Effect, ErrorKind, HeldMemory, Result, StepPath, memory_of};
use trunkline_flow::{BoundAction, Scope};

use crate::{
    interpreter::{
        action_call::ActionCall,
        bounds::Bounds,
        interpreter::Interpreter,
        reconcile::{AttemptEnd, with_resolve_step},
        record::COPIES,
        step_recorder::StepRecorder,
    },
    journal::Flush,
    run::{RunEvent, RunNotification, failure::is_transient},
};

impl Interpreter {
    /// Calls the action of a step, unless its result is recorded.
    pub(super) async fn call(
        &self,
        call: &BoundAction,
        scope: &Scope,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<Value> {
        let connected = self.connected(&call.binding)?;
        let input = call.input.render(scope)?;
        // The call gets a copy, so that it can be repeated.
        let what = format!("the input of step {path}");
        let _held = self.record().memory.reserve(&what, COPIES * memory_of(&input)).await?;
        let effect = connected.connector().effect(&call.action, &input)?;
        let action_call =
            ActionCall { interpreter: self, connected, action: &call.action, effect, input, path, bounds };
        let span = tracing::info_span!(
            "step", run = %self.record().run.id(), flow = self.parts().flow.name(), step = %path,
            attempt = self.record().attempt_number(path), action = %call.action, connection = connected.name(),
        );
        // Boxed, so that the future of a step without a call stays small.
        Box::pin(action_call.complete()).instrument(span).await
    }
}

impl ActionCall<'_> {
    /// Returns the step's recorded result, or attempts the call and records its result.
    async fn complete(&self) -> Result<Value> {
        let (record, step) = (self.interpreter.record(), self.path);
        if let Some(recorded) = record.result(step) {
            return recorded;
        }
        record.check_recorded()?;
        let (attempt, began) = (record.attempt_number(step), record.now());
        let careful = matches!(self.effect, Effect::Create | Effect::Delete);
        let flush = if careful { Flush::Now } else { Flush::Later };
        if careful && !record.run.read(|run| run.started(step)) {
            let started = RunEvent::StepStarted { step: step.clone(), attempt, at: began };
            // Appended and not applied: in the state of the run, `started` stands for an interrupted attempt.
            record.run.append(vec![started], flush).await?;
        }
        let recorder = StepRecorder::new(self.interpreter, self.connected.name(), step);
        let (result, unclear) = match self.attempt(&recorder).await {
            AttemptEnd::Known(result) => (result, false),
            AttemptEnd::Unknown(error) => (Err(error), true),
        };
        let (result, memory) = match self.checked(result).await {
            Ok((output, memory)) => (Ok(output), Some(memory)),
            Err(error) => (Err(error), None),
        };
        let (step, at, warnings) = (step.clone(), record.now(), recorder.take_warnings());
        let (event, notification) = match &result {
            Ok(output) => {
                tracing::debug!("done");
                let notification = RunNotification::StepFinished { step: step.clone() };
                let output = output.clone();
                (RunEvent::StepFinished { step, output, warnings, attempt, began: Some(began), at }, notification)
            }
            // The call was interrupted and may have taken effect. Nothing is recorded, so a resumed run looks it up.
            Err(error) if error.kind() == ErrorKind::Cancelled || (unclear && is_transient(error)) => return result,
            Err(error) => {
                tracing::info!(kind = error.kind().as_str(), "failed: {error}");
                let notification = RunNotification::StepFailed { step: step.clone(), message: error.to_string() };
                let error = error.clone();
                (RunEvent::StepFailed { step, error, attempt, began: Some(began), at }, notification)
            }
        };
        record.run.record(event, flush).await?;
        memory.into_iter().for_each(|memory| record.hold(memory));
        record.notify(notification);
        result
    }

    /// Returns the result as it is recorded: not larger than the limit, with its memory, and an unknown outcome with what
    /// to do next.
    async fn checked(&self, result: Result<Value>) -> Result<(Value, HeldMemory)> {
        let (record, step) = (self.interpreter.record(), self.path);
        let output = result.map_err(|error| with_resolve_step(error, record.run.id(), step))?;
        let memory = record.output_memory(step, &output).await?;
        Ok((output, memory))
    }
}

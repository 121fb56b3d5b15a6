//! Executes one step: its policy (timeout, retries, and what happens if it fails), and what its kind does.

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result, StepPath, kind_of};
use trunkline_flow::{OnError, Scope, Step, StepKind, Template, Wait};

use crate::interpreter::{
    activity::WaitReason,
    bounds::Bounds,
    each::Each,
    interpreter::{End, Interpreter, can_handle},
    list::List,
    retries::wait_before_retry,
};

/// A step at its place in the run.
struct PlacedStep<'a> {
    step: &'a Step,
    scope: &'a Scope,
    /// The path of the list of steps that it belongs to.
    outer: &'a StepPath,
    path: StepPath,
    bounds: Bounds,
}

impl Interpreter {
    /// Executes a step with its policy: its timeout, its retries, and what happens if it fails.
    pub(super) async fn step(&self, step: &Step, scope: &Scope, outer: &StepPath, outside: &Bounds) -> Result<End> {
        let (record, path) = (self.record(), outer.join(&step.id));
        let bounds = match step.policy.timeout {
            Some(length) => outside.within(&path, record.deadline(&path, length).await?, length),
            None => outside.clone(),
        };
        let placed = PlacedStep { step, scope, outer, path, bounds };
        let path = &placed.path;
        let error = loop {
            let result = match record.result(path) {
                Some(Err(error)) => Err(error),
                // Also if it is recorded: the steps after it need its output.
                _ => self.attempt(&placed).await,
            };
            let error = match result {
                Ok(end) => {
                    self.unstage(step, path).await;
                    return Ok(end);
                }
                Err(error) => self
                    .without_secrets(error)
                    .with_detail(ErrorDetail::Step { step: path.as_str().to_owned() })
                    .with("pointer", &step.pointer),
            };
            if !can_handle(&error, path) {
                return Err(error);
            }
            match wait_before_retry(step, record.attempt_number(path), &error).filter(|_| record.retries) {
                Some(wait) => record.retry(path, &error, wait).await?,
                None => break error,
            }
        };
        self.unstage(step, path).await;
        match &step.policy.on_error {
            OnError::Fail => return Err(error),
            OnError::Continue => record.fail(path, &error).await?,
            OnError::Steps(steps) => {
                record.fail(path, &error).await?;
                let inside = scope.with("error", &self.error_value(&error, path));
                let end = self.clone().steps(steps.clone(), inside.clone(), outer.clone(), outside.clone()).await?;
                scope.adopt(&inside);
                return Ok(end);
            }
        }
        Ok(End::Completed)
    }

    /// Executes a step once, without what its policy says: no retries, no failure handler. Returns the reason if it has
    /// ended as skipped.
    pub(crate) async fn try_once(
        &self,
        step: &Step,
        scope: &Scope,
        outer: &StepPath,
        bounds: Bounds,
    ) -> Result<Option<String>> {
        let placed = PlacedStep { step, scope, outer, path: outer.join(&step.id), bounds };
        let result = self.attempt(&placed).await;
        self.unstage(step, &placed.path).await;
        match result {
            Ok(End::Completed) => Ok(None),
            Ok(End::Skipped(reason)) => Ok(Some(reason)),
            Err(error) => Err(self.without_secrets(error)),
        }
    }

    /// Executes one attempt of a step.
    async fn attempt(&self, placed: &PlacedStep<'_>) -> Result<End> {
        let PlacedStep { step, scope, path, bounds, .. } = placed;
        let failed = self.record().failed_attempts(path);
        let reason = if failed.throttled { WaitReason::Throttle } else { WaitReason::Time };
        self.sleep(failed.next, reason, bounds).await?;
        let output = match &step.kind {
            StepKind::Skip(reason) => return Ok(End::Skipped(self.reason(&reason.render_text(scope)?))),
            StepKind::Fail(reason) => return Err(Error::new(ErrorKind::Failed, reason.render_text(scope)?)),
            StepKind::If { condition, then, otherwise } => {
                return self.branch(placed, condition, [then, otherwise]).await;
            }
            StepKind::Parallel(branches) => return self.parallel(branches, scope, path, bounds).await,
            StepKind::Set(values) => values.render(scope)?,
            StepKind::Action(call) => self.call(call, scope, path, bounds).await?,
            StepKind::Call(sub) => self.sub_flow(sub, scope, path, bounds).await?,
            StepKind::Wait(wait) => self.recorded_wait(placed, wait).await?,
            StepKind::Each { over, templates, concurrency, batch, steps } => {
                let (pointer, concurrency, batch) = (&*step.pointer, *concurrency, *batch);
                let list = List { path, pointer, bounds, over, templates, concurrency, batch, steps };
                Each::new(self, list).run(scope).await?;
                self.record().run.read(|run| run.list_output(path, templates.collect.is_some()))
            }
        };
        scope.set_step(&step.id, &output);
        Ok(End::Completed)
    }

    /// Returns an error without the secrets of the run's connections. Errors and reasons are recorded in plain text, and a
    /// service may have returned what it was sent.
    fn without_secrets(&self, error: Error) -> Error {
        match self.files().redactor() {
            Some(redactor) => error.redacted(redactor),
            None => error,
        }
    }

    /// Returns the reason of a skipped item without the secrets of the run's connections.
    pub(super) fn reason(&self, text: &str) -> String {
        self.files().redactor().map_or_else(|| text.to_owned(), |redactor| redactor.redact(text).into_owned())
    }

    /// Executes the steps of an `if` that its condition selects.
    async fn branch(
        &self,
        placed: &PlacedStep<'_>,
        condition: &Template,
        [then, otherwise]: [&Arc<[Step]>; 2],
    ) -> Result<End> {
        let PlacedStep { scope, outer, bounds, .. } = placed;
        let steps = match condition.render(scope)? {
            Value::Bool(true) => then,
            Value::Bool(false) => otherwise,
            other => {
                let message = format!("if needs true or false, not {}", kind_of(&other));
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .hint("compare it with something, such as {{ steps.x.y != '' }}"));
            }
        };
        self.clone().steps(steps.clone(), (*scope).clone(), (*outer).clone(), bounds.clone()).await
    }

    /// Executes a `wait` step, unless its end is recorded.
    async fn recorded_wait(&self, placed: &PlacedStep<'_>, wait: &Wait) -> Result<Value> {
        match self.record().result(&placed.path) {
            Some(recorded) => recorded,
            None => self.wait(wait, placed.scope, &placed.path, &placed.bounds).await,
        }
    }
}

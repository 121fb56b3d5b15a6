//! The interpreter: executes the steps of a flow.
//!
//! It is deterministic except for what it receives through [`RunRecord`]. After a crash it takes the same path through
//! the flow again, and what is recorded is not executed again. An error that a step has handled is recorded as the
//! step's result, so the path after it is the same the next time.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tracing::Instrument;
use trunkline_core::{Connected, Connections, Error, ErrorKind, Result, Staging, StepPath};
use trunkline_flow::{Flow, Scope, Step};

use crate::{
    interpreter::{
        ActivityMonitor,
        bounds::{Bounds, ends_more_than},
        cancellation::Stop,
        record::RunRecord,
    },
    run::failure::stops_the_run,
};

/// The end of a list of steps without an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All steps ran.
    Completed,
    /// A `skip` step ended the list, for this reason.
    Skipped(String),
}

/// Executes the steps of one run.
#[derive(Clone)]
pub(crate) struct Interpreter(Arc<Inner>);

struct Inner {
    parts: InterpreterParts,
    /// All connections of the run: a file may be read through another connection than that of the step.
    files: Connections,
}

/// The parts of an [`Interpreter`].
#[derive(Clone)]
pub(crate) struct InterpreterParts {
    pub(crate) flow: Flow,
    /// The connection of each connection binding of the flow.
    pub(crate) bindings: BTreeMap<String, Connected>,
    pub(crate) record: Arc<RunRecord>,
    pub(crate) stop: Stop,
    pub(crate) activity: ActivityMonitor,
    pub(crate) staging: Option<Arc<dyn Staging>>,
}

/// The time limits of a flow.
pub(crate) struct FlowBounds {
    /// The limit of its steps.
    pub(crate) steps: Bounds,
    /// The limit of its failure handler: a flow that is out of time still runs it.
    pub(crate) handler: Bounds,
}

impl Interpreter {
    pub(crate) fn new(parts: InterpreterParts) -> Self {
        let files = parts.bindings.values().cloned().collect();
        Interpreter(Arc::new(Inner { parts, files }))
    }

    /// Returns the interpreter of a flow that this one calls.
    pub(super) fn of_flow(&self, flow: Flow, bindings: BTreeMap<String, Connected>) -> Self {
        let parts = InterpreterParts { flow, bindings, ..self.0.parts.clone() };
        Interpreter(Arc::new(Inner { parts, files: self.0.files.clone() }))
    }

    /// Executes the flow at this path; the empty path is the run itself. Returns the flow's output.
    pub(crate) fn flow(self, input: Value, path: StepPath, bounds: FlowBounds) -> BoxFuture<'static, Result<Value>> {
        Box::pin(async move {
            let (record, handler) = (self.record(), path.of_flow());
            if let Some(Ok(output)) = record.result(&path) {
                return Ok(output);
            }
            // The input can be large. From here on, only expressions read it, in a form of their own.
            let scope = Scope::new(&input, record.run.id().as_str(), self.0.parts.flow.tables());
            drop(input);
            let result = match record.result(&handler) {
                Some(Err(error)) => Err(error),
                _ => self.flow_steps(scope.branch(), &path, &bounds.steps).await,
            };
            let on_failure = self.0.parts.flow.on_failure().clone();
            match result {
                Err(error) if !on_failure.is_empty() && can_handle(&error, &path) => {
                    record.fail(&handler, &error).await?;
                    let scope = scope.with("error", &self.error_value(&error, &path));
                    match self.clone().steps(on_failure, scope, handler, bounds.handler).await {
                        Err(second) if !can_handle(&second, &path) => Err(second),
                        Err(second) => Err(error.with("on_failure", second)),
                        Ok(_) => Err(error),
                    }
                }
                result => result,
            }
        })
    }

    async fn flow_steps(&self, scope: Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let steps = self.clone().steps(self.0.parts.flow.steps().clone(), scope.clone(), path.clone(), bounds.clone());
        // A task of its own, so a panic ends the flow as failed instead of leaving it open.
        if let End::Skipped(reason) = joined(tokio::spawn(steps.in_current_span())).await? {
            if *path == StepPath::default() {
                self.record().skip_run(reason).await?;
            }
            return Ok(Value::Null);
        }
        let Some(output) = self.0.parts.flow.output() else { return Ok(Value::Null) };
        let output = output.render(&scope)?;
        self.record().finish(path, output.clone(), None).await?;
        Ok(output)
    }

    /// Executes steps one after the other.
    pub(super) fn steps(
        self,
        steps: Arc<[Step]>,
        scope: Scope,
        path: StepPath,
        bounds: Bounds,
    ) -> BoxFuture<'static, Result<End>> {
        Box::pin(async move {
            for step in steps.iter() {
                self.check_stop()?;
                match self.step(step, &scope, &path, &bounds).await? {
                    End::Completed => {}
                    skipped => return Ok(skipped),
                }
            }
            Ok(End::Completed)
        })
    }

    /// Returns an error as expressions see it, with the items that failed in the lists of the step or flow at this path.
    pub(super) fn error_value(&self, error: &Error, path: &StepPath) -> Value {
        error_value(error, self.record().failures(path))
    }

    /// Fails if the run has to stop.
    pub(super) fn check_stop(&self) -> Result<()> {
        if self.0.parts.stop.is_requested() { Err(cancelled()) } else { Ok(()) }
    }

    pub(super) fn parts(&self) -> &InterpreterParts {
        &self.0.parts
    }

    pub(super) fn record(&self) -> &RunRecord {
        &self.0.parts.record
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.0.parts.stop
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.parts.stop.cancellation.is_cancelled()
    }

    pub(super) fn activity(&self) -> &ActivityMonitor {
        &self.0.parts.activity
    }

    /// Returns all connections of the run.
    pub(super) fn files(&self) -> &Connections {
        &self.0.files
    }

    /// Returns the connection of a connection binding.
    pub(super) fn connected(&self, binding: &str) -> Result<&Connected> {
        self.0
            .parts
            .bindings
            .get(binding)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("the connection binding {binding} has no connection")))
    }
}

/// Returns an error as expressions see it, with these failed items.
pub(crate) fn error_value(error: &Error, failures: Vec<Value>) -> Value {
    json!({
        "kind": error.kind().as_str(), "message": error.message(), "hint": error.advice(), "step": error.step(),
        "failures": failures
    })
}

/// Returns whether the step or flow at this path may handle an error. Errors that stop the run are handled by the run's
/// flow only.
pub(super) fn can_handle(error: &Error, path: &StepPath) -> bool {
    match *path == StepPath::default() {
        true => !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Store),
        false => !stops_the_run(error) && !ends_more_than(error, path),
    }
}

/// Returns the error of a stopped run.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was cancelled")
}

/// Waits for a task and returns its result; a panic is an error.
pub(crate) async fn joined<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic)))
}

//! The interpreter: executes the steps of a flow.
//!
//! It is deterministic except for what it receives through [`Durability`]. After a crash it takes the same path through
//! the flow again, and what is recorded is not executed again. An error that a step has handled is recorded as the
//! step's result, so the path after it is the same the next time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tracing::Instrument;
use trunkline_core::{
    Connected, Connections, Context, Error, ErrorDetail, ErrorKind, Result, Retry, RunId, Staging, StepPath,
};
use trunkline_flow::{BoundAction, Flow, OnError, Scope, Step, StepKind, SubFlow, Tries, kind_of};
use uuid::Uuid;

use crate::{
    interpreter::{
        ActivityMonitor,
        action_call::ActionCall,
        bounds::{Bounds, ends_more_than},
        cancellation::Stop,
        durability::Durability,
        each::{Each, ItemTemplates, List},
    },
    run::{RunLimits, failure::stops_the_run},
};

/// The longest duration of a step, retries included, if its flow sets no timeout.
const STEP_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// The retries of a step without `retry` after a throttled service has asked for a longer wait than a call makes
/// itself.
const THROTTLED: Tries = Tries { tries: 10, wait: Duration::from_secs(1), longest: Duration::from_secs(900) };

/// The end of a list of steps without an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All steps ran.
    Completed,
    /// A `skip` step ended the list, for this reason.
    Skipped(String),
}

/// Executes the steps of one run.
#[derive(Clone)]
pub(crate) struct Interpreter(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    parts: InterpreterParts,
    /// All connections of the run: a file may be read through another connection than that of the step.
    files: Connections,
}

/// The parts of an [`Interpreter`].
#[derive(Clone)]
pub(crate) struct InterpreterParts {
    pub(crate) run: RunId,
    pub(crate) flow: Flow,
    /// The connection of each connection binding of the flow.
    pub(crate) bindings: BTreeMap<String, Connected>,
    pub(crate) durability: Arc<dyn Durability>,
    pub(crate) stop: Stop,
    pub(crate) activity: ActivityMonitor,
    pub(crate) limits: RunLimits,
    pub(crate) staging: Option<Arc<dyn Staging>>,
}

impl Interpreter {
    pub(crate) fn new(parts: InterpreterParts) -> Self {
        let files = parts.bindings.values().cloned().collect();
        Interpreter(Arc::new(Inner { parts, files }))
    }

    /// Executes the flow at this path; the empty path is the run itself. The steps have to end within `bounds`. If they
    /// fail, the failure handler runs within `outside`. Returns the flow's output.
    pub(crate) fn flow(
        self,
        input: Value,
        path: StepPath,
        bounds: Bounds,
        outside: Bounds,
    ) -> BoxFuture<'static, Result<Value>> {
        Box::pin(async move {
            let (durability, handler) = (self.0.parts.durability.clone(), path.of_flow());
            if let Some(Ok(output)) = durability.result(&path) {
                return Ok(output);
            }
            let result = match durability.result(&handler) {
                Some(Err(error)) => Err(error),
                _ => self.flow_steps(&input, &path, &bounds).await,
            };
            let on_failure = self.0.parts.flow.on_failure().clone();
            match result {
                Err(error) if !on_failure.is_empty() && can_handle(&error, &path) => {
                    durability.fail(&handler, &error).await?;
                    let scope = Scope::new(&input, self.0.parts.run.as_str(), self.0.parts.flow.tables())
                        .with("error", &error_value(&error));
                    match self.steps(on_failure, scope, handler, outside).await {
                        Err(second) if !can_handle(&second, &path) => Err(second),
                        Err(second) => Err(error.with("on_failure", second)),
                        Ok(_) => Err(error),
                    }
                }
                result => result,
            }
        })
    }

    async fn flow_steps(&self, input: &Value, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let scope = Scope::new(input, self.0.parts.run.as_str(), self.0.parts.flow.tables());
        let steps = self.clone().steps(self.0.parts.flow.steps().clone(), scope.clone(), path.clone(), bounds.clone());
        // A task of its own, so a panic ends the flow as failed instead of leaving it open.
        if let End::Skipped(_) = joined(tokio::spawn(steps.in_current_span())).await? {
            return Ok(Value::Null);
        }
        let Some(output) = self.0.parts.flow.output() else { return Ok(Value::Null) };
        let output = output.render(&scope)?;
        self.0.parts.durability.finish(path, output.clone(), None).await?;
        Ok(output)
    }

    /// Executes steps one after the other.
    pub(crate) fn steps(
        self,
        steps: Arc<[Step]>,
        scope: Scope,
        path: StepPath,
        bounds: Bounds,
    ) -> BoxFuture<'static, Result<End>> {
        Box::pin(async move {
            for step in steps.iter() {
                self.check_stop()?;
                match self.step_with_policy(step, &scope, &path, &bounds).await? {
                    End::Completed => {}
                    skipped => return Ok(skipped),
                }
            }
            Ok(End::Completed)
        })
    }

    /// Executes a step with its policy: its timeout, its retries, and what happens if it fails.
    async fn step_with_policy(&self, step: &Step, scope: &Scope, outer: &StepPath, outside: &Bounds) -> Result<End> {
        let (durability, policy, path) = (&*self.0.parts.durability, &step.policy, outer.join(&step.id));
        let bounds = match policy.timeout {
            Some(length) => outside.within(&path, durability.deadline(&path, length).await?, length),
            None => outside.clone(),
        };
        let error = loop {
            let result = match durability.result(&path) {
                Some(Err(error)) => Err(error),
                // Also if it is recorded: the steps after it need its output.
                _ => self.step(step, scope, outer, &path, &bounds).await,
            };
            let error = match result {
                Ok(end) => {
                    self.unstage(step, &path).await;
                    return Ok(end);
                }
                Err(error) => error
                    .with_detail(ErrorDetail::Step { step: path.as_str().to_owned() })
                    .with("pointer", &step.pointer),
            };
            if !can_handle(&error, &path) {
                return Err(error);
            }
            let calls = matches!(step.kind, StepKind::Action(_) | StepKind::Each { .. });
            let throttled =
                calls && matches!((error.kind(), error.retryable()), (ErrorKind::RateLimited, Retry::After(_)));
            let tries = policy.retry.as_ref().or(throttled.then_some(&THROTTLED));
            let wait = tries.filter(|_| error.kind() != ErrorKind::UnknownOutcome);
            match wait.and_then(|tries| tries.next(durability.failed_attempts(&path).count + 1, &error)) {
                Some(wait) => durability.retry(&path, &error, wait).await?,
                None => break error,
            }
        };
        self.unstage(step, &path).await;
        match &policy.on_error {
            OnError::Fail => return Err(error),
            OnError::Continue => durability.fail(&path, &error).await?,
            OnError::Steps(steps) => {
                durability.fail(&path, &error).await?;
                let inside = scope.with("error", &error_value(&error));
                let end = self.clone().steps(steps.clone(), inside.clone(), outer.clone(), outside.clone()).await?;
                scope.adopt(&inside);
                return Ok(end);
            }
        }
        Ok(End::Completed)
    }

    /// Executes one attempt of a step.
    async fn step(
        &self,
        step: &Step,
        scope: &Scope,
        outer: &StepPath,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<End> {
        let durability = &*self.0.parts.durability;
        self.sleep(durability.failed_attempts(path).next, bounds).await?;
        match &step.kind {
            StepKind::Set(values) => scope.set_step(&step.id, &values.render(scope)?),
            StepKind::Skip(reason) => return Ok(End::Skipped(reason.render_text(scope)?)),
            StepKind::Fail(reason) => return Err(Error::new(ErrorKind::Failed, reason.render_text(scope)?)),
            StepKind::If { condition, then, otherwise } => {
                let steps = match condition.render(scope)? {
                    Value::Bool(true) => then,
                    Value::Bool(false) => otherwise,
                    other => {
                        let kind = kind_of(&other);
                        return Err(Error::new(ErrorKind::InvalidInput, format!("if needs true or false, not {kind}"))
                            .hint("compare it with something, such as {{ steps.x.y != '' }}"));
                    }
                };
                return self.clone().steps(steps.clone(), scope.clone(), outer.clone(), bounds.clone()).await;
            }
            StepKind::Action(call) => scope.set_step(&step.id, &self.call(call, scope, path, bounds).await?),
            StepKind::Parallel(branches) => return self.parallel(branches, scope, path, bounds).await,
            StepKind::Call(sub) => scope.set_step(&step.id, &self.sub_flow(sub, scope, path, bounds).await?),
            StepKind::Wait(wait) => {
                let output = match durability.result(path) {
                    Some(recorded) => recorded?,
                    None => self.wait(wait, scope, path, bounds).await?,
                };
                scope.set_step(&step.id, &output);
            }
            StepKind::Each { over, key, once, concurrency, batch, steps } => {
                let templates = ItemTemplates { key: key.as_ref(), once: once.as_deref() };
                let list = List { path, bounds, over, templates, concurrency: *concurrency, batch: *batch, steps };
                Each::new(self, list).run(scope).await?;
                let ledger = durability.ledger(path);
                let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
                let output = json!({
                    "done": ledger.done, "skipped": sum(&ledger.skipped),
                    "failed": sum(&ledger.failed), "unknown": sum(&ledger.unknown),
                    "maybe_incomplete": ledger.maybe_incomplete.is_some()
                });
                scope.set_step(&step.id, &output);
            }
        }
        Ok(End::Completed)
    }

    /// Executes all branches to their ends.
    ///
    /// If several fail, the first error that the step cannot handle counts, or else the first one, both in the order of
    /// the document: so it is the same error after a crash.
    async fn parallel(
        &self,
        branches: &[(String, Arc<[Step]>)],
        scope: &Scope,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<End> {
        let begin = |(name, steps): &(String, Arc<[Step]>)| {
            let inside = scope.branch();
            let span = tracing::info_span!("branch", step = %path, branch = %name);
            let steps = self.clone().steps(steps.clone(), inside.clone(), path.clone(), bounds.clone());
            (name.clone(), inside, tokio::spawn(steps.instrument(span)))
        };
        let working: Vec<_> = branches.iter().map(begin).collect();
        let (mut skipped, mut errors, mut scopes) = (None, Vec::new(), Vec::new());
        for (name, inside, task) in working {
            match joined(task).await {
                Ok(End::Completed) => {}
                Ok(end) => skipped = skipped.or(Some(end)),
                Err(error) => errors.push((name, error)),
            }
            scopes.push(inside);
        }
        if !errors.is_empty() {
            let first = errors.iter().position(|(_, error)| !can_handle(error, path)).unwrap_or_default();
            let (_, error) = errors.remove(first);
            return Err(errors
                .into_iter()
                .fold(error, |error, (name, other)| error.with(format!("branch {name} failed too"), other)));
        }
        scopes.iter().for_each(|inside| scope.adopt(inside));
        Ok(skipped.unwrap_or(End::Completed))
    }

    /// Returns the flow that a step calls.
    fn callee(&self, sub: &SubFlow) -> Result<Flow> {
        let name = &sub.called.flow;
        self.0.parts.flow.callee(name).ok_or_else(|| {
            let message = format!("the flow {} calls {name}, and was not linked with it", self.0.parts.flow.name());
            Error::new(ErrorKind::Internal, message)
        })
    }

    /// Executes a called flow.
    async fn sub_flow(&self, sub: &SubFlow, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let flow = self.callee(sub)?;
        let input = sub.input.render(scope)?;
        if let Some(schema) = flow.input() {
            schema.accept(&format!("the input of flow {}", flow.name()), &input)?;
        }
        let bindings = flow.connections().keys().map(|binding| {
            let connected = self.connected(sub.called.binding_for(binding))?;
            Ok((binding.clone(), connected.clone()))
        });
        let bindings = bindings.collect::<Result<_>>()?;
        let inside = match flow.timeout() {
            Some(length) => {
                bounds.within(path, self.0.parts.durability.deadline(&path.of_flow(), length).await?, length)
            }
            None => bounds.clone(),
        };
        let parts = InterpreterParts { flow, bindings, ..self.0.parts.clone() };
        let interpreter = Interpreter(Arc::new(Inner { parts, files: self.0.files.clone() }));
        let result = interpreter.flow(input, path.clone(), inside, bounds.clone()).await;
        // Names the document that the error's pointer refers to.
        result.map_err(|error| error.with("flow", &sub.called.flow))
    }

    /// Fails if the run has to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.0.parts.stop.is_requested() { Err(cancelled()) } else { Ok(()) }
    }

    pub(crate) fn durability(&self) -> &dyn Durability {
        &*self.0.parts.durability
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.0.parts.stop
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.parts.stop.cancellation.is_cancelled()
    }

    pub(crate) fn activity(&self) -> &ActivityMonitor {
        &self.0.parts.activity
    }

    pub(crate) fn limits(&self) -> &RunLimits {
        &self.0.parts.limits
    }

    /// Returns the connection of a connection binding.
    pub(crate) fn connected(&self, binding: &str) -> Result<&Connected> {
        self.0
            .parts
            .bindings
            .get(binding)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("the connection binding {binding} has no connection")))
    }

    /// Returns the context for a call of an action within these bounds.
    pub(crate) fn context(&self, connected: &Connected, path: &StepPath, bounds: &Bounds) -> Context {
        let (run, key) = self.idempotency_key(path);
        let left = bounds.left(self.0.parts.durability.now());
        let cx = Context::new(&key, connected.name(), self.0.files.clone())
            .with_cancellation(self.0.parts.stop.cancellation.clone())
            .with_timeout(left.min(STEP_TIMEOUT));
        match &self.0.parts.staging {
            Some(staging) => cx.with_staging(staging.clone(), run.as_str()),
            None => cx,
        }
    }

    /// Returns the run in which a step was begun, and its idempotency key, which is the same for each attempt.
    fn idempotency_key(&self, path: &StepPath) -> (RunId, String) {
        let run = self.0.parts.durability.begun_in(path);
        let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{run}/{path}").as_bytes());
        (run, key.to_string())
    }

    /// Removes the staged copies of a step that has ended.
    async fn unstage(&self, step: &Step, path: &StepPath) {
        if let (Some(staging), StepKind::Action(_)) = (&self.0.parts.staging, &step.kind) {
            let (run, key) = self.idempotency_key(path);
            staging.unstage(run.as_str(), Some(&key)).await;
        }
    }

    /// Calls the action of a step, unless its result is recorded.
    async fn call(&self, call: &BoundAction, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let connected = self.connected(&call.binding)?;
        let input = call.input.render(scope)?;
        let effect = connected.connector().effect(&call.action, &input)?;
        let action_call =
            ActionCall { interpreter: self, connected, action: &call.action, effect, input, path, bounds };
        let attempt = self.0.parts.durability.failed_attempts(path).count + 1;
        let span = tracing::info_span!(
            "step", run = %self.0.parts.run, flow = self.0.parts.flow.name(), step = %path, attempt,
            action = %call.action, connection = connected.name(),
        );
        self.0.parts.durability.step(path, effect, &action_call).instrument(span).await
    }
}

/// Returns whether the step or flow at this path may handle an error. Errors that stop the run are handled by the run's
/// flow only.
fn can_handle(error: &Error, path: &StepPath) -> bool {
    match *path == StepPath::default() {
        true => !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Store),
        false => !stops_the_run(error) && !ends_more_than(error, path),
    }
}

/// Returns an error as expressions see it.
fn error_value(error: &Error) -> Value {
    json!({
        "kind": error.kind().as_str(), "message": error.message(), "hint": error.advice(), "step": error.step()
    })
}

/// Returns the error of a stopped run.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was cancelled")
}

/// Waits for a task and returns its result; a panic is an error.
pub(crate) async fn joined<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic)))
}

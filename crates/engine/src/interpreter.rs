//! Goes through a flow's steps. Deterministic but for what it gets through [`Durability`]: after a crash it goes the same
//! way again, and what was recorded is not done again.
//!
//! Every error that a step has dealt with is recorded as the step's end, so that the way after it is the same the next time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tracing::Instrument;
use trunkline_core::{Connected, Connections, Context, Error, ErrorKind, Result, Retry, Staging};
use uuid::Uuid;

use crate::{
    ActivityMonitor, Flow, RunId, RunLimits, StepPath, Waiting,
    action_call::ActionCall,
    cancellation::Stop,
    durability::{Durability, concerns_the_run},
    each::{Each, Marks},
    step::{Call, OnError, Step, StepKind, SubFlow, Tries, Wait},
    template::Scope,
    time::{self, Bounds, Timer, ends_more_than},
};

/// How long one step may take in all, retries included, if its flow does not say.
const STEP_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// How a step that does not say is tried again when the service says to come back later than a call can wait for.
const PATIENCE: Tries = Tries { tries: 10, wait: Duration::from_secs(1), longest: Duration::from_secs(900) };
/// How long a call may take to break itself off when the run is cancelled.
const GRACE: Duration = Duration::from_secs(10);
/// The clock is looked at so often: it may have been set, or the machine may have slept.
const TICK: Duration = Duration::from_secs(60);

/// How a list of steps ended, if not by an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All of them ran.
    Completed,
    /// A `skip` step ended them.
    Skipped(String),
}

/// Runs the steps of one run.
#[derive(Clone)]
pub(crate) struct Interpreter(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    run: RunId,
    flow: Flow,
    slots: BTreeMap<String, Connected>,
    files: Connections,
    durability: Arc<dyn Durability>,
    stop: Stop,
    activity: ActivityMonitor,
    limits: RunLimits,
    staging: Option<Arc<dyn Staging>>,
}

impl Interpreter {
    pub(crate) fn new(
        run: RunId,
        flow: Flow,
        slots: BTreeMap<String, Connected>,
        durability: Arc<dyn Durability>,
        (stop, activity): (Stop, ActivityMonitor),
        limits: RunLimits,
        staging: Option<Arc<dyn Staging>>,
    ) -> Self {
        let files = slots.values().cloned().collect();
        Interpreter(Arc::new(Inner { run, flow, slots, files, durability, stop, activity, limits, staging }))
    }

    /// Runs the flow: its steps within their bounds, then its output, or else its failure handler within the bounds outside.
    /// The empty path is that of the run.
    pub(crate) fn flow(
        self,
        input: Value,
        path: StepPath,
        bounds: Bounds,
        outside: Bounds,
    ) -> BoxFuture<'static, Result<Value>> {
        Box::pin(async move {
            let (durability, handler) = (self.0.durability.clone(), path.of_flow());
            if let Some(Ok(output)) = durability.result(&path) {
                return Ok(output);
            }
            let result = match durability.result(&handler) {
                Some(Err(error)) => Err(error),
                _ => self.flow_steps(&input, &path, &bounds).await,
            };
            let on_failure = self.0.flow.on_failure().clone();
            match result {
                Err(error) if !on_failure.is_empty() && handles(&error, &path) => {
                    durability.fail(&handler, &error).await?;
                    let scope =
                        Scope::new(&input, self.0.run.as_str(), self.0.flow.tables()).with("error", &described(&error));
                    match self.steps(on_failure, scope, handler, outside).await {
                        Err(second) if !handles(&second, &path) => Err(second),
                        Err(second) => Err(error.with("on_failure", second)),
                        Ok(_) => Err(error),
                    }
                }
                result => result,
            }
        })
    }

    async fn flow_steps(&self, input: &Value, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let scope = Scope::new(input, self.0.run.as_str(), self.0.flow.tables());
        let steps = self.clone().steps(self.0.flow.steps().clone(), scope.clone(), path.clone(), bounds.clone());
        // In a task of its own, so that a panic ends the flow as failed instead of leaving it open.
        if let End::Skipped(_) = joined(tokio::spawn(steps.in_current_span())).await? {
            return Ok(Value::Null);
        }
        let Some(output) = self.0.flow.output() else { return Ok(Value::Null) };
        let output = output.render(&scope)?;
        self.0.durability.finish(path, output.clone(), None).await?;
        Ok(output)
    }

    /// Runs steps one after the other.
    pub(crate) fn steps(
        self,
        steps: Arc<[Step]>,
        scope: Scope,
        path: StepPath,
        bounds: Bounds,
    ) -> BoxFuture<'static, Result<End>> {
        Box::pin(async move {
            for step in steps.iter() {
                self.cancelled()?;
                match self.guarded(step, &scope, &path, &bounds).await? {
                    End::Completed => {}
                    skipped => return Ok(skipped),
                }
            }
            Ok(End::Completed)
        })
    }

    /// Runs a step as often as it may be tried, as long as it may take, and what stands in for it if it fails.
    async fn guarded(&self, step: &Step, scope: &Scope, outer: &StepPath, outside: &Bounds) -> Result<End> {
        let (durability, guard, path) = (&*self.0.durability, &step.guard, outer.join(&step.id));
        let bounds = match guard.timeout {
            Some(length) => outside.within(&path, durability.deadline(&path, length).await?, length),
            None => outside.clone(),
        };
        let error = loop {
            let result = match durability.result(&path) {
                Some(Err(error)) => Err(error),
                // Even then its output has to become known to the steps after it.
                _ => self.step(step, scope, outer, &path, &bounds).await,
            };
            let error = match result {
                Ok(end) => {
                    self.unstage(step, &path).await;
                    return Ok(end);
                }
                Err(error) => error.with("step", &path).with("pointer", &step.pointer),
            };
            if !handles(&error, &path) {
                return Err(error);
            }
            let calls = matches!(step.kind, StepKind::Action(_) | StepKind::Each { .. });
            let throttled =
                calls && matches!((error.kind(), error.retryable()), (ErrorKind::RateLimited, Retry::After(_)));
            let tries = guard.retry.as_ref().or(throttled.then_some(&PATIENCE));
            let wait = tries.filter(|_| error.kind() != ErrorKind::UnknownOutcome);
            match wait.and_then(|tries| tries.next(durability.tries(&path).0 + 1, &error)) {
                Some(wait) => durability.retry(&path, &error, wait).await?,
                None => break error,
            }
        };
        self.unstage(step, &path).await;
        match &guard.on_error {
            OnError::Fail => return Err(error),
            OnError::Continue => durability.fail(&path, &error).await?,
            OnError::Steps(steps) => {
                durability.fail(&path, &error).await?;
                let inside = scope.with("error", &described(&error));
                let end = self.clone().steps(steps.clone(), inside.clone(), outer.clone(), outside.clone()).await?;
                scope.adopt(&inside);
                return Ok(end);
            }
        }
        Ok(End::Completed)
    }

    async fn step(
        &self,
        step: &Step,
        scope: &Scope,
        outer: &StepPath,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<End> {
        let durability = &*self.0.durability;
        self.sleep(durability.tries(path).1, bounds).await?;
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
                let marks = Marks { key: key.as_ref(), once: once.as_deref() };
                Each::new(self, path, bounds, *concurrency, *batch, steps).run(over, marks, scope).await?;
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

    /// Runs all branches to their ends. What counts is the first error in the order of the document, so that it is the same
    /// one after a crash; one that the step cannot deal with goes before.
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
            let first = errors.iter().position(|(_, error)| !handles(error, path)).unwrap_or_default();
            let (_, error) = errors.remove(first);
            return Err(errors
                .into_iter()
                .fold(error, |error, (name, other)| error.with(format!("branch {name} failed too"), other)));
        }
        scopes.iter().for_each(|inside| scope.adopt(inside));
        Ok(skipped.unwrap_or(End::Completed))
    }

    fn callee(&self, sub: &SubFlow) -> Result<Flow> {
        let name = &sub.called.flow;
        self.0.flow.callee(name).ok_or_else(|| {
            let message = format!("the flow {} calls {name}, and was not linked with it", self.0.flow.name());
            Error::new(ErrorKind::Internal, message)
        })
    }

    async fn sub_flow(&self, sub: &SubFlow, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let flow = self.callee(sub)?;
        let input = sub.input.render(scope)?;
        if let Some(schema) = flow.input() {
            schema.accept(&format!("the input of flow {}", flow.name()), &input)?;
        }
        let slots = flow.connections().keys().map(|its| {
            let connected = self.connected(sub.called.slot(its))?;
            Ok((its.clone(), connected.clone()))
        });
        let slots = slots.collect::<Result<_>>()?;
        let inside = match flow.timeout() {
            Some(length) => bounds.within(path, self.0.durability.deadline(&path.of_flow(), length).await?, length),
            None => bounds.clone(),
        };
        let interpreter = Interpreter(Arc::new(Inner { flow, slots, ..Inner::clone(&self.0) }));
        let result = interpreter.flow(input, path.clone(), inside, bounds.clone()).await;
        // Whose document the pointer is into.
        result.map_err(|error| error.with("flow", &sub.called.flow))
    }

    async fn wait(&self, wait: &Wait, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let durability = &*self.0.durability;
        let began = durability.now();
        let output = match wait {
            Wait::Signal(name) => {
                let name = name.render_text(scope)?;
                let wait = Waiting { signal: Some(name.clone()), until: bounds.until };
                durability.wait(path, wait).await?;
                let _waits = self.0.activity.wait();
                tokio::select! {
                    biased;
                    payload = durability.signal(&name) => payload,
                    over = self.over(bounds) => return Err(over),
                }
            }
            Wait::For(length) => {
                let until = durability.now() + *length;
                self.wait_until(Timer { until, longest: *length }, path, bounds).await?
            }
            // A time of the calendar: the clock decides, however it is set.
            Wait::Until(time) => {
                let until = time::moment(&time.render(scope)?)?;
                self.wait_until(Timer { until, longest: Duration::MAX }, path, bounds).await?
            }
        };
        durability.finish(path, output.clone(), Some(began)).await?;
        Ok(output)
    }

    async fn wait_until(&self, timer: Timer, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let wait = self.0.durability.wait(path, Waiting { signal: None, until: timer.until }).await?;
        self.sleep(Timer { until: wait.until, ..timer }, bounds).await?;
        Ok(Value::Null)
    }

    /// Waits until then, unless the run is stopped or the time is over before.
    async fn sleep(&self, timer: Timer, bounds: &Bounds) -> Result<()> {
        if timer.until <= self.0.durability.now() {
            return Ok(());
        }
        let _waits = self.0.activity.wait();
        tokio::select! {
            biased;
            () = self.until(timer) => Ok(()),
            over = self.over(bounds) => Err(over),
        }
    }

    /// Waits until the clock says so, and no longer than the timer runs: the clock may have been set back since it began.
    pub(crate) async fn until(&self, timer: Timer) {
        let began = tokio::time::Instant::now();
        loop {
            let left = timer.until.since(self.0.durability.now());
            let left = left.min(timer.longest.saturating_sub(began.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    /// Resolves when the time is over or the run is stopped, to the error that says so.
    pub(crate) async fn over(&self, bounds: &Bounds) -> Error {
        tokio::select! {
            biased;
            () = self.0.stop.asked() => cancelled(),
            () = self.until(bounds.timer()) => bounds.error(),
        }
    }

    /// Resolves some time after the run was cancelled.
    pub(crate) async fn out_of_patience(&self) {
        self.0.stop.cancellation.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// An error if the run is to stop.
    pub(crate) fn cancelled(&self) -> Result<()> {
        if self.0.stop.is_asked() { Err(cancelled()) } else { Ok(()) }
    }

    pub(crate) fn durability(&self) -> &dyn Durability {
        &*self.0.durability
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.stop.cancellation.is_cancelled()
    }

    pub(crate) fn activity(&self) -> &ActivityMonitor {
        &self.0.activity
    }

    pub(crate) fn limits(&self) -> &RunLimits {
        &self.0.limits
    }

    pub(crate) fn connected(&self, slot: &str) -> Result<&Connected> {
        self.0.slots.get(slot).ok_or_else(|| Error::new(ErrorKind::Config, format!("the slot {slot} is not filled")))
    }

    /// What an action gets that has this long.
    pub(crate) fn context(&self, connected: &Connected, path: &StepPath, bounds: &Bounds) -> Context {
        let (run, key) = self.begun_as(path);
        let left = bounds.left(self.0.durability.now());
        let cx = Context::new(&key, connected.name(), self.0.files.clone())
            .with_cancellation(self.0.stop.cancellation.clone())
            .with_timeout(left.min(STEP_TIMEOUT));
        match &self.0.staging {
            Some(staging) => cx.with_staging(staging.clone(), run.as_str()),
            None => cx,
        }
    }

    /// The run that a step was begun in, and its idempotency key: the same whenever it is tried.
    fn begun_as(&self, path: &StepPath) -> (RunId, String) {
        let run = self.0.durability.begun_in(path);
        let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{run}/{path}").as_bytes());
        (run, key.to_string())
    }

    /// Removes what a step has spilled that has ended.
    async fn unstage(&self, step: &Step, path: &StepPath) {
        if let (Some(staging), StepKind::Action(_)) = (&self.0.staging, &step.kind) {
            let (run, key) = self.begun_as(path);
            staging.unstage(run.as_str(), Some(&key)).await;
        }
    }

    async fn call(&self, call: &Call, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let connected = self.connected(&call.slot)?;
        let input = call.input.render(scope)?;
        let effect = connected.connector().effect(&call.action, &input)?;
        let calling = ActionCall { interpreter: self, connected, action: &call.action, effect, input, path, bounds };
        let attempt = self.0.durability.tries(path).0 + 1;
        let span = tracing::info_span!(
            "step", run = %self.0.run, flow = self.0.flow.name(), step = %path, attempt,
            action = %call.action, connection = connected.name(),
        );
        self.0.durability.step(path, effect, &calling).instrument(span).await
    }
}

/// Whether the step at this path, or the flow, may deal with an error. The flow of the run deals with what concerns the run.
fn handles(error: &Error, path: &StepPath) -> bool {
    match *path == StepPath::default() {
        true => !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Store),
        false => !concerns_the_run(error) && !ends_more_than(error, path),
    }
}

/// What expressions see of an error.
fn described(error: &Error) -> Value {
    json!({
        "kind": error.kind().as_str(), "message": error.message(), "hint": error.advice(), "step": error.context("step")
    })
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was cancelled")
}

/// What a task came to; a panic is an error.
pub(crate) async fn joined<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic)))
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

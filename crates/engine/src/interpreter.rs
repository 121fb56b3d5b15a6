//! Goes through a flow's steps. Deterministic but for what it gets through [`Durability`]: after a crash it goes the same
//! way again, and what was recorded is not done again.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;
use trunkline_core::{CancellationToken, Connected, Connections, Context, Effect, Error, ErrorKind, Recorder, Result};
use uuid::Uuid;

use crate::{
    ItemOutcome, RunId, StepPath,
    durability::{Attempt, Durability, Notice, concerns_the_run},
    expression::Scope,
    flow::{Call, Over, Step, StepKind},
};

/// How long one step may take in all, retries included.
const STEP_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);

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

struct Inner {
    run: RunId,
    slots: BTreeMap<String, Connected>,
    files: Connections,
    durability: Arc<dyn Durability>,
    /// Breaks off steps in flight.
    cancellation: CancellationToken,
    /// Lets them end, and begins nothing new.
    parking: CancellationToken,
}

impl Interpreter {
    pub(crate) fn new(
        run: RunId,
        slots: BTreeMap<String, Connected>,
        durability: Arc<dyn Durability>,
        cancellation: CancellationToken,
        parking: CancellationToken,
    ) -> Self {
        let files = slots.values().cloned().collect();
        Interpreter(Arc::new(Inner { run, slots, files, durability, cancellation, parking }))
    }

    /// Runs steps one after the other.
    pub(crate) fn steps(self, steps: Arc<[Step]>, scope: Scope, path: StepPath) -> BoxFuture<'static, Result<End>> {
        Box::pin(async move {
            for step in steps.iter() {
                self.0.cancelled()?;
                let here = path.join(&step.id);
                let end = self.step(step, &scope, &path, &here).await;
                match end.map_err(|error| error.with("step", &here).with("pointer", &step.pointer))? {
                    End::Completed => {}
                    skipped => return Ok(skipped),
                }
            }
            Ok(End::Completed)
        })
    }

    async fn step(&self, step: &Step, scope: &Scope, outer: &StepPath, path: &StepPath) -> Result<End> {
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
                return self.clone().steps(steps.clone(), scope.clone(), outer.clone()).await;
            }
            StepKind::Action(call) => scope.set_step(&step.id, &self.call(call, scope, path).await?),
            StepKind::Each { over, key, concurrency, steps } => {
                let mut each = Each {
                    interpreter: self,
                    path,
                    concurrency: *concurrency,
                    steps,
                    working: JoinSet::new(),
                    items: HashMap::new(),
                    keys: HashSet::new(),
                    pages: VecDeque::new(),
                    first_page: 0,
                };
                each.run(over, key.as_ref(), scope).await?;
                let ledger = self.0.durability.ledger(path);
                let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
                let output = json!({
                    "done": ledger.done, "skipped": sum(&ledger.skipped),
                    "failed": sum(&ledger.failed), "unknown": sum(&ledger.unknown)
                });
                scope.set_step(&step.id, &output);
            }
        }
        Ok(End::Completed)
    }

    fn connected(&self, slot: &str) -> Result<&Connected> {
        self.0.slots.get(slot).ok_or_else(|| Error::new(ErrorKind::Config, format!("the slot {slot} is not filled")))
    }

    fn context(&self, connected: &Connected, path: &StepPath) -> Context {
        let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}/{path}", self.0.run).as_bytes());
        Context::new(&key.to_string(), connected.name(), self.0.files.clone())
            .with_cancellation(self.0.cancellation.clone())
            .with_timeout(STEP_TIMEOUT)
    }

    async fn call(&self, call: &Call, scope: &Scope, path: &StepPath) -> Result<Value> {
        let connected = self.connected(&call.slot)?;
        let effect = connected.connector().action_spec(&call.action)?.effect;
        let input = call.input.render(scope)?;
        let cx = self.context(connected, path);
        let attempt = Calling { connected, action: &call.action, input, cx };
        let span = tracing::info_span!("step", run = %self.0.run, step = %path, action = %call.action);
        self.0.durability.step(path, effect, &attempt).instrument(span).await
    }
}

/// A step's call of an action.
struct Calling<'a> {
    connected: &'a Connected,
    action: &'a str,
    input: Value,
    cx: Context,
}

impl Calling<'_> {
    fn context(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Context {
        self.cx.clone().with_recorder(recorder, checkpoint)
    }
}

#[async_trait]
impl Attempt for Calling<'_> {
    async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value> {
        let cx = self.context(checkpoint, recorder);
        self.connected.run(self.action, self.input.clone(), &cx).await
    }

    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>> {
        let cx = self.context(checkpoint, recorder);
        self.connected.reconcile(self.action, self.input.clone(), &cx).await
    }
}

/// An `each` at work: items of one or two pages at a time, never the whole list.
struct Each<'a> {
    interpreter: &'a Interpreter,
    path: &'a StepPath,
    concurrency: usize,
    steps: &'a Arc<[Step]>,
    working: JoinSet<Result<End>>,
    /// The page and the key of each item being worked on.
    items: HashMap<Id, (u64, String)>,
    keys: HashSet<String>,
    /// Pages with items that have no outcome yet, oldest first; the first has the number `first_page`.
    pages: VecDeque<OpenPage>,
    first_page: u64,
}

struct OpenPage {
    open: usize,
    next: Option<Value>,
}

impl Each<'_> {
    async fn run(&mut self, over: &Over, key: Option<&crate::Template>, scope: &Scope) -> Result<()> {
        let mut result = self.go(over, key, scope).await;
        // After an error that concerns the whole run, what is in flight still gets its outcome: nothing is torn off midway.
        while let Some(ended) = self.working.join_next_with_id().await {
            result = result.and(self.finish(ended).await);
        }
        result.and(self.advance().await)
    }

    async fn go(&mut self, over: &Over, key: Option<&crate::Template>, scope: &Scope) -> Result<()> {
        let durability = &*self.interpreter.0.durability;
        let mut from = match durability.position(self.path) {
            Some(None) => return Ok(()),
            Some(Some(cursor)) => Some(cursor),
            None => None,
        };
        let mut index = 0u64;
        loop {
            let (items, next) = self.page(over, scope, from).await?;
            let mut wanted = Vec::with_capacity(items.len());
            let mut names = HashSet::new();
            for item in items {
                let scope = scope.for_item(&item);
                let name = match key {
                    Some(key) => key.render_text(&scope)?,
                    None => index.to_string(),
                };
                index += 1;
                // Lists shift while they are read: an item may stand on two pages.
                let seen = self.keys.contains(&name) || !names.insert(name.clone());
                if !seen && durability.item(self.path, &name).await?.is_none() {
                    wanted.push((name, scope));
                }
            }
            let page = self.first_page + self.pages.len() as u64;
            self.pages.push_back(OpenPage { open: wanted.len(), next: next.clone() });
            let listed = wanted.len() as u64;
            durability.notify(Notice::Listed { step: self.path.clone(), items: listed, last: next.is_none() });
            for (name, scope) in wanted {
                while self.working.len() >= self.concurrency {
                    let Some(ended) = self.working.join_next_with_id().await else { break };
                    self.finish(ended).await?;
                }
                self.interpreter.0.cancelled()?;
                let below = self.path.join(&name);
                let span = tracing::info_span!("item", step = %self.path, key = %name);
                let steps = self.interpreter.clone().steps(self.steps.clone(), scope, below);
                let task = self.working.spawn(steps.instrument(span));
                self.keys.insert(name.clone());
                self.items.insert(task.id(), (page, name));
            }
            self.advance().await?;
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn page(&self, over: &Over, scope: &Scope, from: Option<Value>) -> Result<(Vec<Value>, Option<Value>)> {
        match over {
            Over::List(list) => match list.render(scope)? {
                Value::Array(items) => Ok((items, None)),
                other => {
                    Err(Error::new(ErrorKind::InvalidInput, format!("each needs a list, not {}", kind_of(&other))))
                }
            },
            Over::Action(call) => {
                let connected = self.interpreter.connected(&call.slot)?;
                let effect = connected.connector().action_spec(&call.action)?.effect;
                if effect != Effect::Read {
                    return Err(Error::new(ErrorKind::Config, format!("{} does more than list", call.action)));
                }
                let cx = self.interpreter.context(connected, self.path);
                let page = connected.page(&call.action, call.input.render(scope)?, from, &cx).await?;
                Ok((page.items, page.next))
            }
        }
    }

    /// Records what became of an item whose steps have ended.
    async fn finish(&mut self, ended: Result<(Id, Result<End>), JoinError>) -> Result<()> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic))),
        };
        let Some((page, key)) = self.items.remove(&id) else { return Ok(()) };
        self.keys.remove(&key);
        let outcome = match result {
            Ok(End::Completed) => ItemOutcome::Done,
            Ok(End::Skipped(reason)) => ItemOutcome::Skipped { reason },
            Err(error) if concerns_the_run(&error) => return Err(error),
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => ItemOutcome::Unknown { error },
            Err(error) => ItemOutcome::Failed { error },
        };
        self.interpreter.0.durability.finish_item(self.path, key, outcome).await?;
        self.close(page);
        Ok(())
    }

    /// One item fewer to wait for on this page.
    fn close(&mut self, page: u64) {
        let index = usize::try_from(page - self.first_page).unwrap_or(usize::MAX);
        if let Some(page) = self.pages.get_mut(index) {
            page.open -= 1;
        }
    }

    /// Records how far the list is through without a gap.
    async fn advance(&mut self) -> Result<()> {
        let mut through = None;
        while let Some(page) = self.pages.pop_front_if(|page| page.open == 0) {
            self.first_page += 1;
            through = Some(page.next);
        }
        match through {
            Some(next) => self.interpreter.0.durability.finish_page(self.path, next).await,
            None => Ok(()),
        }
    }
}

impl Inner {
    fn cancelled(&self) -> Result<()> {
        match self.cancellation.is_cancelled() || self.parking.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, "the run was cancelled")),
            false => Ok(()),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

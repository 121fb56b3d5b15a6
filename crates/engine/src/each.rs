//! Runs steps for each item of a list: so many at the same time, page by page, each item once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;
use trunkline_core::{Effect, Error, ErrorKind, Items, Result};
use uuid::Uuid;

use crate::{
    ItemOutcome, StepPath, Template,
    durability::{Notice, concerns_the_run},
    expression::Scope,
    interpreter::{End, Interpreter, kind_of},
    step::{Over, Step},
    time::{Bounds, ends_more_than},
};

/// An `each` at work: items of one or two pages at a time, never the whole list.
pub(crate) struct Each<'a> {
    interpreter: &'a Interpreter,
    path: &'a StepPath,
    bounds: &'a Bounds,
    concurrency: usize,
    batch: Option<usize>,
    steps: &'a Arc<[Step]>,
    working: JoinSet<Result<End>>,
    /// What is being worked on.
    open: HashMap<Id, Open>,
    keys: HashSet<String>,
    /// Pages with items that have no outcome yet, oldest first; the first has the number `first_page`.
    pages: VecDeque<OpenPage>,
    first_page: u64,
}

struct OpenPage {
    open: usize,
    /// Items of it that have an outcome.
    ended: usize,
    next: Option<Value>,
}

/// An item, or a batch of them: its page, what it is called in the paths of its steps, and the keys.
struct Open {
    page: u64,
    name: String,
    keys: Vec<String>,
}

impl<'a> Each<'a> {
    pub(crate) fn new(
        interpreter: &'a Interpreter,
        path: &'a StepPath,
        bounds: &'a Bounds,
        concurrency: usize,
        batch: Option<usize>,
        steps: &'a Arc<[Step]>,
    ) -> Self {
        Each {
            interpreter,
            path,
            bounds,
            concurrency,
            batch,
            steps,
            working: JoinSet::new(),
            open: HashMap::new(),
            keys: HashSet::new(),
            pages: VecDeque::new(),
            first_page: 0,
        }
    }

    pub(crate) async fn run(&mut self, over: &Over, key: Option<&Template>, scope: &Scope) -> Result<()> {
        let mut result = self.go(over, key, scope).await;
        // After an error that concerns the whole run, what is in flight still gets its outcome: nothing is torn off midway.
        while let Some(ended) = self.working.join_next_with_id().await {
            result = result.and(self.finish(ended).await);
        }
        result.and(self.advance().await)
    }

    async fn go(&mut self, over: &Over, key: Option<&Template>, scope: &Scope) -> Result<()> {
        let durability = self.interpreter.durability();
        let mut from = match durability.position(self.path) {
            Some(None) => return Ok(()),
            Some(Some(cursor)) => Some(cursor),
            None => None,
        };
        let mut index = 0u64;
        // What an earlier process has done beyond the position comes again, and says nothing of the list.
        let mut ahead = durability.ahead(self.path);
        loop {
            let Items { items, next, maybe_incomplete: mut changed } = self.page(over, scope, from).await?;
            let mut ended = 0;
            let mut wanted = Vec::with_capacity(items.len());
            let mut names = HashSet::new();
            for item in items {
                let name = match key {
                    Some(key) => key.render_text(&scope.with("item", &item))?,
                    None => index.to_string(),
                };
                index += 1;
                if !names.insert(name.clone()) {
                    continue;
                }
                // Lists shift while they are read: an item may stand on two pages.
                let again = if self.keys.contains(&name) {
                    true
                } else if durability.item(self.path, &name).await?.is_some() {
                    ended += 1;
                    let again = ahead == Some(0);
                    ahead = ahead.map(|ahead| ahead.saturating_sub(1));
                    again
                } else {
                    wanted.push((name, item));
                    continue;
                };
                if again && changed.is_none() {
                    changed = Some(format!(
                        "{name} came again on a later page (if that is always so, the key is not of one item)"
                    ));
                }
            }
            if let (Some(reason), Over::Action(_)) = (changed, over) {
                durability.list_changed(self.path, reason).await?;
            }
            let page = self.first_page + self.pages.len() as u64;
            self.pages.push_back(OpenPage { open: wanted.len(), ended, next: next.clone() });
            let listed = wanted.len() as u64;
            durability.notify(Notice::Listed { step: self.path.clone(), items: listed, last: next.is_none() });
            for (name, keys, scope) in self.groups(wanted, scope) {
                while self.working.len() >= self.concurrency {
                    let Some(ended) = self.working.join_next_with_id().await else { break };
                    self.finish(ended).await?;
                }
                self.interpreter.cancelled()?;
                self.bounds.check(durability.now())?;
                let below = self.path.join(&name);
                let span = tracing::info_span!("item", step = %self.path, key = %name);
                let steps = self.interpreter.clone().steps(self.steps.clone(), scope, below, self.bounds.clone());
                let task = self.working.spawn(steps.instrument(span));
                self.keys.extend(keys.iter().cloned());
                self.open.insert(task.id(), Open { page, name, keys });
            }
            self.advance().await?;
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// What is worked on together: its name in paths, the keys in it, and the scope of its steps. A batch is named after its
    /// keys: the same items have the same name again after a crash, others have another.
    fn groups(&self, wanted: Vec<(String, Value)>, scope: &Scope) -> Vec<(String, Vec<String>, Scope)> {
        let Some(size) = self.batch else {
            let one = |(key, item): (String, Value)| (key.clone(), vec![key], scope.with("item", &item));
            return wanted.into_iter().map(one).collect();
        };
        let group = |group: &[(String, Value)]| {
            let (keys, items): (Vec<_>, Vec<_>) = group.iter().cloned().unzip();
            let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, Value::from(keys.clone()).to_string().as_bytes());
            (format!("batch-{}", &name.simple().to_string()[..12]), keys, scope.with("items", &items.into()))
        };
        wanted.chunks(size).map(group).collect()
    }

    async fn page(&self, over: &Over, scope: &Scope, from: Option<Value>) -> Result<Items> {
        match over {
            Over::List(list) => match list.render(scope)? {
                Value::Array(items) => {
                    let limit = self.interpreter.limits().items;
                    if items.len() > limit {
                        let message = format!("the list has {} items; the limit is {limit}", items.len());
                        let hint = "go over an action that lists: its items are fetched page by page";
                        return Err(Error::new(ErrorKind::Limit, message).hint(hint));
                    }
                    Ok(Items { items, ..Items::default() })
                }
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
                self.bounds.check(self.interpreter.durability().now())?;
                let cx = self.interpreter.context(connected, self.path, self.bounds);
                let _works = self.interpreter.pulse().call();
                tokio::select! {
                biased;
                                   page = connected.page(&call.action, call.input.render(scope)?, from, &cx) => page,
                                   over = self.interpreter.over(self.bounds) => Err(over),
                               }
            }
        }
    }

    /// Records what became of an item whose steps have ended.
    async fn finish(&mut self, ended: Result<(Id, Result<End>), JoinError>) -> Result<()> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic))),
        };
        let Some(Open { page, name, keys }) = self.open.remove(&id) else { return Ok(()) };
        self.keys.retain(|key| !keys.contains(key));
        let outcome = match result {
            Ok(End::Completed) => ItemOutcome::Done,
            Ok(End::Skipped(reason)) => ItemOutcome::Skipped { reason },
            Err(error) if concerns_the_run(&error) || ends_more_than(&error, &self.path.join(&name)) => {
                return Err(error);
            }
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => ItemOutcome::Unknown { error },
            Err(error) => ItemOutcome::Failed { error },
        };
        let count = keys.len();
        self.interpreter.durability().finish_items(self.path, &name, keys, outcome).await?;
        self.close(page, count);
        Ok(())
    }

    /// So many items fewer to wait for on this page.
    fn close(&mut self, page: u64, count: usize) {
        let index = usize::try_from(page - self.first_page).unwrap_or(usize::MAX);
        if let Some(page) = self.pages.get_mut(index) {
            page.open -= count;
            page.ended += count;
        }
    }

    /// Records how far the list is through without a gap.
    async fn advance(&mut self) -> Result<()> {
        let mut through = None;
        while let Some(page) = self.pages.pop_front_if(|page| page.open == 0) {
            self.first_page += 1;
            through = Some(page.next);
        }
        let ahead = self.pages.iter().map(|page| page.ended as u64).sum();
        match through {
            Some(next) => self.interpreter.durability().finish_page(self.path, next, ahead).await,
            None => Ok(()),
        }
    }
}

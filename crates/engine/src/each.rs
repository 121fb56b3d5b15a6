//! Runs steps for each item of a list: so many at the same time, page by page, each item once.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;
use trunkline_core::{Effect, Error, ErrorKind, Page, Result};
use uuid::Uuid;

use crate::{
    ItemOutcome, StepPath, Template,
    durability::{Ended, concerns_the_run},
    interpreter::{End, Interpreter, kind_of},
    process_log::About,
    step::{Over, Step},
    template::Scope,
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

/// An item, or a batch of them: its page, what it is called in the paths of its steps, and the keys with what the items are
/// like, where that is remembered.
struct Open {
    page: u64,
    name: String,
    keys: Vec<(String, Option<String>)>,
}

/// An item to work on.
struct Wanted {
    key: String,
    once: Option<String>,
    item: Value,
}

/// What is worked on together: its name in paths, the keys in it, and the scope of its steps.
type Group = (String, Vec<(String, Option<String>)>, Scope);

/// How the items of an `each` are told apart: from one another, and from what they were like in earlier runs.
pub(crate) struct Marks<'a> {
    pub(crate) key: Option<&'a Template>,
    pub(crate) once: Option<&'a Template>,
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

    pub(crate) async fn run(&mut self, over: &Over, marks: Marks<'_>, scope: &Scope) -> Result<()> {
        let mut result = self.go(over, marks, scope).await;
        // After an error that concerns the whole run, what is in flight still gets its outcome: nothing is torn off midway.
        while let Some(ended) = self.working.join_next_with_id().await {
            result = result.and(self.finish(ended).await);
        }
        result.and(self.advance().await)
    }

    async fn go(&mut self, over: &Over, marks: Marks<'_>, scope: &Scope) -> Result<()> {
        let durability = self.interpreter.durability();
        let mut from = match durability.position(self.path) {
            Some(None) => return Ok(()),
            Some(Some(cursor)) => Some(cursor),
            None => None,
        };
        let (mut index, mut known) = (0u64, durability.ended(self.path));
        // What an earlier process has done beyond the position comes again, and says nothing of the list.
        let mut ahead = durability.ahead(self.path);
        loop {
            let Page { items, next, maybe_incomplete: mut changed } = self.page(over, scope, from).await?;
            let mut ended = 0;
            let mut wanted = Vec::with_capacity(items.len());
            let (mut names, mut unchanged) = (HashSet::new(), Vec::new());
            for item in items {
                let key = match marks.key {
                    Some(key) => key.render_text(&scope.with("item", &item))?,
                    None => index.to_string(),
                };
                index += 1;
                if !names.insert(key.clone()) {
                    continue;
                }
                // Lists shift while they are read: an item may stand on two pages.
                let again = if self.keys.contains(&key) {
                    Some(true)
                } else if durability.item(self.path, &key).await?.is_some() {
                    ended += 1;
                    let again = ahead == Some(0);
                    ahead = ahead.map(|ahead| ahead.saturating_sub(1));
                    Some(again)
                } else {
                    None
                };
                if let Some(again) = again {
                    if again && changed.is_none() {
                        changed = Some(format!(
                            "{key} came again on a later page (if that is always so, the key is not of one item)"
                        ));
                    }
                    continue;
                }
                if !durability.wants(self.path, &key).await? {
                    continue;
                }
                let once = match marks.once {
                    Some(once) => Some(fingerprint(once.render(&scope.with("item", &item))?)),
                    None => None,
                };
                let before = match &once {
                    Some(fingerprint) => durability.unchanged(self.path, &key, fingerprint).await?,
                    None => None,
                };
                match before {
                    Some(outcome) => unchanged.push(Ended { key, once: None, outcome }),
                    None => wanted.push(Wanted { key, once, item }),
                }
            }
            let passed = unchanged.len();
            ended += passed;
            if !unchanged.is_empty() {
                durability.finish_items(self.path, None, unchanged).await?;
            }
            if let (Some(reason), Over::Action(_)) = (changed, over) {
                durability.list_changed(self.path, reason).await?;
            }
            let page = self.first_page + self.pages.len() as u64;
            self.pages.push_back(OpenPage { open: wanted.len(), ended, next: next.clone() });
            let listed = (wanted.len() + passed) as u64;
            known += listed;
            durability.listed(self.path, known, listed, next.is_none()).await?;
            for (name, keys, scope) in self.groups(wanted, scope) {
                // Two halves of a batch of an earlier run have the same steps in the journal: one after the other.
                let twice = |open: &Open| open.name == name;
                while self.working.len() >= self.concurrency || self.open.values().any(twice) {
                    let Some(ended) = self.working.join_next_with_id().await else { break };
                    self.finish(ended).await?;
                }
                self.interpreter.cancelled()?;
                self.bounds.check(durability.now())?;
                let below = self.path.join(&name);
                let span = tracing::info_span!("item", each = %self.path, item = %name);
                let steps = self.interpreter.clone().steps(self.steps.clone(), scope, below, self.bounds.clone());
                let task = self.working.spawn(steps.instrument(span));
                self.keys.extend(keys.iter().map(|(key, _)| key.clone()));
                self.open.insert(task.id(), Open { page, name, keys });
            }
            self.advance().await?;
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// A batch is named after its keys: the same items have the same name again after a crash, others have another. What an
    /// earlier run has worked on together stays together, and keeps its name.
    fn groups(&self, wanted: Vec<Wanted>, scope: &Scope) -> Vec<Group> {
        let Some(size) = self.batch else {
            let one = |Wanted { key, once, item }| (String::clone(&key), vec![(key, once)], scope.with("item", &item));
            return wanted.into_iter().map(one).collect();
        };
        let mut before = BTreeMap::<String, Vec<Wanted>>::new();
        let mut new = Vec::new();
        for one in wanted {
            match self.interpreter.durability().batch(self.path, &one.key) {
                Some(batch) => before.entry(batch).or_default().push(one),
                None => new.push(one),
            }
        }
        let mut groups: Vec<(String, Vec<Wanted>)> = before.into_iter().collect();
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let group: Vec<_> = new.by_ref().take(size).collect();
            let keys: Value = group.iter().map(|one| one.key.clone()).collect();
            let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, keys.to_string().as_bytes());
            groups.push((format!("batch-{}", &name.simple().to_string()[..12]), group));
        }
        let group = |(name, group): (String, Vec<Wanted>)| {
            let (keys, items): (Vec<_>, Vec<_>) = group.into_iter().map(|one| ((one.key, one.once), one.item)).unzip();
            (name, keys, scope.with("items", &items.into()))
        };
        groups.into_iter().map(group).collect()
    }

    async fn page(&self, over: &Over, scope: &Scope, from: Option<Value>) -> Result<Page> {
        match over {
            Over::List(list) => match list.render(scope)? {
                Value::Array(items) => {
                    let limit = self.interpreter.limits().items;
                    if items.len() > limit {
                        let message = format!("the list has {} items; the limit is {limit}", items.len());
                        let hint = "go over an action that lists: its items are fetched page by page";
                        return Err(Error::new(ErrorKind::Limit, message).hint(hint));
                    }
                    Ok(Page { items, ..Page::default() })
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
                let _works = self.interpreter.activity().call();
                let (input, began) = (call.input.render(scope)?, self.interpreter.durability().now());
                let result = tokio::select! {
                    biased;
                    page = connected.page(&call.action, input.clone(), from, &cx) => page,
                    over = self.interpreter.over(self.bounds) => Err(over),
                };
                if let Err(error) = &result {
                    let spec = connected.connector().action_spec(&call.action).ok();
                    let about = About { action: &call.action, connection: connected.name(), input: &input, spec };
                    self.interpreter.durability().log(self.path, began, about, Err(error)).await;
                }
                result
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
        for (key, _) in &keys {
            self.keys.remove(key);
        }
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
        match outcome.reason() {
            Some(reason) => tracing::info!(each = %self.path, item = %name, "{}: {reason}", outcome.status()),
            None => tracing::debug!(each = %self.path, item = %name, "done"),
        }
        let ended = keys.into_iter().map(|(key, once)| Ended { key, once, outcome: outcome.clone() }).collect();
        let batch = self.batch.is_some().then_some(name);
        self.interpreter.durability().finish_items(self.path, batch, ended).await?;
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

/// What stands for a value: the same for equal ones, whatever the order of their members.
fn fingerprint(mut value: Value) -> String {
    value.sort_all_objects();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, value.to_string().as_bytes()).simple().to_string()
}

//! Executes the steps of an `each` for every item of its list: page by page, a limited number at the same time, each
//! item once.
//!
//! The position in the list moves only over pages whose items all have an outcome. After a crash, the list is read
//! again from there, and items that have an outcome already are passed over.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;
use trunkline_core::{Effect, Error, ErrorKind, Page, Result, StepPath};
use trunkline_flow::{BoundAction, Over, Scope, Step, Template, kind_of};
use uuid::Uuid;

use crate::{
    interpreter::{
        bounds::{Bounds, ends_more_than},
        durability::FinishedItem,
        interpreter::{End, Interpreter},
    },
    journal::process_log::LoggedCall,
    run::{ItemOutcome, ListPosition, failure::stops_the_run},
};

/// A running `each`. It holds the items of one or two pages at a time, never the whole list.
pub(crate) struct Each<'a> {
    interpreter: &'a Interpreter,
    list: List<'a>,
    tasks: JoinSet<Result<End>>,
    /// The groups that are being worked on, by their tasks.
    groups: HashMap<Id, OpenGroup>,
    /// The keys of the items in these groups.
    keys: HashSet<String>,
    /// Pages with items that have no outcome yet, oldest first. The first one has the number `first_page`.
    pages: VecDeque<OpenPage>,
    first_page: u64,
}

/// The `each` step: its list and its steps.
pub(crate) struct List<'a> {
    pub(crate) path: &'a StepPath,
    pub(crate) bounds: &'a Bounds,
    pub(crate) over: &'a Over,
    pub(crate) templates: ItemTemplates<'a>,
    /// The largest number of groups at the same time.
    pub(crate) concurrency: usize,
    /// The number of items in a group, if the `each` works on batches.
    pub(crate) batch: Option<usize>,
    pub(crate) steps: &'a Arc<[Step]>,
}

/// The expressions that identify an item among the items of its list, and its version among those of earlier runs.
pub(crate) struct ItemTemplates<'a> {
    pub(crate) key: Option<&'a Template>,
    pub(crate) once: Option<&'a Template>,
}

struct OpenPage {
    /// The number of its items that have no outcome yet.
    open: usize,
    /// The number of its items that have an outcome.
    ended: usize,
    /// The cursor of the next page.
    next: Option<Value>,
}

/// An item, or a batch of items, that is being worked on.
struct OpenGroup {
    page: u64,
    /// Its name in the paths of its steps.
    name: String,
    items: Vec<ItemKey>,
}

/// An item, or a batch of items, to work on.
struct Group {
    name: String,
    items: Vec<ItemKey>,
    scope: Scope,
}

struct ItemKey {
    key: String,
    /// The fingerprint, if it is remembered across runs.
    once: Option<String>,
}

/// An item to work on.
struct PendingItem {
    id: ItemKey,
    value: Value,
}

/// How far the list has been read.
struct Reading {
    /// The index of the next item.
    index: u64,
    /// The number of items listed so far, with those of earlier processes.
    listed: u64,
    /// The number of items after the recorded position that an earlier process has finished and that were not read
    /// again yet; nothing if it is not known. That they occur again does not mean that the list has changed.
    ahead: Option<u64>,
}

/// The items of one page, by what has to be done with them.
#[derive(Default)]
struct Selection {
    pending: Vec<PendingItem>,
    /// Items that must not be worked on because of their outcome in an earlier run.
    unchanged: Vec<FinishedItem>,
    /// The number of items that have an outcome already.
    ended: usize,
    /// The evidence that the list has changed while it was read.
    changed: Option<String>,
}

impl<'a> Each<'a> {
    pub(crate) fn new(interpreter: &'a Interpreter, list: List<'a>) -> Self {
        Each {
            interpreter,
            list,
            tasks: JoinSet::new(),
            groups: HashMap::new(),
            keys: HashSet::new(),
            pages: VecDeque::new(),
            first_page: 0,
        }
    }

    /// Works on all items of the list.
    pub(crate) async fn run(&mut self, scope: &Scope) -> Result<()> {
        let mut result = self.run_pages(scope).await;
        // After an error that concerns the whole run, the items in flight still get their outcomes: none is
        // interrupted.
        while let Some(ended) = self.tasks.join_next_with_id().await {
            result = result.and(self.finish(ended).await);
        }
        result.and(self.advance().await)
    }

    async fn run_pages(&mut self, scope: &Scope) -> Result<()> {
        let durability = self.interpreter.durability();
        let mut cursor = match durability.position(self.list.path) {
            ListPosition::Start => None,
            ListPosition::Page(cursor) => Some(cursor),
            ListPosition::End => return Ok(()),
        };
        let (listed, ahead) = (durability.ended(self.list.path), durability.ahead(self.list.path));
        let mut reading = Reading { index: 0, listed, ahead };
        loop {
            let Page { items, next, maybe_incomplete } = self.page(scope, cursor).await?;
            let mut selection = self.select(items, scope, &mut reading).await?;
            selection.changed = maybe_incomplete.or(selection.changed);
            let (page, pending) = self.open_page(selection, next.clone(), &mut reading).await?;
            self.start(page, pending, scope).await?;
            self.advance().await?;
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Decides for each item of a page what has to be done with it.
    async fn select(&self, items: Vec<Value>, scope: &Scope, reading: &mut Reading) -> Result<Selection> {
        let (durability, path) = (self.interpreter.durability(), self.list.path);
        let (mut selection, mut keys) = (Selection::default(), HashSet::new());
        for value in items {
            let key = match self.list.templates.key {
                Some(key) => key.render_text(&scope.with("item", &value))?,
                None => reading.index.to_string(),
            };
            reading.index += 1;
            if !keys.insert(key.clone()) {
                continue;
            }
            // A list shifts while it is read, so an item may be on two pages.
            let open = self.keys.contains(&key);
            let ended = !open && durability.item(path, &key).await?.is_some();
            if open || ended {
                let repeated = open || reading.ahead == Some(0);
                if ended {
                    selection.ended += 1;
                    reading.ahead = reading.ahead.map(|ahead| ahead.saturating_sub(1));
                }
                if repeated && selection.changed.is_none() {
                    selection.changed = Some(format!(
                        "{key} was on two pages (if it is so in every run, the key does not identify one item)"
                    ));
                }
                continue;
            }
            if !durability.wants(path, &key).await? {
                continue;
            }
            let once = match self.list.templates.once {
                Some(once) => Some(fingerprint(once.render(&scope.with("item", &value))?)),
                None => None,
            };
            let unchanged = match &once {
                Some(fingerprint) => durability.unchanged(path, &key, fingerprint).await?,
                None => None,
            };
            match unchanged {
                Some(outcome) => selection.unchanged.push(FinishedItem { key, once: None, outcome }),
                None => selection.pending.push(PendingItem { id: ItemKey { key, once }, value }),
            }
        }
        Ok(selection)
    }

    /// Records a page, its unchanged items and a change of the list. Returns the page's number and the items to work
    /// on.
    async fn open_page(
        &mut self,
        selection: Selection,
        next: Option<Value>,
        reading: &mut Reading,
    ) -> Result<(u64, Vec<PendingItem>)> {
        let (durability, path) = (self.interpreter.durability(), self.list.path);
        let Selection { pending, unchanged, ended, changed } = selection;
        let (ended, more) = (ended + unchanged.len(), (pending.len() + unchanged.len()) as u64);
        if !unchanged.is_empty() {
            durability.finish_items(path, None, unchanged).await?;
        }
        if let (Some(reason), Over::Action(_)) = (changed, self.list.over) {
            durability.list_changed(path, reason).await?;
        }
        let (page, last) = (self.first_page + self.pages.len() as u64, next.is_none());
        self.pages.push_back(OpenPage { open: pending.len(), ended, next });
        reading.listed += more;
        durability.listed(path, reading.listed, more, last).await?;
        Ok((page, pending))
    }

    /// Starts the steps of a page's items, as soon as the limit of concurrent groups allows it.
    async fn start(&mut self, page: u64, pending: Vec<PendingItem>, scope: &Scope) -> Result<()> {
        for Group { name, items, scope } in self.group(pending, scope) {
            // If a rerun reads the items of a batch on two pages, both groups have the same step paths: one after the
            // other.
            let same_name = |group: &OpenGroup| group.name == name;
            while self.tasks.len() >= self.list.concurrency || self.groups.values().any(same_name) {
                let Some(ended) = self.tasks.join_next_with_id().await else { break };
                self.finish(ended).await?;
            }
            self.interpreter.check_stop()?;
            self.list.bounds.check(self.interpreter.durability().now())?;
            let path = self.list.path.join(&name);
            let span = tracing::info_span!("item", each = %self.list.path, item = %name);
            let steps = self.interpreter.clone().steps(self.list.steps.clone(), scope, path, self.list.bounds.clone());
            let task = self.tasks.spawn(steps.instrument(span));
            self.keys.extend(items.iter().map(|item| item.key.clone()));
            self.groups.insert(task.id(), OpenGroup { page, name, items });
        }
        Ok(())
    }

    /// Groups items into batches, if the `each` has any.
    ///
    /// A batch is named after its keys, so the same items have the same name after a crash, and other items have
    /// another one. In a rerun, a batch of the earlier run stays together and keeps its name.
    fn group(&self, pending: Vec<PendingItem>, scope: &Scope) -> Vec<Group> {
        let Some(size) = self.list.batch else {
            let single = |PendingItem { id, value }: PendingItem| Group {
                name: id.key.clone(),
                items: vec![id],
                scope: scope.with("item", &value),
            };
            return pending.into_iter().map(single).collect();
        };
        let mut previous = BTreeMap::<String, Vec<PendingItem>>::new();
        let mut new = Vec::new();
        for item in pending {
            match self.interpreter.durability().batch(self.list.path, &item.id.key) {
                Some(batch) => previous.entry(batch).or_default().push(item),
                None => new.push(item),
            }
        }
        let mut batches: Vec<(String, Vec<PendingItem>)> = previous.into_iter().collect();
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let batch: Vec<_> = new.by_ref().take(size).collect();
            let keys: Value = batch.iter().map(|item| item.id.key.clone()).collect();
            let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, keys.to_string().as_bytes());
            batches.push((format!("batch-{}", &name.simple().to_string()[..12]), batch));
        }
        let group = |(name, batch): (String, Vec<PendingItem>)| {
            let (items, values): (Vec<_>, Vec<_>) = batch.into_iter().map(|item| (item.id, item.value)).unzip();
            Group { name, items, scope: scope.with("items", &values.into()) }
        };
        batches.into_iter().map(group).collect()
    }

    async fn page(&self, scope: &Scope, cursor: Option<Value>) -> Result<Page> {
        match self.list.over {
            Over::List(list) => self.page_of_value(list, scope),
            Over::Action(call) => self.page_of_action(call, scope, cursor).await,
        }
    }

    /// Returns the items that an expression yields, as one page.
    fn page_of_value(&self, list: &Template, scope: &Scope) -> Result<Page> {
        let items = match list.render(scope)? {
            Value::Array(items) => items,
            other => {
                let message = format!("each needs a list, not {}", kind_of(&other));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let limit = self.interpreter.limits().items;
        if items.len() > limit {
            let message = format!("the list has {} items; the limit is {limit}", items.len());
            let hint = "let the `each` call an action that lists the items: they are fetched page by page";
            return Err(Error::new(ErrorKind::Limit, message).hint(hint));
        }
        Ok(Page { items, ..Page::default() })
    }

    /// Returns a page of what an action lists.
    async fn page_of_action(&self, call: &BoundAction, scope: &Scope, cursor: Option<Value>) -> Result<Page> {
        let (interpreter, path, bounds) = (self.interpreter, self.list.path, self.list.bounds);
        let connected = interpreter.connected(&call.binding)?;
        let effect = connected.connector().action_spec(&call.action)?.effect;
        if effect != Effect::Read {
            let message = format!("each needs an action that only reads, and {} does more", call.action);
            return Err(Error::new(ErrorKind::Config, message));
        }
        bounds.check(interpreter.durability().now())?;
        let cx = interpreter.context(connected, path, bounds);
        let _activity = interpreter.activity().call();
        let (input, began) = (call.input.render(scope)?, interpreter.durability().now());
        let result = tokio::select! {
            biased;
            page = connected.page(&call.action, input.clone(), cursor, &cx) => page,
            over = interpreter.over(bounds) => Err(over),
        };
        if let Err(error) = &result {
            let spec = connected.connector().action_spec(&call.action).ok();
            let call = LoggedCall {
                action: &call.action,
                connection: connected.name(),
                input: &input,
                spec,
                redactor: connected.redactor(),
            };
            interpreter.durability().log(path, began, call, Err(error)).await;
        }
        result
    }

    /// Records the outcome of a group whose steps have ended.
    async fn finish(&mut self, ended: Result<(Id, Result<End>), JoinError>) -> Result<()> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic))),
        };
        let Some(OpenGroup { page, name, items }) = self.groups.remove(&id) else { return Ok(()) };
        for item in &items {
            self.keys.remove(&item.key);
        }
        let outcome = match result {
            Ok(End::Completed) => ItemOutcome::Done,
            Ok(End::Skipped(reason)) => ItemOutcome::Skipped { reason },
            Err(error) if stops_the_run(&error) || ends_more_than(&error, &self.list.path.join(&name)) => {
                return Err(error);
            }
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => ItemOutcome::Unknown { error },
            Err(error) => ItemOutcome::Failed { error },
        };
        let count = items.len();
        match outcome.reason() {
            Some(reason) => tracing::info!(each = %self.list.path, item = %name, "{}: {reason}", outcome.status()),
            None => tracing::debug!(each = %self.list.path, item = %name, "done"),
        }
        let finished = |ItemKey { key, once }| FinishedItem { key, once, outcome: outcome.clone() };
        let finished = items.into_iter().map(finished).collect();
        let batch = self.list.batch.is_some().then_some(name);
        self.interpreter.durability().finish_items(self.list.path, batch, finished).await?;
        self.count_ended(page, count);
        Ok(())
    }

    /// Counts items of an open page that have got their outcomes.
    fn count_ended(&mut self, page: u64, count: usize) {
        let index = usize::try_from(page - self.first_page).unwrap_or(usize::MAX);
        if let Some(page) = self.pages.get_mut(index) {
            page.open -= count;
            page.ended += count;
        }
    }

    /// Closes the oldest pages whose items all have outcomes, and records the position after them.
    async fn advance(&mut self) -> Result<()> {
        let mut closed = None;
        while let Some(page) = self.pages.pop_front_if(|page| page.open == 0) {
            self.first_page += 1;
            closed = Some(page.next);
        }
        let ahead = self.pages.iter().map(|page| page.ended as u64).sum();
        match closed {
            Some(next) => self.interpreter.durability().finish_page(self.list.path, next, ahead).await,
            None => Ok(()),
        }
    }
}

/// Returns the fingerprint of a value. Equal values have the same one, whatever the order of their members.
fn fingerprint(mut value: Value) -> String {
    value.sort_all_objects();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, value.to_string().as_bytes()).simple().to_string()
}

//! Executes the steps of an `each` for every item of its list: page by page, a limited number at the same time, each
//! item once.
//!
//! The position in the list moves only over pages whose items all have an outcome. After a crash, the list is read
//! again from there, and items that have an outcome already are passed over.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;
use trunkline_core::{Error, ErrorDetail, ErrorKind, HeldMemory, Page, Result, memory_of};
use trunkline_flow::{Over, Scope};

use crate::{
    interpreter::{
        bounds::ends_more_than,
        groups::{Fingerprint, Group, GroupItem, PendingItem, group},
        interpreter::{End, Interpreter},
        item_record::{FinishedItem, ListedItems},
        list::List,
        record::COPIES,
        repeats::Repeats,
    },
    run::{ItemKey, ItemNote, ItemOutcome, ListPosition, failure::stops_the_run, key_form::repeated},
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
    repeats: Repeats,
    reading: Reading,
    /// Pages with items that have no outcome yet, oldest first. The first one has the number `first_page`.
    pages: VecDeque<OpenPage>,
    first_page: u64,
}

struct OpenPage {
    /// The number of its items that have no outcome yet.
    open: usize,
    /// The number of its items that have an outcome.
    ended: usize,
    /// The cursor of the next page, and the number of items before it.
    next: (Option<Value>, u64),
    /// The memory of its items, until all of them have an outcome.
    held: Option<HeldMemory>,
}

/// An item, or a batch of items, that is being worked on.
struct OpenGroup {
    page: u64,
    /// Its name in the paths of its steps.
    name: String,
    items: Vec<GroupItem>,
    /// The names that its expressions can refer to.
    scope: Scope,
}

/// How far the list has been read.
#[derive(Default)]
struct Reading {
    /// The index of the next item.
    index: u64,
    /// The number of items listed so far, with those of earlier processes.
    listed: u64,
    /// The number of items after the recorded position that an earlier process has finished and that were not read
    /// again yet; nothing if it is not known. That they occur again does not mean that the list has changed.
    ahead: Option<u64>,
}

impl Reading {
    /// Returns whether an item with an outcome is one that an earlier process has read at this place, and counts it.
    fn is_read_again(&mut self, selection: &mut Selection) -> bool {
        if self.ahead == Some(0) {
            return false;
        }
        self.ahead = self.ahead.map(|ahead| ahead - 1);
        selection.ended += 1;
        true
    }
}

/// An item of a page.
struct ListedItem {
    value: Value,
    key: ItemKey,
    /// The key in the form of the run.
    text: String,
    /// What people call it.
    label: Option<String>,
    /// Its number in the list, from 0.
    index: u64,
    /// The error of an item without a key, or of its label.
    fault: Option<Error>,
}

impl ListedItem {
    /// Returns the item with an outcome that needs no work.
    fn concluded(self, key: String, outcome: ItemOutcome) -> FinishedItem {
        FinishedItem { key, once: None, outcome, note: ItemNote { label: self.label, ..ItemNote::default() } }
    }
}

/// The items of one page, by what has to be done with them.
#[derive(Default)]
struct Selection {
    pending: Vec<PendingItem>,
    /// Items that are not worked on: unchanged since an earlier run, without a key, or with the key of another item.
    concluded: Vec<FinishedItem>,
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
            repeats: Repeats::default(),
            reading: Reading::default(),
            pages: VecDeque::new(),
            first_page: 0,
        }
    }

    /// Works on all items of the list.
    pub(crate) async fn run(&mut self, scope: &Scope) -> Result<()> {
        let reads = matches!(self.list.over, Over::Action(_));
        let _list = reads.then(|| self.interpreter.activity().list());
        let mut result = match self.interpreter.record().check_collected(self.list.path) {
            Ok(()) => self.run_pages(scope).await,
            over => over,
        };
        // After an error that concerns the whole run, the items in flight still get their outcomes: none is
        // interrupted.
        while let Some(ended) = self.tasks.join_next_with_id().await {
            result = result.and(self.finish(ended).await);
        }
        result.and(self.advance().await)
    }

    async fn run_pages(&mut self, scope: &Scope) -> Result<()> {
        let record = self.interpreter.record();
        let cursor = match record.position(self.list.path) {
            ListPosition::Start => None,
            ListPosition::Page(cursor, read) => Some((cursor, read)),
            ListPosition::End => return Ok(()),
        };
        let (listed, ahead) = (record.ended(self.list.path), record.ahead(self.list.path));
        let before = |read: Option<u64>| read.unwrap_or_else(|| listed.saturating_sub(ahead.unwrap_or_default()));
        let index = cursor.as_ref().map_or(0, |(_, read)| before(*read));
        let mut cursor = cursor.map(|(cursor, _)| cursor);
        self.reading = Reading { index, listed, ahead };
        loop {
            let Page { items, next, maybe_incomplete } = self.list.page(self.interpreter, scope, cursor).await?;
            let memory = COPIES * items.iter().map(memory_of).sum::<u64>();
            let held = record.memory.reserve(&format!("a page of {}", self.list.path), memory).await?;
            let mut selection = self.select(items, scope).await?;
            selection.changed = maybe_incomplete.or(selection.changed);
            let (page, pending) = self.open_page(selection, next.clone(), held).await?;
            self.start(page, pending, scope).await?;
            self.advance().await?;
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Decides for each item of a page what has to be done with it.
    async fn select(&mut self, items: Vec<Value>, scope: &Scope) -> Result<Selection> {
        let (mut selection, mut page) = (Selection::default(), HashSet::new());
        for value in items {
            let item = self.identify(value, scope);
            self.reading.index += 1;
            if let Some(item) = self.first(item, &mut page, &mut selection).await? {
                self.select_first(item, scope, &mut selection).await?;
            }
        }
        Ok(selection)
    }

    /// Finds the key of an item.
    fn identify(&self, value: Value, scope: &Scope) -> ListedItem {
        let (index, templates) = (self.reading.index, self.list.templates);
        let inside = (templates.key.is_some() || templates.label.is_some()).then(|| scope.with("item", &value));
        let inside = inside.as_ref().unwrap_or(scope);
        let key = match &templates.key {
            Some(key) => ItemKey::evaluate(key, inside),
            None => ItemKey::of(&index.into()),
        };
        let (key, fault) = match key {
            Ok(key) => (key, None),
            Err(error) => {
                let pointer = format!("{}/key", self.list.pointer);
                let error = error.with("pointer", pointer).with("item", index + 1);
                (ItemKey::missing(&value), Some(error))
            }
        };
        let (label, no_label) = match self.interpreter.label(&self.list, inside) {
            Ok(label) => (label, None),
            Err(error) => (None, Some(error)),
        };
        let text = key.in_form(self.interpreter.record().key_form()).to_owned();
        ListedItem { value, key, text, label, index, fault: fault.or(no_label) }
    }

    /// Returns an item that is the first one of its key, and has no outcome yet. One that occurs again is skipped as an
    /// item of its own.
    async fn first(
        &mut self,
        item: ListedItem,
        page: &mut HashSet<String>,
        selection: &mut Selection,
    ) -> Result<Option<ListedItem>> {
        let (interpreter, path) = (self.interpreter, self.list.path);
        let (record, key) = (interpreter.record(), &item.text);
        let on_page = !page.insert(key.clone());
        let open = on_page || self.keys.contains(key);
        let ended = !open && record.item(path, key).await?.is_some();
        if ended && self.reading.is_read_again(selection) {
            self.repeats.remember(key, &item.value);
            return Ok(None);
        }
        if !open && !ended {
            if self.list.templates.key.is_some() {
                self.repeats.remember(key, &item.value);
            }
            return Ok(Some(item));
        }
        let repeat = self.repeats.compare(key, &item.value);
        // A list shifts while it is read, so an item may be on two pages.
        if !on_page && selection.changed.is_none() {
            selection.changed =
                Some(format!("{key} was on two pages (if it is so in every run, the key does not identify one item)"));
        }
        loop {
            let key = repeated(key, self.repeats.next_number(key));
            if !page.insert(key.clone()) {
                continue;
            }
            if record.item(path, &key).await?.is_some() {
                if self.reading.is_read_again(selection) {
                    return Ok(None);
                }
                continue;
            }
            if record.wants(path, &key).await? {
                let outcome = ItemOutcome::Skipped { reason: repeat.reason().to_owned() };
                selection.concluded.push(item.concluded(key, outcome));
            }
            return Ok(None);
        }
    }

    /// Decides what has to be done with the first item of a key.
    async fn select_first(&self, mut item: ListedItem, scope: &Scope, selection: &mut Selection) -> Result<()> {
        let (record, path) = (self.interpreter.record(), self.list.path);
        let text = item.text.clone();
        if !record.wants(path, &text).await? {
            return Ok(());
        }
        let once = match (item.fault.take(), &self.list.templates.once) {
            (Some(fault), _) => Err(fault),
            (None, Some(once)) => once.render(&scope.with("item", &item.value)).map(Some),
            (None, None) => Ok(None),
        };
        let once = match once {
            Ok(once) => once.map(|once| Fingerprint::of(once, record.key_form())),
            Err(error) => {
                let step = path.join(&text).as_str().to_owned();
                let outcome = ItemOutcome::Failed { error: error.with_detail(ErrorDetail::Step { step }) };
                selection.concluded.push(item.concluded(text, outcome));
                return Ok(());
            }
        };
        let unchanged = match &once {
            Some(fingerprint) => record.unchanged(path, &item.key, fingerprint).await?,
            None => None,
        };
        match unchanged {
            Some(outcome) => selection.concluded.push(item.concluded(text, outcome)),
            None => {
                let (ListedItem { value, label, index, .. }, once) = (item, once.map(|once| once.text));
                selection.pending.push(PendingItem { id: GroupItem { key: text, once, label, index }, value });
            }
        }
        Ok(())
    }

    /// Records a page, its items without work and a change of the list. Returns the page's number and the items to work
    /// on.
    async fn open_page(
        &mut self,
        selection: Selection,
        next: Option<Value>,
        held: HeldMemory,
    ) -> Result<(u64, Vec<PendingItem>)> {
        let (record, path) = (self.interpreter.record(), self.list.path);
        let Selection { pending, concluded, ended, changed } = selection;
        let (ended, more) = (ended + concluded.len(), (pending.len() + concluded.len()) as u64);
        let (page, last) = (self.first_page + self.pages.len() as u64, next.is_none());
        if !concluded.is_empty() {
            record.finish_items(path, None, concluded).await?;
        }
        let held = Some(held).filter(|_| !pending.is_empty());
        let next = (next, self.reading.index);
        self.pages.push_back(OpenPage { open: pending.len(), ended, next, held });
        if let (Some(reason), Over::Action(_)) = (changed, self.list.over) {
            record.list_changed(path, reason).await?;
        }
        self.reading.listed += more;
        record.listed(path, ListedItems { all: self.reading.listed, more, last }).await?;
        Ok((page, pending))
    }

    /// Starts the steps of a page's items, as soon as the limit of concurrent groups allows it.
    async fn start(&mut self, page: u64, pending: Vec<PendingItem>, scope: &Scope) -> Result<()> {
        for Group { name, items, scope } in group(&self.list, self.interpreter.record(), pending, scope) {
            // If a rerun reads the items of a batch on two pages, both groups have the same step paths: one after the
            // other.
            let same_name = |group: &OpenGroup| group.name == name;
            while self.tasks.len() >= self.list.concurrency || self.groups.values().any(same_name) {
                let Some(ended) = self.tasks.join_next_with_id().await else { break };
                self.finish(ended).await?;
            }
            self.interpreter.check_stop()?;
            self.list.bounds.check(self.interpreter.record().now())?;
            let path = self.list.path.join(&name);
            let span = tracing::info_span!("item", each = %self.list.path, item = %name);
            let (steps, bounds) = (self.list.steps.clone(), self.list.bounds.clone());
            let steps = self.interpreter.clone().steps(steps, scope.clone(), path, bounds);
            let task = self.tasks.spawn(steps.instrument(span));
            self.keys.extend(items.iter().map(|item| item.key.clone()));
            self.groups.insert(task.id(), OpenGroup { page, name, items, scope });
        }
        Ok(())
    }

    /// Records the outcome of a group whose steps have ended.
    async fn finish(&mut self, ended: Result<(Id, Result<End>), JoinError>) -> Result<()> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(Error::new(ErrorKind::Internal, "a step panicked").source(panic))),
        };
        let Some(OpenGroup { page, name, items, scope }) = self.groups.remove(&id) else { return Ok(()) };
        for item in &items {
            self.keys.remove(&item.key);
        }
        let outcome = match result {
            Ok(End::Completed) => {
                let warnings = self.interpreter.record().warnings_in(&self.list.path.join(&name));
                ItemOutcome::Done { reason: (!warnings.is_empty()).then(|| warnings.join("; ")) }
            }
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
        let numbered = items.into_iter().enumerate();
        let finished = numbered.map(|(number, item)| self.finished(item, number, &scope, outcome.clone())).collect();
        let batch = self.list.batch.is_some().then_some(name);
        self.interpreter.record().finish_items(self.list.path, batch, finished).await?;
        self.count_ended(page, count);
        self.interpreter.record().check_collected(self.list.path)
    }

    /// Returns an item of a group whose steps have ended with this outcome, and what is kept of it.
    fn finished(&self, item: GroupItem, number: usize, scope: &Scope, outcome: ItemOutcome) -> FinishedItem {
        let in_batch = self.list.batch.map(|_| scope.with_item_of_batch(number));
        let note = match &outcome {
            ItemOutcome::Done { .. } => self.interpreter.note(&self.list, &item, in_batch.as_ref().unwrap_or(scope)),
            _ => Ok(ItemNote { label: item.label.clone(), ..ItemNote::default() }),
        };
        let GroupItem { key, once, label, .. } = item;
        let (outcome, note) = match note {
            Ok(note) => (outcome, note),
            Err(error) => {
                let error =
                    error.with_detail(ErrorDetail::Step { step: self.list.path.join(&key).as_str().to_owned() });
                (ItemOutcome::Failed { error }, ItemNote { label, ..ItemNote::default() })
            }
        };
        FinishedItem { key, once, outcome, note }
    }

    /// Counts items of an open page that have got their outcomes.
    fn count_ended(&mut self, page: u64, count: usize) {
        let index = usize::try_from(page - self.first_page).unwrap_or(usize::MAX);
        if let Some(page) = self.pages.get_mut(index) {
            page.open -= count;
            page.ended += count;
            if page.open == 0 {
                page.held = None;
                self.interpreter.record().memory.trim();
            }
        }
    }

    /// Closes the oldest pages whose items all have outcomes, and records the position after them.
    async fn advance(&mut self) -> Result<()> {
        let mut closed = None;
        while let Some(page) = self.pages.pop_front_if(|page| page.open == 0) {
            self.first_page += 1;
            closed = Some(page.next);
        }
        // Those on open pages, and those that an earlier process has finished on pages that were not read again yet.
        let open: u64 = self.pages.iter().map(|page| page.ended as u64).sum();
        let ahead = self.reading.ahead.map(|ahead| ahead + open);
        match closed {
            Some(next) => self.interpreter.record().finish_page(self.list.path, next, ahead).await,
            None => Ok(()),
        }
    }
}

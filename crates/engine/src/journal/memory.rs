//! A journal in memory, for tests and for runs that need not survive their process.
//!
//! It stores events as JSON text, so a replay returns what a store on disk would return.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, NextStep, Result, RunId, StepPath};
use trunkline_flow::Retention;

use crate::{
    journal::{
        EventLog, EventPage, EventPlace, FlowVersions, Flush, Item, LOG_ENTRIES, LOG_PAGE, LogEntry, LogPage,
        PlacedEvent, PreviousOutcome, ProcessLog, RememberedItem, RunClaim, RunClaims, RunFilter, RunIndex, RunPage,
        RunPlace, RunRemoval, RunSummary, TriggerDeduplication, TriggerEvent,
    },
    run::{ItemOutcome, RunEvent, RunNote, RunStatus},
};

/// The most events in a page of those of all runs.
const MOST_EVENTS: usize = 256;

/// A [`Journal`](crate::Journal) in memory, for tests and for hosts that need no durability. Its runs end with the
/// process.
#[derive(Default)]
pub struct MemoryJournal {
    inner: Mutex<Memory>,
    claimed: Arc<Mutex<HashSet<RunId>>>,
    /// The marks of active runs.
    marks: Mutex<HashMap<RunId, u32>>,
    notes: Mutex<HashMap<RunId, RunNote>>,
}

/// An event as JSON text.
#[derive(Clone)]
struct StoredEvent {
    is_cancel_request: bool,
    is_signal: bool,
    text: String,
}

impl StoredEvent {
    fn of(event: &RunEvent) -> Result<StoredEvent> {
        Ok(StoredEvent {
            is_cancel_request: matches!(event, RunEvent::CancelRequested { .. }),
            is_signal: matches!(event, RunEvent::Signalled { .. }),
            text: text(event)?,
        })
    }
}

#[derive(Default)]
struct Memory {
    flows: HashMap<String, Value>,
    events: BTreeMap<RunId, Vec<StoredEvent>>,
    /// The run of each event, in the order in which they were stored, and the number of the event in it.
    order: Vec<(RunId, usize)>,
    items: BTreeMap<(RunId, StepPath, String), Item>,
    /// The flow of each run and its connections, as text: the scope in which items with `once` are remembered.
    scopes: HashMap<RunId, String>,
    /// By scope, step and key.
    previous: HashMap<(String, StepPath, String), PreviousOutcome>,
    /// The run that has taken each deduplication key, by flow, feed and key. The id is empty if no run was started.
    deduplication: HashMap<(String, String, String), RunId>,
    log: HashMap<RunId, VecDeque<(u64, String)>>,
    retention: Option<Retention>,
}

impl Memory {
    fn accept(&mut self, run: &RunId, version: &str, flow: &Value, started: &RunEvent) -> Result<()> {
        if self.events.contains_key(run) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a run {run} already")));
        }
        let RunEvent::Started { flow: name, connections, .. } = started else {
            return Err(Error::new(ErrorKind::Internal, "a run has to begin with a `started` event"));
        };
        self.keep_version(version, flow)?;
        self.scopes.insert(run.clone(), text(&(name, connections))?);
        self.events.insert(run.clone(), vec![StoredEvent::of(started)?]);
        self.order.push((run.clone(), 1));
        Ok(())
    }

    /// Applies the outcome of an item, if the event has one.
    fn apply_outcome(&mut self, run: &RunId, event: &RunEvent) -> Result<()> {
        let Some(ended) = Item::of(event) else { return Ok(()) };
        let (step, key, outcome) = (ended.step.clone(), ended.key.clone(), &ended.outcome);
        let item = (self.scope(run)?, step.clone(), key.clone());
        let done = matches!(outcome, ItemOutcome::Done { .. });
        match event {
            RunEvent::ItemFinished { once: Some(fingerprint), .. } if done || outcome.status() == "unknown" => {
                let (run, fingerprint) = (run.clone(), fingerprint.clone());
                self.previous.insert(item, PreviousOutcome { run, fingerprint, unknown: !done });
            }
            RunEvent::ItemResolved { .. } => {
                if let Some(previous) = self.previous.get_mut(&item).filter(|previous| previous.run == *run) {
                    previous.unknown = false;
                    if !done {
                        self.previous.remove(&item);
                    }
                }
            }
            _ => {}
        }
        self.items.insert((run.clone(), step, key), ended);
        Ok(())
    }

    fn summary(&self, id: &RunId, events: &[StoredEvent]) -> Result<RunSummary> {
        let mut summary = RunSummary::new(id.clone());
        for event in events {
            summary.apply(&parse(&event.text)?);
        }
        for (_, item) in self.items.iter().filter(|((run, _, _), _)| run == id) {
            *summary.items.entry(item.outcome.status().to_owned()).or_default() += 1;
        }
        Ok(summary)
    }

    /// Returns the run that repeats the failed items of a run.
    fn rerun_of(&self, run: &RunId) -> Result<Option<RunId>> {
        for (id, events) in &self.events {
            if let Some(RunEvent::Started { retry: Some(retry), .. }) =
                events.first().map(|one| parse(&one.text)).transpose()?
                && retry.run == *run
            {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// Returns the flow of a run and its connections, as text.
    fn scope(&self, run: &RunId) -> Result<String> {
        self.scopes.get(run).cloned().ok_or_else(|| no_run(run))
    }

    fn keep_version(&mut self, version: &str, flow: &Value) -> Result<()> {
        if self.flows.get(version).is_some_and(|known| known != flow) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is another flow with the version {version}")));
        }
        self.flows.insert(version.to_owned(), flow.clone());
        Ok(())
    }
}

fn no_run(run: &RunId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no run {run}")).next(NextStep::ListRuns)
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, "an event is not JSON").source(error))
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::Store, "the journal holds an event that cannot be read").source(error))
}

impl MemoryJournal {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventLog for MemoryJournal {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, _: Flush) -> Result<()> {
        self.lock().accept(run, version, flow, &started)
    }

    async fn append(&self, run: &RunId, events: Vec<RunEvent>, _: Flush) -> Result<()> {
        let mut memory = self.lock();
        if !memory.events.contains_key(run) {
            return Err(no_run(run));
        }
        for event in events {
            memory.apply_outcome(run, &event)?;
            let events = memory.events.get_mut(run).ok_or_else(|| no_run(run))?;
            events.push(StoredEvent::of(&event)?);
            let place = (run.clone(), events.len());
            memory.order.push(place);
        }
        Ok(())
    }

    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        let events = self.lock().events.get(run).cloned().ok_or_else(|| no_run(run))?;
        for event in events {
            visit(parse(&event.text)?);
        }
        Ok(())
    }

    async fn all_events(&self, after: Option<EventPlace>) -> Result<EventPage> {
        let memory = self.lock();
        let last = memory.order.last().map_or(0, |(_, seq)| *seq as u64);
        let end = EventPlace { write: memory.order.len() as u64, seq: last };
        let Some(after) = after.filter(|after| after.write <= end.write) else {
            return Ok(EventPage { next: end, missed: after.is_some(), ..EventPage::default() });
        };
        let mut page = EventPage { next: after, ..EventPage::default() };
        let behind = memory.order.iter().enumerate().skip(usize::try_from(after.write).unwrap_or(usize::MAX));
        for (index, (run, seq)) in behind.take(MOST_EVENTS) {
            page.next = EventPlace { write: index as u64 + 1, seq: *seq as u64 };
            let Some(events) = memory.events.get(run) else { continue };
            let event = events.get(seq - 1).map(|event| parse::<RunEvent>(&event.text)).transpose()?;
            let flow = memory.summary(run, &events[..1])?.flow;
            let placed =
                |event: RunEvent| PlacedEvent { place: page.next, run: run.clone(), flow, event: event.shown() };
            page.events.extend(event.map(placed));
        }
        Ok(page)
    }

    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        let memory = self.lock();
        let events = memory.events.get(run).ok_or_else(|| no_run(run))?;
        Ok(events.iter().any(|event| event.is_cancel_request))
    }

    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        let memory = self.lock();
        let events = memory.events.get(run).ok_or_else(|| no_run(run))?;
        let new = events.iter().skip(usize::try_from(after).unwrap_or(usize::MAX));
        let signals = new.filter(|event| event.is_signal);
        Ok((signals.map(|event| parse(&event.text)).collect::<Result<_>>()?, events.len() as u64))
    }
}

#[async_trait]
impl RunIndex for MemoryJournal {
    async fn run_page(&self, filter: &RunFilter, after: Option<&RunPlace>, most: usize) -> Result<RunPage> {
        let memory = self.lock();
        let mut runs = Vec::new();
        for (id, events) in &memory.events {
            let ends = events.iter().rev().map(|event| parse::<RunEvent>(&event.text));
            let message = ends.filter_map(Result::ok).find_map(|event| event.end().map(|error| error.cloned()));
            runs.push((memory.summary(id, events)?, message.flatten().map(|error| error.message().to_owned())));
        }
        Ok(RunPage::of(runs, filter, after, most))
    }

    async fn runs_starting_with(&self, start: &str, most: usize) -> Result<Vec<RunId>> {
        let memory = self.lock();
        let found = memory.events.keys().filter(|id| id.as_str().starts_with(start));
        Ok(found.take(most).cloned().collect())
    }

    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        Ok(self.lock().items.get(&(run.clone(), step.clone(), key.to_owned())).map(|item| item.outcome.clone()))
    }

    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        let memory = self.lock();
        let first = (run.clone(), StepPath::default(), String::new());
        let from = match after {
            Some((step, key)) => Bound::Excluded((run.clone(), step, key)),
            None => Bound::Included(first),
        };
        let mut items = Vec::new();
        for ((of, _, _), item) in memory.items.range((from, Bound::Unbounded)) {
            if of != run || items.len() == most {
                break;
            }
            if status.is_none_or(|status| status == item.outcome.status()) {
                items.push(item.clone());
            }
        }
        Ok(items)
    }

    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        let memory = self.lock();
        Ok(memory.previous.get(&(memory.scope(run)?, step.clone(), key.to_owned())).cloned())
    }

    async fn remembered(
        &self,
        flow: &str,
        keys: &[String],
        after: Option<RememberedItem>,
        most: usize,
    ) -> Result<Vec<RememberedItem>> {
        let order = |item: &RememberedItem| (item.step.clone(), item.key.clone(), text(&item.connections).ok());
        let (memory, mut found) = (self.lock(), Vec::new());
        for ((scope, step, key), PreviousOutcome { run, unknown, .. }) in &memory.previous {
            let (of, connections) = parse::<(String, _)>(scope)?;
            if of == flow && (keys.is_empty() || keys.contains(key)) {
                let (step, key, run, unknown) = (step.clone(), key.clone(), run.clone(), *unknown);
                found.push(RememberedItem { connections, step, key, run, unknown });
            }
        }
        found.sort_by_cached_key(order);
        found.retain(|item| after.as_ref().is_none_or(|after| order(item) > order(after)));
        found.truncate(most);
        Ok(found)
    }

    async fn forget(&self, flow: &str, keys: &[String]) -> Result<u64> {
        let running = |run: &RunSummary| run.flow == flow && run.status == RunStatus::Running;
        if let Some(run) = self.runs().await?.iter().find(|run| running(run)) {
            return Err(RememberedItem::in_use(flow, &run.id));
        }
        let mut memory = self.lock();
        let before = memory.previous.len();
        memory.previous.retain(|(scope, _, key), previous| {
            let of = parse::<(String, Value)>(scope).is_ok_and(|(of, _)| of == flow);
            !of || previous.unknown || !(keys.is_empty() || keys.contains(key))
        });
        Ok((before - memory.previous.len()) as u64)
    }
}

#[async_trait]
impl TriggerDeduplication for MemoryJournal {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        let mut memory = self.lock();
        let key = |key: &String| (trigger.flow.clone(), trigger.feed.clone(), key.clone());
        if let Some(earlier) = trigger.keys.iter().find_map(|one| memory.deduplication.get(&key(one))) {
            return Ok(Some(earlier.clone()));
        }
        memory.accept(run, version, flow, &started)?;
        memory.deduplication.extend(trigger.keys.iter().map(|one| (key(one), run.clone())));
        Ok(None)
    }

    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        let memory = self.lock();
        let of = |key: &String| (flow.to_owned(), feed.to_owned(), key.clone());
        let new = |key: &String| !memory.deduplication.contains_key(&of(key));
        Ok(keys.into_iter().filter(new).collect())
    }

    async fn count_taken(&self, flow: &str) -> Result<Option<u64>> {
        let memory = self.lock();
        let is_event = |(of, _, key): &&(String, String, String)| of == flow && !key.is_empty() && key != "#";
        Ok(Some(memory.deduplication.keys().filter(is_event).count() as u64))
    }

    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        let key = (flow.to_owned(), feed.to_owned(), key.to_owned());
        Ok(self.lock().deduplication.get(&key).cloned())
    }

    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        let mut memory = self.lock();
        for key in event.keys {
            let key = (event.flow.clone(), event.feed.clone(), key);
            memory.deduplication.entry(key).or_insert_with(|| RunId::from(""));
        }
        Ok(())
    }

    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.lock().deduplication.retain(|(of, _, _), _| of != flow);
        Ok(())
    }
}

#[async_trait]
impl FlowVersions for MemoryJournal {
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        self.lock().keep_version(version, flow)
    }

    async fn flow(&self, version: &str) -> Result<Value> {
        let flow = self.lock().flows.get(version).cloned();
        flow.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no flow version {version}")))
    }
}

#[async_trait]
impl ProcessLog for MemoryJournal {
    async fn log(&self, run: &RunId, entry: LogEntry) -> Result<()> {
        let mut memory = self.lock();
        let log = memory.log.entry(run.clone()).or_default();
        log.push_back((log.back().map_or(1, |(last, _)| last + 1), text(&entry)?));
        if log.len() as u64 > LOG_ENTRIES {
            log.pop_front();
        }
        Ok(())
    }

    async fn logged(&self, run: &RunId, after: u64) -> Result<LogPage> {
        let memory = self.lock();
        let Some(log) = memory.log.get(run) else { return Ok(LogPage::default()) };
        let page = log.iter().filter(|(number, _)| *number > after).take(LOG_PAGE);
        let entries = page.map(|(number, entry)| Ok((*number, parse(entry)?))).collect::<Result<_>>()?;
        Ok(LogPage { dropped: log.front().map_or(0, |(first, _)| first - 1), entries })
    }
}

impl MemoryJournal {
    fn notes(&self) -> MutexGuard<'_, HashMap<RunId, RunNote>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<RunId, u32>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RunClaims for MemoryJournal {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        struct ClaimGuard {
            claimed: Arc<Mutex<HashSet<RunId>>>,
            run: RunId,
        }
        impl Drop for ClaimGuard {
            fn drop(&mut self) {
                self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
            }
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(run.clone()) {
            return Err(Error::new(ErrorKind::Conflict, format!("run {run} is being worked on already")));
        }
        Ok(RunClaim::new(ClaimGuard { claimed: self.claimed.clone(), run: run.clone() }))
    }

    async fn is_claimed(&self, run: &RunId) -> Result<bool> {
        Ok(self.claimed.lock().unwrap_or_else(PoisonError::into_inner).contains(run))
    }

    async fn note(&self, run: &RunId, note: Option<&RunNote>) -> Result<()> {
        match note {
            Some(note) => drop(self.notes().insert(run.clone(), note.clone())),
            None => drop(self.notes().remove(run)),
        }
        Ok(())
    }

    async fn noted(&self, run: &RunId) -> Result<Option<RunNote>> {
        Ok(self.notes().get(run).cloned())
    }

    async fn mark_active(&self, run: &RunId) -> Result<()> {
        *self.marks().entry(run.clone()).or_default() += 1;
        Ok(())
    }

    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        Ok(self.marks().get(run).copied().unwrap_or_default())
    }

    async fn clear_active(&self, run: &RunId) -> Result<()> {
        self.marks().remove(run);
        Ok(())
    }
}

#[async_trait]
impl RunRemoval for MemoryJournal {
    async fn remove_run(&self, run: &RunId) -> Result<()> {
        let mut memory = self.lock();
        let events = memory.events.get(run).ok_or_else(|| no_run(run))?;
        memory.summary(run, events)?.check_removal(memory.rerun_of(run)?.as_ref())?;
        memory.events.remove(run);
        memory.items.retain(|(of, _, _), _| of != run);
        memory.scopes.remove(run);
        memory.log.remove(run);
        Ok(())
    }

    async fn retention(&self) -> Result<Option<Retention>> {
        Ok(Some(self.lock().retention.unwrap_or(Retention::DEFAULT)))
    }

    async fn set_retention(&self, retention: Retention) -> Result<()> {
        self.lock().retention = Some(retention);
        Ok(())
    }
}

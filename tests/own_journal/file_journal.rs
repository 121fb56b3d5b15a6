//! A journal in one file. Each line is a transaction: a list of records in JSON. All queries read the records in
//! memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath, async_trait};
use trunkline_engine::{
    EventLog, FlowVersions, Flush, Item, ItemOutcome, PreviousOutcome, ProcessLog, RememberedItem, RunClaim, RunClaims,
    RunEvent, RunFilter, RunIndex, RunPage, RunPlace, RunRemoval, RunStatus, RunSummary, TriggerDeduplication,
    TriggerEvent,
};
use trunkline_flow::Retention;

#[derive(Serialize, Deserialize)]
enum Record {
    Version(String, Value),
    Event(RunId, Box<RunEvent>),
    Taken(TakenKey, RunId),
    Forgotten(String),
    /// What is remembered of items of this flow with these keys, or of all if there are none.
    ForgottenItems(String, Vec<String>),
    /// The run is removed. Its events stay in the file, for what is remembered of its items.
    Removed(RunId),
    Retention(Retention),
}

/// The flow, the step, the key and the connections of an item that is remembered across runs.
type Remembered = (String, StepPath, String, BTreeMap<String, String>);

/// The flow, the feed and the key.
type TakenKey = (String, String, String);

pub struct FileJournal {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    /// Lines that are not in the file yet.
    queued: Vec<u8>,
    versions: BTreeMap<String, Value>,
    /// The events of all runs, in the order in which they were appended.
    events: Vec<(RunId, RunEvent)>,
    /// The removed runs, with the number of events before that. Their events are looked at only for what is remembered
    /// of their items.
    removed: BTreeMap<RunId, usize>,
    retention: Retention,
    taken: BTreeMap<TakenKey, RunId>,
    /// The items that were forgotten, with the number of events before that.
    forgotten: Vec<(usize, String, Vec<String>)>,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Store, "the journal's file cannot be read or written").source(error)
}

impl FileJournal {
    /// The file with the number of marks of a run.
    fn marks(&self, run: &RunId) -> PathBuf {
        self.path.with_extension("marks").join(run.as_str())
    }

    pub fn open(path: &Path) -> Result<FileJournal> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let (versions, events, taken) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let (removed, retention, forgotten) = (BTreeMap::new(), Retention::DEFAULT, Vec::new());
        let mut state = State { file, queued: Vec::new(), versions, events, removed, retention, taken, forgotten };
        let mut text = String::new();
        state.file.read_to_string(&mut text).map_err(failed)?;
        // A crash may have cut the last line.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        state.file.set_len(whole as u64).map_err(failed)?;
        state.file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        for line in text[..whole].lines() {
            state.apply(serde_json::from_str(line).map_err(failed)?);
        }
        Ok(FileJournal { path: path.to_owned(), state: Mutex::new(state) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn apply(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Version(version, flow) => drop(self.versions.insert(version, flow)),
                Record::Event(run, event) => self.events.push((run, *event)),
                Record::Taken(key, run) => drop(self.taken.entry(key).or_insert(run)),
                Record::ForgottenItems(flow, keys) => self.forgotten.push((self.events.len(), flow, keys)),
                Record::Removed(run) => drop(self.removed.insert(run, self.events.len())),
                Record::Retention(retention) => self.retention = retention,
                Record::Forgotten(flow) => self.taken.retain(|(of, _, _), _| *of != flow),
            }
        }
    }

    fn commit(&mut self, records: Vec<Record>, flush: Flush) -> Result<()> {
        serde_json::to_writer(&mut self.queued, &records).map_err(failed)?;
        self.queued.push(b'\n');
        if flush == Flush::Now {
            self.file.write_all(&self.queued).and_then(|()| self.file.sync_data()).map_err(failed)?;
            self.queued.clear();
        }
        self.apply(records);
        Ok(())
    }

    fn run<'a>(&'a self, run: &RunId) -> impl Iterator<Item = &'a RunEvent> {
        let first = self.removed.get(run).copied().unwrap_or_default();
        self.events[first..].iter().filter(move |(of, _)| of == run).map(|(_, event)| event)
    }

    fn must_exist(&self, run: &RunId) -> Result<()> {
        let first = self.run(run).next();
        first.map(drop).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no run {run}")))
    }

    fn version(&self, version: &str, flow: &Value) -> Result<Record> {
        match self.versions.get(version) {
            Some(known) if known != flow => Err(Error::new(ErrorKind::Conflict, "another flow has this version")),
            _ => Ok(Record::Version(version.to_owned(), flow.clone())),
        }
    }

    fn accept(&mut self, run: &RunId, started: RunEvent, others: Vec<Record>, flush: Flush) -> Result<()> {
        if self.must_exist(run).is_ok() {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a run {run} already")));
        }
        self.commit(others.into_iter().chain([Record::Event(run.clone(), Box::new(started))]).collect(), flush)
    }

    /// Returns the last outcomes of the items of a run.
    fn items(&self, run: &RunId) -> BTreeMap<(StepPath, String), Item> {
        let mut items = BTreeMap::new();
        for event in self.run(run) {
            if let Some(item) = Item::of(event) {
                items.insert((item.step.clone(), item.key.clone()), item);
            }
        }
        items
    }

    /// Returns what is remembered of items across runs, by flow, step, key and connections.
    fn remembered(&self) -> BTreeMap<Remembered, PreviousOutcome> {
        let mut all = BTreeMap::<Remembered, PreviousOutcome>::new();
        let mut forgotten = self.forgotten.iter().peekable();
        for number in 0..=self.events.len() {
            while let Some((_, flow, keys)) = forgotten.next_if(|(before, _, _)| *before == number) {
                all.retain(|(of, _, key, _), previous| {
                    of != flow || previous.unknown || !(keys.is_empty() || keys.contains(key))
                });
            }
            let Some((run, event)) = self.events.get(number) else { break };
            let (Some(item), Some((flow, connections))) = (Item::of(event), self.scope(run)) else { continue };
            let place = (flow.clone(), item.step.clone(), item.key.clone(), connections.clone());
            match event {
                RunEvent::ItemFinished { outcome, once: Some(fingerprint), .. }
                    if matches!(outcome.status(), "done" | "unknown") =>
                {
                    let (run, fingerprint) = (run.clone(), fingerprint.clone());
                    all.insert(place, PreviousOutcome { run, fingerprint, unknown: outcome.status() == "unknown" });
                }
                RunEvent::ItemResolved { outcome, .. } if all.get(&place).is_some_and(|one| one.run == *run) => {
                    let previous = all.remove(&place).filter(|_| outcome.status() == "done");
                    all.extend(previous.map(|one| (place, PreviousOutcome { unknown: false, ..one })));
                }
                _ => {}
            }
        }
        all
    }

    fn summary(&self, run: &RunId) -> RunSummary {
        let mut summary = RunSummary::new(run.clone());
        self.run(run).for_each(|event| summary.apply(event));
        for item in self.items(run).values() {
            *summary.items.entry(item.outcome.status().to_owned()).or_default() += 1;
        }
        summary
    }

    /// Returns the flow and the connections of a run.
    fn scope<'a>(&'a self, run: &RunId) -> Option<(&'a String, &'a BTreeMap<String, String>)> {
        match self.events.iter().find(|(of, _)| of == run)? {
            (_, RunEvent::Started { flow, connections, .. }) => Some((flow, connections)),
            _ => None,
        }
    }
}

#[async_trait]
impl EventLog for FileJournal {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        let mut state = self.state();
        let version = state.version(version, flow)?;
        state.accept(run, started, vec![version], flush)
    }

    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        let mut state = self.state();
        state.must_exist(run)?;
        state.commit(events.into_iter().map(|event| Record::Event(run.clone(), Box::new(event))).collect(), flush)
    }

    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        let events: Vec<_> = self.state().run(run).cloned().collect();
        self.state().must_exist(run)?;
        events.into_iter().for_each(visit);
        Ok(())
    }

    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        let state = self.state();
        state.must_exist(run)?;
        Ok(state.run(run).any(|event| matches!(event, RunEvent::CancelRequested { .. })))
    }

    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        let state = self.state();
        state.must_exist(run)?;
        let new = state.run(run).skip(usize::try_from(after).unwrap_or(usize::MAX));
        let signals = new.filter(|event| matches!(event, RunEvent::Signalled { .. })).cloned().collect();
        Ok((signals, state.run(run).count() as u64))
    }
}

#[async_trait]
impl RunIndex for FileJournal {
    async fn run_page(&self, filter: &RunFilter, after: Option<&RunPlace>, most: usize) -> Result<RunPage> {
        let state = self.state();
        let ids: BTreeSet<_> =
            state.events.iter().map(|(run, _)| run).filter(|run| state.must_exist(run).is_ok()).collect();
        let with_error = |run| {
            let error = state.run(run).filter_map(RunEvent::end).last().flatten();
            (state.summary(run), error.map(|error| error.message().to_owned()))
        };
        Ok(RunPage::of(ids.into_iter().map(with_error).collect(), filter, after, most))
    }

    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        let found = self.state().items(run).remove(&(step.clone(), key.to_owned()));
        Ok(found.map(|item| item.outcome))
    }

    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        let found = self.state().items(run).into_iter();
        let found = found.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).map(|(_, item)| item);
        Ok(found.filter(|item| status.is_none_or(|status| item.outcome.status() == status)).take(most).collect())
    }

    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        let state = self.state();
        state.must_exist(run)?;
        let scope = state.scope(run).map(|(flow, connections)| (flow.clone(), connections.clone()));
        let (flow, connections) = scope.unwrap_or_default();
        Ok(state.remembered().remove(&(flow, step.clone(), key.to_owned(), connections)))
    }

    async fn remembered(
        &self,
        flow: &str,
        keys: &[String],
        after: Option<RememberedItem>,
        most: usize,
    ) -> Result<Vec<RememberedItem>> {
        let after = after.map(|item| (item.step, item.key, item.connections));
        let mut found = Vec::new();
        for ((of, step, key, connections), PreviousOutcome { run, unknown, .. }) in self.state().remembered() {
            let is_behind =
                after.as_ref().is_none_or(|after| (&step, &key, &connections) > (&after.0, &after.1, &after.2));
            if of == flow && (keys.is_empty() || keys.contains(&key)) && is_behind && found.len() < most {
                found.push(RememberedItem { connections, step, key, run, unknown });
            }
        }
        Ok(found)
    }

    async fn forget(&self, flow: &str, keys: &[String]) -> Result<u64> {
        let active =
            RunFilter { flow: Some(flow.to_owned()), status: Some(RunStatus::Running), ..RunFilter::default() };
        if let Some(run) = self.run_page(&active, None, 1).await?.runs.first() {
            return Err(RememberedItem::in_use(flow, &run.id));
        }
        let before = self.state().remembered().len();
        self.state().commit(vec![Record::ForgottenItems(flow.to_owned(), keys.to_vec())], Flush::Now)?;
        Ok((before - self.state().remembered().len()) as u64)
    }
}

#[async_trait]
impl TriggerDeduplication for FileJournal {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        let mut state = self.state();
        let keys = || trigger.keys.iter().map(|key| (trigger.flow.clone(), trigger.feed.clone(), key.clone()));
        if let Some(earlier) = keys().find_map(|key| state.taken.get(&key)) {
            return Ok(Some(earlier.clone()));
        }
        let version = state.version(version, flow)?;
        let taken = keys().map(|key| Record::Taken(key, run.clone()));
        state.accept(run, started, taken.chain([version]).collect(), Flush::Now)?;
        Ok(None)
    }

    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        let state = self.state();
        let of = |key: &String| (flow.to_owned(), feed.to_owned(), key.clone());
        Ok(keys.into_iter().filter(|key| !state.taken.contains_key(&of(key))).collect())
    }

    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        Ok(self.state().taken.get(&(flow.to_owned(), feed.to_owned(), key.to_owned())).cloned())
    }

    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        let of = |key| (event.flow.clone(), event.feed.clone(), key);
        let taken = event.keys.into_iter().map(|key| Record::Taken(of(key), RunId::from("")));
        self.state().commit(taken.collect(), Flush::Now)
    }

    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        self.state().commit(vec![Record::Forgotten(flow.to_owned())], Flush::Now)
    }
}

#[async_trait]
impl FlowVersions for FileJournal {
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        let mut state = self.state();
        let version = state.version(version, flow)?;
        state.commit(vec![version], Flush::Now)
    }

    async fn flow(&self, version: &str) -> Result<Value> {
        let flow = self.state().versions.get(version).cloned();
        flow.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no flow version {version}")))
    }
}

/// Stores no process log.
impl ProcessLog for FileJournal {}

/// The operating system releases the lock of a file when its process ends.
#[async_trait]
impl RunClaims for FileJournal {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        let locks = self.path.with_extension("locks");
        fs::create_dir_all(&locks).map_err(failed)?;
        let file = File::create(locks.join(run.as_str())).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(RunClaim::new(file)),
            Err(_) => Err(Error::new(ErrorKind::Conflict, format!("another process works on run {run}"))),
        }
    }

    async fn is_claimed(&self, run: &RunId) -> Result<bool> {
        let lock = File::open(self.path.with_extension("locks").join(run.as_str()));
        Ok(lock.is_ok_and(|lock| lock.try_lock_shared().is_err()))
    }

    async fn mark_active(&self, run: &RunId) -> Result<()> {
        let marks = self.active_marks(run).await? + 1;
        fs::create_dir_all(self.marks(run).parent().unwrap_or(&self.path)).map_err(failed)?;
        fs::write(self.marks(run), marks.to_string()).map_err(failed)
    }

    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        Ok(fs::read_to_string(self.marks(run)).ok().and_then(|marks| marks.parse().ok()).unwrap_or_default())
    }

    async fn clear_active(&self, run: &RunId) -> Result<()> {
        if self.active_marks(run).await? > 0 {
            fs::remove_file(self.marks(run)).map_err(failed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl RunRemoval for FileJournal {
    async fn remove_run(&self, run: &RunId) -> Result<()> {
        let mut state = self.state();
        state.must_exist(run)?;
        let repeats = |(of, event): &(RunId, RunEvent)| match event {
            RunEvent::Started { retry: Some(retry), .. } if retry.run == *run && state.must_exist(of).is_ok() => {
                Some(of.clone())
            }
            _ => None,
        };
        state.summary(run).check_removal(state.events.iter().find_map(repeats).as_ref())?;
        state.commit(vec![Record::Removed(run.clone())], Flush::Now)
    }

    async fn retention(&self) -> Result<Option<Retention>> {
        Ok(Some(self.state().retention))
    }

    async fn set_retention(&self, retention: Retention) -> Result<()> {
        self.state().commit(vec![Record::Retention(retention)], Flush::Now)
    }
}

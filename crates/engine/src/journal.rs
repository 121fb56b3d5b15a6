//! The journal: the port through which the engine stores the events of runs.
//!
//! Events are only appended, and the state of a run is the fold of its events and nothing else. An event that must not
//! be lost is appended with [`Flush::Now`]. An event whose loss would only repeat harmless work is appended with
//! [`Flush::Later`] and reaches the disk with the next group.

use std::{any::Any, collections::BTreeMap, fmt};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Result, Timestamp, pointer_name, pointer_part};
use uuid::Uuid;

use crate::{ItemOutcome, LogEntry, LogPage, RunEvent, RunStatus, TriggerEvent};

/// The number of events in one page of [`Journal::events`].
const EVENTS: usize = 256;

/// The id of a run: 15 digits and lower case letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Returns a new id for a run that is accepted now.
    ///
    /// Ids grow with time, so a journal finds the rows of a run side by side. Ids of the same millisecond differ in 30
    /// random bits.
    pub(crate) fn new(now: Timestamp) -> RunId {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let random = Uuid::new_v4().as_u128() & ((1 << 30) - 1);
        let number = u128::from(now.as_millis()) << 30 | random;
        let digit = |place: u32| char::from(DIGITS[(number >> (5 * place) & 31) as usize]);
        RunId((0..15).rev().map(digit).collect())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(id: String) -> RunId {
        RunId(id)
    }
}

impl From<&str> for RunId {
    fn from(id: &str) -> RunId {
        RunId(id.to_owned())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path of a step in a run: step ids from the outermost to the innermost, and between them the keys of items, such
/// as `files/4711/asset`. The empty path is the run itself.
///
/// Keys are escaped as in a JSON pointer (`~` as `~0`, `/` as `~1`, RFC 6901), so a key is never mistaken for another
/// step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepPath(String);

impl StepPath {
    /// Returns the path of a step or an item below this one. `part` is an id or an unescaped key.
    pub fn join(&self, part: &str) -> StepPath {
        let part = pointer_part(part);
        StepPath(if self.0.is_empty() { part } else { format!("{}/{part}", self.0) })
    }

    /// Returns the path under which the deadline, the failure and the failure handler of the flow at this path are
    /// recorded. No step and no item can have this path.
    pub(crate) fn of_flow(&self) -> StepPath {
        StepPath(if self.0.is_empty() { "~flow".to_owned() } else { format!("{}/~flow", self.0) })
    }

    /// Returns whether this path is the other path or lies below it.
    pub(crate) fn is_within(&self, other: &StepPath) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        other.0.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the range of all paths below this one: '0' follows '/', so it contains exactly the paths with the prefix
    /// "PATH/".
    pub(crate) fn below(&self) -> std::ops::Range<StepPath> {
        StepPath(format!("{}/", self.0))..StepPath(format!("{}0", self.0))
    }

    /// Returns the paths above this one, from the outermost to the innermost.
    pub(crate) fn ancestors(&self) -> Vec<StepPath> {
        self.0.match_indices('/').map(|(at, _)| StepPath(self.0[..at].to_owned())).collect()
    }

    /// Returns the parent path, and the last part as an unescaped id or key; nothing for a path of one part.
    pub fn split(&self) -> Option<(StepPath, String)> {
        let (outer, last) = self.0.rsplit_once('/')?;
        Some((StepPath(outer.to_owned()), pointer_name(last)))
    }

    /// Returns whether this path matches the path of an `each` step in [`Run::ledger`](crate::Run::ledger), where `*`
    /// stands for any item.
    pub fn is_like(&self, pattern: &str) -> bool {
        let (mut parts, mut like) = (self.0.split('/'), pattern.split('/'));
        loop {
            match (parts.next(), like.next()) {
                (None, None) => return true,
                (Some(part), Some(like)) if part == like || like == "*" => {}
                _ => return false,
            }
        }
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StepPath {
    fn from(path: &str) -> Self {
        StepPath(path.to_owned())
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// When everything appended so far is on disk and would survive a power cut.
    Now,
    /// At once. The events are written to disk in order, with the next group.
    Later,
}

/// A run in a list of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run's id.
    pub id: RunId,
    /// Its flow's name.
    pub flow: String,
    /// Its flow's version.
    pub version: String,
    /// The run's status.
    pub status: RunStatus,
    /// When the run was accepted.
    pub started_at: Timestamp,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
    /// The number of items by status: `done`, `skipped`, `failed`, `unknown`.
    pub items: BTreeMap<String, u64>,
}

/// An item of a run that has an outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// The path of its `each` step.
    pub step: StepPath,
    /// The item's key.
    pub key: String,
    /// The item's outcome.
    #[serde(flatten)]
    pub outcome: ItemOutcome,
    /// When the item got this outcome.
    pub at: Timestamp,
}

/// The outcome of an item with `once` in an earlier run of the same flow on the same connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousOutcome {
    /// The earlier run.
    pub run: RunId,
    /// The fingerprint that the item had then.
    pub fingerprint: String,
    /// Whether the outcome is unknown. Otherwise, the item is done.
    pub unknown: bool,
}

/// The exclusive right to work on a run. One process holds it at a time.
///
/// It is given back when it is dropped. A journal in which processes share runs must also give it back when the process
/// that holds it is killed.
pub struct RunClaim {
    _guard: Box<dyn Any + Send + Sync>,
}

impl RunClaim {
    /// Wraps the guard of a lock. Dropping the claim drops the guard, which releases the lock.
    pub fn new(guard: impl Any + Send + Sync) -> RunClaim {
        RunClaim { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for RunClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunClaim").finish_non_exhaustive()
    }
}

/// Stores the events of runs, and what is derived from them: item outcomes, deduplication keys, the process log.
///
/// Implement it to store runs elsewhere. `trunkline_engine::journal_suite` (feature `suite`) checks an implementation,
/// and [`MemoryJournal`](crate::MemoryJournal) is a short example.
///
/// # Errors
///
/// Besides the errors that it lists, each method may return `store` if the storage cannot be read or written. If the
/// cause may go away, such as a full disk, that error is retryable
/// ([`Error::retryable`](trunkline_core::Error::retryable)): the engine then leaves the run to be resumed instead of
/// ending it as failed.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Accepts a run: stores its flow's document under `version`, and its first event. If [`Flush::Later`] is given and
    /// the write fails afterwards, all later appends to the run fail.
    ///
    /// # Errors
    ///
    /// `conflict` if the run exists already, or if another document has this version. Nothing is stored then.
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()>;

    /// Accepts a run that a trigger starts, and stores the trigger's deduplication keys in the same transaction. All of
    /// it is on disk when this returns.
    ///
    /// If an earlier run has taken one of the keys, nothing is accepted and the id of that run is returned.
    ///
    /// # Errors
    ///
    /// As [`accept`](Journal::accept).
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>>;

    /// Stores the document of a called flow under its version.
    ///
    /// # Errors
    ///
    /// `conflict` if another document has this version.
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()>;

    /// Appends events in this order: after a crash, all of them are there or none.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run. After an append has failed for another reason, all later appends to the run
    /// fail too, because it is not clear which events are on disk.
    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()>;

    /// Passes all events of a run to `visit`, in order, without holding them all in memory.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if an event cannot be read.
    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()>;

    /// Returns the status of a run, and a page of its events after the event of this number, as [`RunEvent::shown`]
    /// leaves them. Each comes with its number, from 1.
    ///
    /// Events that another process has not flushed yet may be missing. The status of an ended run is returned only if
    /// all of its events can be read. The default implementation replays the whole run.
    ///
    /// # Errors
    ///
    /// As [`replay`](Journal::replay).
    async fn events(&self, run: &RunId, after: u64) -> Result<(RunStatus, Vec<(u64, RunEvent)>)> {
        let (mut status, mut number, mut page) = (RunStatus::Running, 0, Vec::new());
        let mut visit = |event: RunEvent| {
            match &event {
                RunEvent::Finished { status: ended, .. } => status = *ended,
                RunEvent::Resumed { .. } => status = RunStatus::Running,
                _ => {}
            }
            number += 1;
            if number > after && page.len() < EVENTS {
                page.push((number, event.shown()));
            }
        };
        self.replay(run, &mut visit).await?;
        Ok((status, page))
    }

    /// Adds an entry to the process log of a run. The newest [`LOG_ENTRIES`](crate::LOG_ENTRIES) entries are kept, and
    /// of these at most [`LOG_BYTES`](crate::LOG_BYTES). It returns without waiting for the disk. The default
    /// implementation stores nothing.
    ///
    /// # Errors
    ///
    /// An error means that the entry is lost. The run continues.
    async fn log(&self, _run: &RunId, _entry: LogEntry) -> Result<()> {
        Ok(())
    }

    /// Returns a page of the process log of a run: the entries after the entry of this number. The default
    /// implementation returns an empty page.
    ///
    /// # Errors
    ///
    /// `store` if an entry cannot be read.
    async fn logged(&self, _run: &RunId, _after: u64) -> Result<LogPage> {
        Ok(LogPage::default())
    }

    /// Returns the document of a flow version that a run was accepted with, or that was stored with
    /// [`keep_version`](Journal::keep_version).
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such version.
    async fn flow(&self, version: &str) -> Result<Value>;

    /// Returns the last outcome of an item; nothing if it has none, or if there is no such run.
    ///
    /// # Errors
    ///
    /// `store` if the outcome cannot be read.
    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;

    /// Returns a page of the items of a run that have an outcome, ordered by step and key: those after the item
    /// `after`, with this status only (such as `failed`) if one is given, and at most `most`.
    ///
    /// # Errors
    ///
    /// `store` if an outcome cannot be read.
    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>>;

    /// Returns what is remembered of an item across all runs of this run's flow on the same connections: the last run
    /// in which it was done, or in which its outcome was unknown.
    ///
    /// It changes in the same transaction as the outcomes of items that have `once`.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>>;

    /// Returns all runs, newest first.
    ///
    /// # Errors
    ///
    /// `store` if a run cannot be read.
    async fn runs(&self) -> Result<Vec<RunSummary>>;

    /// Claims the exclusive right to work on a run. The run need not exist yet.
    ///
    /// # Errors
    ///
    /// `conflict` while the claim is held, by this process or another one.
    async fn claim(&self, run: &RunId) -> Result<RunClaim>;

    /// Returns whether any process has appended a [`RunEvent::CancelRequested`] to the run.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn cancel_requested(&self, run: &RunId) -> Result<bool>;

    /// Returns the [`RunEvent::Signalled`] events that any process has appended after the event of this number, and the
    /// number of the last event, to pass the next time. Numbers start at 1.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)>;
}

impl RunSummary {
    /// Applies an event. Items are not counted here: the last outcome of an item counts, not every event.
    pub(crate) fn apply(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { flow, version, at, .. } => {
                self.flow.clone_from(flow);
                self.version.clone_from(version);
                self.started_at = *at;
            }
            RunEvent::Resumed { .. } => {
                self.status = RunStatus::Running;
                self.finished_at = None;
            }
            RunEvent::Finished { status, at, .. } => {
                self.status = *status;
                self.finished_at = Some(*at);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trunkline_core::Timestamp;

    use super::RunId;

    #[test]
    fn run_ids_grow_with_time_and_differ_within_a_millisecond() {
        let at = |offset: i64| Timestamp::from_millis(1_795_000_000_000_u64.saturating_add_signed(offset));
        let ids: BTreeSet<_> = (0..1_000).map(|_| RunId::new(at(0))).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| RunId::new(at(-1)) < *id && *id < RunId::new(at(1))));
        assert!(ids.iter().all(|id| id.0.len() == 15 && id.0.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[tokio::test]
    async fn the_memory_journal_passes_the_journal_suite() {
        crate::journal_suite::run(async || crate::MemoryJournal::default()).await;
    }
}

//! The journal: the port through which the engine stores the events of runs.
//!
//! Events are only appended, and the state of a run is the fold of its events and nothing else. An event that must not
//! be lost is appended with [`Flush::Now`]. An event whose loss would only repeat harmless work is appended with
//! [`Flush::Later`] and reaches the disk with the next group.

use std::{any::Any, collections::BTreeMap, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Result, RunId, StepPath, Timestamp};

use crate::{
    journal::{LogEntry, LogPage},
    run::{ItemOutcome, RunEvent, RunStatus},
};

/// The number of events in one page of [`Journal::events`].
const EVENTS: usize = 256;

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

/// The event of a trigger for which a run is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerEvent {
    /// The flow, by the name under which it is saved.
    pub flow: String,
    /// The deduplication keys of the event. They are recorded with the run, and no other run is accepted for them.
    pub keys: Vec<String>,
    /// With this run, the trigger has dealt with everything up to this time.
    pub through: Option<Timestamp>,
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

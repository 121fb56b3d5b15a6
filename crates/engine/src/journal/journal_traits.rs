//! What a journal does, one trait for each concern.
//!
//! | trait | concern |
//! | --- | --- |
//! | [`EventLog`] | accepts runs, appends their events and replays them |
//! | [`RunIndex`] | finds runs and items, derived from the events |
//! | [`TriggerDeduplication`] | starts one run for each trigger event |
//! | [`FlowVersions`] | keeps the documents that runs are pinned to |
//! | [`ProcessLog`] | keeps the newest calls of each run |
//! | [`RunClaims`] | lets one process work on a run |
//! | [`RunRemoval`] | removes ended runs, and keeps the setting after which time |
//!
//! [`Journal`] is their sum. A type that implements the seven traits is a journal. To change one concern of another
//! journal, implement that concern alone and combine it with [`JournalParts`](crate::JournalParts).

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath};

use crate::{
    journal::{
        EventPage, EventPlace, Flush, FoundItem, FoundPlace, Item, LogEntry, LogPage, PreviousOutcome, RememberedItem,
        RunClaims, RunFilter, RunPage, RunPlace, RunRemoval, RunSummary, TriggerEvent,
    },
    run::{ItemOutcome, RunEvent, RunStatus},
};

/// The number of events in one page of [`EventLog::events`].
const EVENTS: usize = 256;
/// The number of runs in one page of [`RunIndex::runs_in`].
const RUNS: usize = 500;

/// Everything that the engine stores and reads: the sum of the seven concerns.
///
/// Implement the seven traits to store runs elsewhere: the sum is then implemented, too. [`MemoryJournal`] is a short
/// example, and `trunkline_engine::journal_suite` (feature `suite`) checks an implementation.
///
/// # Duties of every method
///
/// - **Visibility**: what a method has changed is seen by every later call in this process, also before it is on disk.
/// - **Durability**: what was appended with [`Flush::Now`], or by a method that says so, survives the death of the
///   process and a power cut. Events of one run reach the disk in the order in which they were appended, so that a
///   crash loses only the last ones, and only if all of them were appended with [`Flush::Later`].
/// - **Atomicity**: one call is stored as a whole or not at all, together with what is derived from it: the row of a
///   run in [`RunIndex::runs`], the outcomes of items, and what is remembered of items across runs.
/// - **Cancellation**: the engine may drop the future of a call. The change is then made or not, as after a crash, and
///   never in part.
///
/// # Errors
///
/// Besides the errors that it lists, each method may return `store` if the storage cannot be read or written. If the
/// cause may go away, such as a full disk, that error is retryable
/// ([`Error::retryable`](trunkline_core::Error::retryable)): the engine then leaves the run to be resumed instead of
/// ending it as failed.
///
/// [`MemoryJournal`]: crate::MemoryJournal
pub trait Journal:
    EventLog + RunIndex + TriggerDeduplication + FlowVersions + ProcessLog + RunClaims + RunRemoval
{
}

impl<T> Journal for T where
    T: EventLog + RunIndex + TriggerDeduplication + FlowVersions + ProcessLog + RunClaims + RunRemoval + ?Sized
{
}

/// The events of runs. They are only appended: the state of a run is the fold of its events.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Accepts a run, in one transaction: stores its flow's document under a version, and its first event.
    ///
    /// `run` is the id of the new run and `version` the version of `flow`, its document. `started` is a
    /// [`RunEvent::Started`]. With [`Flush::Now`], all of it is on disk when this returns. With [`Flush::Later`], it
    /// returns at once; if the write fails afterwards, all later appends to the run fail.
    ///
    /// # Errors
    ///
    /// `conflict` if the run exists already, or if another document has this version. Nothing is stored then.
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()>;

    /// Waits until a run that was accepted with [`Flush::Later`] is on disk.
    ///
    /// The default implementation appends no events with [`Flush::Now`].
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, or if it was lost before it reached the disk.
    async fn wait_stored(&self, run: &RunId) -> Result<()> {
        self.append(run, Vec::new(), Flush::Now).await
    }

    /// Appends events in this order: after a crash, all of them are there or none.
    ///
    /// With [`Flush::Now`], they and all earlier events of the run are on disk when this returns, also if `events` is
    /// empty. With [`Flush::Later`], it returns at once.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run. After an append has failed for another reason, all later appends to the run
    /// fail too, because it is not clear which events are on disk. They succeed again after the run is claimed again:
    /// the next worker reads what is on disk.
    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()>;

    /// Passes all events of a run to `visit`, in order and unchanged, without holding them all in memory.
    ///
    /// Numbers have all their digits, and the members of an object keep their order. Events that are appended meanwhile
    /// may be missing.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if an event cannot be read or is missing. `visit` may have been
    /// called for earlier events by then.
    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()>;

    /// Returns the status of a run, and a page of its events after the event of this number, as [`RunEvent::shown`]
    /// leaves them. Each comes with its number, from 1. A page has at most 256 events, and an empty page means that
    /// there are no more events now.
    ///
    /// Events that another process has not flushed yet may be missing. The status of an ended run is returned only if
    /// all of its events can be read. The default implementation replays the whole run.
    ///
    /// # Errors
    ///
    /// As [`replay`](EventLog::replay).
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

    /// Returns a page of the events of all runs after a place, in the order in which any process has stored them. Without
    /// a place, it has no events, and says where the next page begins now. Events that are stored later come after all
    /// events that a page has returned. Those of removed runs are left out.
    ///
    /// A journal may keep the order of its newest events only, see [`EventPage::missed`]. The default implementation keeps
    /// none.
    ///
    /// # Errors
    ///
    /// `config` if the journal keeps no order of the events of all runs, `store` if an event cannot be read.
    async fn all_events(&self, _after: Option<EventPlace>) -> Result<EventPage> {
        let message = "the events of all runs cannot be watched: the journal of this host does not keep their order";
        Err(Error::new(ErrorKind::Config, message).hint("watch each run by itself"))
    }

    /// Returns the events of one step of a run with their outputs, each with its number, in order: those of exactly this
    /// path. The default implementation replays the whole run.
    ///
    /// # Errors
    ///
    /// As [`replay`](EventLog::replay).
    async fn step_events(&self, run: &RunId, step: &StepPath) -> Result<Vec<RunEvent>> {
        let mut found = Vec::new();
        self.replay(run, &mut |event| found.extend(Some(event).filter(|event| event.step() == Some(step)))).await?;
        Ok(found)
    }

    /// Returns whether any process has appended a [`RunEvent::CancelRequested`] to the run. A process that works on the
    /// run asks often, so it should not cost a replay.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn cancel_requested(&self, run: &RunId) -> Result<bool>;

    /// Returns the [`RunEvent::Signalled`] events that any process has appended after the event of this number, and the
    /// number of the run's last event, to pass the next time. Numbers start at 1.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)>;
}

/// What is found without a replay: runs, and the outcomes of their items. It is derived from the events, and changes in
/// the same transaction as they do.
#[async_trait]
pub trait RunIndex: Send + Sync {
    /// Returns a page of the runs that pass the filter, in the order of [`RunPage::runs`], with the number of their
    /// items by status: those behind the place `after`, and at most `most`. [`RunSummary::apply`] folds the events of
    /// a run.
    ///
    /// The work for a page has a limit that does not grow with the number of runs. So a page may have fewer runs, or
    /// none, and a place where the next page begins.
    ///
    /// # Errors
    ///
    /// `store` if a run cannot be read.
    async fn run_page(&self, filter: &RunFilter, after: Option<&RunPlace>, most: usize) -> Result<RunPage>;

    /// Returns all runs that pass the filter, page by page.
    ///
    /// # Errors
    ///
    /// As [`run_page`](RunIndex::run_page), and `store` if a run is damaged: the caller needs all of them.
    async fn runs_in(&self, filter: &RunFilter) -> Result<Vec<RunSummary>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.run_page(filter, after.as_ref(), RUNS).await?;
            if let Some(damaged) = page.damaged.into_iter().next() {
                return Err(Error::new(ErrorKind::Store, damaged));
            }
            all.extend(page.runs);
            match page.next {
                None => return Ok(all),
                next => after = next,
            }
        }
    }

    /// Returns all runs, newest first.
    ///
    /// # Errors
    ///
    /// As [`run_page`](RunIndex::run_page).
    async fn runs(&self) -> Result<Vec<RunSummary>> {
        self.runs_in(&RunFilter::default()).await
    }

    /// Returns the ids of at most `most` runs whose id starts with `start`, the smallest ids first. So a run with
    /// exactly this id comes first. A user names a run by its first digits, so this is asked often. The default
    /// implementation looks through all runs.
    ///
    /// # Errors
    ///
    /// `store` if a run cannot be read.
    async fn runs_starting_with(&self, start: &str, most: usize) -> Result<Vec<RunId>> {
        let ids = self.runs().await?.into_iter().map(|run| run.id);
        let mut ids: Vec<_> = ids.filter(|id| id.as_str().starts_with(start)).collect();
        ids.sort();
        ids.truncate(most);
        Ok(ids)
    }

    /// Returns the outcome of the item with exactly this key in the step at this path: the last
    /// [`RunEvent::ItemFinished`] or [`RunEvent::ItemResolved`]. Returns nothing if it has none, or if there is no such
    /// run.
    ///
    /// # Errors
    ///
    /// `store` if the outcome cannot be read.
    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;

    /// Returns a page of the items of a run that have an outcome, ordered by step and key as bytes: those after the
    /// item `after`, with this status only (such as `failed`) if one is given, and at most `most`.
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
    /// An item is remembered by a [`RunEvent::ItemFinished`] with `once` that is done or unknown. A later failure or
    /// skip changes nothing. A [`RunEvent::ItemResolved`] in the remembered run makes it done, or forgets it.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run.
    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>>;

    /// Returns at most `most` items of all runs in the order of [`FoundItem::place`], those behind the place `after`, whose
    /// key is one of `keys`, or that have one of the names of [`Item::names`] in common with them. With `prefix`, keys and names that begin like one of `keys` count, too.
    /// The default implementation looks through all items of all runs.
    ///
    /// # Errors
    ///
    /// `store` if an outcome cannot be read.
    async fn find_items(
        &self,
        keys: &[String],
        prefix: bool,
        after: Option<&FoundPlace>,
        most: usize,
    ) -> Result<Vec<FoundItem>> {
        let mut found = Vec::new();
        for RunSummary { id, flow, .. } in self.runs().await? {
            let mut after = None;
            loop {
                let page = self.items(&id, None, after, EVENTS).await?;
                let Some(last) = page.last() else { break };
                after = Some((last.step.clone(), last.key.clone()));
                let named = page.into_iter().filter(|item| item.is_named(keys, prefix));
                found.extend(named.map(|item| FoundItem { run: id.clone(), flow: flow.clone(), item }));
            }
        }
        Ok(FoundItem::page(found, after, most))
    }

    /// Returns a page of the items that are remembered across the runs of a flow, see [`before`](RunIndex::before): at
    /// most `most`, ordered by step, key and connections, those after `after`, and only those with one of `keys` if
    /// there are any.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn remembered(
        &self,
        flow: &str,
        keys: &[String],
        after: Option<RememberedItem>,
        most: usize,
    ) -> Result<Vec<RememberedItem>>;

    /// Forgets the items that are remembered as done across the runs of a flow: those with one of `keys`, or all if
    /// there are none. Returns their number. Items with an unknown outcome stay, because they could be done twice. That
    /// is on disk when this returns.
    ///
    /// # Errors
    ///
    /// `conflict` if a run of the flow has not ended. Nothing is forgotten then.
    async fn forget(&self, flow: &str, keys: &[String]) -> Result<u64>;
}

/// The deduplication keys of triggers: deliveries, items and due times for which a run was started. Each feed of a flow
/// has keys of its own, see [`TriggerEvent::feed`].
///
/// When a journal records an event without [`TriggerEvent::keep`], it may remove keys of the feed that no trigger has
/// asked for in the last 30 days.
#[async_trait]
pub trait TriggerDeduplication: Send + Sync {
    /// Accepts a run that a trigger starts as [`EventLog::accept`] does, and stores the trigger's deduplication keys in
    /// the same transaction. All of it is on disk when this returns.
    ///
    /// If an earlier event has taken one of the keys, nothing is accepted and stored, and the id of its run is
    /// returned: the empty id if it started none. An event without keys is always accepted. If the saved flow is in the
    /// same storage, [`TriggerEvent::through`] is stored with it.
    ///
    /// # Errors
    ///
    /// As [`EventLog::accept`]. No key is taken then.
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        trigger: &TriggerEvent,
    ) -> Result<Option<RunId>>;

    /// Returns those of `keys` that the trigger of this flow has not taken for this feed. The other ones are kept longer
    /// from now on.
    ///
    /// # Errors
    ///
    /// `store` if the keys cannot be read.
    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>>;

    /// Returns the number of deduplication keys that the trigger of this flow has taken; nothing if the journal does not
    /// count them, as the default implementation does.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn count_taken(&self, _flow: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Returns the run for which a key was taken: the empty id if none was started, and `None` if it is not taken.
    ///
    /// # Errors
    ///
    /// `store` if the key cannot be read.
    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>>;

    /// Takes the deduplication keys of a trigger event for which no run is started. They are on disk when this returns.
    /// If the saved flow is in the same storage, [`TriggerEvent::through`] is stored with it.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be written.
    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()>;

    /// Removes all deduplication keys of the trigger of this flow, of every feed, for a flow that is removed. That is on
    /// disk when this returns.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be written.
    async fn forget_trigger(&self, flow: &str) -> Result<()>;
}

/// The documents of flow versions. A version never changes, because runs are pinned to it.
#[async_trait]
pub trait FlowVersions: Send + Sync {
    /// Stores the document of a called flow under its version. It is on disk when this returns. A version that exists
    /// with an equal document stays as it is.
    ///
    /// # Errors
    ///
    /// `conflict` if another document has this version.
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()>;

    /// Returns the document of a flow version that a run was accepted with, or that was stored with
    /// [`keep_version`](FlowVersions::keep_version). Its members keep their order.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such version.
    async fn flow(&self, version: &str) -> Result<Value>;
}

/// The process log of runs, for an operator who examines a failure. It is not part of a run's state, and no step waits
/// for it. The default implementation stores nothing.
#[async_trait]
pub trait ProcessLog: Send + Sync {
    /// Adds an entry to the process log of a run. The newest [`LOG_ENTRIES`](crate::LOG_ENTRIES) entries are kept, and
    /// of these at most [`LOG_BYTES`](crate::LOG_BYTES). It returns without waiting for the disk.
    ///
    /// # Errors
    ///
    /// An error means that the entry is lost. The run continues.
    async fn log(&self, _run: &RunId, _entry: LogEntry) -> Result<()> {
        Ok(())
    }

    /// Returns a page of the process log of a run: at most [`LOG_PAGE`](crate::LOG_PAGE) entries after the entry of
    /// this number, from 1, and how many entries before them were dropped.
    ///
    /// # Errors
    ///
    /// `store` if an entry cannot be read.
    async fn logged(&self, _run: &RunId, _after: u64) -> Result<LogPage> {
        Ok(LogPage::default())
    }
}

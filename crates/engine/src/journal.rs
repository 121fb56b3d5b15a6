//! What a run leaves behind: append-only events. A run's state is the fold of them, and nothing else.
//!
//! The engine appends, a store keeps. An event that must not be lost is appended with [`Flush::Now`]; one whose loss only
//! repeats harmless work goes with the next group.

use std::{any::Any, collections::BTreeMap, fmt};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Result, Timestamp, pointer_part};
use uuid::Uuid;

use crate::{ItemOutcome, LogEntry, LogPage, RunEvent, RunStatus, TriggerEvent};

/// How many events those get at a time who watch.
const EVENTS: usize = 256;

/// The name of a run: 15 digits and lower case letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A name for a run that is accepted now. Names grow with time, so that a journal finds what
    /// belongs together in one place; those of the same millisecond are told apart by 30 random bits.
    pub(crate) fn new(now: Timestamp) -> RunId {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let random = Uuid::new_v4().as_u128() & ((1 << 30) - 1);
        let number = u128::from(now.as_millis()) << 30 | random;
        let digit = |place: u32| char::from(DIGITS[(number >> (5 * place) & 31) as usize]);
        RunId((0..15).rev().map(digit).collect())
    }
}

impl RunId {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(name: String) -> RunId {
        RunId(name)
    }
}

impl From<&str> for RunId {
    fn from(name: &str) -> RunId {
        RunId(name.to_owned())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in a run: step ids from the outside in, and between them the keys of items, such as `files/4711/asset`. The empty
/// path is the run itself.
///
/// Keys are escaped as in a JSON pointer (`~` as `~0`, `/` as `~1`), so that a key can never pose as another step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepPath(String);

impl StepPath {
    /// The path of a step or an item below this one.
    pub fn join(&self, part: &str) -> StepPath {
        let part = pointer_part(part);
        StepPath(if self.0.is_empty() { part } else { format!("{}/{part}", self.0) })
    }

    /// Where the deadline and the failure of the flow at this path are kept, and its failure handler runs: no step and no
    /// item can have this path.
    pub(crate) fn of_flow(&self) -> StepPath {
        StepPath(if self.0.is_empty() { "~flow".to_owned() } else { format!("{}/~flow", self.0) })
    }

    /// Whether this is the path of what is at the other, or of something in it.
    pub(crate) fn is_within(&self, other: &StepPath) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        other.0.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// All paths below this one, as a range: '0' follows '/', so it holds what begins with "PATH/" and nothing else.
    pub(crate) fn below(&self) -> std::ops::Range<StepPath> {
        StepPath(format!("{}/", self.0))..StepPath(format!("{}0", self.0))
    }

    /// The paths of what is around the step or item at this one, from the outside in.
    pub(crate) fn around(&self) -> Vec<StepPath> {
        self.0.match_indices('/').map(|(at, _)| StepPath(self.0[..at].to_owned())).collect()
    }

    /// The path around this one, and the last part as the id or key that it was.
    pub fn split(&self) -> Option<(StepPath, String)> {
        let (outer, last) = self.0.rsplit_once('/')?;
        Some((StepPath(outer.to_owned()), last.replace("~1", "/").replace("~0", "~")))
    }

    /// Whether this is the path of an `each` step as a ledger names it: there `*` stands for any item around it.
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

    /// The path as text.
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

/// Whether an append waits until its events are safe from a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Wait: everything appended so far is on disk when the append returns.
    Now,
    /// Do not wait: the events go to disk in order, with the next group.
    Later,
}

/// A run in a list of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run's name.
    pub id: RunId,
    /// Its flow's name.
    pub flow: String,
    /// Its flow's version.
    pub version: String,
    /// How it stands.
    pub status: RunStatus,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Items by status: `done`, `skipped`, `failed`, `unknown`.
    pub items: BTreeMap<String, u64>,
}

/// An item of a run that has an outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// The path of its `each` step.
    pub step: StepPath,
    /// Its key.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: ItemOutcome,
    /// When.
    pub at: Timestamp,
}

/// What an earlier run of the same flow on the same connections has done with an item, where the flow says `once`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousOutcome {
    /// Which run.
    pub run: RunId,
    /// What the item was like then.
    pub fingerprint: String,
    /// Whether nobody knows if it was done.
    pub unknown: bool,
}

/// The right to work on a run, held by one process at a time; given back when dropped, also by a kill.
pub type Claim = Box<dyn Any + Send + Sync>;

/// Keeps the events of runs. One test suite runs over all implementations: `trunkline_engine::journal_suite`.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Accepts a run: its flow's document (under `version`) and its first event, as if they were appended. If that fails
    /// later, all its appends fail.
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()>;

    /// The same for a run that a trigger starts, on disk when this returns: what it takes is remembered in the same
    /// transaction. If an earlier run has taken one of the keys, nothing is accepted, and that run is named.
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        fired: &TriggerEvent,
    ) -> Result<Option<RunId>>;

    /// Keeps the document of a flow that runs call, under its version.
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()>;

    /// Adds events in this order. After an append has failed, all later ones fail: nobody guesses what is on disk.
    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()>;

    /// Shows all events of a run in order, without holding them all; `not_found` if there is no such run.
    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()>;

    /// How a run stands, and its events after this number as [`RunEvent::shown`] leaves them, each with its own number: a page of
    /// them, for those who watch. What others have not flushed yet may be missing; a run that is over has all of its events
    /// in there. This one reads the whole run.
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

    /// Adds to the process log of a run, of which the newest [`LOG_ENTRIES`](crate::LOG_ENTRIES) are kept, and of these
    /// [`LOG_BYTES`](crate::LOG_BYTES). Nobody waits until it is on disk. This one keeps none.
    async fn log(&self, _run: &RunId, _entry: LogEntry) -> Result<()> {
        Ok(())
    }

    /// A page of the process log of a run: the entries after that of this number.
    async fn logged(&self, _run: &RunId, _after: u64) -> Result<LogPage> {
        Ok(LogPage::default())
    }

    /// The document of a flow version that some run was accepted with, or that was kept.
    async fn flow(&self, version: &str) -> Result<Value>;

    /// The outcome of an item, if it has one.
    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;

    /// The items of a run that have an outcome, or this one (`failed`), in the order of their steps and keys, from behind
    /// this one, at most so many.
    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>>;

    /// What is remembered of an item across the runs of this run's flow on the same connections: the last time it was done,
    /// or that nobody knows. It changes together with the outcomes of items that have `once`.
    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>>;

    /// All runs, newest first.
    async fn runs(&self) -> Result<Vec<RunSummary>>;

    /// The exclusive right to work on a run; `conflict` while another process has it.
    async fn claim(&self, run: &RunId) -> Result<Claim>;

    /// Whether a `CancelRequested` has been appended, by whatever process.
    async fn cancel_requested(&self, run: &RunId) -> Result<bool>;

    /// The `Signalled` events that have been appended, by whatever process, after the event of this number (from 1); and the
    /// number of the last event, to ask from the next time.
    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)>;
}

impl RunSummary {
    /// Takes an event into account; items are counted by their last outcomes, not by events.
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
    fn names_of_runs_grow_with_time_and_differ_within_a_millisecond() {
        let at = |offset: i64| Timestamp::from_millis(1_795_000_000_000_u64.saturating_add_signed(offset));
        let names: BTreeSet<_> = (0..1_000).map(|_| RunId::new(at(0))).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| RunId::new(at(-1)) < *name && *name < RunId::new(at(1))));
        assert!(names.iter().all(|name| name.0.len() == 15 && name.0.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[tokio::test]
    async fn the_journal_that_forgets_keeps_the_rules_of_all_journals() {
        crate::journal_suite::run(async || crate::MemoryJournal::default()).await;
    }
}

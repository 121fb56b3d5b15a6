//! One look at a polled list: runs are started for its new items.
//!
//! No item is left out silently. One without a key, and one with the key of another item, is a [`Finding`] of the look,
//! and keeps no other item from starting a run.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde_json::{Value, json};
use trunkline::{Cause, FeedMemory, NewRun, Runtime, StartOutcome};
use trunkline_core::{Error, ErrorKind, HeldMemory, Result, Timestamp, memory_of};
use trunkline_engine::{PolledItem, PolledPage, poll_page};
use trunkline_flow::{Flow, InitialItems, Poll};
use trunkline_store::{DeliveryOutcome, SavedFlow};

use crate::{dispatcher::Dispatcher, findings::Findings};

/// The maximum number of items in the input of one run.
const MAX_ITEMS: usize = 100;
/// The maximum number of new items held in memory, if the list has the newest first.
const MAX_HELD: usize = 10_000;
/// The maximum number of items that are found one by one not to be the input of a run, before the flow is the cause.
const MAX_REFUSED: usize = 1_000;
/// The maximum number of pages read in one look.
const MAX_PAGES: usize = 10_000;

/// A look at the list of one flow.
pub(crate) struct Look<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) dispatcher: &'a Arc<Dispatcher>,
    pub(crate) saved: &'a SavedFlow,
    pub(crate) flow: &'a Flow,
    pub(crate) poll: &'a Poll,
    /// The digest of the keys of the latest look that may have been incomplete and so was not the first one.
    pub(crate) incomplete: Option<u64>,
}

/// The end of a look.
pub(crate) struct Looked {
    pub(crate) findings: Findings,
    /// Whether the list was read to its end, so that nothing is left that was found before and not now.
    pub(crate) to_the_end: bool,
    /// The digest of the keys, if this was not the first look because it may have been incomplete.
    pub(crate) incomplete: Option<u64>,
}

/// What was read of a list so far.
#[derive(Default)]
struct Reading {
    findings: Findings,
    /// The digests of the items, by key.
    seen: HashMap<String, u64>,
    /// The keys, if the items do not count as new.
    existing: Vec<String>,
    /// New items of a list that has the newest first.
    newest: VecDeque<PolledItem>,
    maybe_incomplete: Option<String>,
    /// The memory of `newest`.
    memory: Option<HeldMemory>,
}

impl Reading {
    /// Keeps as much of the memory of a page as the items take that are held back.
    fn hold(&mut self, page: Option<HeldMemory>) {
        if self.newest.is_empty() {
            return;
        }
        match (&mut self.memory, page) {
            (Some(held), Some(page)) => held.merge(page),
            (held, page) => *held = page,
        }
        let needed = self.newest.iter().map(|item| memory_of(&item.value)).sum();
        self.memory.iter_mut().for_each(|held| held.shrink(needed));
    }
}

impl Look<'_> {
    /// Reads the list as far as it can have new items, and starts runs for them.
    ///
    /// If the list has the newest items first, runs are started for the oldest new items first. So wherever this is
    /// interrupted, all items behind a known one are known, and the next look can stop reading there.
    pub(crate) async fn look(&self) -> Result<Looked> {
        let began = self.runtime.now();
        let Some((connected, mut memory)) = self.runtime.connect_feed(self.saved, self.flow).await? else {
            return Err(Error::new(ErrorKind::Internal, "the flow does not poll"));
        };
        let is_baseline = memory.is_new() && self.poll.existing() == InitialItems::Skip;
        let (mut reading, mut from) = (Reading::default(), None);
        let account = self.runtime.ports().memory.account(0);
        for number in 1..=MAX_PAGES {
            let mut page = poll_page(self.poll, &connected, from, &account).await?;
            from = page.next.clone();
            let held = page.held.take();
            let items = reading.distinct(page, number);
            let mut end = from.is_none();
            if is_baseline {
                reading.existing.extend(items.into_iter().map(|item| item.key.typed));
            } else {
                end |= self.take(items, &mut memory, &mut reading).await?;
            }
            reading.hold(held);
            account.trim();
            if end {
                return self.end(reading, memory, began, (is_baseline, from.is_none())).await;
            }
        }
        let message = format!("the list that starts {} has more than {MAX_PAGES} pages", self.saved.name);
        let hint = "give its action an input that lists less, or let it list the newest first and set `newest_first`";
        Err(Error::new(ErrorKind::Limit, message).hint(hint))
    }

    /// Takes the new items of a page. Returns whether the rest of the list is left for the next look.
    async fn take(&self, items: Vec<PolledItem>, memory: &mut FeedMemory, reading: &mut Reading) -> Result<bool> {
        let count = items.len();
        let new = memory.unknown(items).await?;
        if !self.poll.newest_first() {
            return Ok(!self.start_for(memory, new, &mut reading.findings).await?);
        }
        // Only known items show that all items behind them are known.
        let all_known = new.is_empty() && count > 0;
        reading.newest.extend(new);
        // Items that are left out are still new in the next look.
        reading.newest.drain(..reading.newest.len().saturating_sub(MAX_HELD));
        Ok(all_known)
    }

    /// Ends a look: starts runs for the items that were held back, and records what was seen.
    async fn end(
        &self,
        reading: Reading,
        memory: FeedMemory,
        began: Timestamp,
        (is_baseline, to_the_end): (bool, bool),
    ) -> Result<Looked> {
        let digest = is_baseline.then(|| reading.digest());
        let Reading { mut findings, seen, existing, newest, maybe_incomplete, memory: _held } = reading;
        if is_baseline
            && seen.is_empty()
            && let Some(reason) = findings.first_reason()
        {
            // Otherwise, all items would be new as soon as they have keys.
            let message = format!("no item of the list has a key, so this was not its first look: {reason}");
            let hint = "set `key` of the trigger to what identifies an item, such as {{ item.id }}";
            return Err(Error::new(ErrorKind::InvalidInput, message).hint(hint).with("pointer", "/trigger/poll/key"));
        }
        if let Some(reason) = maybe_incomplete {
            // A list that may be incomplete in every look is as complete as it gets if it has the same items twice.
            let incomplete = digest.filter(|digest| self.incomplete != Some(*digest));
            findings.incomplete(reason, incomplete.is_some());
            if incomplete.is_some() {
                return Ok(Looked { findings, to_the_end, incomplete });
            }
        }
        let newest = newest.into_iter().rev().collect();
        let everything_started = self.start_for(&memory, newest, &mut findings).await?;
        if is_baseline {
            let (flow, items) = (&self.saved.name, existing.len());
            tracing::info!(flow, items, "first look at its list: these items do not count as new");
        }
        if let Some(change) = memory.change() {
            tracing::warn!(flow = self.saved.name, "{}", change.message);
            findings.changed(change, self.runtime.now());
        }
        let to_the_end = to_the_end && everything_started;
        memory.looked(began, existing, to_the_end).await?;
        Ok(Looked { findings, to_the_end, incomplete: None })
    }

    /// Starts runs for new items. Returns whether no item is left for the next look.
    ///
    /// If items cannot be the input of a run, because they are too large or the flow does not take them, the others
    /// are: the items are divided until it is known which ones.
    async fn start_for(&self, memory: &FeedMemory, items: Vec<PolledItem>, findings: &mut Findings) -> Result<bool> {
        let mut parts: Vec<_> = items.chunks(MAX_ITEMS).rev().collect();
        while let Some(part) = parts.pop() {
            match self.start(memory, part).await {
                Ok(true) => {}
                // They are still new in the next look, or another process has started a run for them.
                Ok(false) => return Ok(false),
                Err(error) if !matches!(error.kind(), ErrorKind::Limit | ErrorKind::InvalidInput) => return Err(error),
                Err(error) if findings.refused == MAX_REFUSED => return Err(error),
                Err(error) if part.len() == 1 => {
                    findings.refused(&error, &part[0].key.typed);
                }
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(true)
    }

    /// Starts a run for these items. Returns whether it was started.
    async fn start(&self, memory: &FeedMemory, items: &[PolledItem]) -> Result<bool> {
        let (keys, items): (Vec<_>, Vec<_>) =
            items.iter().map(|item| (item.key.typed.clone(), item.value.clone())).unzip();
        let (count, input) = (items.len(), json!({ "items": items }));
        let event = memory.taking(keys);
        let new = NewRun::of_saved(self.saved.clone(), self.flow.clone(), input);
        match self.dispatcher.dispatch(new, Cause::Trigger(&event)).await? {
            StartOutcome::Run(run) => {
                tracing::info!(flow = self.saved.name, %run, items = count, "started by new items");
                self.dispatcher.starts.succeeded(&self.saved.name, Some(self.runtime.now()));
                self.dispatcher.delivered(&self.saved.name, "poll", DeliveryOutcome::Started { run });
                Ok(true)
            }
            StartOutcome::Skipped | StartOutcome::Duplicate(_) => Ok(false),
        }
    }
}

impl Reading {
    /// Returns the items of a page that were not on it, or on an earlier page, before. The others, and those without a
    /// key, become findings.
    fn distinct(&mut self, page: PolledPage, number: usize) -> Vec<PolledItem> {
        for (item, error) in page.refused {
            self.findings.left_out(&error, number, item);
        }
        self.maybe_incomplete = self.maybe_incomplete.take().or(page.maybe_incomplete);
        let mut distinct = Vec::with_capacity(page.items.len());
        for item in page.items {
            let now = digest(&item.value);
            match self.seen.entry(item.key.typed.clone()) {
                Entry::Vacant(place) => {
                    place.insert(now);
                    distinct.push(item);
                }
                Entry::Occupied(first) => self.findings.repeated(*first.get() == now, first.key(), number),
            }
        }
        distinct
    }

    /// Returns a digest of all keys.
    fn digest(&self) -> u64 {
        let keys = self.seen.keys().map(|key| digest(&key.as_str().into()));
        keys.fold(self.seen.len() as u64, u64::wrapping_add)
    }
}

fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

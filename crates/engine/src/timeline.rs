//! Where a run's time went: for each step when it began, when it ended, how long it took and how often it was tried; for
//! the steps of items, and the items themselves, in sum. What it holds does not grow with the number of items.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use serde::Serialize;
use trunkline_core::{Result, Timestamp};

use crate::{Engine, RunEvent, RunId, RunStatus, StepPath, step_position::StepPosition, time::milliseconds};

/// How many of the slowest items are named.
const SLOWEST: usize = 5;

/// A run's time.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub status: RunStatus,
    /// When it was accepted.
    pub began: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Its steps in the order in which they began. Steps that are not journaled (`set`, `if`) are not among them.
    pub steps: Vec<StepTime>,
}

/// A step's time; that of all of its calls, if it belongs to the items of a list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StepTime {
    /// The step's path in the flow, with `*` in place of keys.
    pub step: String,
    /// When it first began, as far as that is known.
    pub began: Option<Timestamp>,
    /// When something last happened in it.
    pub ended: Option<Timestamp>,
    /// How many calls of it, or of steps in it, ended well.
    pub done: u64,
    /// How many ended badly, all tries taken together.
    pub failed: u64,
    /// How many tries were made.
    pub tries: u64,
    /// How long its calls took.
    #[serde(flatten)]
    pub took: DurationStats,
    /// What became of its items, if it is an `each`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemTimes>,
}

/// What became of the items of an `each`, and how long they took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ItemTimes {
    /// How many, by status.
    pub count: BTreeMap<&'static str, u64>,
    /// How long those took that called something.
    #[serde(flatten)]
    pub took: DurationStats,
    /// The slowest, slowest first: their keys, and how long each took in milliseconds.
    pub slowest: Vec<(String, u64)>,
}

/// How long several things took, in milliseconds. The median is exact below 64, and within 3 % above.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DurationStats {
    /// The fastest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fastest: Option<u64>,
    /// As many took longer as took less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<u64>,
    /// The slowest.
    #[serde(skip_serializing_if = "Option::is_none", rename = "longest")]
    pub slowest: Option<u64>,
    /// All together.
    pub total: u64,
    #[serde(skip)]
    counts: BTreeMap<u64, u64>,
}

impl DurationStats {
    fn add(&mut self, took: u64) {
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        self.slowest = Some(self.slowest.map_or(took, |slowest| slowest.max(took)));
        self.total += took;
        // Six significant bits: at most 32 steps from one power of two to the next.
        let shift = (u64::BITS - took.leading_zeros()).saturating_sub(6);
        *self.counts.entry((took >> shift) << shift).or_default() += 1;
    }

    fn close(&mut self) {
        let all: u64 = self.counts.values().sum();
        let mut seen = 0;
        let median = self.counts.iter().find(|(_, count)| {
            seen += **count;
            seen * 2 >= all
        });
        self.median = median.map(|(took, _)| (*took).max(self.fastest.unwrap_or_default()));
    }
}

#[derive(Default)]
struct Fold {
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// By step, with the number of its first event: the order in which they began.
    steps: HashMap<String, (u64, StepTime)>,
    /// When the items at work began, by their paths.
    open: HashMap<StepPath, Timestamp>,
    /// Steps that have failed and may be tried again: not counted yet.
    failing: HashMap<StepPath, String>,
}

impl Fold {
    /// Something happened in a step, and in those around it.
    fn touch(&mut self, seq: u64, place: &StepPosition, began: Option<Timestamp>, at: Timestamp) {
        let began = began.unwrap_or(at);
        for item in &place.items {
            let first = self.open.entry(item.path.clone()).or_insert(began);
            *first = (*first).min(began);
        }
        let ends = place.step.match_indices('/').map(|(end, _)| end).chain([place.step.len()]);
        for end in ends {
            let step = &place.step[..end];
            if step.is_empty() || step.ends_with("/*") {
                continue;
            }
            let (_, time) = self.steps.entry(step.to_owned()).or_insert_with(|| (seq, StepTime::default()));
            time.began = Some(time.began.map_or(began, |first| first.min(began)));
            time.ended = Some(time.ended.map_or(at, |last| last.max(at)));
        }
    }

    fn step(&mut self, step: &str) -> &mut StepTime {
        &mut self.steps.entry(step.to_owned()).or_default().1
    }

    fn take(&mut self, seq: u64, event: RunEvent, place: impl Fn(&StepPath) -> StepPosition) {
        match event {
            RunEvent::Started { at, .. } => self.began = Some(at),
            RunEvent::Resumed { .. } => self.ended = None,
            RunEvent::Finished { at, .. } => self.ended = Some(at),
            RunEvent::StepStarted { step, at, .. } => self.touch(seq, &place(&step), Some(at), at),
            RunEvent::StepFinished { step, began, at, .. } if step != StepPath::default() => {
                let place = place(&step);
                self.touch(seq, &place, began, at);
                let time = self.step(&place.step);
                (time.done, time.tries) = (time.done + 1, time.tries + 1);
                began.into_iter().for_each(|began| time.took.add(milliseconds(at.since(began))));
            }
            RunEvent::StepFailed { step, began, at, .. } => {
                let place = place(&step);
                self.touch(seq, &place, began, at);
                let time = self.step(&place.step);
                time.tries += 1;
                began.into_iter().for_each(|began| time.took.add(milliseconds(at.since(began))));
                time.failed += 1;
                self.failing.insert(step, place.step);
            }
            // It may yet end well.
            RunEvent::StepRetried { step, .. } => match self.failing.remove(&step) {
                Some(step) => self.step(&step).failed -= 1,
                None => {
                    let place = place(&step);
                    self.step(&place.step).tries += 1;
                }
            },
            RunEvent::Listed { step, at, .. } => self.touch(seq, &place(&step), None, at),
            RunEvent::ItemFinished { step, key, outcome, at, .. } => {
                let place = place(&step);
                self.touch(seq, &place, None, at);
                let item = step.join(&key);
                let began = self.open.remove(&item);
                self.failing.retain(|path, _| !path.is_within(&item));
                let items = self.step(&place.step).items.get_or_insert_default();
                *items.count.entry(outcome.status()).or_default() += 1;
                if let Some(began) = began {
                    let took = milliseconds(at.since(began));
                    items.took.add(took);
                    let slot = items.slowest.partition_point(|(_, other)| Reverse(*other) <= Reverse(took));
                    items.slowest.insert(slot, (key, took));
                    items.slowest.truncate(SLOWEST);
                }
            }
            RunEvent::BatchFinished { step, batch } => {
                let batch = step.join(&batch);
                self.open.remove(&batch);
                self.failing.retain(|path, _| !path.is_within(&batch));
            }
            _ => {}
        }
    }
}

impl Engine {
    /// Where a run's time went, up to now.
    pub async fn timeline(&self, id: &RunId) -> Result<Timeline> {
        let (_, flow) = self.pinned(id).await?;
        let place = |path: &StepPath| match &flow {
            Some(flow) => flow.place(path),
            None => StepPosition { step: path.as_str().to_owned(), items: Vec::new() },
        };
        let (mut fold, mut last) = (Fold::default(), 0);
        let status = loop {
            let (status, events) = self.journal().events(id, last).await?;
            let Some((end, _)) = events.last() else { break status };
            last = *end;
            events.into_iter().for_each(|(seq, event)| fold.take(seq, event, place));
        };
        let mut steps: Vec<_> = fold.steps.into_iter().collect();
        steps.sort_by(|(one, (first, _)), (other, (second, _))| (first, one).cmp(&(second, other)));
        let close = |(step, (_, mut time)): (String, (u64, StepTime))| {
            time.took.close();
            time.items.iter_mut().for_each(|items| items.took.close());
            StepTime { step, ..time }
        };
        let steps = steps.into_iter().map(close).collect();
        Ok(Timeline { run: id.clone(), status, began: fold.began, ended: fold.ended, steps })
    }
}

//! The timeline of a run: for each step, when it began and ended, how long its calls took and how often it was tried.
//!
//! Steps of items, and the items themselves, are summed up, so its size does not grow with the number of items.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Result, RunId, StepPath, Timestamp};
use trunkline_flow::StepPosition;

use crate::{
    run::{RunEvent, RunStatus, time::milliseconds},
    supervisor::Engine,
};

/// The number of slowest items that are named.
const SLOWEST: usize = 5;

/// The times of a run and its steps.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Timeline {
    /// The run.
    pub run: RunId,
    /// The run's status.
    pub status: RunStatus,
    /// When the run was accepted.
    pub began: Option<Timestamp>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The steps, in the order in which they began. Steps without an event (`set`, `if`) are left out.
    pub steps: Vec<StepTime>,
}

/// The times of a step. For a step inside the items of a list, all calls are taken together.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct StepTime {
    /// The step's path in the flow, with `*` in place of keys.
    pub step: String,
    /// When the step first began, if that is known.
    pub began: Option<Timestamp>,
    /// The time of the last event in the step.
    pub ended: Option<Timestamp>,
    /// The number of its calls that succeeded.
    pub done: u64,
    /// The number of its calls that failed after all attempts.
    pub failed: u64,
    /// The number of attempts.
    pub tries: u64,
    /// The durations of its calls.
    #[serde(flatten)]
    pub took: DurationStats,
    /// The items, if the step is an `each`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemTimes>,
}

/// The items of an `each` step, and their durations.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ItemTimes {
    /// The number of items by status.
    pub count: BTreeMap<&'static str, u64>,
    /// The durations of the items in which a step has an event.
    #[serde(flatten)]
    pub took: DurationStats,
    /// The slowest items, slowest first: the key, and the duration in milliseconds.
    pub slowest: Vec<(String, u64)>,
}

/// Statistics of durations, in milliseconds. The median is exact below 64, and within 3 % above.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DurationStats {
    /// The shortest duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fastest: Option<u64>,
    /// The median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<u64>,
    /// The longest duration.
    #[serde(skip_serializing_if = "Option::is_none", rename = "longest")]
    pub slowest: Option<u64>,
    /// The sum of all durations.
    pub total: u64,
    /// The number of durations by their rounded value.
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

/// The fold of a run's events into a timeline.
#[derive(Default)]
struct TimelineBuilder {
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// The steps by path, with the number of their first event, which orders them.
    steps: HashMap<String, (u64, StepTime)>,
    /// The beginnings of the items that have not ended, by path.
    open: HashMap<StepPath, Timestamp>,
    /// Steps whose last attempt failed and may be followed by another one.
    failing: HashMap<StepPath, String>,
}

impl TimelineBuilder {
    /// Extends the times of a step and of the steps and items around it.
    fn extend(&mut self, seq: u64, position: &StepPosition, began: Option<Timestamp>, at: Timestamp) {
        let began = began.unwrap_or(at);
        for item in &position.items {
            let first = self.open.entry(item.path.clone()).or_insert(began);
            *first = (*first).min(began);
        }
        let ends = position.step.match_indices('/').map(|(end, _)| end).chain([position.step.len()]);
        for end in ends {
            let step = &position.step[..end];
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

    fn apply(&mut self, seq: u64, event: RunEvent, locate: impl Fn(&StepPath) -> StepPosition) {
        match event {
            RunEvent::Started { at, .. } => self.began = Some(at),
            RunEvent::Resumed { .. } => self.ended = None,
            RunEvent::Finished { at, .. } => self.ended = Some(at),
            RunEvent::StepStarted { step, at, .. } => self.extend(seq, &locate(&step), Some(at), at),
            RunEvent::StepFinished { step, began, at, .. } if step != StepPath::default() => {
                let position = locate(&step);
                self.extend(seq, &position, began, at);
                let time = self.step(&position.step);
                (time.done, time.tries) = (time.done + 1, time.tries + 1);
                began.into_iter().for_each(|began| time.took.add(milliseconds(at.since(began))));
            }
            RunEvent::StepFailed { step, began, at, .. } => {
                let position = locate(&step);
                self.extend(seq, &position, began, at);
                let time = self.step(&position.step);
                time.tries += 1;
                began.into_iter().for_each(|began| time.took.add(milliseconds(at.since(began))));
                time.failed += 1;
                self.failing.insert(step, position.step);
            }
            // The failed attempt does not count as a failed call: a later one may succeed.
            RunEvent::StepRetried { step, .. } => match self.failing.remove(&step) {
                Some(step) => self.step(&step).failed -= 1,
                None => {
                    let position = locate(&step);
                    self.step(&position.step).tries += 1;
                }
            },
            RunEvent::Listed { step, at, .. } => self.extend(seq, &locate(&step), None, at),
            RunEvent::ItemFinished { step, key, outcome, at, .. } => {
                let position = locate(&step);
                self.extend(seq, &position, None, at);
                let item = step.join(&key);
                let began = self.open.remove(&item);
                self.failing.retain(|path, _| !path.is_within(&item));
                let items = self.step(&position.step).items.get_or_insert_default();
                *items.count.entry(outcome.status()).or_default() += 1;
                if let Some(began) = began {
                    let took = milliseconds(at.since(began));
                    items.took.add(took);
                    let index = items.slowest.partition_point(|(_, other)| Reverse(*other) <= Reverse(took));
                    items.slowest.insert(index, (key, took));
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
    /// Returns the timeline of a run, up to now.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if the journal cannot be read.
    pub async fn timeline(&self, id: &RunId) -> Result<Timeline> {
        let (_, flow) = self.pinned(id).await?;
        let locate = |path: &StepPath| match &flow {
            Some(flow) => flow.position(path),
            None => StepPosition { step: path.as_str().to_owned(), items: Vec::new() },
        };
        let (mut builder, mut last) = (TimelineBuilder::default(), 0);
        let status = loop {
            let (status, events) = self.journal().events(id, last).await?;
            let Some((end, _)) = events.last() else { break status };
            last = *end;
            events.into_iter().for_each(|(seq, event)| builder.apply(seq, event, locate));
        };
        let mut steps: Vec<_> = builder.steps.into_iter().collect();
        steps.sort_by(|(one, (first, _)), (other, (second, _))| (first, one).cmp(&(second, other)));
        let close = |(step, (_, mut time)): (String, (u64, StepTime))| {
            time.took.close();
            time.items.iter_mut().for_each(|items| items.took.close());
            StepTime { step, ..time }
        };
        let steps = steps.into_iter().map(close).collect();
        Ok(Timeline { run: id.clone(), status, began: builder.began, ended: builder.ended, steps })
    }
}

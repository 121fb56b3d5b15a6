//! The state of a run: the fold of its events.
//!
//! After a crash only the events are left, so nothing else may influence the state.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath, Timestamp, memory_of};

use crate::run::{
    KeyForm, Ledger, ListProgress, RerunOf, RunEvent, RunStatus, Verdict, Waiting,
    failure::{is_of_connection, is_transient, resolved_as_failed, stops_the_run},
    ledger::tally,
    progress::ProgressCounter,
    time::Timer,
};
use list_values::ListValues;

/// A wait for the next try from here on is shown.
pub(crate) const LONG_WAIT: Duration = Duration::from_secs(60);

/// The state of a run, folded from its events.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Run {
    /// The run's id.
    pub id: RunId,
    /// The flow's name.
    pub flow: String,
    /// The version of the flow that the run is pinned to.
    pub version: String,
    /// The run's status.
    pub status: RunStatus,
    /// The error that stopped the run, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// The run's input.
    pub input: Value,
    /// The name of the connection for each connection binding of the flow.
    pub connections: BTreeMap<String, String>,
    /// The versions of the called flows, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, String>,
    /// The run whose failed items this run repeats, if it is a rerun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RerunOf>,
    /// The run that repeats the failed items of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_by: Option<RunId>,
    /// The output, if the flow has one and its steps have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why a `skip` step has ended the steps of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What steps wait for: a `wait` step for its condition, and a step that a service has throttled for its next try.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<StepPath, Waiting>,
    /// When the run was accepted.
    pub started_at: Timestamp,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Whether an operator has asked the run to stop.
    pub cancel_requested: bool,
    /// The outcomes of items, by the path of their `each` step. In the path of a list inside an item, `*` stands for
    /// the key.
    pub ledger: BTreeMap<StepPath, Ledger>,
    /// The warnings of services whose calls succeeded, and how often each occurred.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, u64>,
    /// Why its trigger could not start it.
    #[serde(skip)]
    pub(crate) start_error: Option<Error>,
    /// The form of the keys of its items.
    #[serde(skip)]
    pub(crate) keys: KeyForm,
    #[serde(skip)]
    steps: BTreeMap<StepPath, StepState>,
    #[serde(skip)]
    positions: BTreeMap<StepPath, ListPosition>,
    /// The number of items after the position that have an outcome; nothing where that is not known.
    #[serde(skip)]
    ahead: BTreeMap<StepPath, Option<u64>>,
    /// What the steps after a list see of its items.
    #[serde(skip)]
    values: BTreeMap<StepPath, ListValues>,
    #[serde(skip)]
    counters: BTreeMap<StepPath, ProgressCounter>,
    #[serde(skip)]
    signals: BTreeMap<String, Value>,
    /// The number of recorded step results.
    #[serde(skip)]
    recorded: u64,
    /// The memory of the input, the signals and the results of steps, in bytes.
    #[serde(skip)]
    memory: Arc<AtomicU64>,
}

/// The state of a step that matters to a resumed run.
#[derive(Debug, Default)]
struct StepState {
    started: bool,
    checkpoint: Option<Value>,
    result: Option<Result<Value, Error>>,
    warnings: Vec<String>,
    failed_attempts: FailedAttempts,
    deadline: Option<Timestamp>,
    wait: Option<Waiting>,
    /// The memory of the result.
    memory: Option<CountedMemory>,
}

/// Memory that is counted for a run until this is dropped.
#[derive(Debug)]
struct CountedMemory {
    bytes: u64,
    run: Arc<AtomicU64>,
}

impl Drop for CountedMemory {
    fn drop(&mut self) {
        self.run.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The failed attempts of a step that is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailedAttempts {
    /// How many have failed.
    pub(crate) count: u32,
    /// When the next attempt may begin.
    pub(crate) next: Timer,
    /// Whether the last one was throttled.
    pub(crate) throttled: bool,
}

/// Where a resumed run continues a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ListPosition {
    /// At the beginning: no page is finished.
    Start,
    /// At the page with this cursor, after this number of items. Early versions did not record the number.
    Page(Value, Option<u64>),
    /// Nowhere: all pages are finished.
    End,
}

impl StepState {
    /// Resets the step as if it had never been tried. Only its checkpoint stays.
    fn reset(&mut self) {
        *self = StepState { checkpoint: self.checkpoint.take(), ..StepState::default() };
    }
}

impl Run {
    /// Returns the state of a run before its first event.
    pub fn new(id: RunId) -> Run {
        Run {
            id,
            flow: String::new(),
            version: String::new(),
            status: RunStatus::Running,
            error: None,
            input: Value::Null,
            connections: BTreeMap::new(),
            calls: BTreeMap::new(),
            retry: None,
            start_error: None,
            rerun_by: None,
            output: None,
            skipped: None,
            waiting: BTreeMap::new(),
            started_at: Timestamp::EPOCH,
            finished_at: None,
            cancel_requested: false,
            ledger: BTreeMap::new(),
            warnings: BTreeMap::new(),
            keys: KeyForm::default(),
            steps: BTreeMap::new(),
            positions: BTreeMap::new(),
            ahead: BTreeMap::new(),
            values: BTreeMap::new(),
            counters: BTreeMap::new(),
            signals: BTreeMap::new(),
            recorded: 0,
            memory: Arc::default(),
        }
    }

    /// Applies the next event.
    ///
    /// The state does not grow with the number of items: the steps of an item are dropped as soon as it has an outcome.
    pub fn apply(&mut self, event: RunEvent) {
        match event {
            RunEvent::Started { flow, version, input, connections, calls, retry, start_error, keys, at, .. } => {
                self.flow = flow;
                self.version = version;
                self.input = input;
                self.connections = connections;
                self.calls = calls;
                self.retry = retry;
                self.keys = keys;
                self.started_at = at;
                self.memory.fetch_add(memory_of(&self.input), Ordering::Relaxed);
                self.start_error = start_error;
                self.fail_at_start();
            }
            RunEvent::Rerun { by, .. } => self.rerun_by = Some(by),
            RunEvent::Resumed { .. } => self.resume(),
            RunEvent::Signalled { name, payload, .. } => {
                self.memory.fetch_add(memory_of(&payload), Ordering::Relaxed);
                self.signals.entry(name).or_insert(payload);
            }
            RunEvent::Skipped { reason, .. } => self.skipped = Some(reason),
            RunEvent::CancelRequested { .. } => self.cancel_requested = true,
            RunEvent::Finished { status, error, at } => {
                self.status = status;
                self.error = error;
                self.finished_at = Some(at);
                self.waiting.clear();
                if status == RunStatus::Cancelled {
                    self.warn_of_interrupted_steps();
                }
            }
            RunEvent::StepStarted { .. }
            | RunEvent::Checkpoint { .. }
            | RunEvent::StepFinished { .. }
            | RunEvent::StepFailed { .. }
            | RunEvent::StepRetried { .. }
            | RunEvent::StepResolved { .. }
            | RunEvent::DeadlineSet { .. }
            | RunEvent::WaitBegan { .. } => self.apply_to_step(event),
            RunEvent::Listed { .. }
            | RunEvent::PageFinished { .. }
            | RunEvent::ListChanged { .. }
            | RunEvent::ItemFinished { .. }
            | RunEvent::ItemResolved { .. }
            | RunEvent::BatchFinished { .. } => self.apply_to_list(event),
        }
    }

    fn apply_to_step(&mut self, event: RunEvent) {
        match event {
            RunEvent::StepStarted { step, .. } => self.steps.entry(step).or_default().started = true,
            RunEvent::Checkpoint { step, value } => self.steps.entry(step).or_default().checkpoint = Some(value),
            RunEvent::StepFinished { step, output, warnings, .. } => {
                warnings.iter().for_each(|warning| tally(&mut self.warnings, warning, 1));
                if step == StepPath::default() {
                    self.output = Some(output.clone());
                }
                self.steps.entry(step.clone()).or_default().warnings = warnings;
                self.end(step, Ok(output));
            }
            // The call had no effect, and its error says nothing about the step: it is as if it had not been tried.
            RunEvent::StepFailed { step, error, .. } if is_transient(&error) => {
                self.steps.entry(step).or_default().started = false;
            }
            RunEvent::StepFailed { step, error, .. } => self.end(step, Err(error)),
            RunEvent::StepRetried { step, error, until, at, .. } => {
                let longest = until.since(at);
                self.retry(step.clone(), Timer { until, longest }, error.kind() == ErrorKind::RateLimited);
                if longest >= LONG_WAIT {
                    self.waiting.insert(step, Waiting { signal: None, until });
                }
            }
            RunEvent::StepResolved { step, verdict, output, .. } => self.resolve(step, verdict, output),
            RunEvent::DeadlineSet { step, until } => self.steps.entry(step).or_default().deadline = Some(until),
            RunEvent::WaitBegan { step, wait } => {
                self.steps.entry(step.clone()).or_default().wait = Some(wait.clone());
                self.waiting.insert(step, wait);
            }
            _ => {}
        }
    }

    fn apply_to_list(&mut self, event: RunEvent) {
        match event {
            RunEvent::Listed { step, items, last, at } => {
                // A list without items has a ledger, too: it shows that there was nothing to do.
                if items == 0 && last {
                    self.ledger.entry(step.clone()).or_default();
                }
                self.counters.entry(step).or_default().listed(items, last, at);
            }
            RunEvent::PageFinished { step, next, ahead, read } => {
                let position = next.map_or(ListPosition::End, |next| ListPosition::Page(next, read));
                self.positions.insert(step.clone(), position);
                self.ahead.insert(step, ahead);
            }
            RunEvent::ListChanged { step, reason, .. } => {
                self.ledger.entry(step).or_default().maybe_incomplete.get_or_insert(reason);
            }
            RunEvent::ItemFinished { step, key, outcome, note, at, .. } => {
                if let Some(counter) = self.counters.get_mut(&step) {
                    counter.item_ended(at);
                } else if !self.is_inside_an_item(&step) {
                    self.counters.entry(step.clone()).or_default().item_ended(at);
                }
                self.forget_item(&step, &key);
                let ahead = self.ahead.entry(step.clone()).or_insert(Some(0));
                *ahead = ahead.map(|ahead| ahead + 1);
                self.keep(&step, &key, &outcome, note);
                self.ledger.entry(step).or_default().count(&outcome);
            }
            RunEvent::ItemResolved { step, key, before, outcome, note, .. } => {
                self.forget_item(&step, &key);
                self.keep(&step, &key, &outcome, note);
                // The ledger of this list, or the sum over all items if the item around the list has ended.
                let summed = self.ledger.keys().find(|of| step.is_like(of.as_str())).cloned().unwrap_or_default();
                let of = if self.ledger.contains_key(&step) { step } else { summed };
                if let Some(ledger) = self.ledger.get_mut(&of) {
                    ledger.discount(&before);
                    ledger.count(&outcome);
                }
            }
            RunEvent::BatchFinished { step, batch } => self.forget_item(&step, &batch),
            _ => {}
        }
    }

    /// Warns of steps that saved a checkpoint and never ended. What they had begun, such as an upload, is left as it
    /// is.
    fn warn_of_interrupted_steps(&mut self) {
        for (path, state) in &self.steps {
            if state.checkpoint.is_some() && state.result.is_none() {
                let left = format!("{path} was interrupted: what it had begun, such as an upload, is left as it is");
                tally(&mut self.warnings, &left, 1);
            }
        }
    }

    fn end(&mut self, step: StepPath, result: Result<Value>) {
        self.recorded += 1;
        self.waiting.remove(&step);
        let bytes = result.as_ref().map_or(0, memory_of);
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        let memory = Some(CountedMemory { bytes, run: self.memory.clone() });
        let state = self.steps.entry(step).or_default();
        (state.result, state.memory) = (Some(result), memory);
    }

    /// Replaces the unknown result of a step by the operator's verdict, and resets the steps around it that failed
    /// because of it.
    fn resolve(&mut self, step: StepPath, verdict: Verdict, output: Value) {
        let unknown =
            |state: &StepState| matches!(&state.result, Some(Err(error)) if error.kind() == ErrorKind::UnknownOutcome);
        for outer in step.ancestors() {
            let handler = outer.of_flow();
            self.steps.retain(|path, _| !path.is_within(&handler));
            self.steps.get_mut(&outer).filter(|state| unknown(state)).into_iter().for_each(StepState::reset);
        }
        let state = self.steps.entry(step.clone()).or_default();
        match verdict {
            Verdict::Done => state.result = Some(Ok(output)),
            Verdict::Retry => state.reset(),
            Verdict::Fail => state.result = Some(Err(resolved_as_failed(&step))),
        }
    }

    /// Fails a run that its trigger could not start before its first step: what is left is the failure handler.
    fn fail_at_start(&mut self) {
        if let Some(error) = self.start_error.clone() {
            self.end(StepPath::default().of_flow(), Err(error));
        }
    }

    /// Resets the steps whose errors stopped the run, since the cause may be gone, and the failure handler, which has
    /// to run again if the run fails again. After a crash there are no such steps.
    fn resume(&mut self) {
        self.counters.values_mut().for_each(ProgressCounter::restart);
        if self.finished_at.take().is_some() {
            let handler = StepPath::default().of_flow();
            self.steps.retain(|path, _| !path.is_within(&handler));
            self.fail_at_start();
            // The step that failed because its connection did not work, and the steps around it.
            let failed = self.error.as_ref().filter(|error| is_of_connection(error)).and_then(Error::step);
            let failed = failed.map(StepPath::from);
            let stopped = |path: &StepPath, error: &Error| {
                stops_the_run(error)
                    || (is_of_connection(error) && failed.as_ref().is_some_and(|failed| failed.is_within(path)))
            };
            for (path, state) in &mut self.steps {
                if matches!(&state.result, Some(Err(error)) if stopped(path, error)) {
                    state.reset();
                }
            }
        }
        self.status = RunStatus::Running;
        self.error = None;
        for (path, state) in &self.steps {
            if let (Some(wait), None) = (&state.wait, &state.result) {
                self.waiting.insert(path.clone(), wait.clone());
            }
        }
    }

    /// Resets a step, and what failed inside it, for its next attempt. Unknown outcomes and successful results stay.
    fn retry(&mut self, step: StepPath, next: Timer, throttled: bool) {
        let failed = |state: &StepState| match &state.result {
            Some(Err(error)) => error.kind() != ErrorKind::UnknownOutcome,
            Some(Ok(_)) => false,
            None => !state.started,
        };
        let handler = step.of_flow();
        for (path, state) in self.steps.range_mut(step.below()) {
            if failed(state) || path.is_within(&handler) {
                self.waiting.remove(path);
                state.reset();
            }
        }
        let state = self.steps.entry(step).or_default();
        let (failed, deadline) = (state.failed_attempts.count, state.deadline);
        state.reset();
        state.failed_attempts = FailedAttempts { count: failed + 1, next, throttled };
        state.deadline = deadline;
    }

    /// Drops the state of an item's steps. The ledgers of lists inside the item are added to those of all items, under
    /// `*`.
    fn forget_item(&mut self, each: &StepPath, key: &str) {
        let item = each.join(key);
        let below = item.below();
        self.steps.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.positions.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.ahead.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.values.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.waiting.extract_if(below.clone(), |_, _| true).for_each(drop);
        let inner: Vec<_> = self.ledger.extract_if(below, |_, _| true).collect();
        for (path, ledger) in inner {
            let rest = &path.as_str()[item.as_str().len()..];
            self.ledger.entry(StepPath::from(&*format!("{each}/*{rest}"))).or_default().add(ledger);
        }
    }

    /// Returns the progress of the run's lists at this time, except of lists inside the items of other lists.
    pub fn progress(&self, now: Timestamp) -> BTreeMap<StepPath, ListProgress> {
        let progress = |(path, counter): (&StepPath, &ProgressCounter)| {
            let finished = self.positions.get(path) == Some(&ListPosition::End);
            (path.clone(), counter.progress(finished, now))
        };
        self.counters.iter().map(progress).collect()
    }

    /// Returns whether an `each` belongs to an item of another one. Its progress is not reported then.
    fn is_inside_an_item(&self, each: &StepPath) -> bool {
        self.counters.keys().any(|outer| outer != each && each.is_within(outer))
    }

    /// Returns the number of steps and lists in memory.
    #[cfg(test)]
    pub(crate) fn tracked(&self) -> usize {
        self.steps.len() + self.positions.len() + self.ahead.keys().filter(|path| path.as_str().contains('/')).count()
    }
}

pub(crate) mod list_values;
mod queries;
#[cfg(test)]
mod tests;

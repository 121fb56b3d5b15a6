//! A run's state: the fold of its events. What a crash leaves on disk is all there is, so it is all that is looked at.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Timestamp};

use crate::{
    Ledger, ListProgress, RerunOf, RunEvent, RunId, RunStatus, StepPath, Verdict, Waiting,
    durability::{concerns_the_run, passes},
    ledger::tally,
    progress::Listed,
    resolve,
    time::Timer,
};

/// A run as its events tell it.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// Its flow's name.
    pub flow: String,
    /// The version of its flow it is pinned to.
    pub version: String,
    /// How it stands.
    pub status: RunStatus,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What it was started with.
    pub input: Value,
    /// Which connection fills which slot.
    pub connections: BTreeMap<String, String>,
    /// The versions of the flows it calls, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, String>,
    /// The run whose failed items it goes over, if it is for those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RerunOf>,
    /// The run that goes over what failed in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_by: Option<RunId>,
    /// What it yields, if its flow says so and it is through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What its `wait` steps wait for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<StepPath, Waiting>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Whether somebody wants it to stop.
    pub cancel_requested: bool,
    /// What became of the items, by the path of their `each` step; `*` stands for the items of the lists around it.
    pub ledger: BTreeMap<StepPath, Ledger>,
    /// What services said although their calls succeeded, and how often.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, u64>,
    #[serde(skip)]
    steps: BTreeMap<StepPath, StepState>,
    #[serde(skip)]
    positions: BTreeMap<StepPath, Option<Value>>,
    /// How many items after that have an outcome; nothing where that is not known.
    #[serde(skip)]
    ahead: BTreeMap<StepPath, Option<u64>>,
    #[serde(skip)]
    listed: BTreeMap<StepPath, Listed>,
    #[serde(skip)]
    signals: BTreeMap<String, Value>,
    /// How many results of steps have been recorded.
    #[serde(skip)]
    recorded: u64,
}

/// What is known of a step that matters for going on.
#[derive(Debug, Default)]
struct StepState {
    started: bool,
    checkpoint: Option<Value>,
    result: Option<Result<Value, Error>>,
    /// How many tries have failed, and when the next one may begin.
    tries: u32,
    again: Timer,
    deadline: Option<Timestamp>,
    wait: Option<Waiting>,
}

impl StepState {
    /// As if it had never been tried, but for what an attempt left behind.
    fn forget(&mut self) {
        *self = StepState { checkpoint: self.checkpoint.take(), ..StepState::default() };
    }
}

impl Run {
    /// A run of which no event is known yet.
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
            rerun_by: None,
            output: None,
            waiting: BTreeMap::new(),
            started_at: Timestamp::EPOCH,
            finished_at: None,
            cancel_requested: false,
            ledger: BTreeMap::new(),
            warnings: BTreeMap::new(),
            steps: BTreeMap::new(),
            positions: BTreeMap::new(),
            ahead: BTreeMap::new(),
            listed: BTreeMap::new(),
            signals: BTreeMap::new(),
            recorded: 0,
        }
    }

    /// Takes the next event into account. What is kept of steps does not grow with the number of items: an item that has
    /// an outcome needs its steps no more.
    pub fn apply(&mut self, event: RunEvent) {
        match event {
            RunEvent::Started { flow, version, input, connections, calls, retry, at } => {
                self.flow = flow;
                self.version = version;
                self.input = input;
                self.connections = connections;
                self.calls = calls;
                self.retry = retry;
                self.started_at = at;
            }
            RunEvent::Rerun { by, .. } => self.rerun_by = Some(by),
            RunEvent::Resumed { .. } => self.resume(),
            RunEvent::StepStarted { step, .. } => self.steps.entry(step).or_default().started = true,
            RunEvent::Checkpoint { step, value } => self.steps.entry(step).or_default().checkpoint = Some(value),
            RunEvent::StepFinished { step, output, warnings, .. } => {
                warnings.iter().for_each(|warning| tally(&mut self.warnings, warning, 1));
                if step == StepPath::default() {
                    self.output = Some(output.clone());
                }
                self.end(step, Ok(output));
            }
            // Nothing is known but that it did not happen.
            RunEvent::StepFailed { step, error, .. } if passes(&error) => {
                self.steps.entry(step).or_default().started = false;
            }
            RunEvent::StepFailed { step, error, .. } => self.end(step, Err(error)),
            RunEvent::StepRetried { step, until, at, .. } => {
                self.retry(step, Timer { until, longest: until.since(at) });
            }
            RunEvent::DeadlineSet { step, until } => self.steps.entry(step).or_default().deadline = Some(until),
            RunEvent::WaitBegan { step, wait } => {
                self.steps.entry(step.clone()).or_default().wait = Some(wait.clone());
                self.waiting.insert(step, wait);
            }
            RunEvent::Signalled { name, payload, .. } => {
                self.signals.entry(name).or_insert(payload);
            }
            RunEvent::Listed { step, items, last, at } => {
                self.listed.entry(step).or_default().known(items, last, at);
            }
            RunEvent::PageFinished { step, next, ahead } => {
                self.positions.insert(step.clone(), next);
                self.ahead.insert(step, ahead);
            }
            RunEvent::ListChanged { step, reason, .. } => {
                self.ledger.entry(step).or_default().maybe_incomplete.get_or_insert(reason);
            }
            RunEvent::ItemFinished { step, key, outcome, at, .. } => {
                if let Some(listed) = self.listed.get_mut(&step) {
                    listed.ended(at);
                } else if !self.is_part_of_an_item(&step) {
                    self.listed.entry(step.clone()).or_default().ended(at);
                }
                self.forget_item(&step, &key);
                let ahead = self.ahead.entry(step.clone()).or_insert(Some(0));
                *ahead = ahead.map(|ahead| ahead + 1);
                self.ledger.entry(step).or_default().count(&outcome);
            }
            RunEvent::StepResolved { step, verdict, output, .. } => self.settle(step, verdict, output),
            RunEvent::ItemResolved { step, key, before, outcome, .. } => {
                self.forget_item(&step, &key);
                // Summed up with those of other items by now, or not yet.
                let summed = self.ledger.keys().find(|of| step.is_like(of.as_str())).cloned().unwrap_or_default();
                let of = if self.ledger.contains_key(&step) { step } else { summed };
                if let Some(ledger) = self.ledger.get_mut(&of) {
                    ledger.discount(&before);
                    ledger.count(&outcome);
                }
            }
            RunEvent::BatchFinished { step, batch } => self.forget_item(&step, &batch),
            RunEvent::CancelRequested { .. } => self.cancel_requested = true,
            RunEvent::Finished { status, error, at } => {
                self.status = status;
                self.error = error;
                self.finished_at = Some(at);
                self.waiting.clear();
                if status == RunStatus::Cancelled {
                    self.name_what_is_left();
                }
            }
        }
    }

    /// What was begun and noted by a step that never ended, such as an upload, stays where it is.
    fn name_what_is_left(&mut self) {
        for (path, state) in &self.steps {
            if state.checkpoint.is_some() && state.result.is_none() {
                let left = format!("{path} was broken off: what it had begun, such as an upload, is left as it is");
                tally(&mut self.warnings, &left, 1);
            }
        }
    }

    fn end(&mut self, step: StepPath, result: Result<Value>) {
        self.recorded += 1;
        self.waiting.remove(&step);
        self.steps.entry(step).or_default().result = Some(result);
    }

    /// What a person has said of a step stands for its result; what failed because of it has not failed.
    fn settle(&mut self, step: StepPath, verdict: Verdict, output: Value) {
        let unknown =
            |state: &StepState| matches!(&state.result, Some(Err(error)) if error.kind() == ErrorKind::UnknownOutcome);
        for outer in step.around() {
            let handler = outer.of_flow();
            self.steps.retain(|path, _| !path.is_within(&handler));
            self.steps.get_mut(&outer).filter(|state| unknown(state)).into_iter().for_each(StepState::forget);
        }
        let state = self.steps.entry(step.clone()).or_default();
        match verdict {
            Verdict::Done => state.result = Some(Ok(output)),
            Verdict::Retry => state.forget(),
            Verdict::Fail => state.result = Some(Err(resolve::given_up(&step))),
        }
    }

    /// What stopped the run may have passed, and its failure handler runs anew if it fails again. After a crash there is
    /// nothing of that kind: the run goes on to the end it would have had.
    fn resume(&mut self) {
        self.listed.values_mut().for_each(Listed::again);
        if self.finished_at.take().is_some() {
            let handler = StepPath::default().of_flow();
            self.steps.retain(|path, _| !path.is_within(&handler));
            let stopped = |state: &StepState| matches!(&state.result, Some(Err(error)) if concerns_the_run(error));
            self.steps.values_mut().filter(|state| stopped(state)).for_each(StepState::forget);
        }
        self.status = RunStatus::Running;
        self.error = None;
        for (path, state) in &self.steps {
            if let (Some(wait), None) = (&state.wait, &state.result) {
                self.waiting.insert(path.clone(), wait.clone());
            }
        }
    }

    /// What failed in a step is tried again; what nobody knows the outcome of stays so, and what went well is not done anew.
    fn retry(&mut self, step: StepPath, again: Timer) {
        let failed = |state: &StepState| match &state.result {
            Some(Err(error)) => error.kind() != ErrorKind::UnknownOutcome,
            Some(Ok(_)) => false,
            None => !state.started,
        };
        let handler = step.of_flow();
        for (path, state) in self.steps.range_mut(step.below()) {
            if failed(state) || path.is_within(&handler) {
                self.waiting.remove(path);
                state.forget();
            }
        }
        let state = self.steps.entry(step).or_default();
        let (tries, deadline) = (state.tries, state.deadline);
        state.forget();
        (state.tries, state.again, state.deadline) = (tries + 1, again, deadline);
    }

    /// Drops what is kept of an item's steps. Ledgers of lists inside of it are summed up over all items, under `*`.
    fn forget_item(&mut self, each: &StepPath, key: &str) {
        let item = each.join(key);
        let below = item.below();
        self.steps.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.positions.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.ahead.extract_if(below.clone(), |_, _| true).for_each(drop);
        self.waiting.extract_if(below.clone(), |_, _| true).for_each(drop);
        let inner: Vec<_> = self.ledger.extract_if(below, |_, _| true).collect();
        for (path, ledger) in inner {
            let rest = &path.as_str()[item.as_str().len()..];
            self.ledger.entry(StepPath::from(&*format!("{each}/*{rest}"))).or_default().add(ledger);
        }
    }

    /// How far its lists are at this time: those that belong to no item.
    pub fn progress(&self, now: Timestamp) -> BTreeMap<StepPath, ListProgress> {
        let far = |(path, listed): (&StepPath, &Listed)| {
            let through = self.positions.get(path) == Some(&None);
            (path.clone(), listed.progress(through, now))
        };
        self.listed.iter().map(far).collect()
    }

    /// Whether an `each` is worked on within an item of another, so that how far it is is nobody's concern.
    fn is_part_of_an_item(&self, each: &StepPath) -> bool {
        self.listed.keys().any(|around| around != each && each.is_within(around))
    }

    /// Whether it is worth recording that a list has so many items.
    pub(crate) fn is_news(&self, each: &StepPath, items: u64, last: bool) -> bool {
        !self.is_part_of_an_item(each) && self.listed(each).is_news(items, last)
    }

    /// What is known of how many items a list has.
    pub(crate) fn listed(&self, step: &StepPath) -> Listed {
        self.listed.get(step).cloned().unwrap_or_default()
    }

    /// The recorded result of a step.
    pub(crate) fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.steps.get(step)?.result.clone()
    }

    /// Whether an attempt that must not be repeated blindly was begun.
    pub(crate) fn started(&self, step: &StepPath) -> bool {
        self.steps.get(step).is_some_and(|state| state.started)
    }

    /// What the last attempt left behind.
    pub(crate) fn checkpoint(&self, step: &StepPath) -> Option<Value> {
        self.steps.get(step)?.checkpoint.clone()
    }

    /// How many tries of a step have failed, and when the next one may begin.
    pub(crate) fn tries(&self, step: &StepPath) -> (u32, Timer) {
        self.steps.get(step).map_or_else(Default::default, |state| (state.tries, state.again))
    }

    /// When a step's time is over.
    pub(crate) fn deadline(&self, step: &StepPath) -> Option<Timestamp> {
        self.steps.get(step)?.deadline
    }

    /// What a `wait` step that has begun waits for.
    pub(crate) fn wait(&self, step: &StepPath) -> Option<Waiting> {
        self.steps.get(step)?.wait.clone()
    }

    /// What came with a signal.
    pub(crate) fn signal(&self, name: &str) -> Option<Value> {
        self.signals.get(name).cloned()
    }

    /// Whether a step waits for a signal.
    pub(crate) fn awaits_signal(&self) -> bool {
        self.waiting.values().any(|wait| wait.signal.is_some())
    }

    /// How many results of steps have been recorded.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Where a list goes on: `Some(None)` if it is through.
    pub(crate) fn position(&self, step: &StepPath) -> Option<&Option<Value>> {
        self.positions.get(step)
    }

    /// How many items after that position have an outcome already, if that is known.
    pub(crate) fn ahead(&self, step: &StepPath) -> Option<u64> {
        self.ahead.get(step).copied().unwrap_or(Some(0))
    }

    /// How many steps are kept in memory.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.steps.len() + self.positions.len() + self.ahead.keys().filter(|path| path.as_str().contains('/')).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ItemOutcome;
    use serde_json::json;

    #[test]
    fn an_item_with_an_outcome_leaves_nothing_but_a_count() {
        let mut run = Run::new(RunId::from("r"));
        let files = StepPath::default().join("files");
        for key in ["a", "a/b", "a0", "~"] {
            let step = files.join(key).join("copy");
            run.apply(RunEvent::StepStarted { step: step.clone(), attempt: 1, at: Timestamp::from_millis(1) });
            let (output, warnings) = (json!(1), vec!["odd".into()]);
            run.apply(RunEvent::StepFinished {
                step,
                output,
                warnings,
                attempt: 1,
                began: None,
                at: Timestamp::from_millis(2),
            });
        }
        assert_eq!(run.kept(), 4);
        assert_eq!(run.warnings["odd"], 4);
        let end = |key: &str| RunEvent::ItemFinished {
            step: files.clone(),
            key: key.into(),
            outcome: ItemOutcome::Done,
            once: None,
            at: Timestamp::from_millis(3),
        };
        run.apply(end("a"));
        assert_eq!(run.kept(), 3, "a/b and a0 are other items");
        run.apply(end("a/b"));
        run.apply(end("a0"));
        run.apply(end("~"));
        assert_eq!((run.kept(), run.ledger[&files].done), (0, 4));
    }

    #[test]
    fn a_verdict_moves_an_item_from_one_count_to_another() {
        let mut run = Run::new(RunId::from("r"));
        let unknown = || ItemOutcome::Unknown { error: Error::new(ErrorKind::UnknownOutcome, "lost") };
        let inner = StepPath::from("folders/a/files");
        for key in ["1", "2"] {
            let (step, outcome) = (inner.clone(), unknown());
            run.apply(RunEvent::ItemFinished {
                step,
                key: key.into(),
                outcome,
                once: None,
                at: Timestamp::from_millis(1),
            });
        }
        let settled = |key: &str| RunEvent::ItemResolved {
            step: inner.clone(),
            key: key.into(),
            verdict: Verdict::Done,
            before: unknown(),
            outcome: ItemOutcome::Done,
            at: Timestamp::from_millis(2),
        };
        run.apply(settled("1"));
        assert_eq!((run.ledger[&inner].done, run.ledger[&inner].unknown["lost"]), (1, 1));
        let (step, outcome) = ("folders".into(), ItemOutcome::Done);
        run.apply(RunEvent::ItemFinished { step, key: "a".into(), outcome, once: None, at: Timestamp::from_millis(3) });
        run.apply(settled("2"));
        let summed = &run.ledger[&StepPath::from("folders/*/files")];
        assert_eq!((summed.done, summed.unknown.len(), run.ledger.len()), (2, 0, 2));
    }

    #[test]
    fn pages_of_old_journals_say_nothing_of_what_was_done_after_them() {
        let mut run = Run::new(RunId::from("r"));
        let files = StepPath::from("files");
        assert_eq!(run.ahead(&files), Some(0));
        let end = RunEvent::ItemFinished {
            step: files.clone(),
            key: "a".into(),
            outcome: ItemOutcome::Done,
            once: None,
            at: Timestamp::from_millis(1),
        };
        run.apply(end.clone());
        assert_eq!(run.ahead(&files), Some(1));
        for (ahead, known) in [(json!(7), Some(8)), (Value::Null, None)] {
            let page = json!({ "event": "page_finished", "step": "files", "next": null, "ahead": ahead });
            run.apply(serde_json::from_value(page).unwrap());
            run.apply(end.clone());
            assert_eq!(run.ahead(&files), known);
        }
        run.apply(serde_json::from_value(json!({ "event": "page_finished", "step": "files", "next": null })).unwrap());
        assert_eq!(run.ahead(&files), None);
    }

    #[test]
    fn lists_inside_of_items_are_summed_up_over_the_items() {
        let mut run = Run::new(RunId::from("r"));
        let outer = StepPath::from("folders");
        for folder in ["a", "b", "*"] {
            let inner = outer.join(folder).join("files");
            for file in ["1", "2"] {
                let outcome = ItemOutcome::Skipped { reason: "odd".into() };
                run.apply(RunEvent::ItemFinished {
                    step: inner.clone(),
                    key: file.into(),
                    outcome,
                    once: None,
                    at: Timestamp::from_millis(1),
                });
            }
            run.apply(RunEvent::PageFinished { step: inner, next: None, ahead: None });
            let outcome = ItemOutcome::Done;
            run.apply(RunEvent::ItemFinished {
                step: outer.clone(),
                key: folder.into(),
                outcome,
                once: None,
                at: Timestamp::from_millis(2),
            });
        }
        let paths: Vec<_> = run.ledger.keys().map(StepPath::as_str).collect();
        assert_eq!((paths, run.kept()), (vec!["folders", "folders/*/files"], 0));
        assert_eq!(run.ledger[&StepPath::from("folders/*/files")].skipped["odd"], 6);
    }
}

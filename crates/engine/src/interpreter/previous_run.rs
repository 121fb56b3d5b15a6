//! What a rerun takes from the runs before it: the items to repeat, and the recorded results that stay valid.
//!
//! A rerun may repeat another rerun; the last outcome of an item among them counts. Calls that created or deleted
//! something, and waits that have ended, keep their recorded results, so nothing is written twice. Everything else is
//! executed again and sees the current data. All of this is a fold of the earlier runs' events, so it is the same after
//! a crash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Retry, RunId, StepPath};
use trunkline_flow::{Flow, StepKind};

use crate::{
    journal::{Journal, pinned_flow::pinned_flow},
    run::{ItemOutcome, RerunOf, Run, RunEvent, RunStatus, Verdict, key_form::NO_KEY},
};

/// The fold of the runs before a rerun. Its size grows with the number of failed items, not of all items.
#[derive(Debug, Default)]
pub(crate) struct PreviousRun {
    /// The runs, oldest first.
    runs: Vec<RunId>,
    steps: BTreeMap<StepPath, PreviousStep>,
    /// The items that failed or have an unknown outcome, by path.
    failed_items: BTreeMap<StepPath, FailedItem>,
    /// Whether the rerun repeats items with an unknown outcome, too.
    unknown: bool,
    /// The lists that were read to their ends and whose items all have outcomes.
    finished_lists: BTreeMap<StepPath, ()>,
    /// Whether an error stopped the last run. The items that it did not reach are left to do, too.
    stopped: bool,
    /// The failed items that were recorded last, one after the other. They belong to a batch if its end is recorded
    /// next.
    recent: Vec<StepPath>,
}

/// A call that creates or deletes something, or a wait.
#[derive(Debug)]
struct PreviousStep {
    /// The run in which it was begun, whose id is part of its idempotency key.
    run: RunId,
    started: bool,
    checkpoint: Option<Value>,
    result: Option<Result<Value>>,
    /// The warnings of its last successful attempt.
    warnings: Vec<String>,
}

impl PreviousStep {
    /// Returns whether it may have taken effect.
    fn is_unclear(&self) -> bool {
        let known = |result: &Result<Value>| {
            result.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::UnknownOutcome)
        };
        self.started && !self.result.as_ref().is_some_and(known)
    }
}

/// An item that failed, or whose outcome is unknown.
#[derive(Clone, Debug)]
pub(crate) struct FailedItem {
    pub(crate) step: StepPath,
    pub(crate) key: String,
    /// The name of its batch, if it was worked on in one.
    batch: Option<String>,
    unknown: bool,
}

impl PreviousRun {
    /// Reads the runs before a rerun with this flow.
    pub(crate) async fn read(journal: &dyn Journal, retry: &RerunOf, flow: &Flow) -> Result<PreviousRun> {
        let (mut runs, mut next) = (Vec::new(), Some(retry.run.clone()));
        while let Some(id) = next {
            let mut run = Run::new(id.clone());
            let visit = &mut |event| {
                if let RunEvent::Started { .. } = event {
                    run.apply(event);
                }
            };
            journal.replay(&id, visit).await?;
            next = run.retry.clone().map(|retry| retry.run);
            runs.push(run);
        }
        let mut previous = PreviousRun { unknown: retry.unknown, ..PreviousRun::default() };
        for run in runs.into_iter().rev() {
            journal.replay(&run.id, &mut |event| previous.apply(&run.id, event)).await?;
            let same_version = run.version == flow.version() && run.calls == versions(flow);
            previous.conclude(same_version);
            if !same_version && let Ok(previous_flow) = pinned_flow(journal, &run).await {
                previous.drop_changed_steps(&actions(&previous_flow), &actions(flow));
            }
            previous.runs.push(run.id);
        }
        Ok(previous)
    }

    fn apply(&mut self, run: &RunId, event: RunEvent) {
        let recent = std::mem::take(&mut self.recent);
        match event {
            RunEvent::ItemFinished { step, key, outcome, .. } => {
                self.recent = recent;
                self.apply_outcome(step, key, &outcome);
            }
            RunEvent::ItemResolved { step, key, verdict, outcome, .. } => {
                self.apply_verdict(step, key, verdict, &outcome);
                self.recent.clear();
            }
            RunEvent::BatchFinished { step, batch } => self.end_batch(&step, &batch, recent),
            RunEvent::PageFinished { step, next: None, .. } => {
                self.finished_lists.insert(step, ());
            }
            RunEvent::Finished { status, .. } => self.stopped = status == RunStatus::Failed,
            event => self.apply_to_step(run, event),
        }
    }

    fn apply_to_step(&mut self, run: &RunId, event: RunEvent) {
        let begun =
            |started| PreviousStep { run: run.clone(), started, checkpoint: None, result: None, warnings: Vec::new() };
        match event {
            RunEvent::StepStarted { step, .. } => {
                let previous = self.steps.entry(step).or_insert_with(|| begun(true));
                (previous.started, previous.result) = (true, None);
            }
            RunEvent::WaitBegan { step, .. } => {
                self.steps.entry(step).or_insert_with(|| begun(false));
            }
            RunEvent::Checkpoint { step, value } => {
                if let Some(previous) = self.steps.get_mut(&step) {
                    previous.checkpoint = Some(value);
                }
            }
            RunEvent::StepFinished { step, output, warnings, .. } => {
                self.end(&step, Ok(output));
                self.steps.get_mut(&step).into_iter().for_each(|previous| previous.warnings.clone_from(&warnings));
            }
            RunEvent::StepFailed { step, error, .. } => self.end(&step, Err(error)),
            RunEvent::StepRetried { step, .. } => self.retry(&step),
            RunEvent::StepResolved { step, verdict: Verdict::Done, output, .. } => self.end(&step, Ok(output)),
            RunEvent::StepResolved { step, .. } => {
                let error = Error::new(ErrorKind::Failed, "resolved").retry(Retry::Backoff);
                self.end(&step, Err(error));
            }
            _ => {}
        }
    }

    /// Resets what has failed in a step, for its next attempt.
    fn retry(&mut self, step: &StepPath) {
        self.steps.extract_if(step.of_flow().below(), |_, _| true).for_each(drop);
        let failed = |previous: &PreviousStep| matches!(previous.result, Some(Err(_))) && !previous.is_unclear();
        let reset = |previous: &mut PreviousStep| (previous.started, previous.result) = (false, None);
        self.steps.get_mut(step).filter(|previous| failed(previous)).into_iter().for_each(reset);
        let inside = self.steps.range_mut(step.below()).map(|(_, previous)| previous);
        inside.filter(|previous| failed(previous)).for_each(reset);
    }

    /// Applies an operator's verdict about an item. It stays in its batch.
    fn apply_verdict(&mut self, step: StepPath, key: String, verdict: Verdict, outcome: &ItemOutcome) {
        if verdict == Verdict::Fail {
            return self.apply_outcome(step, key, &ItemOutcome::Done { reason: None });
        }
        let item = step.join(&key);
        let batch = self.failed_items.get(&item).and_then(|item| item.batch.clone());
        self.apply_outcome(step, key, outcome);
        if let Some(item) = self.failed_items.get_mut(&item) {
            item.batch = batch;
        }
    }

    /// Ends a batch of a list. Those of the items recorded last that belong to the list have failed in it.
    fn end_batch(&mut self, each: &StepPath, batch: &str, recent: Vec<StepPath>) {
        let mut has_failed_items = false;
        for path in recent {
            if let Some(item) = self.failed_items.get_mut(&path).filter(|item| item.step == *each) {
                item.batch = Some(batch.to_owned());
                has_failed_items = true;
            }
        }
        if !has_failed_items {
            self.forget(&each.join(batch));
        }
    }

    fn end(&mut self, step: &StepPath, result: Result<Value>) {
        if let Some(previous) = self.steps.get_mut(step) {
            previous.result = Some(result);
        }
    }

    /// Applies the outcome of an item.
    fn apply_outcome(&mut self, step: StepPath, key: String, outcome: &ItemOutcome) {
        let item = step.join(&key);
        let unknown = match outcome {
            ItemOutcome::Failed { .. } => false,
            ItemOutcome::Unknown { .. } => true,
            ItemOutcome::Done { .. } | ItemOutcome::Skipped { .. } => {
                self.failed_items.remove(&item);
                if matches!(outcome, ItemOutcome::Skipped { .. }) {
                    self.failed_items.extract_if(item.below(), |_, _| true).for_each(drop);
                }
                return self.forget(&item);
            }
        };
        self.recent.push(item.clone());
        self.failed_items.insert(item, FailedItem { step, key, batch: None, unknown });
    }

    /// Drops the steps of an item, unless items inside it have failed.
    fn forget(&mut self, item: &StepPath) {
        if self.failed_items.range(item.below()).next().is_none() {
            self.steps.extract_if(item.below(), |_, _| true).for_each(drop);
            self.finished_lists.extract_if(item.below(), |_, _| true).for_each(drop);
        }
    }

    /// Ends the fold of one run. Successful results, unclear calls, and checkpoints of calls whose retryable error may
    /// go away are kept.
    fn conclude(&mut self, same_version: bool) {
        self.recent.clear();
        self.steps.retain(|path, previous| {
            // A failure handler runs again if the next run fails.
            if path.as_str().split('/').any(|part| part == "~flow") {
                return false;
            }
            let unclear = previous.is_unclear();
            match &previous.result {
                Some(Ok(_)) => true,
                _ if unclear => true,
                Some(Err(error))
                    if same_version && previous.checkpoint.is_some() && error.retryable() != Retry::Never =>
                {
                    (previous.started, previous.result) = (false, None);
                    true
                }
                _ => false,
            }
        });
    }

    /// Drops the results of steps that call another action in the corrected flow.
    fn drop_changed_steps(&mut self, before: &Actions, now: &Actions) {
        self.steps.retain(|path, previous| {
            let id = path.as_str().rsplit('/').next().unwrap_or_default();
            before.get(id) == now.get(id) || !matches!(previous.result, Some(Ok(_)))
        });
    }

    /// Returns how many items failed, and how many have an unknown outcome.
    pub(crate) fn count(&self) -> (usize, usize) {
        let unknown = self.failed_items.values().filter(|item| item.unknown).count();
        (self.failed_items.len() - unknown, unknown)
    }

    /// Returns the ids of `each` steps that have items to repeat, and that this flow and the flows it calls do not
    /// have, or where only one of the two versions works on batches.
    pub(crate) fn missing(&self, flow: &Flow) -> BTreeSet<&str> {
        let mut present = BTreeSet::new();
        flow.visit_steps(&mut |step| {
            if let StepKind::Each { batch, .. } = &step.kind {
                present.insert((step.id.to_string(), batch.is_some()));
            }
        });
        let is_present = |item: &FailedItem, id: &str| present.contains(&(id.to_owned(), item.batch.is_some()));
        let wanted = self.wanted_items().filter_map(|item| Some((item, item.step.as_str().rsplit('/').next()?)));
        wanted.filter(|(item, id)| !is_present(item, id)).map(|(_, id)| id).collect()
    }

    fn is_wanted(&self, item: &FailedItem) -> bool {
        !item.unknown || self.unknown
    }

    fn wanted_items(&self) -> impl Iterator<Item = &FailedItem> {
        self.failed_items.values().filter(|item| self.is_wanted(item))
    }

    /// Returns whether the rerun repeats an item. Returns nothing if that depends on whether an earlier run has done
    /// the item: if an item around it failed, or if its list was not finished.
    pub(crate) fn wants(&self, each: &StepPath, key: &str) -> Option<bool> {
        let item = each.join(key);
        if let Some(failed) = self.failed_items.get(&item) {
            return Some(self.is_wanted(failed));
        }
        if self.failed_items.range(item.below()).any(|(_, inner)| self.is_wanted(inner)) {
            return Some(true);
        }
        let unfinished = self.stopped && !self.finished_lists.contains_key(each);
        // An item without a key may have one by now, which no earlier run knows.
        let without_key = || {
            let first = each.join(NO_KEY);
            let found = self.failed_items.range(first..each.below().end).next();
            found.is_some_and(|(_, item)| item.step == *each && item.key.starts_with(NO_KEY))
        };
        if unfinished || without_key() || self.is_inside(each) { None } else { Some(false) }
    }

    /// Returns whether this path lies in an item, or in a batch with an item, that failed itself.
    fn is_inside(&self, path: &StepPath) -> bool {
        let mut ancestors = path.ancestors();
        ancestors.push(path.clone());
        let batch = |part: &StepPath| {
            let (each, name) = part.split()?;
            self.failed_items
                .range(each.below())
                .find(|(_, item)| item.step == each && item.batch.as_ref() == Some(&name))
        };
        ancestors.iter().any(|part| self.failed_items.contains_key(part) || batch(part).is_some())
    }

    /// Returns the name of the batch that the item was in.
    pub(crate) fn batch(&self, each: &StepPath, key: &str) -> Option<&str> {
        self.failed_items.get(&each.join(key))?.batch.as_deref()
    }

    /// Returns the items to repeat that need an outcome of their own: not those inside other failed items.
    pub(crate) fn all_wanted(&self) -> impl Iterator<Item = &FailedItem> {
        self.wanted_items().filter(|item| !self.is_inside(&item.step))
    }

    /// Returns the runs, oldest first.
    pub(crate) fn runs(&self) -> &[RunId] {
        &self.runs
    }

    /// Returns the recorded output of a step that is not called again.
    pub(crate) fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.steps.get(step)?.result.as_ref()?.as_ref().ok().cloned().map(Ok)
    }

    /// Returns the warnings of the steps of an item whose results stay valid.
    pub(crate) fn warnings_in(&self, item: &StepPath) -> impl Iterator<Item = &String> {
        self.steps.range(item.below()).flat_map(|(_, previous)| &previous.warnings)
    }

    /// Returns whether a step may have taken effect.
    pub(crate) fn is_unclear(&self, step: &StepPath) -> bool {
        self.steps.get(step).is_some_and(PreviousStep::is_unclear)
    }

    /// Returns the checkpoint of the last attempt of a step.
    pub(crate) fn checkpoint(&self, step: &StepPath) -> Option<Value> {
        self.steps.get(step)?.checkpoint.clone()
    }

    /// Returns the run whose id is part of the idempotency key that a step continues with.
    pub(crate) fn run_of(&self, step: &StepPath) -> Option<&RunId> {
        self.steps.get(step).map(|previous| &previous.run)
    }
}

/// The actions that the steps of a flow call, by step id.
type Actions = BTreeMap<String, BTreeSet<String>>;

fn actions(flow: &Flow) -> Actions {
    let mut found = Actions::new();
    flow.visit_steps(&mut |step| {
        if let StepKind::Action(call) = &step.kind {
            found.entry(step.id.to_string()).or_default().insert(format!("{} {}", call.binding, call.action));
        }
    });
    found
}

/// Returns the versions of the flows that a flow calls, by name.
pub(crate) fn versions(flow: &Flow) -> BTreeMap<String, String> {
    flow.linked().iter().map(|(name, flow)| (name.clone(), flow.version().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    /// Returns what is left of a step whose events are these, after the run: whether it counts as begun, and its result.
    fn concluded(events: Value, same_version: bool) -> Option<(bool, Option<bool>)> {
        let mut previous = PreviousRun::default();
        for mut event in from_value::<Vec<Value>>(events).unwrap() {
            (event["step"], event["at"]) = (json!("copy"), json!(1));
            previous.apply(&"r1".into(), from_value(event).unwrap());
        }
        previous.conclude(same_version);
        let left = previous.steps.remove(&StepPath::from("copy"))?;
        Some((left.started, left.result.map(|result| result.is_ok())))
    }

    #[test]
    fn a_rerun_keeps_a_checkpoint_only_if_the_same_call_may_succeed_later() {
        let failed = |checkpoint: bool, kind: &str, retry: Value| {
            let error = json!({ "kind": kind, "message": "no", "retry": retry });
            let mut events =
                vec![json!({ "event": "step_started" }), json!({ "event": "step_failed", "error": error })];
            if checkpoint {
                events.insert(1, json!({ "event": "checkpoint", "value": 7 }));
            }
            json!(events)
        };
        let again = Some((false, None));
        assert_eq!(concluded(failed(true, "unavailable", json!("backoff")), true), again, "it may succeed later");
        assert_eq!(
            concluded(failed(true, "unavailable", json!("backoff")), false),
            None,
            "another version of the flow"
        );
        assert_eq!(concluded(failed(false, "unavailable", json!("backoff")), true), None, "nothing was saved");
        assert_eq!(concluded(failed(false, "unavailable", json!("backoff")), false), None);
        assert_eq!(concluded(failed(true, "invalid_input", json!("never")), true), None, "it will not succeed");
    }

    #[test]
    fn a_rerun_keeps_results_and_calls_that_may_have_taken_effect() {
        let done = json!([{ "event": "step_started" }, { "event": "step_finished", "output": 1 }]);
        assert_eq!(concluded(done, false), Some((true, Some(true))));
        assert_eq!(
            concluded(json!([{ "event": "step_started" }]), false),
            Some((true, None)),
            "its end is not recorded"
        );
        let lost = json!({ "kind": "unknown_outcome", "message": "lost" });
        let lost = json!([{ "event": "step_started" }, { "event": "step_failed", "error": lost }]);
        assert_eq!(concluded(lost, false), Some((true, Some(false))));
        let failed = json!({ "kind": "invalid_input", "message": "no" });
        let failed = json!([{ "event": "step_started" }, { "event": "step_failed", "error": failed }]);
        assert_eq!(concluded(failed, true), None);
    }
}

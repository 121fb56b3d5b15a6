//! Runs that go over what failed in an earlier one: which items that are, and what of the earlier work stands.
//!
//! A run may go over another one that went over a third: what counts of an item is its last outcome among them. Calls that
//! created or deleted something, and waits that are over, keep their recorded results, so that nothing is written twice;
//! everything else runs again and sees the present. This is a fold of the earlier runs' events: it is the same after a crash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Retry};

use crate::{
    Flow, ItemOutcome, Journal, RerunOf, Run, RunEvent, RunId, RunStatus, Step, StepPath, Verdict, engine::flow_of,
    step::StepKind,
};

/// What earlier runs have left to a run that goes over what failed in them. It grows with what failed, not with what was done.
#[derive(Debug, Default)]
pub(crate) struct PreviousRun {
    /// The runs, oldest first.
    runs: Vec<RunId>,
    steps: BTreeMap<StepPath, Kept>,
    faults: BTreeMap<StepPath, Fault>,
    /// Whether items are gone over of which nobody knows.
    unknown: bool,
    /// Lists that have been gone through.
    through: BTreeMap<StepPath, ()>,
    /// Whether the last of the runs was stopped by an error: what it has not come to is left to do, too.
    stopped: bool,
    /// Items at fault that were recorded one after the other: those of a batch, when its end is recorded.
    recent: Vec<StepPath>,
}

/// A call that creates or deletes, or a wait.
#[derive(Debug)]
struct Kept {
    /// The run it was begun in, whose idempotency key it has.
    run: RunId,
    started: bool,
    checkpoint: Option<Value>,
    result: Option<Result<Value>>,
}

impl Kept {
    /// Whether nobody knows if it took effect.
    fn is_unclear(&self) -> bool {
        let known = |result: &Result<Value>| {
            result.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::UnknownOutcome)
        };
        self.started && !self.result.as_ref().is_some_and(known)
    }
}

/// An item that failed, or of which nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) step: StepPath,
    pub(crate) key: String,
    /// What it was called in paths together with others, if it was worked on in a batch.
    batch: Option<String>,
    unknown: bool,
}

impl PreviousRun {
    /// Reads what the runs before have left to a run of this flow.
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
        let mut earlier = PreviousRun { unknown: retry.unknown, ..PreviousRun::default() };
        for run in runs.into_iter().rev() {
            journal.replay(&run.id, &mut |event| earlier.apply(&run.id, event)).await?;
            let same = run.version == flow.version() && run.calls == versions(flow);
            earlier.conclude(same);
            if !same && let Ok(before) = flow_of(journal, &run).await {
                earlier.leave_out_changed(&actions(&before), &actions(flow));
            }
            earlier.runs.push(run.id);
        }
        Ok(earlier)
    }

    fn apply(&mut self, run: &RunId, event: RunEvent) {
        let begun = |started| Kept { run: run.clone(), started, checkpoint: None, result: None };
        let recent = std::mem::take(&mut self.recent);
        match event {
            RunEvent::StepStarted { step, .. } => {
                let kept = self.steps.entry(step).or_insert_with(|| begun(true));
                (kept.started, kept.result) = (true, None);
            }
            RunEvent::WaitBegan { step, .. } => {
                self.steps.entry(step).or_insert_with(|| begun(false));
            }
            RunEvent::Checkpoint { step, value } => {
                if let Some(kept) = self.steps.get_mut(&step) {
                    kept.checkpoint = Some(value);
                }
            }
            RunEvent::StepFinished { step, output, .. } => self.end(&step, Ok(output)),
            RunEvent::StepFailed { step, error, .. } => self.end(&step, Err(error)),
            RunEvent::StepRetried { step, .. } => {
                self.steps.extract_if(step.of_flow().below(), |_, _| true).for_each(drop);
                let failed = |kept: &Kept| matches!(kept.result, Some(Err(_))) && !kept.is_unclear();
                let tried = self.steps.range_mut(step.clone()..=step.clone()).map(|(_, kept)| kept);
                tried.filter(|kept| failed(kept)).for_each(|kept| (kept.started, kept.result) = (false, None));
                let inside = self.steps.range_mut(step.below()).map(|(_, kept)| kept);
                inside.filter(|kept| failed(kept)).for_each(|kept| (kept.started, kept.result) = (false, None));
            }
            RunEvent::StepResolved { step, verdict, output, .. } => match verdict {
                Verdict::Done => self.end(&step, Ok(output)),
                Verdict::Retry | Verdict::Fail => {
                    let error = Error::new(ErrorKind::Failed, "settled").retry(Retry::Backoff);
                    self.end(&step, Err(error));
                }
            },
            RunEvent::ItemFinished { step, key, outcome, .. } => {
                self.recent = recent;
                self.outcome(step, key, &outcome);
            }
            RunEvent::ItemResolved { step, key, verdict, outcome, .. } => {
                let batch = self.faults.get(&step.join(&key)).and_then(|fault| fault.batch.clone());
                match verdict {
                    Verdict::Fail => self.outcome(step, key, &ItemOutcome::Done),
                    Verdict::Done | Verdict::Retry => {
                        self.outcome(step.clone(), key.clone(), &outcome);
                        if let Some(fault) = self.faults.get_mut(&step.join(&key)) {
                            fault.batch = batch;
                        }
                    }
                }
                self.recent.clear();
            }
            RunEvent::PageFinished { step, next: None, .. } => {
                self.through.insert(step, ());
            }
            RunEvent::Finished { status, .. } => self.stopped = status == RunStatus::Failed,
            RunEvent::BatchFinished { step, batch } => {
                let of_batch = recent.into_iter().filter(|item| self.faults.get(item).is_some_and(|f| f.step == step));
                let of_batch: Vec<_> = of_batch.collect();
                for item in &of_batch {
                    if let Some(fault) = self.faults.get_mut(item) {
                        fault.batch = Some(batch.clone());
                    }
                }
                if of_batch.is_empty() {
                    self.forget(&step.join(&batch));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, step: &StepPath, result: Result<Value>) {
        if let Some(kept) = self.steps.get_mut(step) {
            kept.result = Some(result);
        }
    }

    fn outcome(&mut self, step: StepPath, key: String, outcome: &ItemOutcome) {
        let item = step.join(&key);
        let unknown = match outcome {
            ItemOutcome::Failed { .. } => false,
            ItemOutcome::Unknown { .. } => true,
            ItemOutcome::Done | ItemOutcome::Skipped { .. } => {
                self.faults.remove(&item);
                if matches!(outcome, ItemOutcome::Skipped { .. }) {
                    self.faults.extract_if(item.below(), |_, _| true).for_each(drop);
                }
                return self.forget(&item);
            }
        };
        self.recent.push(item.clone());
        self.faults.insert(item, Fault { step, key, batch: None, unknown });
    }

    /// Drops what is kept of an item, unless items inside of it are at fault.
    fn forget(&mut self, item: &StepPath) {
        if self.faults.range(item.below()).next().is_none() {
            self.steps.extract_if(item.below(), |_, _| true).for_each(drop);
            self.through.extract_if(item.below(), |_, _| true).for_each(drop);
        }
    }

    /// Keeps of a run what stands: what is recorded, what nobody knows, and where a failed call that may pass left off.
    fn conclude(&mut self, same_version: bool) {
        self.recent.clear();
        self.steps.retain(|path, kept| {
            // What was done because a run failed is done again if the next one fails.
            if path.as_str().split('/').any(|part| part == "~flow") {
                return false;
            }
            let unclear = kept.is_unclear();
            match &kept.result {
                Some(Ok(_)) => true,
                _ if unclear => true,
                Some(Err(error)) if same_version && kept.checkpoint.is_some() && error.retryable() != Retry::Never => {
                    (kept.started, kept.result) = (false, None);
                    true
                }
                _ => false,
            }
        });
    }

    /// Results of steps that call something else now do not stand for it.
    fn leave_out_changed(&mut self, before: &Actions, now: &Actions) {
        self.steps.retain(|path, kept| {
            let id = path.as_str().rsplit('/').next().unwrap_or_default();
            before.get(id) == now.get(id) || !matches!(kept.result, Some(Ok(_)))
        });
    }

    /// How many items failed, and of how many nobody knows.
    pub(crate) fn count(&self) -> (usize, usize) {
        let unknown = self.faults.values().filter(|fault| fault.unknown).count();
        (self.faults.len() - unknown, unknown)
    }

    /// The `each` steps that have items to go over and are not in this flow or one that it calls, or work on batches in one
    /// of the two only.
    pub(crate) fn missing(&self, flow: &Flow) -> BTreeSet<&str> {
        let mut there = BTreeSet::new();
        each_flow(flow, &mut |step| {
            if let StepKind::Each { batch, .. } = &step.kind {
                there.insert((step.id.to_string(), batch.is_some()));
            }
        });
        let is_there = |fault: &&Fault, id: &str| there.contains(&(id.to_owned(), fault.batch.is_some()));
        let wanted = self.wanted_faults().filter_map(|fault| Some((fault, fault.step.as_str().rsplit('/').next()?)));
        wanted.filter(|(fault, id)| !is_there(fault, id)).map(|(_, id)| id).collect()
    }

    fn is_wanted(&self, fault: &Fault) -> bool {
        !fault.unknown || self.unknown
    }

    fn wanted_faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.values().filter(|fault| self.is_wanted(fault))
    }

    /// Whether an item is gone over; nothing if that depends on whether it was done, since something around it failed or the
    /// list was not gone through.
    pub(crate) fn wants(&self, each: &StepPath, key: &str) -> Option<bool> {
        let item = each.join(key);
        if let Some(fault) = self.faults.get(&item) {
            return Some(self.is_wanted(fault));
        }
        if self.faults.range(item.below()).any(|(_, fault)| self.is_wanted(fault)) {
            return Some(true);
        }
        let left = self.stopped && !self.through.contains_key(each);
        if left || self.is_inside(each) { None } else { Some(false) }
    }

    /// Whether something around this path is at fault itself.
    fn is_inside(&self, path: &StepPath) -> bool {
        let mut around = path.around();
        around.push(path.clone());
        let batch = |part: &StepPath| {
            let (each, name) = part.split()?;
            self.faults.range(each.below()).find(|(_, fault)| fault.step == each && fault.batch.as_ref() == Some(&name))
        };
        around.iter().any(|part| self.faults.contains_key(part) || batch(part).is_some())
    }

    /// What the item was called together with others.
    pub(crate) fn batch(&self, each: &StepPath, key: &str) -> Option<&str> {
        self.faults.get(&each.join(key))?.batch.as_deref()
    }

    /// The items to go over that have to have an outcome of their own: what is inside of others at fault is theirs.
    pub(crate) fn all_wanted(&self) -> impl Iterator<Item = &Fault> {
        self.wanted_faults().filter(|fault| !self.is_inside(&fault.step))
    }

    /// The runs, oldest first.
    pub(crate) fn runs(&self) -> &[RunId] {
        &self.runs
    }

    /// The recorded result of a step that is not called again.
    pub(crate) fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.steps.get(step)?.result.as_ref()?.as_ref().ok().cloned().map(Ok)
    }

    /// Whether nobody knows if a step took effect.
    pub(crate) fn is_unclear(&self, step: &StepPath) -> bool {
        self.steps.get(step).is_some_and(Kept::is_unclear)
    }

    /// What the last attempt of a step left behind.
    pub(crate) fn checkpoint(&self, step: &StepPath) -> Option<Value> {
        self.steps.get(step)?.checkpoint.clone()
    }

    /// The run whose idempotency key a step goes on with.
    pub(crate) fn run_of(&self, step: &StepPath) -> Option<&RunId> {
        self.steps.get(step).map(|kept| &kept.run)
    }
}

/// What the steps of a flow call, by their ids.
type Actions = BTreeMap<String, BTreeSet<String>>;

fn actions(flow: &Flow) -> Actions {
    let mut found = Actions::new();
    each_flow(flow, &mut |step| {
        if let StepKind::Action(call) = &step.kind {
            found.entry(step.id.to_string()).or_default().insert(format!("{} {}", call.slot, call.action));
        }
    });
    found
}

/// The versions of the flows that a flow calls, by their names.
pub(crate) fn versions(flow: &Flow) -> BTreeMap<String, String> {
    flow.linked().iter().map(|(name, flow)| (name.clone(), flow.version().to_owned())).collect()
}

/// Shows all steps of a flow and of those it calls.
pub(crate) fn each_flow(flow: &Flow, look: &mut dyn FnMut(&Step)) {
    for flow in [flow].into_iter().chain(flow.linked().values()) {
        flow.steps().iter().chain(flow.on_failure().iter()).for_each(|step| step.visit(look));
    }
}

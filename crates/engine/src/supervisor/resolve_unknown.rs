//! Resolving an unknown outcome: an operator decides about a step, and the decision is recorded as an event.
//!
//! If the run can be resumed, it continues with the decision. If the run has ended, the items that are unknown because
//! of the step get another outcome, and a rerun repeats those that are failed then.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep, Result, RunId, StepPath};
use trunkline_flow::{Flow, Step, StepKind};

use crate::{
    journal::{Flush, Item},
    run::{
        ItemNote, ItemOutcome, MAX_RESULT, Run, RunEvent, RunStatus, Verdict, failure::resolved_as_failed, json_size,
    },
    supervisor::Engine,
};

/// The number of items that are read at a time.
const PAGE: usize = 500;

/// The effect of a [`Verdict`].
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Resolution {
    /// The run of the step.
    pub run: RunId,
    /// The step whose outcome was unknown.
    pub step: StepPath,
    /// The operator's decision.
    pub verdict: Verdict,
    /// The items that have another outcome now; none if the run continues with the step when it is resumed.
    pub items: Vec<Item>,
}

impl Engine {
    /// Resolves a step whose outcome is unknown, as an operator has decided.
    ///
    /// `step` is the path of the step or of its item. `output` is the output that later steps refer to; it has to be
    /// null unless the verdict is [`Verdict::Done`]. If one item is done by it, and the output has at most 1024 bytes of
    /// JSON, it is also what the item has become.
    ///
    /// # Errors
    ///
    /// - `conflict` if the outcome is known, or if another process works on the run.
    /// - `not_found` if there is no such run, or no such step or item with an unknown outcome.
    /// - `invalid_input` if there is an output and the verdict is not `Done`, and `limit` if the output is too large.
    pub async fn resolve_unknown(
        &self,
        id: &RunId,
        step: &StepPath,
        verdict: Verdict,
        output: Value,
    ) -> Result<Resolution> {
        let journal = self.journal();
        let _claim = journal.claim(id).await?;
        let (run, at) = (self.run(id).await?, self.now());
        if verdict != Verdict::Done && !output.is_null() {
            return Err(Error::new(ErrorKind::InvalidInput, "only the verdict `done` has an output"));
        }
        self.limits().payload(&format!("the output of step {step}"), &output)?;
        let resolved =
            |step: &StepPath| RunEvent::StepResolved { step: step.clone(), verdict, output: output.clone(), at };
        if is_open(&run) && run.result(step).is_some_and(|result| is_unknown(&result)) {
            journal.append(id, vec![resolved(step)], Flush::Now).await?;
            return Ok(Resolution { run: id.clone(), step: step.clone(), verdict, items: Vec::new() });
        }
        let (of, found) = self.unknown_items(id, step).await?;
        if found.is_empty() {
            return Err(self.resolve_error(&run, step).await?);
        }
        let flow = self.flow_of(&run).await?;
        let mut events = vec![resolved(&of)];
        let given = Some(&output).filter(|_| found.len() == 1 && !output.is_null() && json_size(&output) <= MAX_RESULT);
        let mut items = Vec::new();
        for mut item in found {
            let outcome = outcome(&flow, &item, &of, verdict, id);
            let (step, key, before) = (item.step.clone(), item.key.clone(), item.outcome.clone());
            if let (ItemOutcome::Done { .. }, Some(output)) = (&outcome, given) {
                item.result = Some(output.clone());
            }
            let note = ItemNote { label: item.label.clone(), result: item.result.clone(), collected: None };
            events.push(RunEvent::ItemResolved { step, key, verdict, before, outcome: outcome.clone(), note, at });
            items.push(Item { outcome, at, ..item });
        }
        journal.append(id, events, Flush::Now).await?;
        Ok(Resolution { run: id.clone(), step: of, verdict, items })
    }

    /// Returns the items that are unknown because of this step, and the step's path: `named` may be the path of an
    /// item.
    async fn unknown_items(&self, id: &RunId, named: &StepPath) -> Result<(StepPath, Vec<Item>)> {
        let mut of = named.clone();
        if let Some((each, key)) = named.split()
            && let Some(ItemOutcome::Unknown { error }) = self.journal().item(id, &each, &key).await?
        {
            let since = error.details().iter().find_map(|detail| match detail {
                ErrorDetail::UnknownSince { run } => Some(run),
                _ => None,
            });
            if let Some(run) = since {
                let message =
                    format!("the outcome of {named} is unknown since run {run}; run {id} has not tried anything");
                return Err(Error::new(ErrorKind::Conflict, message)
                    .next(NextStep::ResolveStep { run: run.clone(), step: Some(named.as_str().to_owned()) }));
            }
            of = error.step().map_or(of, StepPath::from);
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal().items(id, Some("unknown"), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok((of, found)) };
            after = Some((last.step.clone(), last.key.clone()));
            found.extend(page.into_iter().filter(|item| match &item.outcome {
                ItemOutcome::Unknown { error } => error.step() == Some(of.as_str()),
                _ => false,
            }));
        }
    }

    /// Returns the error that says why there is nothing to resolve.
    async fn resolve_error(&self, run: &Run, step: &StepPath) -> Result<Error> {
        let id = &run.id;
        let conflict = |state: String| Error::new(ErrorKind::Conflict, format!("{step} of run {id} {state}"));
        let mut items = step.ancestors();
        items.push(step.clone());
        for (each, key) in items.iter().filter_map(StepPath::split) {
            if let Some(outcome) = self.journal().item(id, &each, &key).await? {
                let is = format!("needs no verdict: item {key} of {each} is {}", outcome.status());
                let error = conflict(is).hint("only an unknown outcome can be resolved");
                return Ok(outcome.reason().into_iter().fold(error, |error, reason| error.with("reason", reason)));
            }
        }
        Ok(match run.result(step) {
            Some(Ok(_)) => conflict("is done".into()),
            Some(Err(error)) if is_unknown(&Err(error.clone())) => conflict(format!(
                "is unknown, but the run has ended ({}) and does not depend on it",
                run.status.as_str()
            )),
            Some(Err(error)) => conflict(format!("has failed: {error}")),
            None if run.started(step) => conflict("was interrupted".into())
                .next(NextStep::ResumeRun { run: Some(id.as_str().to_owned()) })
                .next("that looks up its outcome; resolve it if it is unknown after that"),
            None => {
                Error::new(ErrorKind::NotFound, format!("run {id} has no step or item {step} with an unknown outcome"))
                    .next(NextStep::ListItems { run: id.as_str().to_owned(), status: "unknown".to_owned() })
            }
        })
    }
}

/// Returns whether a run continues with its steps when it is resumed.
fn is_open(run: &Run) -> bool {
    matches!(run.status, RunStatus::Running | RunStatus::Failed)
}

fn is_unknown(result: &Result<Value>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::UnknownOutcome)
}

/// Returns the outcome of an item after a verdict about one of its steps.
fn outcome(flow: &Flow, item: &Item, step: &StepPath, verdict: Verdict, run: &RunId) -> ItemOutcome {
    let rerun = NextStep::RerunRun { run: run.as_str().to_owned(), unknown: false, corrected: false };
    let error = match verdict {
        Verdict::Done if is_last(flow, item, step) => return ItemOutcome::Done { reason: None },
        Verdict::Done => {
            Error::new(ErrorKind::Failed, "resolved as done, but the steps after it have not run yet").next(rerun)
        }
        Verdict::Retry => Error::new(ErrorKind::Failed, "resolved: it did not take effect").next(rerun),
        Verdict::Fail => resolved_as_failed(step),
    };
    ItemOutcome::Failed { error: error.with_detail(ErrorDetail::Step { step: step.as_str().to_owned() }) }
}

/// Returns whether this step is the last one of an item. In cases that are not obvious, the answer is no.
fn is_last(flow: &Flow, item: &Item, step: &StepPath) -> bool {
    let Some((parent, id)) = step.split() else { return false };
    let (each, batch) = (item.step.as_str().rsplit('/').next().unwrap_or_default(), parent.split());
    let directly = parent == item.step.join(&item.key) || batch.is_some_and(|(of, _)| of == item.step);
    let mut last = directly.then_some(true);
    flow.visit_steps(&mut |found| match &found.kind {
        StepKind::Each { steps, .. } if *found.id == *each => last = last.map(|last| last && ends_with(steps, &id)),
        _ => {}
    });
    last.unwrap_or_default()
}

fn ends_with(steps: &[Step], id: &str) -> bool {
    steps.last().is_some_and(|last| match &last.kind {
        StepKind::If { then, otherwise, .. } => ends_with(then, id) || ends_with(otherwise, id),
        _ => &*last.id == id,
    })
}

//! What a person says of a step whose outcome nobody knows: it is recorded, and what depends on it goes on from there.

use serde::Serialize;
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    Engine, Flow, Flush, Item, ItemOutcome, Run, RunEvent, RunId, RunStatus, Step, StepPath, Verdict,
    previous_run::each_flow, step::StepKind,
};

/// How many items are looked at at a time.
const PAGE: usize = 500;

/// What came of a verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Resolution {
    /// The run.
    pub run: RunId,
    /// The step whose outcome was unknown.
    pub step: StepPath,
    /// What was said of it.
    pub verdict: Verdict,
    /// The items that have another outcome now; none if the run itself goes on with the step when it is resumed.
    pub items: Vec<Item>,
}

impl Engine {
    /// Takes down what became of a step whose outcome nobody knows. It is named by its path or that of its item; `output` is
    /// what the steps after it refer to.
    ///
    /// Fails with `conflict` if its outcome is known, or somebody works on the run.
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
            return Err(Error::new(ErrorKind::InvalidInput, "only what is done has an output"));
        }
        self.limits().payload(&format!("the output of step {step}"), &output)?;
        let settled =
            |step: &StepPath| RunEvent::StepResolved { step: step.clone(), verdict, output: output.clone(), at };
        if is_open(&run) && run.result(step).is_some_and(|result| is_unknown(&result)) {
            journal.append(id, vec![settled(step)], Flush::Now).await?;
            return Ok(Resolution { run: id.clone(), step: step.clone(), verdict, items: Vec::new() });
        }
        let (of, found) = self.unknown_items(id, step).await?;
        if found.is_empty() {
            return Err(self.why_not(&run, step).await?);
        }
        let flow = self.flow_of(&run).await?;
        let mut events = vec![settled(&of)];
        let mut items = Vec::new();
        for item in found {
            let outcome = outcome(&flow, &item, &of, verdict, id);
            let (step, key, before) = (item.step.clone(), item.key.clone(), item.outcome.clone());
            events.push(RunEvent::ItemResolved { step, key, verdict, before, outcome: outcome.clone(), at });
            items.push(Item { outcome, at, ..item });
        }
        journal.append(id, events, Flush::Now).await?;
        Ok(Resolution { run: id.clone(), step: of, verdict, items })
    }

    /// The items that are unknown because of this step, and the step: it may be named by the path of an item.
    async fn unknown_items(&self, id: &RunId, named: &StepPath) -> Result<(StepPath, Vec<Item>)> {
        let mut of = named.clone();
        if let Some((each, key)) = named.split()
            && let Some(ItemOutcome::Unknown { error }) = self.journal().item(id, &each, &key).await?
        {
            if let Some(run) = error.context("run") {
                let message =
                    format!("what became of {named} is unknown since run {run}: nothing was tried in run {id}");
                let hint = format!("settle it there: `trunkline runs settle {run} {named} done|retry|fail`");
                return Err(Error::new(ErrorKind::Conflict, message).hint(hint));
            }
            of = error.context("step").map_or(of, StepPath::from);
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal().items(id, Some("unknown"), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok((of, found)) };
            after = Some((last.step.clone(), last.key.clone()));
            found.extend(page.into_iter().filter(|item| match &item.outcome {
                ItemOutcome::Unknown { error } => error.context("step") == Some(of.as_str()),
                _ => false,
            }));
        }
    }

    /// Why there is nothing to settle.
    async fn why_not(&self, run: &Run, step: &StepPath) -> Result<Error> {
        let id = &run.id;
        let conflict = |state: String| Error::new(ErrorKind::Conflict, format!("{step} of run {id} {state}"));
        let mut items = step.around();
        items.push(step.clone());
        for (each, key) in items.iter().filter_map(StepPath::split) {
            if let Some(outcome) = self.journal().item(id, &each, &key).await? {
                let is = format!("needs no verdict: item {key} of {each} is {}", outcome.status());
                let error = conflict(is).hint("only what nobody knows the outcome of can be settled");
                return Ok(outcome.reason().into_iter().fold(error, |error, reason| error.with("reason", reason)));
            }
        }
        Ok(match run.result(step) {
            Some(Ok(_)) => conflict("is done".into()),
            Some(Err(error)) if is_unknown(&Err(error.clone())) => conflict(format!(
                "is unknown, but the run has ended ({}) and nothing waits for it",
                run.status.as_str()
            )),
            Some(Err(error)) => conflict(format!("has failed: {error}")),
            None if run.started(step) => conflict("was interrupted".into()).hint(format!(
                "`trunkline runs resume {id}` looks up what became of it; if that cannot be known, settle it"
            )),
            None => Error::new(ErrorKind::NotFound, format!("run {id} has no step or item {step} that is unknown"))
                .hint(format!("`trunkline runs items {id} --status unknown` lists them")),
        })
    }
}

/// Whether a run goes on with its steps when it is resumed.
fn is_open(run: &Run) -> bool {
    matches!(run.status, RunStatus::Running | RunStatus::Failed)
}

fn is_unknown(result: &Result<Value>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::UnknownOutcome)
}

/// What a verdict on one of its steps makes of an item.
fn outcome(flow: &Flow, item: &Item, step: &StepPath, verdict: Verdict, run: &RunId) -> ItemOutcome {
    let error = match verdict {
        Verdict::Done if is_last(flow, item, step) => return ItemOutcome::Done,
        Verdict::Done => Error::new(ErrorKind::Failed, "settled as done, but the steps after it have yet to run")
            .hint(format!("`trunkline runs retry {run}` runs them")),
        Verdict::Retry => Error::new(ErrorKind::Failed, "settled: it did not take effect")
            .hint(format!("`trunkline runs retry {run}` tries it again")),
        Verdict::Fail => given_up(step),
    };
    ItemOutcome::Failed { error: error.with("step", step) }
}

/// The failure that a person has decided on.
pub(crate) fn given_up(step: &StepPath) -> Error {
    Error::new(ErrorKind::Failed, "settled as failed").with("step", step)
}

/// Whether nothing of an item is left to do after this step. Where that is not plain to see, it is not.
fn is_last(flow: &Flow, item: &Item, step: &StepPath) -> bool {
    let Some((around, id)) = step.split() else { return false };
    let (each, batch) = (item.step.as_str().rsplit('/').next().unwrap_or_default(), around.split());
    let directly = around == item.step.join(&item.key) || batch.is_some_and(|(of, _)| of == item.step);
    let mut last = directly.then_some(true);
    each_flow(flow, &mut |found| match &found.kind {
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

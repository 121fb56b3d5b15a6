//! One verb for many runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Effect, Error, ErrorKind, NextStep, Result, RunId, async_trait};
use trunkline_engine::{RunFilter, RunStatus, RunSummary};

use super::{
    AnyOperation, Caller, Operation, Role,
    operation::{check_role, single},
    run_queries::{RunQuery, RunSelection},
    run_removal::RemoveRuns,
};
use crate::{NewRerun, Runtime};

/// The most runs of one request.
const MOST: usize = 500;

/// What to do with many runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// What to do with each run.
    pub verb: BulkVerb,
    /// Which runs, in place of `ids`, with at least one condition. `limit` is the most runs of this request, and `cursor` the
    /// `next` of the previous one.
    #[serde(default)]
    pub filter: Option<RunQuery>,
    /// The runs, in place of `filter`: at most 500. The first digits of each are enough.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Only say what would be done. A run can still be refused when it is done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What is done with each of many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkVerb {
    /// Cancel it, as `runs.cancel` does.
    Cancel,
    /// Resume it, as `runs.resume` does.
    Resume,
    /// Rerun its failed items, as `runs.rerun` does.
    Rerun,
    /// Remove it, as `runs.remove` does. This needs the role admin.
    Remove,
}

/// What was done with many runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BulkReport {
    /// The number of runs that were chosen.
    pub matched: usize,
    /// The number of runs with which it was done, or would be.
    pub done: usize,
    /// These runs.
    pub runs: Vec<RunId>,
    /// The new runs that repeat failed items, in the order of `runs`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started: Vec<RunId>,
    /// The runs with which it was not done. They do not keep the others from it.
    pub refused: Vec<RefusedRun>,
    /// Where a further request with the same filter goes on; null if there are no more runs.
    pub next: Option<String>,
}

/// A run with which something was not done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RefusedRun {
    /// The run, as it was named.
    pub run: String,
    /// The kind of the error.
    pub kind: ErrorKind,
    /// Why it was not done, and what to do about it.
    pub reason: String,
}

impl RefusedRun {
    fn new(run: &str, error: &Error) -> RefusedRun {
        let reason = match error.advice() {
            Some(advice) => format!("{}: {advice}", error.message()),
            None => error.message().to_owned(),
        };
        RefusedRun { run: run.to_owned(), kind: error.kind(), reason }
    }
}

/// `runs.bulk`
pub struct BulkRuns;

#[async_trait]
impl Operation for BulkRuns {
    type Input = BulkRequest;
    type Output = BulkReport;
    const NAME: &'static str = "runs.bulk";
    const ABOUT: &'static str = "Cancels, resumes, reruns or removes many runs, and says which were refused.";
    const ROLE: Role = Role::Operator;
    const EFFECT: Effect = Effect::Create;

    async fn run(runtime: &Runtime, caller: &Caller, input: BulkRequest) -> Result<BulkReport> {
        let BulkRequest { verb, filter, ids, dry_run } = input;
        if verb == BulkVerb::Remove {
            check_role(caller, RemoveRuns::NAME, RemoveRuns::ROLE)?;
        }
        let mut outcome =
            BulkReport { matched: 0, done: 0, runs: Vec::new(), started: Vec::new(), refused: Vec::new(), next: None };
        for run in chosen(runtime, filter, ids, &mut outcome).await? {
            let done = match dry_run {
                true => refusal(verb, &run).map_or(Ok(None), Err),
                false => carry_out(runtime, verb, &run.id).await,
            };
            match done {
                Ok(started) => {
                    outcome.runs.push(run.id);
                    outcome.started.extend(started);
                }
                Err(error) => outcome.refused.push(RefusedRun::new(run.id.as_str(), &error)),
            }
        }
        outcome.done = outcome.runs.len();
        outcome.refused.iter_mut().for_each(|one| one.reason = runtime.redactor().redact(&one.reason).into_owned());
        Ok(outcome)
    }
}

/// Returns the operations of this module.
pub(super) fn table() -> Vec<(&'static str, Box<dyn AnyOperation>)> {
    vec![(BulkRuns::NAME, single::<BulkRuns>())]
}

/// Returns the chosen runs, newest first, so that a rerun is removed before the run that it repeats.
async fn chosen(
    runtime: &Runtime,
    filter: Option<RunQuery>,
    ids: Vec<String>,
    outcome: &mut BulkReport,
) -> Result<Vec<RunSummary>> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
    let Some(query) = filter else {
        if ids.is_empty() || ids.len() > MOST {
            let message = format!("{} runs are given, and between 1 and {MOST} can be", ids.len());
            return Err(invalid(message).hint("give `ids`, or a `filter`"));
        }
        outcome.matched = ids.len();
        let mut runs: Vec<RunSummary> = Vec::new();
        for id in ids {
            match summary(runtime, &id).await {
                Ok(run) if runs.iter().any(|one| one.id == run.id) => outcome.matched -= 1,
                Ok(run) => runs.push(run),
                Err(error) => outcome.refused.push(RefusedRun::new(&id, &error)),
            }
        }
        runs.sort_by(|one, other| (other.started_at, &other.id).cmp(&(one.started_at, &one.id)));
        return Ok(runs);
    };
    if !ids.is_empty() {
        return Err(invalid("`ids` and `filter` are both given".to_owned()).hint("give one of them"));
    }
    let is_empty = query == RunQuery { limit: query.limit, cursor: query.cursor.clone(), ..RunQuery::default() };
    if is_empty {
        let message = "`filter` has no condition, so all runs would be chosen";
        return Err(invalid(message.to_owned()).hint("give at least one, such as `flow` or `status`"));
    }
    let RunSelection { filter, page: request } = query.selection(runtime.now())?;
    let page = runtime.journal().run_page(&filter, request.after.as_ref(), request.limit).await?;
    let chosen = request.ending_at(page.runs, page.next);
    (outcome.matched, outcome.next) = (chosen.items.len(), chosen.next);
    Ok(chosen.items)
}

/// Returns the summary of the run that a user names.
async fn summary(runtime: &Runtime, name: &str) -> Result<RunSummary> {
    let id = runtime.find_run(name).await?;
    let filter = RunFilter { search: Some(id.as_str().to_owned()), ..RunFilter::default() };
    let mut after = None;
    loop {
        let page = runtime.journal().run_page(&filter, after.as_ref(), MOST).await?;
        if let Some(run) = page.runs.into_iter().find(|run| run.id == id) {
            return Ok(run);
        }
        after = Some(page.next.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no run {id}")))?);
    }
}

/// Returns why a verb would be refused, as far as the summary of the run says it.
fn refusal(verb: BulkVerb, run: &RunSummary) -> Option<Error> {
    let id = || run.id.as_str().to_owned();
    let refused = |why: &str| Some(Error::new(ErrorKind::Conflict, format!("run {} {why}", run.id)));
    let has = |status: &str| run.items.get(status).is_some_and(|count| *count > 0);
    match (verb, run.status) {
        (BulkVerb::Remove, _) => run.check_removal(None).err(),
        (BulkVerb::Cancel, RunStatus::Running) | (BulkVerb::Resume, RunStatus::Running | RunStatus::Failed) => None,
        (BulkVerb::Cancel | BulkVerb::Resume, _) => refused("has ended"),
        (BulkVerb::Rerun, RunStatus::Running) => {
            refused("has not ended").map(|error| error.next(NextStep::ResumeRun { run: Some(id()) }))
        }
        (BulkVerb::Rerun, _) if has("failed") || has("unknown") => None,
        (BulkVerb::Rerun, _) => refused("has no failed items"),
    }
}

/// Returns the new run, if there is one.
async fn carry_out(runtime: &Runtime, verb: BulkVerb, run: &RunId) -> Result<Option<RunId>> {
    match verb {
        BulkVerb::Cancel => runtime.engine().cancel(run).await.map(|()| None),
        BulkVerb::Resume => runtime.launcher().resume(runtime, run).await.map(|()| None),
        BulkVerb::Rerun => {
            let rerun = NewRerun { run: run.clone(), flow: None, unknown: false };
            runtime.launcher().rerun(runtime, rerun).await.map(Some)
        }
        BulkVerb::Remove => runtime.remove_run(run).await.map(|()| None),
    }
}

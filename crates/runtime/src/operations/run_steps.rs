//! The steps of a run: what each did, and what one of them got and returned. All of it is read from the journal when it is
//! asked for.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, NextStep, Result, RunId, StepPath, Timestamp};
use trunkline_engine::{LogEntry, RunEvent, RunStatus, StepTime, Verdict, shown_value};
use trunkline_flow::StepOutline;

use super::{Listed, PageRequest, operation_table, run_queries::learn_secrets_of, runs::RunName};
use crate::{Redacted, Runtime};

operation_table! {
    /// Lists the steps of a run, in the order of its flow, with what each did.
    ListSteps: "runs.steps", list(StepQuery) -> Listed<RunStep>, Viewer, Read;
    /// Returns what one step of a run got and returned.
    GetStep: "runs.step", get(StepName) -> Redacted<StepDetails>, Viewer, Read;
    /// Returns the flow that a run is pinned to.
    GetRunFlow: "runs.flow", flow(RunName) -> RunFlow, Viewer, Read;
}

/// Which steps of a run to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepQuery {
    /// The run. Its first digits are enough.
    pub run: String,
    /// The most steps to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A step of a run. A step inside the items of a list stands for its calls in all items.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunStep {
    /// The step's path in the flow, with `*` in place of keys.
    pub path: String,
    /// The member of its document that says what it does: `action`, `each`, `if` or another one. It is null if the flow can
    /// no longer be read.
    pub kind: Option<&'static str>,
    /// The action that it calls, or that lists its items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The title of that action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the step does or did. A step that has no event of its own, such as `set`, is `none`.
    pub state: StepState,
    /// The number of attempts.
    pub attempts: u64,
    /// The number of its calls that succeeded.
    pub done: u64,
    /// The number of its calls that failed after all attempts.
    pub failed: u64,
    /// When it first began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it last ended, or the time of the last event in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The time of all its calls together, in milliseconds.
    pub duration: u64,
    /// The number of its items by status, if it is an `each`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub items: BTreeMap<&'static str, u64>,
}

/// What a step of a run does or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has no event.
    None,
    /// It has begun, and the run has not ended.
    Running,
    /// It waits for a time, a signal or its next attempt.
    Waiting,
    /// It succeeded; inside the items of a list, all its calls so far.
    Done,
    /// It failed; inside the items of a list, at least one of its calls.
    Failed,
    /// It is not known whether it took effect.
    Unknown,
    /// It had begun when the run ended.
    Stopped,
}

async fn list(runtime: &Runtime, input: StepQuery) -> Result<Listed<RunStep>> {
    let StepQuery { run, limit, cursor } = input;
    let run = runtime.find_run(&run).await?;
    let request = PageRequest::<usize>::read(format!("runs.steps {run}"), limit, cursor.as_deref())?;
    let timeline = runtime.engine().timeline(&run).await?;
    let (_, flow) = runtime.engine().pinned(&run).await?;
    let mut times: HashMap<_, _> = timeline.steps.into_iter().map(|time| (time.step.clone(), time)).collect();
    let mut steps = Vec::new();
    for outline in flow.iter().flat_map(trunkline_flow::Flow::outline) {
        let time = times.remove(&outline.path).unwrap_or_default();
        steps.push(step(runtime, timeline.status, outline.path, Some((outline.kind, outline.action)), time));
    }
    // Those that the flow does not know: it can no longer be read.
    let mut others: Vec<_> = times.into_values().collect();
    others.sort_by(|one, other| (one.began, &one.step).cmp(&(other.began, &other.step)));
    steps.extend(others.into_iter().map(|time| step(runtime, timeline.status, time.step.clone(), None, time)));
    let page = request.page_of(steps.into_iter().enumerate(), |(number, _)| *number);
    let items = page.items.into_iter().map(|(_, step)| step).collect();
    Ok(Listed { items, next: page.next, damaged: page.damaged })
}

fn step(
    runtime: &Runtime,
    run: RunStatus,
    path: String,
    outline: Option<(&'static str, Option<String>)>,
    time: StepTime,
) -> RunStep {
    let (kind, action) = outline.unzip();
    let action = action.flatten();
    let title = action.as_ref().and_then(|name| Some(runtime.registry().action(name).ok()?.1.title.clone()));
    let items = time.items.map(|items| items.count).unwrap_or_default();
    let failed_items = items.get("failed").or(items.get("unknown"));
    let state = match (time.began, run) {
        (None, _) => StepState::None,
        _ if time.failed > 0 || failed_items.is_some() => StepState::Failed,
        (_, RunStatus::Running) if time.done == 0 => StepState::Running,
        _ if time.done > 0 || !items.is_empty() => StepState::Done,
        (_, RunStatus::Succeeded | RunStatus::Partial) => StepState::Done,
        _ => StepState::Stopped,
    };
    RunStep {
        path,
        kind,
        action,
        title,
        state,
        attempts: time.tries,
        done: time.done,
        failed: time.failed,
        started: time.began,
        ended: time.ended,
        duration: time.took.total,
        items,
    }
}

/// Names a step of a run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepName {
    /// The run. Its first digits are enough.
    pub run: String,
    /// The step's path: in the run, such as `files/4711/asset`, or in the flow, such as `files/*/asset`.
    pub path: String,
    /// The key of the item, in place of `*` in the path. Of several, the outermost first, separated by `/`.
    #[serde(default)]
    pub item: Option<String>,
}

/// What one step of a run got and returned, without secrets. Values of more than 16 KiB are cut, with a mark that says how
/// long the cut text is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepDetails {
    /// The run.
    pub run: RunId,
    /// The step's path in the run.
    pub path: StepPath,
    /// What the step does or did.
    pub state: StepState,
    /// The number of its last attempt, from 1.
    pub attempt: u32,
    /// When its last attempt began, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The time of its last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The last call in the process log, with its input. The log has the newest calls that failed, or those that the flow's
    /// `log` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<LogEntry>,
    /// The output, if the step succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// The size of the whole output, in bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_size: Option<usize>,
    /// The error of its last attempt that failed, unless a later one succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// The warnings of services whose calls succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

async fn get(runtime: &Runtime, input: StepName) -> Result<Redacted<StepDetails>> {
    let run = runtime.find_run(&input.run).await?;
    let path = path_of(&input)?;
    let events = runtime.journal().step_events(&run, &path).await?;
    if events.is_empty() {
        let message = format!("the step {path} of run {run} has no event");
        return Err(Error::new(ErrorKind::NotFound, message)
            .hint("the steps of the run are listed with their paths; the path of a step of an item needs the key")
            .next(NextStep::ListItems { run: run.as_str().to_owned(), status: "failed".to_owned() }));
    }
    learn_secrets_of(runtime, &run).await?;
    let call = call_of(runtime, &run, &path).await?;
    let (status, flow) = runtime.engine().pinned(&run).await?;
    let mut details = StepDetails {
        run,
        state: StepState::None,
        attempt: 1,
        started: None,
        ended: None,
        call,
        output: None,
        output_size: None,
        error: None,
        warnings: Vec::new(),
        path,
    };
    events.into_iter().for_each(|event| details.apply(event));
    if details.state == StepState::Running && status != RunStatus::Running {
        details.state = StepState::Stopped;
    }
    // What is secret in an output is said by the schema of the action.
    let outline = flow.as_ref().and_then(|flow| {
        let at = flow.position(&details.path).step;
        flow.outline().into_iter().find(|StepOutline { path, .. }| *path == at)
    });
    let spec = outline.and_then(|step| Some(runtime.registry().action(&step.action?).ok()?.1));
    details.output_size = details.output.as_ref().map(|output| output.to_string().len());
    details.output =
        details.output.map(|output| shown_value(&output, spec.map(|spec| &spec.output), runtime.redactor()));
    Ok(Redacted::new(details, runtime.redactor()))
}

/// Returns the path in the run: with the keys of items in place of `*`.
fn path_of(input: &StepName) -> Result<StepPath> {
    let StepName { path, item, .. } = input;
    let stars = path.split('/').filter(|part| *part == "*").count();
    let keys: Vec<&str> = item.iter().flat_map(|item| item.splitn(stars.max(1), '/')).collect();
    if keys.len() != stars {
        let message = format!("`path` has {stars} parts `*`, and `item` has {} keys for them", keys.len());
        let hint = "give one key for each `*`, the outermost first, separated by `/`";
        return Err(Error::new(ErrorKind::InvalidInput, message).hint(hint));
    }
    let mut keys = keys.into_iter();
    let parts = path.split('/').map(|part| match part {
        "*" => StepPath::default().join(keys.next().unwrap_or_default()).as_str().to_owned(),
        part => part.to_owned(),
    });
    Ok(StepPath::from(&*parts.collect::<Vec<_>>().join("/")))
}

/// Returns the last call of a step that the process log has.
async fn call_of(runtime: &Runtime, run: &RunId, path: &StepPath) -> Result<Option<LogEntry>> {
    let (mut found, mut after) = (None, 0);
    loop {
        let page = runtime.engine().log(run, after).await?;
        let Some((last, _)) = page.entries.last() else { return Ok(found) };
        after = *last;
        let entries = page.entries.into_iter().map(|(_, entry)| entry);
        found = entries.rev().find(|entry| entry.path == *path).or(found);
    }
}

impl StepDetails {
    fn apply(&mut self, event: RunEvent) {
        match event {
            RunEvent::StepStarted { attempt, at, .. } => {
                (self.state, self.attempt, self.started) = (StepState::Running, attempt, Some(at));
            }
            RunEvent::StepFinished { output, warnings, attempt, began, at, .. } => {
                (self.state, self.attempt, self.ended) = (StepState::Done, attempt, Some(at));
                (self.output, self.warnings, self.error) = (Some(output), warnings, None);
                self.started = began.or(self.started);
            }
            RunEvent::StepFailed { error, attempt, began, at, .. } => {
                let unknown = error.kind() == ErrorKind::UnknownOutcome;
                self.state = if unknown { StepState::Unknown } else { StepState::Failed };
                (self.attempt, self.ended, self.error) = (attempt, Some(at), Some(error));
                self.started = began.or(self.started);
            }
            RunEvent::StepRetried { error, attempt, at, .. } => {
                (self.state, self.attempt, self.ended) = (StepState::Waiting, attempt, Some(at));
                self.error = Some(error);
            }
            RunEvent::WaitBegan { .. } => self.state = StepState::Waiting,
            RunEvent::Listed { at, .. } => {
                self.state = StepState::Running;
                self.started = self.started.or(Some(at));
                self.ended = Some(at);
            }
            RunEvent::StepResolved { verdict, output, at, .. } => {
                self.ended = Some(at);
                match verdict {
                    Verdict::Done => {
                        (self.state, self.output, self.error) = (StepState::Done, Some(output), None);
                    }
                    Verdict::Retry => self.state = StepState::Waiting,
                    Verdict::Fail => self.state = StepState::Failed,
                }
            }
            _ => {}
        }
    }
}

/// The flow that a run is pinned to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunFlow {
    /// The run.
    pub run: RunId,
    /// The name of the flow.
    pub name: String,
    /// The version of the flow.
    pub version: String,
    /// The document.
    pub document: Value,
}

async fn flow(runtime: &Runtime, input: RunName) -> Result<RunFlow> {
    let run = runtime.find_run(&input.run).await?;
    let (_, mut events) = runtime.journal().events(&run, 0).await?;
    match events.drain(..).next() {
        Some((_, RunEvent::Started { flow: name, version, .. })) => {
            let document = runtime.journal().flow(&version).await?;
            Ok(RunFlow { run, name, version, document })
        }
        _ => Err(Error::new(ErrorKind::Store, format!("the first event of run {run} is not its start"))),
    }
}

//! Runs: their start, and what an operator does to them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, RunId, StepPath};
use trunkline_engine::{Resolution, Verdict};

use super::{FlowChoice, idempotency::OneStart, operation_table};
use crate::{NewRerun, NewRun, Redacted, Runtime, StartOutcome};

operation_table! {
    /// Starts a run of a saved flow or of a given one.
    StartRun: "runs.start", start(RunRequest) -> RunStarted, Operator, Create;
    /// Resumes a run that a crash or an error stopped.
    ResumeRun: "runs.resume", resume(RunName) -> RunStarted, Operator, Idempotent;
    /// Reruns the failed items of a run, and only those, as a new run.
    RerunRun: "runs.rerun", rerun(RerunRequest) -> RunStarted, Operator, Create;
    /// Cancels a run, in whichever process it runs.
    CancelRun: "runs.cancel", cancel(RunName) -> RunCancelled, Operator, Idempotent;
    /// Sends a signal to a run, for a step that waits for it now or later.
    SignalRun: "runs.signal", signal(SignalRequest) -> RunSignalled, Operator, Idempotent;
    /// Resolves a step whose outcome is unknown: says whether it took effect.
    ResolveStep: "runs.resolve", resolve(ResolveRequest) -> Redacted<Resolution>, Operator, Idempotent;
}

/// Names a run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunName {
    /// The run. Its first digits are enough.
    pub run: String,
}

/// A run that was started, resumed or queued.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// Warnings of the check of a flow that is not saved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// A run to start.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The flow.
    pub flow: FlowChoice,
    /// The input. It is laid over the default input of a saved flow.
    #[serde(default)]
    pub input: Option<Value>,
    /// Connections by the name that the flow declares. They take precedence over those saved with the flow. If the flow is
    /// given, a declared connection without one gets the only connection that fits.
    #[serde(default)]
    pub connections: BTreeMap<String, String>,
    /// A key of the caller for this request, 1 to 255 characters, as in the header `Idempotency-Key`. If the request is
    /// sent again with its key within 24 hours, it returns the run that it has started and starts no other one.
    #[serde(default)]
    #[schemars(regex(pattern = r#"^([!#-\[\]-~]{1,255}|"[!#-\[\]-~]{1,255}")$"#))]
    pub idempotency_key: Option<String>,
}

async fn start(runtime: &Runtime, request: RunRequest) -> Result<RunStarted> {
    let RunRequest { flow, input, connections, idempotency_key } = request;
    let once = match &idempotency_key {
        Some(key) => Some(OneStart::new(key, &flow, &(&input, &connections))?),
        None => None,
    };
    if let Some(once) = &once
        && let Some(run) = once.earlier(runtime).await?
    {
        return Ok(RunStarted { run, warnings: Vec::new() });
    }
    let input = input.unwrap_or_else(|| Map::new().into());
    let (new, warnings) = match flow {
        FlowChoice::Saved(name) => {
            let (mut saved, flow) = runtime.saved_flow(&name).await?;
            saved.connections.extend(connections);
            (NewRun::of_saved(saved, flow, input), Vec::new())
        }
        FlowChoice::File(file) => {
            let (flow, warnings) = file.checked(runtime, &connections).await?;
            let bindings = runtime.all_bindings(&flow, connections).await?;
            (NewRun { flow, input, bindings, is_saved: false, once: None }, warnings)
        }
    };
    let name = new.flow.name().to_owned();
    let new = NewRun { once: once.as_ref().map(OneStart::event), ..new };
    match runtime.launcher().start(runtime, new).await? {
        StartOutcome::Run(run) => Ok(RunStarted { run, warnings }),
        StartOutcome::Duplicate(run) => {
            if let Some(once) = &once {
                once.earlier(runtime).await?;
            }
            Ok(RunStarted { run, warnings })
        }
        StartOutcome::Skipped => {
            let message = format!("a run of {name} is active, and the flow skips further runs until it ends");
            Err(Error::new(ErrorKind::Conflict, message).hint("wait until it ends, or cancel it"))
        }
    }
}

async fn resume(runtime: &Runtime, input: RunName) -> Result<RunStarted> {
    let run = runtime.find_run(&input.run).await?;
    runtime.launcher().resume(runtime, &run).await?;
    Ok(RunStarted { run, warnings: Vec::new() })
}

/// A run whose failed items are rerun.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// The run. Its first digits are enough.
    pub run: String,
    /// A corrected flow of the same name. Without it, the new run has the version of the old one.
    #[serde(default)]
    pub flow: Option<FlowChoice>,
    /// Rerun the items with an unknown outcome too: each is looked up first where the action supports it, and stays
    /// unknown otherwise.
    #[serde(default)]
    pub unknown: bool,
}

async fn rerun(runtime: &Runtime, request: RerunRequest) -> Result<RunStarted> {
    let RerunRequest { run, flow, unknown } = request;
    let run = runtime.find_run(&run).await?;
    let (flow, warnings) = match flow {
        Some(choice) => choice.corrected(runtime).await.map(|(flow, warnings)| (Some(flow), warnings))?,
        None => (None, Vec::new()),
    };
    let run = runtime.launcher().rerun(runtime, NewRerun { run, flow, unknown }).await?;
    Ok(RunStarted { run, warnings })
}

/// The run that was asked to stop.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunCancelled {
    /// The run.
    pub cancelled: RunId,
}

async fn cancel(runtime: &Runtime, input: RunName) -> Result<RunCancelled> {
    let run = runtime.find_run(&input.run).await?;
    runtime.engine().cancel(&run).await?;
    Ok(RunCancelled { cancelled: run })
}

/// A signal for a run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The run. Its first digits are enough.
    pub run: String,
    /// The name of the signal in the flow's `wait` step.
    pub name: String,
    /// The output of the `wait` step.
    #[serde(default)]
    pub payload: Value,
}

/// The signal that was sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunSignalled {
    /// The run.
    pub signalled: RunId,
    /// The name of the signal.
    pub name: String,
    /// Whether a process works on the run. Otherwise, the run receives the signal when it is resumed.
    pub working: bool,
}

async fn signal(runtime: &Runtime, request: SignalRequest) -> Result<RunSignalled> {
    let SignalRequest { run, name, payload } = request;
    let run = runtime.find_run(&run).await?;
    let working = runtime.engine().signal(&run, &name, payload).await?;
    Ok(RunSignalled { signalled: run, name, working })
}

/// A step whose outcome is unknown, and an operator's decision about it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The run. Its first digits are enough.
    pub run: String,
    /// The path of the step or of its item, such as `files/4711/asset`.
    pub step: String,
    /// The decision.
    pub verdict: Verdict,
    /// With `done`: the output of the step, for the steps after it.
    #[serde(default)]
    pub output: Value,
}

async fn resolve(runtime: &Runtime, request: ResolveRequest) -> Result<Redacted<Resolution>> {
    let ResolveRequest { run, step, verdict, output } = request;
    let (run, step) = (runtime.find_run(&run).await?, StepPath::from(&*step));
    Ok(Redacted::new(runtime.engine().resolve_unknown(&run, &step, verdict, output).await?, runtime.redactor()))
}

//! `run` and `runs`: start, watch, show, resume, rerun, resolve, signal and cancel runs.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::{Value, json};
use trunkline::{
    Runtime,
    core::{ErrorKind, Result, RunId, StepPath},
    engine::{RunHandle, Verdict},
    flow::Flow,
    run_view,
    store::SavedFlow,
};

#[cfg(feature = "demo")]
use crate::demo;
use crate::{
    args::{RerunArgs, ResolveArgs, ResolveAs, RunsCommand},
    flow,
    input::json as json_argument,
    inspect, items,
    next_step::{describe, worded},
    output::{Output, exit, exit_code, plain, table, time},
    progress_display,
    run_text::{resolution_text, summary},
};

/// Runs a saved flow, or a file if there is no saved flow of this name. Prints which of the two it is.
pub(crate) async fn run(
    runtime: &Runtime,
    name: &str,
    input: Value,
    connections: Vec<(String, String)>,
    output: &Output,
) -> Result<ExitCode> {
    let bindings = connections.into_iter().collect();
    let handle = match saved(runtime, name).await? {
        Some(saved) => {
            output.info(&format!("the saved flow {name}, version {}", saved.version));
            runtime.start_saved(name, input, bindings).await?
        }
        None => {
            let flow = flow::load(runtime, name, &bindings, output).await?;
            output.info(&format!("the flow {} in the file {name}", flow.name()));
            runtime.start(&flow, input, bindings).await?
        }
    };
    finish(handle, output).await
}

/// Returns the saved flow of this name, or `None` if the name is that of a file.
async fn saved(runtime: &Runtime, name: &str) -> Result<Option<SavedFlow>> {
    match name {
        "-" => Ok(None),
        path if path.contains(['/', '\\']) => Ok(None),
        name => match runtime.flows().saved_flow(name).await {
            Ok(saved) => Ok(Some(saved)),
            Err(error) if error.kind() == ErrorKind::NotFound && Path::new(name).exists() => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(error.hint("`trunkline flow list` lists the saved flows; there is no file of this name either"))
            }
            Err(error) => Err(error),
        },
    }
}

/// Returns a saved flow, or the flow in a file if there is no saved flow of this name, linked with the flows that it
/// calls.
async fn corrected(runtime: &Runtime, name: &str, output: &Output) -> Result<Flow> {
    match saved(runtime, name).await? {
        Some(_) => runtime.link(&runtime.saved_flow(name).await?.1).await,
        None => flow::load(runtime, name, &BTreeMap::new(), output).await,
    }
}

/// Shows the progress of a run until it ends, and then its outcome.
async fn finish(handle: RunHandle, output: &Output) -> Result<ExitCode> {
    output.info(&format!(
        "run {}; if it is interrupted, `trunkline runs resume {}` continues it",
        handle.id(),
        handle.id()
    ));
    let run = progress_display::watch(handle, output).await?;
    output.show(&worded(&run), || summary(&run));
    if let (Some(error), false) = (&run.error, output.is_json()) {
        output.error(error);
    }
    Ok(exit_code(run.status))
}

/// Runs a `runs` command; without one, lists the runs.
pub(crate) async fn runs(
    runtime: &Runtime,
    data: &Path,
    command: Option<RunsCommand>,
    output: &Output,
) -> Result<ExitCode> {
    match command.unwrap_or(RunsCommand::List) {
        RunsCommand::List => list(runtime, output).await,
        RunsCommand::Show { id } => show(runtime, &runtime.find_run(&id).await?, output).await,
        RunsCommand::Tail { id, after } => inspect::tail(runtime, &runtime.find_run(&id).await?, after, output).await,
        RunsCommand::Timeline { id } => inspect::timeline(runtime, &runtime.find_run(&id).await?, output).await,
        RunsCommand::Log { id, step } => {
            inspect::log(runtime, &runtime.find_run(&id).await?, step.as_deref(), output).await
        }
        RunsCommand::Resume { id } => resume(runtime, data, &runtime.find_run(&id).await?, output).await,
        RunsCommand::Items { id, status, step, csv } => {
            let id = runtime.find_run(&id).await?;
            items::items(runtime, &id, status, step.as_deref(), csv, output).await
        }
        RunsCommand::Rerun { rerun: args, failed: _ } => rerun(runtime, args, output).await,
        RunsCommand::Retry(args) => {
            output.info("`trunkline runs retry` is now `trunkline runs rerun --failed`.");
            rerun(runtime, args, output).await
        }
        RunsCommand::Resolve(args) => resolve(runtime, args, output).await,
        RunsCommand::Settle(args) => {
            output.info("`trunkline runs settle` is now `trunkline runs resolve`.");
            resolve(runtime, args, output).await
        }
        RunsCommand::Cancel { id } => {
            let id = runtime.find_run(&id).await?;
            runtime.engine().cancel(&id).await?;
            output.show(&json!({ "cancelled": id }), || format!("Run {id} is being cancelled."));
            Ok(exit::DONE.into())
        }
        RunsCommand::Signal { id, name, payload } => {
            let (id, payload) = (runtime.find_run(&id).await?, json_argument(&payload, "--payload")?);
            let is_active = runtime.engine().signal(&id, &name, payload).await?;
            output.show(&json!({ "signalled": id, "name": name, "working": is_active }), || match is_active {
                true => format!("Sent the signal {name} to run {id}."),
                false => {
                    format!("Recorded the signal {name} for run {id}; `trunkline runs resume {id}` continues the run.")
                }
            });
            Ok(exit::DONE.into())
        }
    }
}

async fn list(runtime: &Runtime, output: &Output) -> Result<ExitCode> {
    let all = runtime.journal().runs().await?;
    output.show(&all, || {
        let rows = all.iter().map(|run| {
            let count = |status: &str| run.items.get(status).copied().unwrap_or_default().to_string();
            let started = time(run.started_at);
            let (id, flow) = (run.id.to_string(), run.flow.clone());
            let counts = ["done", "skipped", "failed", "unknown"].map(count);
            [id, flow, run.status.as_str().to_owned(), started].into_iter().chain(counts).collect()
        });
        table(&["Run", "Flow", "Status", "Started (UTC)", "Done", "Skipped", "Failed", "Unknown"], rows)
    });
    Ok(exit::DONE.into())
}

async fn show(runtime: &Runtime, id: &RunId, output: &Output) -> Result<ExitCode> {
    let run = runtime.engine().run(id).await?;
    output.show(&worded(&run_view(&run)), || {
        let error = run.error.as_ref().map(|error| format!("\nerror: {}", plain(&describe(error))));
        summary(&run) + &error.unwrap_or_default()
    });
    Ok(exit::DONE.into())
}

/// Resumes a run and shows it until it ends. A run of `demo` gets its simulators back.
#[cfg_attr(
    not(feature = "demo"),
    expect(unused_variables, reason = "only `demo` stores something in the data directory")
)]
async fn resume(runtime: &Runtime, data: &Path, id: &RunId, output: &Output) -> Result<ExitCode> {
    #[cfg(feature = "demo")]
    let sandbox = demo::revive(runtime, data, id).await?;
    let code = finish(runtime.resume(id).await?, output).await?;
    #[cfg(feature = "demo")]
    if let Some(sandbox) = sandbox {
        output.show(&sandbox.report(), || demo::comparison(&sandbox.report()));
        sandbox.stop().await;
    }
    Ok(code)
}

/// Reruns the failed items of a run and shows the new run until it ends.
async fn rerun(runtime: &Runtime, args: RerunArgs, output: &Output) -> Result<ExitCode> {
    let RerunArgs { id, flow, unknown } = args;
    let id = runtime.find_run(&id).await?;
    let flow = match flow {
        Some(name) => Some(corrected(runtime, &name, output).await?),
        None => None,
    };
    let previous = runtime.engine().run(&id).await?;
    let handle = runtime.rerun_failed(&id, flow, unknown).await?;
    let left: u64 = previous.ledger.values().flat_map(|ledger| ledger.unknown.values()).sum();
    if left > 0 && !unknown {
        output.info(&format!(
            "{left} items of run {id} stay unknown: `trunkline runs items {id} --status unknown` lists them, `trunkline \
             runs resolve {id} STEP done|retry|fail` sets the outcome of one"
        ));
    }
    finish(handle, output).await
}

/// Resolves a step whose outcome is unknown.
async fn resolve(runtime: &Runtime, args: ResolveArgs, output: &Output) -> Result<ExitCode> {
    let (id, step_output) = (runtime.find_run(&args.id).await?, json_argument(&args.output, "--output")?);
    let verdict = match args.verdict {
        ResolveAs::Done => Verdict::Done,
        ResolveAs::Retry => Verdict::Retry,
        ResolveAs::Fail => Verdict::Fail,
    };
    let step = StepPath::from(&*args.step);
    let resolution = runtime.engine().resolve_unknown(&id, &step, verdict, step_output).await?;
    output.show(&resolution, || resolution_text(&resolution));
    Ok(exit::DONE.into())
}

//! `run` and `runs`: start, watch, show, resume, rerun, resolve, signal and cancel runs.

use std::{path::Path, process::ExitCode};

use serde_json::Value;
use trunkline::{
    RunView, Runtime,
    core::{ErrorKind, ForeignText, Result},
    engine::Verdict,
    operations::{
        Caller, FlowChoice,
        bulk_runs::BulkVerb,
        flows::{FlowName, GetFlow},
        run_queries::GetRun,
        run_removal::PruneRequest,
        run_steps::{GetRunFlow, StepName},
        runs::{
            CancelRun, RerunRequest, RerunRun, ResolveRequest, ResolveStep, ResumeRun, RunName, RunRequest, RunStarted,
            SignalRequest, SignalRun, StartRun,
        },
    },
};

#[cfg(feature = "demo")]
use crate::demo;
use crate::{
    args::{BulkArgs, RerunArgs, ResolveArgs, ResolveAs, RunArgument, RunsCommand},
    input::json as json_argument,
    inspect, items,
    next_step::worded,
    output::{Output, exit, exit_code},
    progress_display, run_list, run_steps,
    run_text::{resolution_text, summary},
    sibling_flows::{flow_name, read_flow},
};

/// Runs a saved flow, or a file if there is no saved flow of this name. Prints which of the two it is.
pub(crate) async fn run(
    runtime: &Runtime,
    name: &str,
    input: Value,
    connections: Vec<(String, String)>,
    output: &Output,
) -> Result<ExitCode> {
    let (flow, what) = chosen(runtime, name).await?;
    what.iter().for_each(|what| output.info(what));
    let request =
        RunRequest { flow, input: Some(input), connections: connections.into_iter().collect(), idempotency_key: None };
    let started = runtime.execute::<StartRun>(&Caller::owner(), request).await?;
    output.warnings(&started.warnings);
    finish(runtime, &started, output).await
}

/// Returns the saved flow of this name, or the flow in the file of this name, and a text that says which of the two it is.
/// There is none for a file that is not a flow.
pub(crate) async fn chosen(runtime: &Runtime, name: &str) -> Result<(FlowChoice, Option<String>)> {
    let in_file = || {
        let file = read_flow(name)?;
        let what =
            flow_name(&file).map(|flow| format!("the flow {} in the file {}", ForeignText(&flow), ForeignText(name)));
        Ok((FlowChoice::File(file), what))
    };
    if name == "-" || name.contains(['/', '\\']) {
        return in_file();
    }
    match runtime.execute::<GetFlow>(&Caller::owner(), FlowName { name: name.to_owned() }).await {
        Ok(saved) => {
            let what = format!("the saved flow {}, version {}", ForeignText(name), saved.flow.version);
            Ok((FlowChoice::Saved(name.to_owned()), Some(what)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && Path::new(name).exists() => in_file(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(error.hint("`trunkline flow list` lists the saved flows; there is no file of this name either"))
        }
        Err(error) => Err(error),
    }
}

/// Shows the progress of a run that was started here until it ends, and then its outcome.
async fn finish(runtime: &Runtime, started: &RunStarted, output: &Output) -> Result<ExitCode> {
    let id = &started.run;
    output.info(&format!("run {id}; if it is interrupted, `trunkline runs resume {id}` continues it"));
    let run = progress_display::watch(runtime, id, output).await?;
    let view = RunView::new(run, None, None, runtime.now(), runtime.redactor());
    output.show(&worded(&view), || summary(&view));
    if let (Some(error), false) = (&view.run.error, output.is_json()) {
        output.error(error);
    }
    Ok(exit_code(view.run.status))
}

/// Runs a `runs` command.
pub(crate) async fn runs(runtime: &Runtime, data: &Path, command: RunsCommand, output: &Output) -> Result<ExitCode> {
    let owner = &Caller::owner();
    match command {
        RunsCommand::List(arguments) => run_list::list(runtime, (*arguments).into(), output).await,
        RunsCommand::Remove(args) => match *args {
            BulkArgs { ids, dry_run: false, .. } if !ids.is_empty() => run_list::remove(runtime, ids, output).await,
            args => run_list::bulk(runtime, args.request(BulkVerb::Remove), output).await,
        },
        RunsCommand::Prune { older, flow, status } => {
            run_list::prune(runtime, PruneRequest { older, flow, status }, output).await
        }
        RunsCommand::Show(RunArgument { id }) => show(runtime, id, output).await,
        RunsCommand::Tail { id: Some(id), after, .. } => inspect::tail(runtime, id, after, output).await,
        RunsCommand::Tail { id: None, flow, .. } => inspect::tail_all(runtime, flow, output).await,
        RunsCommand::Timeline(RunArgument { id }) => inspect::timeline(runtime, id, output).await,
        RunsCommand::Log { id, step } => inspect::log(runtime, id, step.as_deref(), output).await,
        RunsCommand::Resume(RunArgument { id }) => resume(runtime, data, id, output).await,
        RunsCommand::Items { id, status, step, csv } => {
            items::items(runtime, items::query(id, status, step), csv, output).await
        }
        RunsCommand::Find { key, prefix } => items::find(runtime, key, prefix, output).await,
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
        RunsCommand::Steps { id, step: None, .. } => run_steps::list(runtime, id, output).await,
        RunsCommand::Steps { id, step: Some(path), item } => {
            run_steps::show(runtime, StepName { run: id, path, item }, output).await
        }
        RunsCommand::Flow(RunArgument { id }) => {
            output.json(&runtime.execute::<GetRunFlow>(owner, RunName { run: id }).await?);
            Ok(exit::DONE.into())
        }
        RunsCommand::Cancel(args) if args.ids.len() != 1 || args.dry_run => {
            run_list::bulk(runtime, args.request(BulkVerb::Cancel), output).await
        }
        RunsCommand::Cancel(args) => {
            let run = args.ids.concat();
            let done = runtime.execute::<CancelRun>(owner, RunName { run }).await?;
            output.show(&done, || format!("Run {} is being cancelled.", done.cancelled));
            Ok(exit::DONE.into())
        }
        RunsCommand::Signal { id, name, payload } => {
            let input = SignalRequest { run: id, name, payload: json_argument(&payload, "--payload", output)? };
            let sent = runtime.execute::<SignalRun>(owner, input).await?;
            let (name, id) = (ForeignText(&sent.name), &sent.signalled);
            output.show(&sent, || match sent.working {
                true => format!("Sent the signal {name} to run {id}."),
                false => {
                    format!("Recorded the signal {name} for run {id}; `trunkline runs resume {id}` continues the run.")
                }
            });
            Ok(exit::DONE.into())
        }
    }
}

async fn show(runtime: &Runtime, run: String, output: &Output) -> Result<ExitCode> {
    let view = runtime.execute::<GetRun>(&Caller::owner(), RunName { run }).await?;
    output.show(&worded(&view), || {
        let error = view.run.error.as_ref().map(|error| format!("\nerror: {}", output.describe(error)));
        summary(&view) + &error.unwrap_or_default()
    });
    Ok(exit::DONE.into())
}

/// Resumes a run and shows it until it ends. A run of `demo` gets its simulators back.
#[cfg_attr(
    not(feature = "demo"),
    expect(unused_variables, reason = "only `demo` stores something in the data directory")
)]
async fn resume(runtime: &Runtime, data: &Path, run: String, output: &Output) -> Result<ExitCode> {
    #[cfg(feature = "demo")]
    let sandbox = demo::revive(runtime, data, &run).await?;
    let started = runtime.execute::<ResumeRun>(&Caller::owner(), RunName { run }).await?;
    let code = finish(runtime, &started, output).await?;
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
    let flow = match flow {
        Some(name) => Some(chosen(runtime, &name).await?.0),
        None => None,
    };
    let previous = runtime.execute::<GetRun>(&Caller::owner(), RunName { run: id }).await?.run;
    let request = RerunRequest { run: previous.id.as_str().to_owned(), flow, unknown };
    let started = runtime.execute::<RerunRun>(&Caller::owner(), request).await?;
    output.warnings(&started.warnings);
    let left: u64 = previous.ledger.values().flat_map(|ledger| ledger.unknown.values()).sum();
    if left > 0 && !unknown {
        let id = &previous.id;
        output.info(&format!(
            "{left} items of run {id} stay unknown: `trunkline runs items {id} --status unknown` lists them, `trunkline \
             runs resolve {id} STEP done|retry|fail` sets the outcome of one"
        ));
    }
    finish(runtime, &started, output).await
}

/// Resolves a step whose outcome is unknown.
async fn resolve(runtime: &Runtime, args: ResolveArgs, output: &Output) -> Result<ExitCode> {
    let verdict = match args.verdict {
        ResolveAs::Done => Verdict::Done,
        ResolveAs::Retry => Verdict::Retry,
        ResolveAs::Fail => Verdict::Fail,
    };
    let step_output = json_argument(&args.output, "--output", output)?;
    let request = ResolveRequest { run: args.id, step: args.step, verdict, output: step_output };
    let resolution = runtime.execute::<ResolveStep>(&Caller::owner(), request).await?;
    output.show(&resolution, || resolution.text(resolution_text));
    Ok(exit::DONE.into())
}

//! `flow validate`, `run` and `runs`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::{Value, json};
use trunkline::{
    Runtime,
    core::{Diagnostic, Error, ErrorKind, Registry, Result, Severity},
    engine::{FILTERS, Flow, Journal, Ledger, Run, RunId, RunStatus, Running, StepPath, Waiting},
};

use super::{
    args::RunsCommand,
    beside, demo, json as json_argument,
    output::{Output, exit, plain, table, time},
    read, watch,
};

/// Reads a flow's file; its faults are one error.
fn load(file: &str) -> Result<(Flow, String)> {
    let text = read(file)?;
    match beside::read_flow(file, &text) {
        Ok(flow) => Ok((flow, text)),
        Err(found) => Err(faults(file, &found)),
    }
}

/// The faults of a flow as one error.
pub(crate) fn faults(file: &str, found: &[Diagnostic]) -> Error {
    Diagnostic::into_error(file, found).unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{file} is no flow")))
}

pub(crate) fn validate(registry: &Registry, file: &str, output: &Output) -> Result<ExitCode> {
    let text = read(file)?;
    let found = match beside::read_flow(file, &text) {
        Ok(flow) => Flow::locate(file, &text, flow.check(registry)),
        Err(faults) => {
            // What is wrong with the flow itself or with one that it calls does not hide the rest.
            let mut found = Flow::findings(file, &text, registry);
            let others: Vec<_> = faults.into_iter().filter(|one| !found.contains(one)).collect();
            found.extend(others);
            found
        }
    };
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    let told = json!({ "file": file, "ok": errors == 0, "errors": errors, "warnings": warnings, "findings": found });
    output.show(&told, || match (errors, warnings) {
        (0, 0) => format!("{file} is good."),
        (0, _) => format!("{}\n{file} can run: {}.", Output::findings(&found), count(warnings, "warning")),
        _ => {
            let counts = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
            format!("{}\n{file} cannot run: {counts}.", Output::findings(&found))
        }
    });
    Ok(if errors > 0 { exit::FAULTS } else { exit::DONE }.into())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The filters of expressions, with their examples.
pub(crate) fn filters(output: &Output) -> Result<ExitCode> {
    output.show(&FILTERS, || {
        let mut text = "What an expression can do with a value: {{ value | filter }}\n".to_owned();
        for filter in FILTERS {
            text += &format!("\n{}\n  {}\n", filter.usage(), filter.about);
            for example in filter.examples {
                let input =
                    if example.input == "{}" { String::new() } else { format!("  where input is {}", example.input) };
                text += &format!("    {{{{ {} }}}}  yields {}{input}\n", example.expression, example.yields);
            }
        }
        text
    });
    Ok(exit::DONE.into())
}

pub(crate) async fn run(
    runtime: &Runtime,
    file: &str,
    input: Value,
    connections: Vec<(String, String)>,
    output: &Output,
) -> Result<ExitCode> {
    let (flow, text) = load(file)?;
    let found = Flow::locate(file, &text, flow.check(runtime.registry()));
    if found.iter().any(|one| one.severity == Severity::Error) {
        return Err(faults(file, &found));
    }
    output.say(Output::findings(&found).trim_end());
    let slots: BTreeMap<_, _> = connections.into_iter().collect();
    let running = runtime.start(&flow, input, slots).await?;
    finish(running, output).await
}

/// Watches a run to its end and shows what became of it.
async fn finish(running: Running, output: &Output) -> Result<ExitCode> {
    output.say(&format!(
        "run {}; if it is interrupted, `trunkline runs resume {}` goes on",
        running.id(),
        running.id()
    ));
    let run = watch::watch(running, output).await?;
    output.show(&run, || summary(&run));
    if let (Some(error), false) = (&run.error, output.is_json()) {
        output.error(error);
    }
    Ok(exit_code(run.status))
}

pub(crate) fn exit_code(status: RunStatus) -> ExitCode {
    match status {
        RunStatus::Succeeded | RunStatus::Running => exit::DONE,
        RunStatus::Partial => exit::PARTIAL,
        RunStatus::Failed | RunStatus::Cancelled => exit::FAILED,
    }
    .into()
}

/// How a run stands and its ledger, for a person.
pub(crate) fn summary(run: &Run) -> String {
    let mut text = format!("run {} of {} (version {}): {}\n", run.id, run.flow, run.version, run.status.as_str());
    for (step, wait) in &run.waiting {
        text += &format!("\n{}", waits(&run.id, step, wait));
    }
    if let Some(result) = &run.output {
        text += &format!("\noutput: {result}");
    }
    for (warning, times) in &run.warnings {
        text += &format!("\nwarning ({times}x): {warning}");
    }
    for (step, ledger) in &run.ledger {
        text += &format!("\n{step}: {} items\n{}", ledger.total(), lines(ledger));
    }
    plain(&text)
}

/// What a step waits for, and what to do about it.
pub(crate) fn waits(run: &RunId, step: &StepPath, wait: &Waiting) -> String {
    let until = time(wait.until);
    match &wait.signal {
        None => format!("{step} waits until {until} (UTC)"),
        Some(name) => format!(
            "{step} waits for the signal {name}, until {until} (UTC) at most: `trunkline runs signal {run} {name}` sends it"
        ),
    }
}

/// A ledger, a line a reason.
pub(crate) fn lines(ledger: &Ledger) -> String {
    let mut text = format!("  {:>7}  done\n", ledger.done);
    for (status, reasons) in [("skipped", &ledger.skipped), ("failed", &ledger.failed), ("unknown", &ledger.unknown)] {
        for (reason, count) in reasons {
            text += &format!("  {count:>7}  {status}: {reason}\n");
        }
    }
    text
}

pub(crate) async fn runs(
    runtime: &Runtime,
    data: &Path,
    command: Option<RunsCommand>,
    output: &Output,
) -> Result<ExitCode> {
    match command.unwrap_or(RunsCommand::List) {
        RunsCommand::List => {
            let all = runtime.store().runs().await?;
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
        RunsCommand::Show { id } => {
            let run = runtime.engine().run(&runtime.find_run(&id).await?).await?;
            output.show(&run, || {
                let error = run.error.as_ref().map(|error| format!("\nerror: {}", plain(&format!("{error:?}"))));
                summary(&run) + &error.unwrap_or_default()
            });
            Ok(exit::DONE.into())
        }
        RunsCommand::Resume { id } => {
            let id = runtime.find_run(&id).await?;
            let sandbox = demo::revive(runtime, data, &id).await?;
            let code = finish(runtime.resume(&id).await?, output).await?;
            if let Some(sandbox) = sandbox {
                output.show(&sandbox.report(), || demo::comparison(&sandbox.report()));
                sandbox.stop().await;
            }
            Ok(code)
        }
        RunsCommand::Cancel { id } => {
            let id = runtime.find_run(&id).await?;
            runtime.engine().cancel(&id).await?;
            output.show(&json!({ "cancelled": id }), || format!("Run {id} is told to stop."));
            Ok(exit::DONE.into())
        }
        RunsCommand::Signal { id, name, payload } => {
            let (id, payload) = (runtime.find_run(&id).await?, json_argument(&payload, "--payload")?);
            let heard = runtime.engine().signal(&id, &name, payload).await?;
            output.show(&json!({ "signalled": id, "name": name, "working": heard }), || match heard {
                true => format!("Run {id} is sent the signal {name}."),
                false => format!("Run {id} has the signal {name}: it goes on with `trunkline runs resume {id}`."),
            });
            Ok(exit::DONE.into())
        }
    }
}

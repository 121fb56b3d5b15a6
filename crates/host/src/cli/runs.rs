//! `run` and `runs`: begin a run, watch it, look at it, take it up again, stop it.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};
use trunkline::{
    Runtime,
    core::{ErrorKind, Result},
    engine::{Journal, Ledger, Run, RunId, RunStatus, Running, StepPath, Waiting},
};

use super::{
    args::RunsCommand,
    demo, flow, json as json_argument,
    output::{Output, exit, plain, table, time},
    watch,
};

/// Runs a kept flow, or a file where no flow of this name is kept; says which.
pub(crate) async fn run(
    runtime: &Runtime,
    name: &str,
    input: Value,
    connections: Vec<(String, String)>,
    output: &Output,
) -> Result<ExitCode> {
    let slots = connections.into_iter().collect();
    let kept = match name {
        "-" => None,
        path if path.contains(['/', '\\']) => None,
        name => match runtime.store().kept_flow(name).await {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == ErrorKind::NotFound && Path::new(name).exists() => None,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(
                    error.hint("`trunkline flow list` shows those that are kept; there is no file of this name either")
                );
            }
            Err(error) => return Err(error),
        },
    };
    let running = match kept {
        Some(kept) => {
            output.say(&format!("the kept flow {name}, version {}", kept.version));
            runtime.start_kept(name, input, slots).await?
        }
        None => {
            let flow = flow::load(runtime.registry(), name, output)?;
            output.say(&format!("the flow {} of the file {name}", flow.name()));
            runtime.start(&flow, input, slots).await?
        }
    };
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
    if let Some(reason) = &ledger.maybe_incomplete {
        text += &format!("  the list changed while it was read: items may be missing; run the flow again ({reason})\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_tells_that_its_list_changed() {
        let ledger = Ledger { done: 7, ..Ledger::default() };
        assert_eq!(lines(&ledger), "        7  done\n");
        let ledger = Ledger { maybe_incomplete: Some("it had 7 items, and then 8".into()), ..ledger };
        assert_eq!(
            lines(&ledger),
            "        7  done\n  the list changed while it was read: items may be missing; run the flow again (it had 7 items, \
             and then 8)\n"
        );
    }
}

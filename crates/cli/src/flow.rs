//! `flow`: validate, save, list, show, activate and remove flows; set the address and the secret of a webhook.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Map, Value, json};
use trunkline::{
    Runtime, SaveOptions,
    core::{Diagnostic, Error, ErrorKind, Registry, Result, Secret, Severity},
    flow::{Flow, Trigger},
    store::SavedFlow,
};

use crate::{
    args::FlowCommand,
    catalogue,
    input::{json as json_argument, read},
    next_step::worded,
    output::{Output, exit, table, time},
    sibling_flows,
};

/// Reads and checks the flow in a file, and prints the warnings.
///
/// # Errors
///
/// `config` with a diagnostic for everything that is wrong with it.
pub(crate) async fn load(runtime: &Runtime, file: &str, bindings: &Bindings, output: &Output) -> Result<Flow> {
    let text = read(file)?;
    let flow = sibling_flows::read_flow(file, &text).map_err(|found| faults(file, &found))?;
    check(runtime, (file, &text), &flow, bindings, output).await?;
    Ok(flow)
}

type Bindings = BTreeMap<String, String>;

async fn check(
    runtime: &Runtime,
    (file, text): (&str, &str),
    flow: &Flow,
    bindings: &Bindings,
    output: &Output,
) -> Result<()> {
    let found = Flow::locate(file, text, runtime.check_flow(flow, bindings).await?);
    if found.iter().any(|one| one.severity == Severity::Error) {
        return Err(faults(file, &found));
    }
    output.info(Output::findings(&found).trim_end());
    Ok(())
}

/// Turns the diagnostics of a flow into one error.
pub(crate) fn faults(file: &str, found: &[Diagnostic]) -> Error {
    Diagnostic::into_error(file, found)
        .unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{file} is not a flow")))
}

/// Checks the flow in a file and prints everything that is wrong. With `against`, it is also checked against the
/// connections of these bindings.
pub(crate) async fn validate(
    file: &str,
    output: &Output,
    registry: &Registry,
    against: Option<(&Runtime, Bindings)>,
) -> Result<ExitCode> {
    let text = read(file)?;
    let found = match sibling_flows::read_flow(file, &text) {
        Ok(flow) => {
            let found = match against {
                Some((runtime, bindings)) => {
                    for name in bindings.values() {
                        runtime.connections().masked_connection(name).await?;
                    }
                    runtime.check_flow(&flow, &bindings).await?
                }
                None => flow.check(registry),
            };
            Flow::locate(file, &text, found)
        }
        Err(faults) => {
            // A fault in the flow or in a flow that it calls does not hide the others.
            let mut found = Flow::findings(file, &text, registry);
            let others: Vec<_> = faults.into_iter().filter(|one| !found.contains(one)).collect();
            found.extend(others);
            found
        }
    };
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    let report = json!({ "file": file, "ok": errors == 0, "errors": errors, "warnings": warnings, "findings": found.iter().map(worded).collect::<Vec<_>>() });
    output.show(&report, || match (errors, warnings) {
        (0, 0) => format!("{file} is valid."),
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

/// Runs a `flow` command.
pub(crate) async fn flow(runtime: &Runtime, command: FlowCommand, output: &Output) -> Result<ExitCode> {
    match command {
        FlowCommand::Validate { file, connection } => {
            let against = Some((runtime, connection.into_iter().collect()));
            return validate(&file, output, runtime.registry(), against).await;
        }
        FlowCommand::Filters => return catalogue::filters(runtime, output).await,
        FlowCommand::Add { file, connection, input, inactive, replace } => {
            let bindings = connection.into_iter().collect();
            let options = SaveOptions { bindings, input: None, inactive, replace };
            add(runtime, &file, input.as_deref(), options, output).await?;
        }
        FlowCommand::List => list(runtime, output).await?,
        FlowCommand::Show { name } => {
            let saved = runtime.flows().saved_flow(&name).await?;
            let mut shown = serde_json::to_value(&saved).unwrap_or_default();
            shown["document"] = runtime.journal().flow(&saved.version).await?;
            output.json(&shown);
        }
        FlowCommand::Activate { name } => {
            runtime.activate_flow(&name, true).await?;
            output.show(&json!({ "activated": name }), || format!("{name} is active."));
        }
        FlowCommand::Deactivate { name } => {
            runtime.activate_flow(&name, false).await?;
            output.show(&json!({ "deactivated": name }), || {
                format!("{name} is inactive: its trigger starts no runs, `trunkline run {name}` still does.")
            });
        }
        FlowCommand::Address { name } => {
            let address = runtime.new_webhook_address(&name).await?;
            output.show(&json!({ "webhook": address.expose() }), || webhook_text(&address));
        }
        FlowCommand::Secret { name, file } => save_secret(runtime, &name, &file, output).await?,
        FlowCommand::Remove { name } => {
            runtime.flows().remove_flow(&name).await?;
            output.show(&json!({ "removed": name }), || format!("Removed {name}. Its runs are still there."));
        }
    }
    Ok(exit::DONE.into())
}

/// Reads the argument `--input` of `flow add`.
fn default_input(argument: &str) -> Result<Map<String, Value>> {
    match json_argument(argument, "--input")? {
        Value::Object(input) => Ok(input),
        _ => Err(Error::new(ErrorKind::InvalidInput, "--input of a saved flow has to be a JSON object")
            .hint("the input of each run is merged into it, member by member")),
    }
}

/// Saves the flow in a file. `input` is the argument `--input`.
async fn add(
    runtime: &Runtime,
    file: &str,
    input: Option<&str>,
    mut options: SaveOptions,
    output: &Output,
) -> Result<()> {
    let text = read(file)?;
    let flow = Flow::parse(file, &text).map_err(|found| faults(file, &found))?;
    let flow = runtime.link(&flow).await?;
    check(runtime, (file, &text), &flow, &options.bindings, output).await?;
    options.input = input.map(default_input).transpose()?;
    let saved = runtime.save_flow(&flow, options).await?;
    let address = match flow.trigger() {
        Some(Trigger::Webhook(_)) if saved.token_hash.is_none() => {
            Some(runtime.new_webhook_address(&saved.name).await?)
        }
        _ => None,
    };
    output.show(&json!({ "added": saved, "webhook": address.as_ref().map(Secret::expose) }), || {
        let SavedFlow { name, version, .. } = &saved;
        let mut text =
            format!("Saved {name} (version {version}), {}. `trunkline run {name}` runs it.", activity(&saved));
        text.extend(address.map(|address| webhook_text(&address)));
        text
    });
    Ok(())
}

async fn list(runtime: &Runtime, output: &Output) -> Result<()> {
    let all = runtime.flows().saved_flows().await?;
    let mut triggers = Vec::new();
    for one in &all {
        let document = runtime.journal().flow(&one.version).await?;
        triggers.push(document["trigger"].as_object().and_then(|kinds| kinds.keys().next().cloned()));
    }
    output.show(&all, || {
        let rows = all.iter().zip(triggers).map(|(one, trigger)| {
            let bindings = one.connections.iter().map(|(binding, name)| format!("{binding}={name}"));
            let bindings = bindings.collect::<Vec<_>>().join(", ");
            let trigger = trigger.unwrap_or_else(|| "-".to_owned());
            let (name, version) = (one.name.clone(), one.version.clone());
            vec![name, version, activity(one).into(), trigger, bindings, time(one.updated_at)]
        });
        table(&["Name", "Version", "State", "Trigger", "Connections", "Changed (UTC)"], rows)
    });
    Ok(())
}

/// Saves the secret in a file, without a line break at its end, as the secret of a flow's webhook.
async fn save_secret(runtime: &Runtime, name: &str, file: &str, output: &Output) -> Result<()> {
    let text = read(file)?;
    let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, format!("there is no secret in {file}")));
    }
    runtime.flows().set_webhook_secret(name, &Secret::from(text)).await?;
    output.show(&json!({ "kept": name }), || format!("The secret of {name} is saved, encrypted."));
    Ok(())
}

fn webhook_text(path: &Secret) -> String {
    format!(
        "\nThe path of its webhook, below the URL of `trunkline serve`. It is shown only this once:\n  {}\nAnyone with \
         this path can call the webhook.",
        path.expose()
    )
}

fn activity(flow: &SavedFlow) -> &'static str {
    if flow.active { "active" } else { "inactive" }
}

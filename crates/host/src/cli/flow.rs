//! `flow`: check, keep, list, show, activate, give a webhook its address and secret, remove.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Value, json};
use trunkline::{
    Runtime, SaveOptions,
    core::{Diagnostic, Error, ErrorKind, Registry, Result, Secret, Severity},
    engine::{FILTERS, Flow, Journal, Trigger},
    store::SavedFlow,
};

use super::{
    args::FlowCommand,
    json as json_argument,
    output::{Output, exit, table, time},
    read, sibling_flows,
};

/// Reads a flow's file; its faults are one error, what may be wrong is said.
pub(crate) async fn load(runtime: &Runtime, file: &str, slots: &Slots, output: &Output) -> Result<Flow> {
    let text = read(file)?;
    let flow = sibling_flows::read_flow(file, &text).map_err(|found| faults(file, &found))?;
    check(runtime, (file, &text), &flow, slots, output).await?;
    Ok(flow)
}

type Slots = BTreeMap<String, String>;

async fn check(
    runtime: &Runtime,
    (file, text): (&str, &str),
    flow: &Flow,
    slots: &Slots,
    output: &Output,
) -> Result<()> {
    let found = Flow::locate(file, text, runtime.check_flow(flow, slots).await?);
    if found.iter().any(|one| one.severity == Severity::Error) {
        return Err(faults(file, &found));
    }
    output.say(Output::findings(&found).trim_end());
    Ok(())
}

/// The faults of a flow as one error.
pub(crate) fn faults(file: &str, found: &[Diagnostic]) -> Error {
    Diagnostic::into_error(file, found).unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{file} is no flow")))
}

/// `filled` are connections that the flow is to be held against, and where they are kept.
pub(crate) async fn validate(
    file: &str,
    output: &Output,
    registry: &Registry,
    filled: Option<(&Runtime, Slots)>,
) -> Result<ExitCode> {
    let text = read(file)?;
    let found = match sibling_flows::read_flow(file, &text) {
        Ok(flow) => {
            let found = match filled {
                Some((runtime, slots)) => {
                    for name in slots.values() {
                        runtime.store().masked_connection(name).await?;
                    }
                    runtime.check_flow(&flow, &slots).await?
                }
                None => flow.check(registry),
            };
            Flow::locate(file, &text, found)
        }
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

pub(crate) async fn flow(runtime: &Runtime, command: FlowCommand, output: &Output) -> Result<ExitCode> {
    match command {
        FlowCommand::Validate { file, connection } => {
            let filled = Some((runtime, connection.into_iter().collect()));
            return validate(&file, output, runtime.registry(), filled).await;
        }
        FlowCommand::Filters => return filters(output),
        FlowCommand::Add { file, connection, input, inactive, replace } => {
            let text = read(&file)?;
            let flow = Flow::parse(&file, &text).map_err(|found| faults(&file, &found))?;
            let flow = runtime.link(&flow).await?;
            let slots = connection.into_iter().collect();
            check(runtime, (&file, &text), &flow, &slots, output).await?;
            let input = match input.map(|input| json_argument(&input, "--input")).transpose()? {
                None => None,
                Some(Value::Object(input)) => Some(input),
                Some(_) => {
                    return Err(Error::new(ErrorKind::InvalidInput, "--input of a kept flow has to be a JSON object")
                        .hint("what starts a run adds its own members to it"));
                }
            };
            let keeping = SaveOptions { bindings: slots, input, inactive, replace };
            let kept = runtime.save_flow(&flow, keeping).await?;
            let address = match flow.trigger() {
                Some(Trigger::Webhook(_)) if kept.token_hash.is_none() => {
                    Some(runtime.new_webhook_address(&kept.name).await?)
                }
                _ => None,
            };
            output.show(&json!({ "added": kept, "webhook": address.as_ref().map(Secret::expose) }), || {
                let name = &kept.name;
                let mut text = format!(
                    "Kept {name} (version {}), {}. `trunkline run {name}` runs it.",
                    kept.version,
                    activity(&kept)
                );
                text.extend(address.map(|address| told_once(&address)));
                text
            });
        }
        FlowCommand::List => {
            let all = runtime.store().saved_flows().await?;
            let mut triggers = Vec::new();
            for one in &all {
                let document = runtime.store().flow(&one.version).await?;
                triggers.push(document["trigger"].as_object().and_then(|kinds| kinds.keys().next().cloned()));
            }
            output.show(&all, || {
                let rows = all.iter().zip(triggers).map(|(one, trigger)| {
                    let slots = one.connections.iter().map(|(slot, name)| format!("{slot}={name}"));
                    let slots = slots.collect::<Vec<_>>().join(", ");
                    let trigger = trigger.unwrap_or_else(|| "-".to_owned());
                    let (name, version) = (one.name.clone(), one.version.clone());
                    vec![name, version, activity(one).into(), trigger, slots, time(one.updated_at)]
                });
                table(&["Name", "Version", "Is", "Trigger", "Connections", "Changed (UTC)"], rows)
            });
        }
        FlowCommand::Show { name } => {
            let kept = runtime.store().saved_flow(&name).await?;
            let mut shown = serde_json::to_value(&kept).unwrap_or_default();
            shown["document"] = runtime.store().flow(&kept.version).await?;
            output.json(&shown);
        }
        FlowCommand::Activate { name } => {
            runtime.activate_flow(&name, true).await?;
            output.show(&json!({ "activated": name }), || format!("{name} is active."));
        }
        FlowCommand::Deactivate { name } => {
            runtime.activate_flow(&name, false).await?;
            output.show(&json!({ "deactivated": name }), || format!("{name} is inactive: nothing but you starts it."));
        }
        FlowCommand::Address { name } => {
            let address = runtime.new_webhook_address(&name).await?;
            output.show(&json!({ "webhook": address.expose() }), || told_once(&address));
        }
        FlowCommand::Secret { name, file } => {
            let text = read(&file)?;
            let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
            if text.is_empty() {
                return Err(Error::new(ErrorKind::InvalidInput, format!("there is no secret in {file}")));
            }
            runtime.store().set_webhook_secret(&name, &Secret::from(text)).await?;
            output.show(&json!({ "kept": name }), || format!("The secret of {name} is kept, encrypted."));
        }
        FlowCommand::Remove { name } => {
            runtime.store().remove_flow(&name).await?;
            output.show(&json!({ "removed": name }), || format!("Removed {name}. Its runs are still there."));
        }
    }
    Ok(exit::DONE.into())
}

fn told_once(address: &Secret) -> String {
    format!(
        "\nIts webhook, below the address of `trunkline serve`, told this once:\n  {}\nWho knows it may call it.",
        address.expose()
    )
}

fn activity(flow: &SavedFlow) -> &'static str {
    if flow.active { "active" } else { "inactive" }
}

//! `flow`: validate, save, list, show, activate and remove flows; set the address and the secret of a webhook.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Map, Value};
use trunkline::{
    Runtime,
    core::{Error, ErrorKind, ForeignText, Result, Secret},
    operations::{
        Caller, Listed, PageQuery,
        flows::{
            ActivateFlow, DeactivateFlow, FlowAdded, FlowCandidate, FlowChange, FlowDraft, FlowName, GetFlow,
            ListFlows, ListOutputs, NewWebhookAddress, RemoveFlow, SetWebhookSecret, ValidateFlow, WebhookSecret,
        },
        triggers::{GetTrigger, ListDeliveries, TriggerQuery},
    },
    store::{FailedStart, SavedFlow, TriggerFinding},
};

use crate::{
    args::{FlowArgument, FlowCommand},
    catalogue, consent, drawing,
    input::{json as json_argument, named, read},
    next_step::worded,
    output::{Output, exit, list, table, time},
    sibling_flows,
};

/// Checks the flow in a file and prints everything that is wrong.
pub(crate) async fn validate(
    runtime: &Runtime,
    file: &str,
    connections: BTreeMap<String, String>,
    output: &Output,
) -> Result<ExitCode> {
    let input = FlowCandidate { flow: sibling_flows::read_flow(file)?, connections };
    let report = runtime.execute::<ValidateFlow>(&Caller::owner(), input).await?;
    let file = ForeignText(&report.file);
    output.show(&worded(&report), || match (report.errors, report.warnings) {
        (0, 0) => format!("{file} is valid."),
        (0, warnings) => {
            format!("{}\n{file} can run: {}.", Output::findings(&report.findings), count(warnings, "warning"))
        }
        (errors, warnings) => {
            let counts = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
            format!("{}\n{file} cannot run: {counts}.", Output::findings(&report.findings))
        }
    });
    Ok(if report.ok { exit::DONE } else { exit::FAULTS }.into())
}

/// Prints what each step of the flow in a file yields.
pub(crate) async fn outputs(runtime: &Runtime, file: &str, output: &Output) -> Result<ExitCode> {
    let yields = runtime.execute::<ListOutputs>(&Caller::owner(), sibling_flows::read_flow(file)?).await?;
    output.show(&yields, || {
        let rows = yields.iter().flat_map(|one| {
            one.values.iter().enumerate().map(|(number, value)| {
                let does = if number == 0 { one.does.clone() } else { String::new() };
                [value.expression.clone(), value.kind.clone(), value.about.clone().unwrap_or(does)].into()
            })
        });
        table(&["Value", "Type", "About"], rows)
    });
    Ok(exit::DONE.into())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Runs a `flow` command.
pub(crate) async fn flow(runtime: &Runtime, command: FlowCommand, output: &Output) -> Result<ExitCode> {
    let owner = &Caller::owner();
    match command {
        FlowCommand::Validate { file, connection } => {
            return validate(runtime, &file, connection.into_iter().collect(), output).await;
        }
        FlowCommand::Outputs { file } => return outputs(runtime, &file, output).await,
        FlowCommand::Graph { flow } => return drawing::graph(runtime, &flow, output).await,
        FlowCommand::Filters => return catalogue::filters(runtime, output).await,
        FlowCommand::Add { file, connection, input, activate, inactive, replace } => {
            let flow = sibling_flows::read_text(&file)?;
            let (connections, input) =
                (connection.into_iter().collect(), input.as_deref().map(|input| default_input(input, output)));
            let active = (activate || inactive).then_some(activate);
            let draft = FlowDraft { flow, connections, input: input.transpose()?, active, replace };
            add(runtime, &file, draft, output).await?;
        }
        FlowCommand::List => return list_all(runtime, output).await,
        FlowCommand::Show(FlowArgument { name }) => {
            output.json(&runtime.execute::<GetFlow>(owner, FlowName { name }).await?)
        }
        FlowCommand::Trigger { name, deliveries: true, .. } => {
            output.json(&runtime.execute::<ListDeliveries>(owner, FlowName { name }).await?);
        }
        FlowCommand::Trigger { name, limit, .. } => {
            output.json(&runtime.execute::<GetTrigger>(owner, TriggerQuery { name, limit }).await?);
        }
        FlowCommand::Activate(FlowArgument { name }) => {
            let done = runtime.execute::<ActivateFlow>(owner, FlowChange { name, if_match: None }).await?;
            output.show(&done, || format!("{} is active.", ForeignText(&done.activated)));
        }
        FlowCommand::Deactivate(FlowArgument { name }) => {
            let done = runtime.execute::<DeactivateFlow>(owner, FlowChange { name, if_match: None }).await?;
            let name = ForeignText(&done.deactivated);
            output.show(&done, || {
                format!("{name} is inactive: its trigger starts no runs, `trunkline run {name}` still does.")
            });
        }
        FlowCommand::Address(FlowArgument { name }) => {
            let address = runtime.execute::<NewWebhookAddress>(owner, FlowName { name }).await?;
            output.show(&address, || webhook_text(&address.webhook, address.url.as_deref()));
        }
        FlowCommand::Secret { name, file } => save_secret(runtime, name, &file, output).await?,
        FlowCommand::Remove(FlowArgument { name }) => {
            let done = runtime.execute::<RemoveFlow>(owner, FlowChange { name, if_match: None }).await?;
            output.show(&done, || {
                format!(
                    "Removed {}, with what its trigger remembered. Its runs are still there.",
                    ForeignText(&done.removed)
                )
            });
        }
    }
    Ok(exit::DONE.into())
}

/// Reads the argument `--input` of `flow add`.
fn default_input(argument: &str, output: &Output) -> Result<Map<String, Value>> {
    match json_argument(argument, "--input", output)? {
        Value::Object(input) => Ok(input),
        _ => Err(Error::new(ErrorKind::InvalidInput, "--input of a saved flow has to be a JSON object")
            .hint("the input of each run is merged into it, member by member")),
    }
}

async fn add(runtime: &Runtime, file: &str, draft: FlowDraft, output: &Output) -> Result<()> {
    let saved = consent::save(runtime, file, draft, output).await?;
    output.warnings(&saved.warnings);
    output.show(&worded(&saved), || {
        let FlowAdded { added, webhook, url, .. } = &saved;
        let (name, version) = (ForeignText(&added.name), &added.version);
        let mut text =
            format!("Saved {name} (version {version}), {}. `trunkline run {name}` runs it.", activity(added));
        if !added.active {
            text += &format!(" `trunkline flow activate {name}` lets its trigger start runs.");
        }
        text.extend(webhook.as_deref().map(|path| webhook_text(path, url.as_deref())));
        text
    });
    Ok(())
}

async fn list_all(runtime: &Runtime, output: &Output) -> Result<ExitCode> {
    let page = async |cursor| runtime.execute::<ListFlows>(&Caller::owner(), PageQuery::largest(cursor)).await;
    let all = Listed::all(page).await?;
    output.show(&all, || {
        let rows = all.iter().map(|summary| {
            let one = &summary.flow;
            let bindings = one.connections.iter().map(|(binding, name)| format!("{binding}={name}"));
            let bindings = bindings.collect::<Vec<_>>().join(", ");
            let parts = [summary.trigger.as_deref(), summary.cron.as_deref()].into_iter().flatten();
            let trigger = parts.collect::<Vec<_>>().join(" ");
            let trigger = if trigger.is_empty() { "-".to_owned() } else { trigger };
            let failed = one.starts.failed.last().map(|failed| failed.at);
            let starts = [("next", summary.next), ("last", one.starts.last), ("failed", failed)];
            let starts = starts.into_iter().filter_map(|(what, at)| Some(format!("{what} {}", time(at?))));
            let starts = starts.collect::<Vec<_>>().join(", ");
            vec![one.name.clone(), one.version.clone(), activity(one).into(), trigger, starts, bindings]
        });
        let heading = ["Name", "Version", "State", "Trigger", "Starts (UTC)", "Connections"];
        let none = "There are no saved flows. `trunkline flow add FILE` saves one.";
        let mut text = list(none, &heading, rows);
        text.extend(all.iter().flat_map(|summary| {
            let flow = &summary.flow;
            failures(flow).into_iter().chain(flow.findings.iter().map(|one| finding(&flow.name, one)))
        }));
        text
    });
    Ok(output.damaged("flows", all.len(), all.iter().filter_map(|one| one.flow.damaged.as_ref())))
}

/// Returns the lines about what the trigger of a flow could not start since its last start.
fn failures(flow: &SavedFlow) -> Option<String> {
    let FailedStart { at, trigger, reason, hint, .. } =
        flow.starts.failed.last().filter(|_| flow.starts.failures > 0)?;
    let hint = hint.as_ref().map(|hint| format!("\n  hint: {}", ForeignText(hint))).unwrap_or_default();
    let count = count(usize::try_from(flow.starts.failures).unwrap_or(usize::MAX), "failed start");
    let (name, at, reason) = (ForeignText(&flow.name), time(*at), ForeignText(reason));
    Some(format!(
        "\n{name}: {count} by its {trigger} since the last one that succeeded, the latest at {at}: {reason}{hint}"
    ))
}

/// Returns the lines about something that was found about the trigger of a flow.
fn finding(flow: &str, found: &TriggerFinding) -> String {
    let TriggerFinding { what, hint, place, items, since, .. } = found;
    let items = items.map(|number| format!("{}, ", count_of(number))).unwrap_or_default();
    let place = place.as_ref().map(|place| format!(" ({})", ForeignText(place))).unwrap_or_default();
    let hint = hint.as_ref().map(|hint| format!("\n  hint: {}", ForeignText(hint))).unwrap_or_default();
    format!("\n{}: {items}{}{place}, since {}{hint}", ForeignText(flow), ForeignText(what), time(*since))
}

fn count_of(items: u64) -> String {
    format!("{items} item{}", if items == 1 { "" } else { "s" })
}

/// Saves the secret in a file, without a line break at its end, as the secret of a flow's webhook.
async fn save_secret(runtime: &Runtime, name: String, file: &str, output: &Output) -> Result<()> {
    let secret = Secret::of_text(&read(file)?);
    let secret = secret.ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("there is no secret in {}", named(file)))
            .hint("write the secret into the file, as one line")
    })?;
    let input = WebhookSecret { name, secret };
    let done = runtime.execute::<SetWebhookSecret>(&Caller::owner(), input).await?;
    output.show(&done, || format!("The secret of {} is saved, encrypted.", ForeignText(&done.kept)));
    Ok(())
}

fn webhook_text(path: &str, url: Option<&str>) -> String {
    let (what, address) = match url {
        Some(url) => ("The URL of its webhook", url),
        None => ("The path of its webhook, below the URL of `trunkline serve`", path),
    };
    format!("\n{what}. It is shown only this once:\n  {address}\nAnyone that has it can call the webhook.")
}

fn activity(flow: &SavedFlow) -> &'static str {
    match flow.active {
        _ if flow.damaged.is_some() => "damaged",
        true => "active",
        false => "inactive",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finding_says_what_is_left_out_where_since_when_and_what_to_do() {
        for (items, place, expected) in [
            (Some(1), Some("page 1, item 2"), "1 item, left out (page 1, item 2), since"),
            (Some(12), None, "12 items, left out, since"),
            (None, None, "left out, since"),
        ] {
            let found: TriggerFinding = serde_json::from_value(json!({
                "what": "left out", "hint": "set `key`", "place": place, "items": items,
                "since": "2026-11-30T10:00:00Z", "seen": "2026-11-30T10:00:00Z"
            }))
            .unwrap();
            let text = finding("watch", &found);
            assert_eq!(text, format!("\nwatch: {expected} 2026-11-30 10:00:00\n  hint: set `key`"));
        }
    }
}

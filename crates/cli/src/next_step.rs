//! What the user can do next, in the words of the command line: with the command that does it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline::core::NextStep;

/// Words one step.
pub(crate) fn word(step: &NextStep) -> String {
    match step {
        NextStep::Text { text } => text.clone(),
        NextStep::ListConnections => "`trunkline connection list` lists the connections".to_owned(),
        NextStep::ListConnectors => "`trunkline connectors` lists them".to_owned(),
        NextStep::ListActions { connector: Some(name) } => format!("`trunkline actions {}` lists them", argument(name)),
        NextStep::ListActions { connector: None } => "`trunkline actions` lists them".to_owned(),
        NextStep::ListFlows => "`trunkline flow list` lists the saved flows".to_owned(),
        NextStep::ListRuns => "`trunkline runs` lists the runs".to_owned(),
        NextStep::ListItems { run, status } => format!("`trunkline runs items {run} --status {status}` lists them"),
        NextStep::ShowActionSchema { action } => {
            format!("`trunkline schema action {}` shows what it takes", argument(action))
        }
        NextStep::ShowConnectionSchema { connector: Some(name) } => {
            format!("`trunkline schema connection {}` shows the settings", argument(name))
        }
        NextStep::ShowConnectionSchema { connector: None } => {
            "`trunkline schema connection NAME` shows the settings of one".to_owned()
        }
        NextStep::CheckConnection { connection } => {
            format!("`trunkline connection check {}` says whether it works", optional(connection, "NAME"))
        }
        NextStep::SignIn { connection } => {
            format!("`trunkline connection authorize {}` signs in, in the browser", argument(connection))
        }
        NextStep::ForceRemove { connection } => {
            format!("`trunkline connection remove {} --force` removes it anyway", argument(connection))
        }
        NextStep::AddConnection { connector: None } => "`trunkline connection add FILE` adds one".to_owned(),
        NextStep::AddConnection { connector: Some(connector) } => format!(
            "there is no connection to {connector} yet: `trunkline connection add FILE` adds one, `trunkline schema \
             connection {}` shows its settings",
            argument(connector)
        ),
        NextStep::BindConnection { flow, binding, connector, connections } => {
            let to = connector.as_ref().map_or_else(String::new, |connector| format!(" to {connector}"));
            let of = if connections.is_empty() { String::new() } else { format!(": {}", connections.join(", ")) };
            let name = match &connections[..] {
                [only] => argument(only),
                _ => Cow::Borrowed("NAME"),
            };
            let binding = argument(binding);
            match flow {
                Some(_) => format!(
                    "`trunkline flow add FILE --replace --connection {binding}={name}` binds one of the connections{to}{of}"
                ),
                None => format!("name one of the connections{to} with `--connection {binding}={name}`{of}"),
            }
        }
        NextStep::SaveFlow => "`trunkline flow add FILE` saves one".to_owned(),
        NextStep::SaveFlowInactive => {
            "`trunkline flow add FILE --inactive` saves the flow without activating it".to_owned()
        }
        NextStep::ActivateFlow { flow } => format!("`trunkline flow activate {}` activates it", argument(flow)),
        NextStep::DeactivateFlow { flow } => {
            format!("`trunkline flow deactivate {}` stops its trigger", optional(flow, "NAME"))
        }
        NextStep::SetWebhookSecret { flow } => {
            format!("`trunkline flow secret {} FILE` saves its secret", argument(flow))
        }
        NextStep::ReplaceExisting => "`--replace` replaces the existing one".to_owned(),
        NextStep::ResumeRun { run } => format!("`trunkline runs resume {}` continues it", optional(run, "ID")),
        NextStep::CancelRun { run } => format!("`trunkline runs cancel {}` ends it", optional(run, "ID")),
        NextStep::RerunRun { run, unknown: true, .. } => {
            format!(
                "`trunkline runs rerun {run} --failed --unknown` looks up what is unknown, where the action can do that"
            )
        }
        NextStep::RerunRun { run, corrected: true, .. } => {
            format!("`trunkline runs rerun {run} --failed --flow NAME|FILE` continues with a corrected flow")
        }
        NextStep::RerunRun { run, .. } => format!("`trunkline runs rerun {run} --failed` reruns what has failed"),
        NextStep::ResolveStep { run, step: Some(step) } => {
            format!("`trunkline runs resolve {run} {} done|retry|fail` records its outcome", argument(step))
        }
        NextStep::ResolveStep { run, step: None } => {
            format!("`trunkline runs resolve {run} STEP done|retry|fail` records the outcome of one")
        }
        NextStep::SetOption { name } => format!("`--{name}` sets it"),
    }
}

/// The members that hold an error, or a list of findings.
const WORDED: [&str; 3] = ["error", "findings", "tokens_not_revoked"];

/// Returns a value as JSON in which the `hint` of an error or of a finding is in the words of the command line. The
/// value is one of them, or has some in its members.
pub(crate) fn worded(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    reword(&mut value);
    for member in WORDED {
        match value.get_mut(member) {
            Some(Value::Array(all)) => all.iter_mut().for_each(reword),
            Some(one) => reword(one),
            None => {}
        }
    }
    value
}

fn reword(found: &mut Value) {
    let Some(next) = found.get("next") else { return };
    if let Ok(steps) = Vec::<NextStep>::deserialize(next) {
        let words: Vec<_> = steps.iter().map(word).collect();
        found["hint"] = words.join("; ").into();
    }
}

/// Returns a text as one argument of a shell.
pub(crate) fn argument(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

fn optional<'a>(text: &'a Option<String>, placeholder: &'a str) -> Cow<'a, str> {
    text.as_deref().map_or(Cow::Borrowed(placeholder), argument)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use serde_json::json;
    use trunkline::core::{Error, ErrorKind};

    use super::*;
    use crate::args::Arguments;

    /// Returns the commands and options that do not exist among those in backticks.
    fn unknown_words(text: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        for quoted in text.split('`').skip(1).step_by(2) {
            let mut command = Arguments::command();
            command.build();
            let mut at = &command;
            for word in quoted.split_whitespace() {
                let option = word.strip_prefix("--").map(|option| option.split('=').next().unwrap_or(option));
                match option {
                    // An option alone belongs to the command that failed.
                    Some(option) if !quoted.starts_with("trunkline ") => {
                        let all = all_commands(&command);
                        if !all.iter().any(|one| one.get_arguments().any(|known| known.get_long() == Some(option))) {
                            unknown.push(word.to_owned());
                        }
                    }
                    Some(option) => {
                        if !at.get_arguments().any(|known| known.get_long() == Some(option)) {
                            unknown.push(word.to_owned());
                        }
                    }
                    None if word == "trunkline" || !quoted.starts_with("trunkline ") => {}
                    None => match at.find_subcommand(word) {
                        Some(found) => at = found,
                        None if at.has_subcommands() && at.get_positionals().next().is_none() => {
                            unknown.push(word.to_owned());
                        }
                        None => {}
                    },
                }
            }
        }
        unknown
    }

    fn all_commands(command: &clap::Command) -> Vec<&clap::Command> {
        command.get_subcommands().flat_map(all_commands).chain([command]).collect()
    }

    #[test]
    fn every_step_is_worded_with_commands_that_exist() {
        for step in NextStep::samples() {
            let text = word(&step);
            println!("{text}");
            assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            assert_eq!(unknown_words(&text), Vec::<String>::new(), "{text}");
            let plain = matches!(step, NextStep::Text { .. });
            assert_eq!(text.contains('`'), !plain, "{text}");
        }
    }

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        assert_eq!(unknown_words("`trunkline connection lost` lists them"), ["lost"]);
        assert_eq!(unknown_words("`trunkline runs rerun 7 --fallen`"), ["--fallen"]);
        assert_eq!(unknown_words("`--replaces` replaces it"), ["--replaces"]);
    }

    #[test]
    fn a_name_with_spaces_is_one_argument() {
        let step = NextStep::SignIn { connection: "the dam's".to_owned() };
        assert!(word(&step).contains(r"authorize 'the dam'\''s'` signs in"), "{}", word(&step));
    }

    #[test]
    fn the_hint_of_an_error_in_json_names_the_command() {
        let error = Error::new(ErrorKind::NotFound, "there is no run 7").next(NextStep::ListRuns);
        let hint = json!("`trunkline runs` lists the runs");
        assert_eq!(worded(&error)["hint"], hint);
        assert_eq!(worded(&json!({ "key": "a", "error": error }))["error"]["hint"], hint);
        assert_eq!(worded(&json!({ "ok": false, "findings": [error] }))["findings"][0]["hint"], hint);
        assert_eq!(worded(&error)["next"], json!([{ "type": "list_runs" }]), "the data stays");
    }
}

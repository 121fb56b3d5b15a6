//! Questions before a document from elsewhere gets something of this machine. They are asked on a terminal only; a script
//! names what it allows with options, and an error names the options.

use std::{collections::BTreeMap, io::IsTerminal};

use trunkline::{
    Runtime, activation_reason,
    core::{ConnectorSpec, ErrorKind, ForeignText, Result},
    flow::Flow,
    operations::{
        Caller,
        flows::{FlowAdded, FlowDraft, FlowName, GetFlow, SaveFlow},
    },
};

use crate::{lists::saved_connections, next_step::argument, output::Output};

/// What the user answers, on a terminal.
pub(crate) trait Answers {
    /// Asks a question that is answered with yes or no, or returns `None` if there is no user to ask.
    fn yes(&self, question: &str) -> Option<bool>;
}

impl Answers for Output {
    fn yes(&self, question: &str) -> Option<bool> {
        if !self.is_interactive() || !std::io::stdin().is_terminal() {
            return None;
        }
        self.info(&format!("{question} [y/N]"));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(["y", "yes"].contains(&&*line.trim().to_ascii_lowercase()))
    }
}

/// Saves a flow in a file. Before, it binds connections and activates the trigger of the flow, if the user agrees.
///
/// # Errors
///
/// As [`SaveFlow`], with the command that names the connections if one is missing and there is no user to ask.
pub(crate) async fn save(
    runtime: &Runtime,
    file: &str,
    mut draft: FlowDraft,
    answers: &impl Answers,
) -> Result<FlowAdded> {
    let command = complete(runtime, file, &mut draft, answers).await?;
    let saved = runtime.execute::<SaveFlow>(&Caller::owner(), draft).await;
    saved.map_err(|error| match command {
        Some(command) if error.kind() == ErrorKind::Config => error.next(format!("`{command}` names the connections")),
        _ => error,
    })
}

/// Completes a draft. Returns the command that names the connections, if the draft still lacks some.
async fn complete(
    runtime: &Runtime,
    file: &str,
    draft: &mut FlowDraft,
    answers: &impl Answers,
) -> Result<Option<String>> {
    // What is wrong with the document is reported when it is saved.
    let Some(flow) = draft.flow.document.as_str().and_then(|text| Flow::parse(&draft.flow.file, text).ok()) else {
        return Ok(None);
    };
    let name = FlowName { name: flow.name().to_owned() };
    let previous = runtime.execute::<GetFlow>(&Caller::owner(), name).await.ok().filter(|_| draft.replace);
    let is_bound = |binding: &String| {
        let kept = previous.as_ref().is_some_and(|one| one.flow.connections.contains_key(binding));
        kept || draft.connections.contains_key(binding)
    };
    // A misspelt binding is reported first.
    if !flow.unknown_bindings(draft.connections.keys()).is_empty() {
        return Ok(None);
    }
    let unbound: Vec<_> = flow.connections().iter().filter(|(binding, _)| !is_bound(binding)).collect();
    if draft.active != Some(false) && !unbound.is_empty() {
        let fitting = fitting(runtime, &unbound).await?;
        let agreed = fitting.clone().filter(|fitting| {
            let pairs: Vec<_> = fitting
                .iter()
                .map(|(binding, name)| format!("  {}={}", ForeignText(binding), ForeignText(name)))
                .collect();
            let pairs = pairs.join("\n");
            let question = format!("{} would use these connections:\n{pairs}\nBind them?", ForeignText(flow.name()));
            answers.yes(&question) == Some(true)
        });
        match agreed {
            Some(agreed) => draft.connections.extend(agreed),
            None => return Ok(Some(command(file, draft.replace, &flow, &unbound, &fitting.unwrap_or_default()))),
        }
    }
    let stays = previous.filter(|one| one.flow.active).is_some_and(|one| {
        let mut connections = one.flow.connections.clone();
        connections.retain(|binding, _| flow.connections().contains_key(binding));
        connections.extend(draft.connections.clone());
        Flow::from_value(one.document)
            .is_ok_and(|before| activation_reason(&one.flow, &before, &flow, &connections).is_none())
    });
    if draft.active.is_none() && flow.trigger().is_some() && !stays {
        let name = ForeignText(flow.name());
        draft.active = answers.yes(&format!("The trigger of {name} starts runs by itself. Activate it?"));
    }
    Ok(None)
}

/// Returns the only connection that fits for each binding, or `None` if there are none or several for one of them.
async fn fitting(runtime: &Runtime, unbound: &[(&String, &String)]) -> Result<Option<BTreeMap<String, String>>> {
    let known = saved_connections(runtime).await?;
    let only = |connector: &String| {
        let mut fitting = known.iter().filter(|one| ConnectorSpec::name_in(&one.connector) == connector);
        fitting.next().filter(|_| fitting.next().is_none()).map(|one| one.name.clone())
    };
    Ok(unbound.iter().map(|(binding, connector)| Some(((*binding).clone(), only(connector)?))).collect())
}

/// Returns the command that saves a flow with these connections.
fn command(
    file: &str,
    replace: bool,
    flow: &Flow,
    unbound: &[(&String, &String)],
    fitting: &BTreeMap<String, String>,
) -> String {
    let mut command = format!("trunkline flow add {}", argument(file));
    for (binding, _) in unbound {
        let name = fitting.get(*binding).map_or("NAME", String::as_str);
        command += &format!(" --connection {}", argument(&format!("{binding}={name}")));
    }
    command += if replace { " --replace" } else { "" };
    command += if flow.trigger().is_some() { " --activate" } else { "" };
    command
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::{Value, json};
    use trunkline::{
        Ports,
        core::Registry,
        operations::{
            PageQuery,
            connections::{AddConnections, ConnectionDocuments, ConnectionsToAdd},
            flows::ListFlows,
        },
    };

    use super::*;

    /// A user that answers each question alike, or no user.
    struct User(Option<bool>, RefCell<Vec<String>>);

    impl Answers for User {
        fn yes(&self, question: &str) -> Option<bool> {
            self.1.borrow_mut().push(question.to_owned());
            self.0
        }
    }

    /// Adds a flow with a trigger as `flow add` does, and returns the questions and the flow that is saved, if it is.
    async fn add(change: Value, answer: Option<bool>) -> (Vec<String>, Result<Value>) {
        let runtime = Runtime::new(Registry::discover().unwrap(), Ports::in_memory());
        let settings = json!({
            "name": "dam", "connector": "http-v1.0", "endpointUrl": "https://dam.example.com", "authentication": "none"
        });
        let connections = ConnectionsToAdd {
            connections: ConnectionDocuments::One(settings),
            replace: false,
            allow_references: false,
        };
        runtime.execute::<AddConnections>(&Caller::owner(), connections).await.unwrap();
        let document = json!({
            "name": "theirs", "connections": { "to": "http" },
            "trigger": { "schedule": { "cron": "@daily" } },
            "steps": [{ "id": "one", "action": "request", "connection": "to", "input": { "path": "/" } }]
        });
        let mut draft = json!({ "flow": { "file": "theirs.json", "document": document.to_string() } });
        draft.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let draft: FlowDraft = serde_json::from_value(draft).unwrap();
        let user = User(answer, RefCell::default());
        let saved = save(&runtime, "theirs.json", draft, &user).await.map(|saved| json!(saved.added));
        let count = runtime.execute::<ListFlows>(&Caller::owner(), PageQuery::default()).await.unwrap().items.len();
        assert_eq!(count, usize::from(saved.is_ok()));
        (user.1.into_inner(), saved)
    }

    #[tokio::test]
    async fn a_file_gets_no_connection_and_no_activity_that_the_user_does_not_name() {
        let (questions, refused) = add(json!({}), None).await;
        let hint = refused.unwrap_err().advice().unwrap();
        assert!(hint.contains("`trunkline flow add theirs.json --connection to=dam --activate`"), "{hint}");
        assert!(questions[0].contains("to=dam"), "{questions:?}");
        let (_, refused) = add(json!({}), Some(false)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
        // The explicit form asks nothing.
        let named = json!({ "to": "dam" });
        let (questions, saved) = add(json!({ "connections": named, "active": true }), None).await;
        let saved = saved.unwrap();
        assert_eq!((questions.len(), &saved["active"], &saved["connections"]), (0, &json!(true), &named));
        // A named connection does not activate, and there is no user to ask.
        let (questions, saved) = add(json!({ "connections": named }), None).await;
        assert_eq!((questions.len(), &saved.unwrap()["active"]), (1, &json!(false)));
        let (_, saved) = add(json!({ "active": false }), None).await;
        let saved = saved.unwrap();
        assert_eq!((&saved["active"], &saved["connections"]), (&json!(false), &json!({})));
    }

    /// An active flow that starts by the same stays active without a question; the twin starts by something else.
    #[tokio::test]
    async fn another_kind_of_trigger_is_asked_for_again() {
        let runtime = Runtime::new(Registry::discover().unwrap(), Ports::in_memory());
        let (daily, hook) = (json!({ "schedule": { "cron": "@daily" } }), json!({ "webhook": {} }));
        let draft = |trigger: &Value, active: Option<bool>| -> FlowDraft {
            let document = json!({ "name": "theirs", "trigger": trigger, "steps": [] }).to_string();
            let flow = json!({ "file": "theirs.json", "document": document });
            serde_json::from_value(json!({ "flow": flow, "replace": active.is_none(), "active": active })).unwrap()
        };
        runtime.execute::<SaveFlow>(&Caller::owner(), draft(&daily, Some(true))).await.unwrap();
        for (trigger, is_asked) in [(&daily, false), (&hook, true)] {
            let (mut draft, user) = (draft(trigger, None), User(None, RefCell::default()));
            complete(&runtime, "flow.json", &mut draft, &user).await.unwrap();
            let saved = runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap();
            assert_eq!((!user.1.into_inner().is_empty(), !saved.added.active), (is_asked, is_asked), "{trigger}");
        }
    }

    /// The sabotage twin: a user that agrees to everything gives the file both.
    #[tokio::test]
    async fn with_the_consent_of_the_user_the_file_gets_both() {
        let (questions, saved) = add(json!({}), Some(true)).await;
        let saved = saved.unwrap();
        assert_eq!((questions.len(), &saved["active"], &saved["connections"]["to"]), (2, &json!(true), &json!("dam")));
    }
}

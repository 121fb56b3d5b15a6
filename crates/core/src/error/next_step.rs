//! What the user can do next, as data.
//!
//! The idea: a library does not know whether its user has a terminal, a browser or an HTTP client in front of them. It
//! says what to do, and each door says how: the command line names a command, the HTTP API a request. `Display` is the
//! neutral wording for everything else, such as logs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Redactor;

/// One thing that the user can do next.
///
/// The enum is meant to be matched without a wildcard: a door that does not word a new variant does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NextStep {
    /// Plain advice, one clause without a full stop. It names no command of any door.
    Text {
        /// The advice.
        text: String,
    },
    /// List the connections.
    ListConnections,
    /// List the connectors.
    ListConnectors,
    /// List the actions of a connector, or of all.
    ListActions {
        /// The name of the connector.
        connector: Option<String>,
    },
    /// List the saved flows.
    ListFlows,
    /// List the runs.
    ListRuns,
    /// List the items of a run that have this status.
    ListItems {
        /// The id of the run.
        run: String,
        /// The status, such as `unknown`.
        status: String,
    },
    /// Compare the input with the schema of the action.
    ShowActionSchema {
        /// The full name of the action.
        action: String,
    },
    /// Compare the settings with those that a connector takes.
    ShowConnectionSchema {
        /// The name of the connector.
        connector: Option<String>,
    },
    /// Check whether a connection works.
    CheckConnection {
        /// The name of the connection.
        connection: Option<String>,
    },
    /// Sign in to a connection in the browser.
    SignIn {
        /// The name of the connection.
        connection: String,
    },
    /// Remove a connection although it is in use.
    ForceRemove {
        /// The name of the connection.
        connection: String,
    },
    /// Add a connection where there is none.
    AddConnection {
        /// The name of the connector that it has to be to.
        connector: Option<String>,
    },
    /// Bind a connection to a name that the flow declares.
    BindConnection {
        /// The name of the saved flow; none for a run that is started with connections of its own.
        flow: Option<String>,
        /// The name that the flow declares.
        binding: String,
        /// The connector that the connection must belong to.
        connector: Option<String>,
        /// Connections that fit, as far as they are known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        connections: Vec<String>,
    },
    /// Save a flow.
    SaveFlow,
    /// Save a flow without activating it.
    SaveFlowInactive,
    /// Activate a saved flow.
    ActivateFlow {
        /// The name of the flow.
        flow: String,
    },
    /// Deactivate a saved flow.
    DeactivateFlow {
        /// The name of the flow; none if there are several.
        flow: Option<String>,
    },
    /// Save the secret that the calls of a flow's webhook are signed with.
    SetWebhookSecret {
        /// The name of the flow.
        flow: String,
    },
    /// Replace the saved object of this name.
    ReplaceExisting,
    /// Resume a run.
    ResumeRun {
        /// The id of the run; none if there are several.
        run: Option<String>,
    },
    /// Cancel a run.
    CancelRun {
        /// The id of the run; none if there are several.
        run: Option<String>,
    },
    /// Rerun the failed items of a run.
    RerunRun {
        /// The id of the run.
        run: String,
        /// Whether items with an unknown outcome are looked up and rerun too.
        unknown: bool,
        /// Whether a corrected flow is needed.
        corrected: bool,
    },
    /// Record the outcome of a step or item that is unknown.
    ResolveStep {
        /// The id of the run.
        run: String,
        /// The path of the step; none if there are several.
        step: Option<String>,
    },
    /// Set an option of the process or call.
    SetOption {
        /// The name of the option, such as `public-url`.
        name: String,
    },
}

impl NextStep {
    /// Puts `***` in place of secrets, in all texts that a service or a user may have chosen.
    pub(crate) fn redact(&mut self, redactor: &Redactor) {
        let Ok(Value::Object(mut members)) = serde_json::to_value(&*self) else { return };
        let texts = members.iter_mut().filter(|(name, _)| *name != "type");
        texts.for_each(|(_, text)| *text = redactor.redact_json(text));
        *self = serde_json::from_value(members.into()).unwrap_or_else(|_| NextStep::from("***"));
    }

    /// Returns one step of each variant, with its optional members and without. A door tests its wording with them.
    pub fn samples() -> Vec<NextStep> {
        use NextStep::*;
        let some = |text: &str| Some(text.to_owned());
        let (run, flow) = (|| "7d4f9a".to_owned(), || "nightly".to_owned());
        let bind = |flow, connector, connections: &[&str]| {
            let connections = connections.iter().map(|one| (*one).to_owned()).collect();
            BindConnection { flow, binding: "source".to_owned(), connector, connections }
        };
        vec![
            Text { text: "lower the rate".to_owned() },
            ListConnections,
            ListConnectors,
            ListActions { connector: None },
            ListActions { connector: some("mediavalet") },
            ListFlows,
            ListRuns,
            ListItems { run: run(), status: "unknown".to_owned() },
            ShowActionSchema { action: "mediavalet.asset.get".to_owned() },
            ShowConnectionSchema { connector: None },
            ShowConnectionSchema { connector: some("mediavalet") },
            CheckConnection { connection: None },
            CheckConnection { connection: some("dam") },
            SignIn { connection: "dam".to_owned() },
            ForceRemove { connection: "dam".to_owned() },
            AddConnection { connector: None },
            AddConnection { connector: some("mediavalet") },
            bind(None, None, &[]),
            bind(None, some("mediavalet"), &["dam", "archive"]),
            bind(Some(flow()), None, &[]),
            bind(Some(flow()), some("mediavalet"), &["dam"]),
            SaveFlow,
            SaveFlowInactive,
            ActivateFlow { flow: flow() },
            DeactivateFlow { flow: None },
            DeactivateFlow { flow: Some(flow()) },
            SetWebhookSecret { flow: flow() },
            ReplaceExisting,
            ResumeRun { run: None },
            ResumeRun { run: Some(run()) },
            CancelRun { run: None },
            CancelRun { run: Some(run()) },
            RerunRun { run: run(), unknown: false, corrected: false },
            RerunRun { run: run(), unknown: true, corrected: false },
            RerunRun { run: run(), unknown: false, corrected: true },
            ResolveStep { run: run(), step: None },
            ResolveStep { run: run(), step: some("copy/a1/upload") },
            SetOption { name: "public-url".to_owned() },
        ]
    }
}

impl From<String> for NextStep {
    fn from(text: String) -> Self {
        NextStep::Text { text }
    }
}

impl From<&str> for NextStep {
    fn from(text: &str) -> Self {
        NextStep::Text { text: text.to_owned() }
    }
}

/// Writes the neutral wording: what to do, without a command or request of any door.
impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use NextStep::*;
        match self {
            Text { text } => f.write_str(text),
            ListConnections => f.write_str("list the connections"),
            ListConnectors => f.write_str("list the connectors"),
            ListActions { connector: Some(connector) } => write!(f, "list the actions of {connector}"),
            ListActions { connector: None } => f.write_str("list the actions of the connector"),
            ListFlows => f.write_str("list the saved flows"),
            ListRuns => f.write_str("list the runs"),
            ListItems { run, status } => write!(f, "list the items of run {run} with the status {status}"),
            ShowActionSchema { action } => write!(f, "compare the input with the schema of {action}"),
            ShowConnectionSchema { connector: Some(connector) } => {
                write!(f, "compare the settings with the schema of a connection to {connector}")
            }
            ShowConnectionSchema { connector: None } => {
                f.write_str("compare the settings with the schema of a connection")
            }
            CheckConnection { connection: Some(connection) } => write!(f, "check the connection {connection}"),
            CheckConnection { connection: None } => f.write_str("check the connection"),
            SignIn { connection } => write!(f, "sign in to {connection} in the browser"),
            ForceRemove { connection } => write!(f, "force the removal of {connection} although it is in use"),
            AddConnection { connector: Some(connector) } => {
                write!(f, "add a connection to {connector}: there is none yet")
            }
            AddConnection { connector: None } => f.write_str("add a connection: there is none yet"),
            BindConnection { flow, binding, connector, connections } => {
                match connector {
                    Some(connector) if !connections.is_empty() => write!(
                        f,
                        "bind one of the connections to {connector} to {binding}: {}",
                        connections.join(", ")
                    )?,
                    Some(connector) => write!(f, "bind a connection to {connector} to {binding}")?,
                    None => write!(f, "bind a connection to {binding}")?,
                }
                flow.as_ref().map_or(Ok(()), |flow| write!(f, " of flow {flow}"))
            }
            SaveFlow => f.write_str("save the flow"),
            SaveFlowInactive => f.write_str("save the flow without activating it"),
            ActivateFlow { flow } => write!(f, "activate the flow {flow}"),
            DeactivateFlow { flow: Some(flow) } => write!(f, "deactivate the flow {flow}"),
            DeactivateFlow { flow: None } => f.write_str("deactivate the flow"),
            SetWebhookSecret { flow } => write!(f, "save the secret of the webhook of {flow}"),
            ReplaceExisting => f.write_str("replace the existing one"),
            ResumeRun { run: Some(run) } => write!(f, "resume run {run}"),
            ResumeRun { run: None } => f.write_str("resume the run"),
            CancelRun { run: Some(run) } => write!(f, "cancel run {run}"),
            CancelRun { run: None } => f.write_str("cancel the run"),
            RerunRun { run, unknown: false, corrected: false } => write!(f, "rerun the failed items of run {run}"),
            RerunRun { run, unknown: true, .. } => {
                write!(
                    f,
                    "rerun the failed and unknown items of run {run}: they are looked up where the action can do that"
                )
            }
            RerunRun { run, corrected: true, .. } => {
                write!(f, "rerun the failed items of run {run} with a corrected flow")
            }
            ResolveStep { run, step: Some(step) } => {
                write!(f, "resolve {step} of run {run} as done, retry or fail: that records its outcome")
            }
            ResolveStep { run, step: None } => {
                write!(f, "resolve the unknown steps of run {run} as done, retry or fail: that records their outcome")
            }
            SetOption { name } => write!(f, "set the option {name}"),
        }
    }
}

/// Returns all steps in one text. `word` words one of them; none gives `None`.
pub(crate) fn joined(steps: &[NextStep], word: impl Fn(&NextStep) -> String) -> Option<String> {
    let words: Vec<_> = steps.iter().map(word).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The members of JSON that hold next steps: `hint` as a text that every host can show, and `next` with the data if
/// there is more than texts. Earlier versions wrote `hint` alone.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AdviceMembers {
    /// What the user can do, as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The same as data, one by one, if there is more than texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    next: Vec<NextStep>,
}

impl AdviceMembers {
    pub(crate) fn of(steps: &[NextStep]) -> AdviceMembers {
        let only_text = matches!(steps, [] | [NextStep::Text { .. }]);
        let next = if only_text { Vec::new() } else { steps.to_vec() };
        AdviceMembers { hint: joined(steps, NextStep::to_string), next }
    }

    pub(crate) fn into_steps(self) -> Vec<NextStep> {
        match self.next.is_empty() {
            true => self.hint.into_iter().map(NextStep::from).collect(),
            false => self.next,
        }
    }
}

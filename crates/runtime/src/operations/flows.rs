//! Saved flows, and the check of flows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, Secret, Severity, Timestamp};
use trunkline_flow::{StepYield, Trigger};
use trunkline_store::SavedFlow;

use super::{
    FlowFile, FlowText, Listed, PageQuery, PageRequest, operation_table,
    precondition::{Precondition, tag_of_flow},
};
use crate::{Runtime, SaveOptions};

operation_table! {
    /// Checks a flow and lists everything that is wrong with it.
    ValidateFlow: "flows.validate", validate(FlowCandidate) -> FlowReport, Viewer, Read;
    /// Lists what each step of a flow yields to the steps after it.
    ListOutputs: "flows.outputs", outputs(FlowFile) -> Vec<StepYield>, Viewer, Read;
    /// Checks a flow and saves it under its name, with its connections and a default input.
    SaveFlow: "flows.save", save(FlowDraft) -> FlowAdded, Editor, Idempotent;
    /// Lists the saved flows, by name.
    ListFlows: "flows.list", list(PageQuery) -> Listed<FlowSummary>, Viewer, Read;
    /// Returns a saved flow with its document.
    GetFlow: "flows.get", get(FlowName) -> FlowDetails, Viewer, Read, etag;
    /// Lets the trigger of a saved flow start runs.
    ActivateFlow: "flows.activate", activate(FlowChange) -> FlowActivated, Editor, Idempotent;
    /// Stops the trigger of a saved flow from starting runs. Running runs continue.
    DeactivateFlow: "flows.deactivate", deactivate(FlowChange) -> FlowDeactivated, Editor, Idempotent;
    /// Removes a saved flow and the deduplication keys of its trigger. Its runs stay.
    RemoveFlow: "flows.remove", remove(FlowChange) -> FlowRemoved, Editor, Delete;
    /// Gives the webhook of a saved flow a new address. The previous one stops working.
    NewWebhookAddress: "flows.new_webhook_address", new_webhook_address(FlowName) -> WebhookAddress, Editor, Create;
    /// Saves the secret that the sender of a flow's webhook signs with.
    SetWebhookSecret: "flows.set_webhook_secret",
        set_webhook_secret(WebhookSecret) -> WebhookSecretSaved, Editor, Idempotent;
}

async fn outputs(runtime: &Runtime, input: FlowFile) -> Result<Vec<StepYield>> {
    input.outputs(runtime.registry())
}

/// Names a saved flow.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowName {
    /// The flow.
    pub name: String,
}

/// Names a saved flow to change.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowChange {
    /// The flow.
    pub name: String,
    /// The entity tag of the flow as the caller has seen it, written as in the header `If-Match`. If the flow is another
    /// one now, nothing is changed.
    #[serde(default)]
    #[schemars(regex(pattern = super::precondition::ENTITY_TAGS))]
    pub if_match: Option<String>,
}

impl FlowChange {
    /// Returns the flow if it is as the caller expects it, or nothing if the caller expects nothing.
    async fn seen(&self, runtime: &Runtime) -> Result<Option<SavedFlow>> {
        let expected = Precondition::read(self.if_match.as_deref(), None)?;
        if !expected.is_given() {
            return Ok(None);
        }
        let saved = runtime.flows().saved_flow(&self.name).await?;
        expected.check(&format!("flow {}", self.name), Some(&tag_of_flow(&saved)))?;
        Ok(Some(saved))
    }
}

/// A flow to check, and the connections to check it with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowCandidate {
    /// The flow.
    pub flow: FlowFile,
    /// Connections by the name that the flow declares. The flow is checked against the scopes that they were granted.
    #[serde(default)]
    pub connections: BTreeMap<String, String>,
}

/// The result of a check.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowReport {
    /// The name of the document.
    pub file: String,
    /// Whether the flow can be run.
    pub ok: bool,
    /// The number of errors.
    pub errors: usize,
    /// The number of warnings.
    pub warnings: usize,
    /// Everything that was found.
    pub findings: Vec<Diagnostic>,
}

async fn validate(runtime: &Runtime, input: FlowCandidate) -> Result<FlowReport> {
    let findings = input.flow.validate(runtime, &input.connections).await?;
    let errors = findings.iter().filter(|one| one.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    Ok(FlowReport { file: input.flow.file, ok: errors == 0, errors, warnings, findings })
}

/// A flow to save.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowDraft {
    /// The flow. The flows that it calls have to be saved.
    pub flow: FlowText,
    /// The connection for each connection that the flow declares. One that is missing keeps the connection of the flow that
    /// is replaced. No other connection is bound.
    #[serde(default)]
    pub connections: BTreeMap<String, String>,
    /// The default input, which the input of a run is laid over. Without it, a flow that is replaced keeps its own.
    #[serde(default)]
    pub input: Option<Map<String, Value>>,
    /// Whether its trigger starts runs. Without it, a flow that replaces an active one is active if its trigger is of the
    /// same kind and watches the same connection, and if it uses no further connection. Every other one is not. With `false`,
    /// connections may be missing.
    #[serde(default)]
    pub active: Option<bool>,
    /// Replace the flow of this name.
    #[serde(default)]
    pub replace: bool,
}

/// The result of saving a flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowAdded {
    /// The saved flow.
    pub added: SavedFlow,
    /// The path of its webhook below the URL of the server, if it has a new one. It is shown only this once.
    pub webhook: Option<String>,
    /// The whole URL of this webhook, where the public URL of the server is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Warnings of the check of the flow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

async fn save(runtime: &Runtime, input: FlowDraft) -> Result<FlowAdded> {
    let name = input.flow.read().0.map(|flow| flow.name().to_owned());
    let previous = runtime.previous(name.as_deref().unwrap_or_default()).await?;
    save_over(runtime, input, previous).await
}

/// Saves a flow in place of `previous`, the saved flow of its name.
pub(super) async fn save_over(runtime: &Runtime, input: FlowDraft, previous: Option<SavedFlow>) -> Result<FlowAdded> {
    let FlowDraft { flow: text, connections: bindings, input, active, replace } = input;
    let options = SaveOptions { bindings, input, active, replace };
    let (flow, mut found) = text.read();
    let plan = match &flow {
        Some(flow) => Some(runtime.plan_to_save(flow, previous, &options).await?),
        None => None,
    };
    found.extend(text.located(plan.iter().flat_map(|plan| plan.found.clone()).collect()));
    let (plan, mut warnings) = text.accept(plan, Diagnostic::bounded(found))?;
    let flow = plan.flow.clone();
    warnings.extend(runtime.trigger_warnings(&plan, active).await?);
    let saved = runtime.save_planned(plan, options).await?;
    let webhook = match flow.trigger() {
        Some(Trigger::Webhook(_)) if saved.token_hash.is_none() => {
            Some(runtime.new_webhook_address(&saved.name).await?.expose().to_owned())
        }
        _ => None,
    };
    let url = webhook.as_deref().and_then(|path| runtime.public_url(path));
    Ok(FlowAdded { added: saved, webhook, url, warnings })
}

/// A saved flow in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowSummary {
    /// The flow.
    #[serde(flatten)]
    pub flow: SavedFlow,
    /// The kind of its trigger: `schedule`, `poll`, `webhook` or `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The times of its schedule, as a cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// When a run is due next, if its schedule is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

async fn list(runtime: &Runtime, input: PageQuery) -> Result<Listed<FlowSummary>> {
    let request = PageRequest::<String>::read("flows.list", input.limit, input.cursor.as_deref())?;
    let found = runtime.flows().flow_page(request.after.as_deref(), request.limit + 1).await?;
    let page = request.page(found, |flow| flow.name.clone());
    let mut items = Vec::new();
    for mut flow in page.items {
        let document = match flow.damaged {
            None => runtime.journal().flow(&flow.version).await,
            Some(_) => Ok(Value::Null),
        };
        // A document that is damaged does not hide the other flows; a store that does not work is an error.
        let document = document.or_else(|error| match error.store_fault() {
            None => {
                flow.damaged = Some(error.message().to_owned());
                Ok(Value::Null)
            }
            Some(_) => Err(error),
        })?;
        let kinds = ["schedule", "poll", "webhook", "event"];
        let trigger = kinds.into_iter().find(|kind| document["trigger"].get(kind).is_some()).map(str::to_owned);
        let cron = document.pointer("/trigger/schedule/cron").and_then(Value::as_str).map(str::to_owned);
        let next = if flow.damaged.is_none() { next_due(runtime, &flow).await } else { None };
        items.push(FlowSummary { flow, trigger, cron, next });
    }
    Ok(Listed { items, next: page.next, damaged: page.damaged })
}

/// Returns when a run of a flow is due next. There is none without an active schedule.
async fn next_due(runtime: &Runtime, saved: &SavedFlow) -> Option<Timestamp> {
    let flow = runtime.flow_of(saved).await.ok().filter(|_| saved.active)?;
    match flow.trigger() {
        Some(Trigger::Schedule(schedule)) => schedule.next(runtime.now()),
        _ => None,
    }
}

/// A saved flow with its document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowDetails {
    /// The flow.
    #[serde(flatten)]
    pub flow: SavedFlow,
    /// The document of its version.
    pub document: Value,
    /// When a run is due next, if its schedule is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The entity tag of the flow, which stands in the header `ETag`.
    #[serde(skip)]
    pub etag: String,
}

async fn get(runtime: &Runtime, input: FlowName) -> Result<FlowDetails> {
    let flow = runtime.flows().saved_flow(&input.name).await?;
    let document = runtime.journal().flow(&flow.version).await?;
    let next = next_due(runtime, &flow).await;
    Ok(FlowDetails { etag: tag_of_flow(&flow), flow, document, next })
}

/// The flow that was activated.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowActivated {
    /// Its name.
    pub activated: String,
}

async fn activate(runtime: &Runtime, input: FlowChange) -> Result<FlowActivated> {
    runtime.set_activity(&input.name, true, input.seen(runtime).await?).await?;
    Ok(FlowActivated { activated: input.name })
}

/// The flow that was deactivated.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowDeactivated {
    /// Its name.
    pub deactivated: String,
}

async fn deactivate(runtime: &Runtime, input: FlowChange) -> Result<FlowDeactivated> {
    runtime.set_activity(&input.name, false, input.seen(runtime).await?).await?;
    Ok(FlowDeactivated { deactivated: input.name })
}

/// The flow that was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowRemoved {
    /// Its name.
    pub removed: String,
}

async fn remove(runtime: &Runtime, input: FlowChange) -> Result<FlowRemoved> {
    runtime.remove_seen_flow(&input.name, input.seen(runtime).await?.as_ref()).await?;
    Ok(FlowRemoved { removed: input.name })
}

/// The address of a webhook.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WebhookAddress {
    /// The path below the URL of the server. It is shown only this once.
    pub webhook: String,
    /// The whole URL, where the public URL of the server is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

async fn new_webhook_address(runtime: &Runtime, input: FlowName) -> Result<WebhookAddress> {
    let address = runtime.new_webhook_address(&input.name).await?;
    let webhook = address.expose().to_owned();
    Ok(WebhookAddress { url: runtime.public_url(&webhook), webhook })
}

/// The secret that the calls of a webhook are signed with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSecret {
    /// The flow.
    pub name: String,
    /// The secret.
    #[schemars(with = "String", extend("writeOnly" = true, "format" = "password", "minLength" = 1))]
    pub secret: Secret,
}

/// The flow whose webhook has a secret now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WebhookSecretSaved {
    /// Its name.
    pub kept: String,
}

async fn set_webhook_secret(runtime: &Runtime, input: WebhookSecret) -> Result<WebhookSecretSaved> {
    if input.secret.expose().is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the secret of a webhook is empty"));
    }
    let (_, flow) = runtime.saved_flow(&input.name).await?;
    if matches!(flow.trigger(), Some(Trigger::Event(_))) {
        let message = format!("flow {} has no webhook of its own: its service sends events", input.name);
        return Err(Error::new(ErrorKind::Config, message).hint("only a `webhook` with a `signature` needs a secret"));
    }
    runtime.redactor().add(&input.secret);
    runtime.flows().set_webhook_secret(&input.name, Some(&input.secret)).await?;
    Ok(WebhookSecretSaved { kept: input.name })
}

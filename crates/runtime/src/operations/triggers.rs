//! The triggers of saved flows: when they start runs, and what they have started.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Timestamp};
use trunkline_flow::{Schedule, Trigger};
use trunkline_store::{FailedStart, TriggerDelivery, TriggerFinding};

use super::{Listed, flows::FlowName, operation_table};
use crate::Runtime;

operation_table! {
    /// Describes the trigger of a saved flow: when it starts runs next, and what it has started.
    GetTrigger: "flows.trigger", get(TriggerQuery) -> TriggerView, Viewer, Read;
    /// Lists the latest deliveries to the trigger of a saved flow, newest first, with what each has led to: at most 100.
    ListDeliveries: "flows.deliveries", deliveries(FlowName) -> Listed<TriggerDelivery>, Viewer, Read;
}

/// The most due times that are listed.
const MOST_TIMES: usize = 100;

/// Which trigger to describe.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerQuery {
    /// The name of the flow.
    pub name: String,
    /// The most due times of a schedule to list, 1 to 100; without it, 5.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The trigger of a saved flow.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TriggerView {
    /// The name of the flow.
    pub flow: String,
    /// Whether the trigger starts runs.
    pub active: bool,
    /// The kind of the trigger: `schedule`, `webhook`, `poll` or `event`. It is null if the flow has none.
    pub kind: Option<&'static str>,
    /// The trigger, as the document of the flow says it.
    pub trigger: Value,
    /// The next due times of a schedule, as if it were active.
    pub due: Vec<Timestamp>,
    /// The path of the webhook below the URL of the server, with `***` in the place of its token, which is shown only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// This path with the public URL of the server, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether the secret of a signed webhook, or a subscription, is saved.
    pub has_secret: bool,
    /// The time up to which the trigger has handled everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<Timestamp>,
    /// About when it started a run last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_started: Option<Timestamp>,
    /// The number of starts that have failed since the last one that succeeded.
    pub failures: u64,
    /// The latest failed starts, newest first.
    pub failed: Vec<FailedStart>,
    /// What the user of the flow has to know about its trigger.
    pub findings: Vec<TriggerFinding>,
    /// The number of deliveries, items or due times that are remembered, so that none starts a second run. It is null if
    /// the journal of the host does not count them.
    pub seen: Option<u64>,
}

async fn get(runtime: &Runtime, input: TriggerQuery) -> Result<TriggerView> {
    let TriggerQuery { name, limit } = input;
    let limit = limit.unwrap_or(5);
    if !(1..=MOST_TIMES).contains(&limit) {
        let message = format!("`limit` is {limit}, and has to be between 1 and {MOST_TIMES}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let (saved, flow) = runtime.saved_flow(&name).await?;
    let trigger = flow.trigger();
    let due = match trigger {
        Some(Trigger::Schedule(schedule)) => due(schedule, runtime.now(), limit),
        _ => Vec::new(),
    };
    let is_called = matches!(trigger, Some(Trigger::Webhook(_) | Trigger::Event(_))) && saved.token_hash.is_some();
    let path = is_called.then(|| format!("/webhooks/{name}/***"));
    let mut failed = saved.starts.failed;
    failed.reverse();
    Ok(TriggerView {
        active: saved.active,
        kind: trigger.map(Trigger::kind),
        trigger: flow.document()["trigger"].clone(),
        due,
        url: path.as_ref().and_then(|path| runtime.public_url(path)),
        path,
        has_secret: saved.has_secret,
        through: saved.through,
        last_started: saved.starts.last,
        failures: saved.starts.failures,
        failed,
        findings: saved.findings,
        seen: runtime.journal().count_taken(&name).await?,
        flow: name,
    })
}

async fn deliveries(runtime: &Runtime, input: FlowName) -> Result<Listed<TriggerDelivery>> {
    // A flow that does not exist is an error.
    let name = runtime.flows().saved_flow(&input.name).await?.name;
    let mut items = runtime.flows().deliveries(&name).await?;
    items.reverse();
    // There is one page: `serve` keeps the latest 100, records them once a second, and a crash loses those of the last one.
    Ok(Listed { items, next: None, damaged: Vec::new() })
}

/// Returns the next due times of a schedule.
fn due(schedule: &Schedule, now: Timestamp, most: usize) -> Vec<Timestamp> {
    std::iter::successors(schedule.next(now), |last| schedule.next(*last)).take(most).collect()
}

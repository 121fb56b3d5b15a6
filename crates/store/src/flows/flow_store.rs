//! The port through which a host stores its saved flows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep, Result, RunId, Secret, Timestamp, async_trait};

/// A flow that is saved under its name. [`FlowVersions::flow`](trunkline_engine::FlowVersions::flow) returns the
/// document of its version.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SavedFlow {
    /// Its name.
    pub name: String,
    /// The version that new runs get.
    pub version: String,
    /// Whether its trigger starts runs.
    pub active: bool,
    /// The connection for each connection that the flow declares.
    pub connections: BTreeMap<String, String>,
    /// The default input of every run.
    pub input: Map<String, Value>,
    /// The time up to which its trigger has handled everything; `None` before its first check.
    pub through: Option<Timestamp>,
    /// The hash of the token in the address of its webhook.
    #[serde(skip)]
    pub token_hash: Option<Vec<u8>>,
    /// Whether the secret of a signed webhook is saved.
    pub has_secret: bool,
    /// What its user has to know about its trigger.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<TriggerFinding>,
    /// What its trigger has started, and could not start.
    #[serde(skip_serializing_if = "TriggerStarts::is_empty")]
    pub starts: TriggerStarts,
    /// What is damaged, with what to do, if it cannot be read: only its name is known then. It is set in lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
    /// When it was first saved.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl SavedFlow {
    /// Returns whether this and `other` are one flow with the same document, connections and default input. So what a
    /// check of one of them found is true for the other.
    pub fn is_same_flow(&self, other: &SavedFlow) -> bool {
        (self.created_at, &self.version, &self.connections, &self.input)
            == (other.created_at, &other.version, &other.connections, &other.input)
    }

    /// Fails unless this flow, if it was seen, can be changed without a loss now that it is as `now`.
    pub(crate) fn check(seen: Option<&SavedFlow>, now: Option<&SavedFlow>) -> Result<()> {
        match (seen, now) {
            (Some(seen), Some(now)) if !seen.is_unchanged(now) => Err(was_changed(&now.name)),
            _ => Ok(()),
        }
    }

    /// Returns whether a flow that was made from this one can replace `other` without a loss: they are one flow, and
    /// the triggers of both are active or those of neither.
    pub fn is_unchanged(&self, other: &SavedFlow) -> bool {
        self.is_same_flow(other) && self.active == other.active
    }
}

/// Something that the user of a saved flow has to know about its trigger. It stays as long as it is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerFinding {
    /// What is so, such as why items of a list start no run.
    pub what: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where it was seen last, such as the place of an item in its list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The number of items of a list that it concerns; nothing if it concerns the trigger as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// When it was found first.
    pub since: Timestamp,
    /// About when it was seen last.
    pub seen: Timestamp,
    /// Until when a change is shown that nothing has to be done about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a trigger has started, and could not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerStarts {
    /// About when it started a run last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The number of starts that have failed since the last one that succeeded.
    #[serde(default)]
    pub failures: u64,
    /// The latest failed starts, oldest first: at most [`TriggerStarts::MOST_FAILED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedStart>,
}

impl TriggerStarts {
    /// The maximum number of failed starts that are kept.
    pub const MOST_FAILED: usize = 10;

    /// Returns whether the trigger has never started a run, nor failed to.
    pub fn is_empty(&self) -> bool {
        *self == TriggerStarts::default()
    }
}

/// A run that a trigger could not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedStart {
    /// When it was tried, the last time if it was repeated.
    pub at: Timestamp,
    /// The kind of the trigger, such as `schedule`.
    pub trigger: String,
    /// The time of the schedule that the run was due at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Why it failed.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Something that has come to the trigger of a flow: a call of its webhook, an event, a due time, or new items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerDelivery {
    /// When it was handled.
    pub at: Timestamp,
    /// The kind of the trigger, such as `webhook`.
    pub trigger: String,
    /// What it has led to.
    #[serde(flatten)]
    pub outcome: DeliveryOutcome,
}

/// What a delivery to a trigger has led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// It has started this run.
    Started {
        /// The run.
        run: RunId,
    },
    /// It was sent before, and has started this run then.
    Duplicate {
        /// The run.
        run: RunId,
    },
    /// It has started no run: a filter leaves it out, or another run is active.
    Skipped,
    /// It was refused.
    Refused {
        /// The status that the sender got.
        status: u16,
        /// Why it was refused.
        reason: String,
    },
}

impl TriggerDelivery {
    /// The maximum number of deliveries that are kept of a flow.
    pub const MOST: usize = 100;
}

/// A flow to be saved.
#[derive(Clone, Debug)]
pub struct FlowToSave {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its document.
    pub document: Value,
    /// The connection for each connection that the flow declares.
    pub connections: BTreeMap<String, String>,
    /// The default input of every run.
    pub input: Map<String, Value>,
    /// Whether its trigger starts runs.
    pub active: bool,
    /// Whether its trigger starts as if it had never checked, because it watches something else than before.
    pub restart: bool,
    /// The versions of the saved flows that it calls, directly or through others, as it was checked with them.
    pub called: BTreeMap<String, String>,
}

/// Stores flows under their names, for triggers and for callers that start them by name.
///
/// A flow that is replaced keeps its name, the address of its webhook, and the deduplication keys of its trigger. A
/// change is durable when its method returns, and is made as a whole or not at all. `trunkline_store::store_suite`
/// (feature `suite`) checks an implementation.
///
/// # Errors
///
/// Besides the errors that it lists, each method may return `store` if the storage cannot be read or written.
#[async_trait]
pub trait FlowStore: Send + Sync {
    /// Saves a flow. With `previous`, it replaces the flow of the same name, as the caller has looked at it. The
    /// deduplication keys of a flow that is replaced and the secrets of its webhook stay, what was found about its
    /// trigger does not. The comparison and the writing are one transaction.
    ///
    /// The document is stored under its version, as
    /// [`FlowVersions::keep_version`](trunkline_engine::FlowVersions::keep_version) does, so that runs can be accepted
    /// with it.
    ///
    /// # Errors
    ///
    /// `conflict` if a flow of this name exists and there is no `previous`, if the one that exists is not
    /// [unchanged](SavedFlow::is_unchanged), if a flow that it calls has another version now, or if its version exists
    /// with another document. `not_found` if the flow to replace was removed.
    async fn save_flow(&self, flow: FlowToSave, previous: Option<&SavedFlow>) -> Result<()>;

    /// Returns all saved flows, sorted by name. One that is [damaged](SavedFlow::damaged) does not hide the others.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn saved_flows(&self) -> Result<Vec<SavedFlow>>;

    /// Returns a page of the saved flows: those behind the name `after`, and at most `most`. The default implementation
    /// reads all of them.
    ///
    /// # Errors
    ///
    /// As [`saved_flows`](FlowStore::saved_flows).
    async fn flow_page(&self, after: Option<&str>, most: usize) -> Result<Vec<SavedFlow>> {
        let mut all = self.saved_flows().await?;
        all.retain(|one| after.is_none_or(|after| *one.name > *after));
        all.truncate(most);
        Ok(all)
    }

    /// Returns a saved flow.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn saved_flow(&self, name: &str) -> Result<SavedFlow>;

    /// Activates the trigger of a flow, as the caller has checked it with these versions of the flows that it calls. With `restart`, the trigger starts as if it had
    /// never checked: what came while it was inactive is not made up for. The comparison and the writing are one
    /// transaction.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name, `conflict` if it is not the [same](SavedFlow::is_same_flow), or if a
    /// flow that it calls has another version now.
    async fn activate_flow(&self, checked: &SavedFlow, called: &BTreeMap<String, String>, restart: bool) -> Result<()>;

    /// Deactivates the trigger of a flow, as the caller has `seen` it, or whatever the flow is now.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name, `conflict` if it is not [unchanged](SavedFlow::is_unchanged).
    async fn deactivate_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()>;

    /// Removes a flow, as the caller has `seen` it or whatever it is now, the secrets of its webhook, and the deduplication
    /// keys of its trigger. Its runs stay, and continue.
    ///
    /// If the journal is in another storage, the caller also removes the keys there, with
    /// [`TriggerDeduplication::forget_trigger`](trunkline_engine::TriggerDeduplication::forget_trigger).
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name, `conflict` if it is not [unchanged](SavedFlow::is_unchanged).
    async fn remove_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()>;

    /// Replaces what was found about the trigger of a flow.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn set_findings(&self, name: &str, findings: Vec<TriggerFinding>) -> Result<()>;

    /// Replaces what the trigger of a flow has started, and could not start. It stays if the flow is replaced.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn set_starts(&self, name: &str, starts: TriggerStarts) -> Result<()>;

    /// Adds deliveries to the trigger of a flow, oldest first. The newest [`TriggerDelivery::MOST`] of the flow are kept, and
    /// stay if it is replaced.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn add_deliveries(&self, name: &str, deliveries: Vec<TriggerDelivery>) -> Result<()>;

    /// Returns the deliveries to the trigger of a flow that are kept, oldest first.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn deliveries(&self, name: &str) -> Result<Vec<TriggerDelivery>>;

    /// Replaces the hash of the token in the address of a flow's webhook.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn set_webhook_token(&self, name: &str, hash: Vec<u8>) -> Result<()>;

    /// Saves the secret that the sender of a flow's webhook signs with, or what is known of the flow's subscription to an
    /// event, or removes it. It is protected at rest.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no flow of this name.
    async fn set_webhook_secret(&self, name: &str, secret: Option<&Secret>) -> Result<()>;

    /// Returns the secret that the sender of a flow's webhook signs with, if one is saved. Returns `None` for an
    /// unknown flow.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be read or decrypted.
    async fn webhook_secret(&self, name: &str) -> Result<Option<Secret>>;
}

/// The error of a flow that was changed after the caller had looked at it.
pub(crate) fn was_changed(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("flow {name} was changed by another caller in the meantime"))
        .next("look at the flow as it is now, and repeat the change if it is still right")
        .with_detail(ErrorDetail::NotAsExpected)
}

/// The error of a flow that must not be replaced.
pub(crate) fn exists_already(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("flow {name} exists already"))
        .next("give the new one another name")
        .next(NextStep::ReplaceExisting)
        .with_detail(ErrorDetail::NotAsExpected)
}

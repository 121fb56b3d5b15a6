//! The port through which a host stores connections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{
    Connection, Error, ErrorDetail, ErrorKind, NextStep, Result, RunId, Schema, Secret, SignIn, SignInState, Timestamp,
    async_trait,
};
use trunkline_engine::RunStatus;

/// A connection, without its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionSummary {
    /// Its name.
    pub name: String,
    /// Connector and version, such as `mediavalet-v1.0`.
    pub connector: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its document was last saved.
    pub updated_at: Timestamp,
    /// The state of its sign-in; `None` if it has never requested a token, or needs none.
    pub sign_in: Option<SignIn>,
    /// The unfinished runs that use it.
    pub used_by: Vec<ConnectionUse>,
    /// The saved flows that use it.
    pub flows: Vec<FlowUse>,
    /// What is damaged, with what to do, if it cannot be read: only its name is known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A saved flow that uses a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowUse {
    /// The flow.
    pub flow: String,
    /// Whether it is active.
    pub active: bool,
}

/// An unfinished run that uses a connection: it is running, waits to be resumed, or failed and can be resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionUse {
    /// The run.
    pub run: RunId,
    /// Its flow's name.
    pub flow: String,
    /// Its status: `running` or `failed`.
    pub status: RunStatus,
}

/// A change in the sign-in state of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInEvent {
    /// Grows with each event of any connection and process.
    pub id: u64,
    /// The connection.
    pub connection: String,
    /// When the state changed.
    pub at: Timestamp,
    /// The new state.
    #[serde(flatten)]
    pub state: SignInState,
}

/// Which connections [`ConnectionStore::save_connections`] replaces.
#[derive(Clone, Debug)]
pub enum Replacement {
    /// None: those that exist are a conflict.
    Never,
    /// All of the same names, whatever they are now.
    Always,
    /// Those that still are as the caller has looked at them. All others are a conflict.
    AsSeen(BTreeMap<String, SeenConnection>),
}

/// A connection as a caller has looked at it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenConnection {
    /// Its document, with `***` in the place of each secret.
    pub document: Value,
    /// Whether it has a sign-in.
    pub is_signed_in: bool,
    /// When it was last saved. Two states of a connection never have the same time, also if only their secrets differ.
    pub updated_at: Timestamp,
}

impl SeenConnection {
    /// Fails unless the connection still has the settings that the caller has looked at. A sign-in does not matter.
    pub(crate) fn check(&self, name: &str, now: &SeenConnection) -> Result<()> {
        match (&self.document, self.updated_at) == (&now.document, now.updated_at) {
            true => Ok(()),
            false => Err(was_changed(name)),
        }
    }
}

impl Replacement {
    /// Fails unless the connection of this name, which exists, may be replaced.
    pub(crate) fn check(&self, name: &str, now: &SeenConnection) -> Result<()> {
        match self {
            Replacement::Never => Err(exists_already(name)),
            Replacement::Always => Ok(()),
            Replacement::AsSeen(seen) if seen.get(name) == Some(now) => Ok(()),
            Replacement::AsSeen(_) => Err(was_changed(name)),
        }
    }
}

/// Stores connections and their secrets.
///
/// The implementation is also the [`Vault`](trunkline_core::Vault) of these connections, which removes the tokens of a
/// connection with it, and it knows the runs and the saved flows that use a connection. A change is durable when its
/// method returns, and is made as a whole or not at all. `trunkline_store::store_suite` (feature `suite`) checks an
/// implementation.
///
/// # Errors
///
/// Besides the errors that it lists, each method may return `store` if the storage cannot be read or written.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Adds connections, each with the schema of its connector's settings. `replace` says which connections of the same
    /// names are replaced: the tokens of one in the vault stay, and so does the time at which it was added.
    ///
    /// The schema says which settings are secrets. Each secret is protected at rest; a reference to an environment
    /// variable or a file stays as it is.
    ///
    /// The look for connections of these names and the writing are one transaction, so that of two callers that add a
    /// name at once, one gets the conflict.
    ///
    /// # Errors
    ///
    /// `conflict` if there is a connection of one of the names that is not to be replaced; `config` if a secret is the mask
    /// `***`, or neither a text nor a reference; `store` if it cannot be written. Nothing is stored then.
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: Replacement) -> Result<()>;

    /// Saves a connection in place of `previous`, the one of the same name as the caller has read it. The comparison,
    /// which includes the secrets, and the writing are one transaction.
    ///
    /// # Errors
    ///
    /// `conflict` if the connection was changed in the meantime, `not_found` if it was removed; otherwise as
    /// [`ConnectionStore::save_connections`].
    async fn replace_connection(&self, previous: &Connection, connection: &Connection, settings: &Schema)
    -> Result<()>;

    /// Saves one connection, in place of one of the same name.
    ///
    /// # Errors
    ///
    /// As [`ConnectionStore::save_connections`].
    async fn put_connection(&self, connection: &Connection, settings: &Schema) -> Result<()> {
        self.save_connections(&[(connection, settings)], Replacement::Always).await
    }

    /// Returns a connection as it was saved, with its secrets.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `store` if it cannot be read or decrypted.
    async fn connection(&self, name: &str) -> Result<Connection>;

    /// Returns all connections, sorted by name. One that is [damaged](ConnectionSummary::damaged) does not hide the others.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn connections(&self) -> Result<Vec<ConnectionSummary>>;

    /// Returns a page of the connections: those behind the name `after`, and at most `most`. The default implementation reads
    /// all of them.
    ///
    /// # Errors
    ///
    /// As [`connections`](ConnectionStore::connections).
    async fn connection_page(&self, after: Option<&str>, most: usize) -> Result<Vec<ConnectionSummary>> {
        let mut all = self.connections().await?;
        all.retain(|one| after.is_none_or(|after| *one.name > *after));
        all.truncate(most);
        Ok(all)
    }

    /// Looks at a connection. Nothing is decrypted.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection.
    async fn seen_connection(&self, name: &str) -> Result<SeenConnection>;

    /// Returns the document of a connection with `***` in the place of each secret. Nothing is decrypted.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection.
    async fn masked_connection(&self, name: &str) -> Result<Value> {
        Ok(self.seen_connection(name).await?.document)
    }

    /// Removes a connection with its secrets and tokens. Returns the content of its vault entry, so that the tokens can
    /// be revoked; `None` if it has none, or if it cannot be decrypted.
    ///
    /// The checks and the removal are one transaction, so that no run can start in between.
    ///
    /// # Errors
    ///
    /// `conflict` if an unfinished run or an active flow uses it, unless `force` is set, or if it has other settings than
    /// those that were `seen`; `not_found` if there is no such connection.
    async fn remove_connection(&self, name: &str, force: bool, seen: Option<&SeenConnection>)
    -> Result<Option<Secret>>;

    /// Returns the sign-in events after the id `after` (0 for all), oldest first, of one connection or of all, and at most
    /// `most`. To follow them, call again with the last id. Events of other processes are included.
    ///
    /// There is an event for each [`Vault::replace`](trunkline_core::Vault::replace) whose state
    /// [differs](SignInState::differs) from the previous one. The newest 200 events of a connection are kept.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    async fn sign_in_events(&self, connection: Option<&str>, after: u64, most: usize) -> Result<Vec<SignInEvent>>;
}

/// The error of a connection that was changed after the caller had read it.
pub(crate) fn was_changed(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("connection {name} was changed by another caller in the meantime"))
        .next("look at the connection as it is now, and repeat the change if it is still right")
        .with_detail(ErrorDetail::NotAsExpected)
}

/// The error of a connection that must not be replaced.
pub(crate) fn exists_already(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("there is already a connection {name}"))
        .next("give the new one another name")
        .next(NextStep::ReplaceExisting)
        .with_detail(ErrorDetail::NotAsExpected)
}

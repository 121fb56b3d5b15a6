//! Saved connections: add, list, show, check, export and remove them. Their sign-ins are in
//! [`sign_ins`](super::sign_ins).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{CheckReport, Diagnostic, Error, ErrorKind, Result, Stage, hide_url_passwords};
use trunkline_store::{ConnectionSummary, ConnectionUse, FlowUse, Replacement, SeenConnection};

use super::{
    Listed, PageQuery, PageRequest, consent, operation_table,
    precondition::{Precondition, tag_of_connection},
};
use crate::{Exported, Removal, Runtime};

operation_table! {
    /// Checks and saves connections: all of them, or none if one is wrong.
    AddConnections: "connections.add", add(ConnectionsToAdd) -> AddedConnections, Admin, Idempotent;
    /// Lists the connections, with their sign-ins and uses, by name.
    ListConnections: "connections.list", list(PageQuery) -> Listed<ConnectionSummary>, Viewer, Read;
    /// Returns the document of a connection, with `***` in the place of each secret.
    GetConnection: "connections.get", get(ConnectionName) -> ConnectionDocument, Viewer, Read, etag;
    /// Tries a connection in stages, and names the settings that are wrong.
    CheckConnection: "connections.check", check(ConnectionName) -> ConnectionCheck, Operator, Read;
    /// Checks a connection document, and lists everything that is wrong with it. Nothing is saved or sent.
    ValidateConnection: "connections.validate", validate(ConnectionCandidate) -> ConnectionReport, Editor, Read;
    /// Lists the saved flows and the unfinished runs that use a connection.
    ListConnectionUses: "connections.uses", uses(ConnectionName) -> ConnectionUses, Viewer, Read;
    /// Exports connections as documents to add elsewhere, with references in place of secrets.
    ExportConnections: "connections.export", export(ExportQuery) -> Vec<Exported>, Admin, Read;
    /// Removes a connection with its secrets and tokens, and revokes the tokens at its login server.
    RemoveConnection: "connections.remove", remove(ConnectionRemoval) -> RemovedConnection, Admin, Delete;
}

/// Names a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionName {
    /// The connection.
    pub name: String,
}

/// The connections to add. They may hold secrets.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsToAdd {
    /// One connection document, or a list of them. `schemas.get` has the schema of each connector's connections.
    pub connections: ConnectionDocuments,
    /// Whether connections of the same names are replaced.
    #[serde(default)]
    pub replace: bool,
    /// Whether the documents may refer to secrets of the host: `{"env": "NAME"}` and `{"file": "path"}`.
    #[serde(default)]
    pub allow_references: bool,
}

/// One connection document, or a list of which either all are added or none.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConnectionDocuments {
    /// Several documents.
    Many(#[schemars(with = "Vec<Map<String, Value>>")] Vec<Value>),
    /// One document.
    One(#[schemars(with = "Map<String, Value>")] Value),
}

/// The connections that were added.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AddedConnections {
    /// The name of the connection, or the names if the input was a list.
    pub added: AddedNames,
    /// What the user has to know of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// One name, or several.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AddedNames {
    /// The names of a list, in its order.
    Many(Vec<String>),
    /// The name of one connection.
    One(String),
}

impl AddedNames {
    /// Returns the names.
    pub fn as_slice(&self) -> &[String] {
        match self {
            AddedNames::Many(names) => names,
            AddedNames::One(name) => std::slice::from_ref(name),
        }
    }
}

async fn add(runtime: &Runtime, input: ConnectionsToAdd) -> Result<AddedConnections> {
    let (is_list, documents) = match input.connections {
        ConnectionDocuments::Many(documents) => (true, documents),
        ConnectionDocuments::One(document) => (false, vec![document]),
    };
    // Documents without a name are faulty, and are refused below.
    let names: Vec<_> = documents.iter().filter_map(|document| document["name"].as_str()).collect();
    if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Error::new(ErrorKind::Conflict, format!("the list contains the connection {name} twice"))
            .hint("give one of them another name"));
    }
    if !input.allow_references {
        consent::without_references(runtime.registry(), &documents, None)?;
    }
    let replace = match input.replace {
        true => Replacement::AsSeen(consent::no_sign_in_for_others(runtime, &documents).await?),
        false => Replacement::Never,
    };
    let other_hosts = |document| consent::other_hosts(runtime.registry(), document);
    let mut warnings: Vec<_> = documents.iter().flat_map(other_hosts).collect();
    let (mut names, found) = runtime.save_connections(documents, replace).await?;
    warnings.extend(found);
    let added = match (is_list, names.pop()) {
        (false, Some(name)) => AddedNames::One(name),
        (_, last) => {
            names.extend(last);
            AddedNames::Many(names)
        }
    };
    Ok(AddedConnections { added, warnings })
}

async fn list(runtime: &Runtime, input: PageQuery) -> Result<Listed<ConnectionSummary>> {
    let request = PageRequest::<String>::read("connections.list", input.limit, input.cursor.as_deref())?;
    let found = runtime.connections().connection_page(request.after.as_deref(), request.limit + 1).await?;
    Ok(request.page(found, |one| one.name.clone()))
}

/// The document of a connection, without its secrets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectionDocument {
    /// The document.
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    pub document: Value,
    /// Its entity tag, which stands in the header `ETag`.
    #[serde(skip)]
    pub etag: String,
}

async fn get(runtime: &Runtime, input: ConnectionName) -> Result<ConnectionDocument> {
    let seen = runtime.connections().seen_connection(&input.name).await?;
    Ok(ConnectionDocument { document: shown(&seen), etag: tag_of_connection(&seen) })
}

/// Returns the document of a connection as it is shown.
pub(super) fn shown(seen: &SeenConnection) -> Value {
    let mut document = seen.document.clone();
    hide_url_passwords(&mut document);
    document
}

/// A connection document to check. It may hold secrets.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionCandidate {
    /// The document.
    #[schemars(with = "Map<String, Value>")]
    pub document: Value,
}

/// The result of a check of a document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectionReport {
    /// Whether the connection can be added.
    pub ok: bool,
    /// Everything that was found.
    pub findings: Vec<Diagnostic>,
}

async fn validate(runtime: &Runtime, input: ConnectionCandidate) -> Result<ConnectionReport> {
    let warnings = consent::other_hosts(runtime.registry(), &input.document);
    match runtime.checked(vec![input.document]) {
        Ok(_) => Ok(ConnectionReport { ok: true, findings: warnings }),
        Err(error) if !error.findings().is_empty() => {
            let findings = error.findings().iter().cloned().chain(warnings).collect();
            Ok(ConnectionReport { ok: false, findings })
        }
        Err(error) => Err(error),
    }
}

/// What uses a connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectionUses {
    /// The saved flows.
    pub flows: Vec<FlowUse>,
    /// The unfinished runs.
    pub runs: Vec<ConnectionUse>,
}

async fn uses(runtime: &Runtime, input: ConnectionName) -> Result<ConnectionUses> {
    let ConnectionName { name } = input;
    // It fails if there is no such connection.
    runtime.connections().seen_connection(&name).await?;
    let all = runtime.connections().connections().await?;
    let found = all.into_iter().find(|one| one.name == name);
    let (flows, runs) = found.map(|one| (one.flows, one.used_by)).unwrap_or_default();
    Ok(ConnectionUses { flows, runs })
}

/// The report on a connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectionCheck {
    /// The connection.
    pub connection: String,
    /// Whether it can be used: no finding is worse than a warning.
    pub ok: bool,
    /// The stages, in the order in which they were tried.
    pub stages: Vec<Stage>,
    /// The findings, each with the JSON pointer of the setting; empty if the connection works.
    pub findings: Vec<Diagnostic>,
}

async fn check(runtime: &Runtime, input: ConnectionName) -> Result<ConnectionCheck> {
    let connection = input.name;
    let report = match runtime.connect(&connection).await {
        Ok(connected) => connected.check().await,
        Err(error) if error.setting_pointer().is_some() => {
            CheckReport::of_settings(&connection, &error).redacted(runtime.redactor())
        }
        Err(error) => return Err(error),
    };
    let ok = report.is_ok();
    let CheckReport { stages, findings } = report;
    Ok(ConnectionCheck { connection, ok, stages, findings })
}

/// Which connections to export.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportQuery {
    /// The connection; all if absent.
    pub name: Option<String>,
}

async fn export(runtime: &Runtime, input: ExportQuery) -> Result<Vec<Exported>> {
    runtime.export_connections(input.name.as_deref()).await
}

/// Which connection to remove.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRemoval {
    /// The connection.
    pub name: String,
    /// Whether it is removed even if an active flow or an unfinished run uses it. That run cannot continue then.
    #[serde(default)]
    pub force: bool,
    /// The entity tag of the connection as the caller has seen it, see `connections.put`.
    #[serde(default)]
    #[schemars(regex(pattern = super::precondition::ENTITY_TAGS))]
    pub if_match: Option<String>,
}

/// The connection that was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedConnection {
    /// Its name.
    pub removed: String,
    /// The reason if its login server did not revoke its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_not_revoked: Option<Error>,
}

async fn remove(runtime: &Runtime, input: ConnectionRemoval) -> Result<RemovedConnection> {
    let ConnectionRemoval { name, force, if_match } = input;
    let expected = Precondition::read(if_match.as_deref(), None)?;
    let seen = match expected.is_given() {
        true => Some(runtime.connections().seen_connection(&name).await?),
        false => None,
    };
    expected.check(&format!("connection {name}"), seen.as_ref().map(tag_of_connection).as_deref())?;
    let tokens_not_revoked = match runtime.remove_seen_connection(&name, force, seen.as_ref()).await? {
        Removal::Complete => None,
        Removal::TokensNotRevoked(error) => Some(error),
    };
    Ok(RemovedConnection { removed: name, tokens_not_revoked })
}

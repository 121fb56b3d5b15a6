//! Connections in the form in which they are read, as the caller has seen them. What is not shown of a connection stays as
//! it is saved, but only for the hosts that it was saved for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result};
use trunkline_store::{Replacement, SeenConnection};

use super::{
    connections::shown,
    consent, operation_table,
    precondition::{Precondition, tag_of_connection},
};
use crate::Runtime;

operation_table! {
    /// Saves a connection in the form in which `connections.get` returns it. What is `***` stays as it is saved.
    PutConnection: "connections.put", put(ConnectionToPut) -> SavedConnection, Admin, Idempotent, etag;
    /// Changes settings of a connection by a JSON merge patch (RFC 7396). Secrets that it does not name stay.
    PatchConnection: "connections.patch", patch(ConnectionPatch) -> SavedConnection, Admin, Idempotent, etag;
}

/// A connection to save. It may hold secrets.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionToPut {
    /// The connection.
    pub name: String,
    /// Its document. A text that is the same as in the document that `connections.get` returns, such as `***`, stands for
    /// what is saved there.
    #[schemars(with = "Map<String, Value>")]
    pub document: Value,
    /// Whether the document may refer to further secrets of the host: `{"env": "NAME"}` and `{"file": "path"}`.
    #[serde(default)]
    pub allow_references: bool,
    /// The entity tag of the connection as the caller has seen it, written as in the header `If-Match`. If the connection
    /// is another one now, nothing is changed.
    #[serde(default)]
    #[schemars(regex(pattern = super::precondition::ENTITY_TAGS))]
    pub if_match: Option<String>,
    /// `*` saves the connection only if there is none of this name, as in the header `If-None-Match`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\*$"))]
    pub if_none_match: Option<String>,
}

/// Settings of a connection to change. They may hold secrets.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionPatch {
    /// The connection.
    pub name: String,
    /// The merge patch of its document: a member that is null is removed.
    #[schemars(with = "Map<String, Value>")]
    pub patch: Value,
    /// Whether the document may refer to further secrets of the host: `{"env": "NAME"}` and `{"file": "path"}`.
    #[serde(default)]
    pub allow_references: bool,
    /// The entity tag of the connection as the caller has seen it, see `connections.put`.
    #[serde(default)]
    #[schemars(regex(pattern = super::precondition::ENTITY_TAGS))]
    pub if_match: Option<String>,
}

/// The saved connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SavedConnection {
    /// Its name.
    pub saved: String,
    /// Whether there was no connection of this name.
    pub created: bool,
    /// What the user has to know of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
    /// Its entity tag.
    #[serde(skip)]
    pub etag: String,
}

async fn put(runtime: &Runtime, input: ConnectionToPut) -> Result<SavedConnection> {
    let ConnectionToPut { name, document, allow_references, if_match, if_none_match } = input;
    let expected = Precondition::read(if_match.as_deref(), if_none_match.as_deref())?;
    let seen = match runtime.connections().seen_connection(&name).await {
        Ok(seen) => Some(seen),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    expected.check(&format!("connection {name}"), seen.as_ref().map(tag_of_connection).as_deref())?;
    save_over(runtime, name, document, seen, allow_references).await
}

async fn patch(runtime: &Runtime, input: ConnectionPatch) -> Result<SavedConnection> {
    let ConnectionPatch { name, patch, allow_references, if_match } = input;
    let expected = Precondition::read(if_match.as_deref(), None)?;
    let seen = runtime.connections().seen_connection(&name).await?;
    expected.check(&format!("connection {name}"), Some(&tag_of_connection(&seen)))?;
    let mut document = shown(&seen);
    merge(&mut document, patch);
    save_over(runtime, name, document, Some(seen), allow_references).await
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(document: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = Map::new().into();
    }
    let Some(members) = document.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Saves a connection in place of the one that was `seen`. Texts of the document that are those of the one that is shown
/// stand for what is saved.
async fn save_over(
    runtime: &Runtime,
    name: String,
    mut document: Value,
    seen: Option<SeenConnection>,
    allow_references: bool,
) -> Result<SavedConnection> {
    let named = document.as_object_mut().map(|members| members.entry("name").or_insert_with(|| name.clone().into()));
    if named.is_none_or(|given| *given != *name) {
        let message = format!("the document is not that of connection {name}: its `name` is another one");
        return Err(
            Error::new(ErrorKind::InvalidInput, message).hint("add a connection of another name, and remove this")
        );
    }
    let mut known = None;
    if let Some(seen) = &seen {
        let saved = runtime.connections().connection(&name).await?.document();
        let has_kept = keep(&mut document, &shown(seen), &saved);
        let stays = consent::no_secrets_for_others(runtime, &name, &document, seen, has_kept)?;
        known = stays.then_some(saved);
    }
    if !allow_references {
        consent::without_references(runtime.registry(), std::slice::from_ref(&document), known.as_ref())?;
    }
    let (warnings, created) = (consent::other_hosts(runtime.registry(), &document), seen.is_none());
    let replace = Replacement::AsSeen(seen.map(|seen| (name.clone(), seen)).into_iter().collect());
    runtime.save_connections(vec![document], replace).await?;
    let etag = tag_of_connection(&runtime.connections().seen_connection(&name).await?);
    Ok(SavedConnection { saved: name, created, warnings, etag })
}

/// Puts what is saved in the place of each text that is as it is shown, and returns whether that was different anywhere.
fn keep(document: &mut Value, shown: &Value, saved: &Value) -> bool {
    match (document, shown, saved) {
        (Value::Object(members), Value::Object(shown), Value::Object(saved)) => members
            .iter_mut()
            .filter_map(|(name, value)| Some(keep(value, shown.get(name)?, saved.get(name)?)))
            .fold(false, |any, kept| any | kept),
        // A list is kept as a whole: its elements have no names, and could be in another order.
        (document, shown, saved) if document == shown && shown != saved => {
            document.clone_from(saved);
            true
        }
        _ => false,
    }
}

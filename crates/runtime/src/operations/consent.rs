//! What a connection document would get from this host: secrets that it refers to, and the sign-in of the connection
//! that it replaces. A document may be a stranger's, so it gets neither unless the caller asks for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use trunkline_core::{
    Connection, Diagnostic, Error, ErrorKind, NextStep, Registered, Registry, Result, SecretSource, Setting,
    pointer_part,
};
use trunkline_rest::Url;
use trunkline_store::SeenConnection;

use crate::Runtime;

/// Settings with URLs to which nothing is sent.
const NOT_CALLED: [&str; 1] = ["redirectUri"];

/// Returns the connector of a connection document, if the document names one.
fn connector_of(registry: &Registry, document: &Value) -> Option<Arc<Registered>> {
    let connection = Connection::from_value(document.clone()).ok()?;
    registry.connector(connection.connector_name()).ok().cloned()
}

/// Returns the hosts that each setting of a connection names, with those that its connector names by default.
fn hosts_of_settings(registry: &Registry, document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let Some(settings) = document.as_object() else { return BTreeMap::new() };
    let connector = connector_of(registry, document);
    let schema = connector.as_ref().map(|connector| Setting::all(connector.settings().value())).unwrap_or_default();
    let exists = |one: &&Setting<'_>| one.when.iter().all(|(choice, value)| settings.get(*choice) == Some(*value));
    let defaults = schema.iter().filter(exists).filter(|one| !settings.contains_key(one.name));
    let defaults = defaults.filter_map(|one| Some((one.name, one.schema.get("default")?)));
    let all = settings.iter().map(|(name, value)| (name.as_str(), value)).chain(defaults);
    all.filter(|(name, _)| !NOT_CALLED.contains(name))
        .map(|(name, value)| {
            let mut found = BTreeSet::new();
            add_hosts(value, &mut found);
            (name.to_owned(), found)
        })
        .collect()
}

fn hosts(registry: &Registry, document: &Value) -> BTreeSet<String> {
    hosts_of_settings(registry, document).into_values().flatten().collect()
}

/// Returns warnings about a connection of a connector that was read from files, if it sends credentials to other hosts
/// than that of the API.
pub(super) fn other_hosts(registry: &Registry, document: &Value) -> Vec<Diagnostic> {
    if connector_of(registry, document).is_none_or(|connector| connector.is_linked()) {
        return Vec::new();
    }
    let mut all = hosts_of_settings(registry, document);
    let api = all.remove("endpointUrl").unwrap_or_default();
    let others = all.into_iter().flat_map(|(name, hosts)| hosts.into_iter().map(move |host| (name.clone(), host)));
    let others = others.filter(|(_, host)| !api.contains(host));
    others
        .map(|(name, host)| {
            let api = api.iter().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("the connector also sends credentials to {host}, and its API is at {api}");
            let found = Diagnostic::warning(format!("/{}", pointer_part(&name)), message);
            found.hint("check that both belong to the service")
        })
        .collect()
}

fn add_hosts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let url = Url::parse(text).ok().filter(|url| url.scheme().starts_with("http"));
            found.extend(url.as_ref().and_then(Url::host_str).map(str::to_owned));
        }
        Value::Array(values) => values.iter().for_each(|value| add_hosts(value, found)),
        Value::Object(members) => members.values().for_each(|value| add_hosts(value, found)),
        _ => {}
    }
}

/// Fails if a document refers to secrets of this host, other than the `known` one does at the same places.
pub(super) fn without_references(registry: &Registry, documents: &[Value], known: Option<&Value>) -> Result<()> {
    let mut found = Vec::new();
    for document in documents {
        let Some(connector) = connector_of(registry, document) else { continue };
        let name = document["name"].as_str().unwrap_or_default();
        let is_known = |pointer: &str| known.is_some_and(|known| known.pointer(pointer) == document.pointer(pointer));
        for (pointer, source) in connector.references(document).into_iter().filter(|(pointer, _)| !is_known(pointer)) {
            let source = match source {
                SecretSource::Env(name) => format!("the environment variable {name}"),
                SecretSource::File(path) => format!("the file {path}"),
            };
            let hosts: Vec<_> = hosts(registry, document).into_iter().collect();
            let to = if hosts.is_empty() { String::new() } else { format!(", for {}", hosts.join(", ")) };
            found.push(format!("{pointer} of {} reads {source}{to}", name));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let message = format!("the document refers to secrets of this machine: {}", found.join("; "));
    Err(Error::new(ErrorKind::Permission, message)
        .hint("allow them if you trust the document with these secrets")
        .next(NextStep::SetOption { name: "allow-references".to_owned() }))
}

/// Fails if documents would send the sign-in of the connections that they replace to other hosts. Returns the connections
/// that were looked at: only as such they may be replaced.
pub(super) async fn no_sign_in_for_others(
    runtime: &Runtime,
    documents: &[Value],
) -> Result<BTreeMap<String, SeenConnection>> {
    let mut all = BTreeMap::new();
    for document in documents {
        let Some(name) = document["name"].as_str() else { continue };
        match runtime.connections().seen_connection(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            seen => {
                let seen = seen?;
                no_secrets_for_others(runtime, name, document, &seen, false)?;
                all.insert(name.to_owned(), seen);
            }
        }
    }
    Ok(all)
}

/// Fails if a document would send to another host what the connection that it replaces has: its sign-in, and the secrets
/// that it keeps, if it `has_kept` any. Returns whether it names no other host.
pub(super) fn no_secrets_for_others(
    runtime: &Runtime,
    name: &str,
    document: &Value,
    seen: &SeenConnection,
    has_kept: bool,
) -> Result<bool> {
    let hosts = |document| hosts(runtime.registry(), document);
    let new: Vec<_> = hosts(document).difference(&hosts(&seen.document)).cloned().collect();
    let conflict = |message: String| Error::new(ErrorKind::Conflict, message);
    if new.is_empty() {
        return Ok(true);
    }
    if seen.is_signed_in {
        let message = format!("connection {name} is signed in, and its sign-in would be sent to {}", new.join(", "));
        return Err(
            conflict(message).hint("remove the connection first, which also revokes its tokens, and add it again")
        );
    }
    if has_kept {
        let message = format!("the saved secrets of connection {name} would be sent to {}", new.join(", "));
        return Err(conflict(message).hint("give the secrets for this host, in place of `***`"));
    }
    Ok(false)
}

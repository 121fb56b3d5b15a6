//! Connections. The document is one row, with `***` in the place of each secret, and each secret is encrypted in a row of its
//! own.
//!
//! A document that is shown is the stored one. Nothing is decrypted for it, so nothing can leak.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{
    Connection, Error, ErrorKind, NextStep, Result, RunId, Schema, Secret, SecretSource, SignIn, Timestamp,
};
use trunkline_engine::{RunEvent, RunStatus};

use crate::{
    database::store::Store,
    encryption::seal::{AssociatedData, Sealed},
    lookup::not_found::no_connection,
    sqlite::{
        columns::{now, time},
        schema::seal_in,
    },
    vault::vault_table,
};

const MASK: &str = "***";

/// A connection, without its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A saved flow that uses a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowUse {
    /// The flow.
    pub flow: String,
    /// Whether it is active.
    pub active: bool,
}

/// An unfinished run that uses a connection: it is running, waits to be resumed, or failed and can be resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionUse {
    /// The run.
    pub run: RunId,
    /// Its flow's name.
    pub flow: String,
    /// Its status: `running` or `failed`.
    pub status: RunStatus,
}

impl Store {
    /// Adds a connection, or replaces the one of the same name. Its tokens in the vault stay.
    ///
    /// The connector's `settings` schema says which settings are secrets. Each secret is encrypted; a reference to an
    /// environment variable or a file stays as it is.
    ///
    /// # Errors
    ///
    /// `config` if a secret is the mask `***`, or neither a text nor a reference; `store` if it cannot be written.
    pub async fn put_connection(&self, connection: &Connection, settings: &Schema) -> Result<()> {
        let mut document = connection.document();
        let mut secrets = Vec::new();
        for pointer in settings.secrets(&document) {
            let Some(value) = document.pointer_mut(&pointer) else { continue };
            match value {
                Value::String(text) if text == MASK => {
                    return Err(not_a_secret(connection, &pointer, "is the mask that stands for a secret"));
                }
                Value::String(text) => {
                    secrets.push((pointer, Secret::from(std::mem::take(text))));
                    *value = MASK.into();
                }
                reference if SecretSource::deserialize(&*reference).is_ok() => {}
                _ => {
                    return Err(not_a_secret(connection, &pointer, "is neither a text nor a reference to one"));
                }
            }
        }
        let (name, connector, document) = (connection.name.clone(), connection.connector.clone(), document.to_string());
        let seal = self.inner.seal.clone();
        let put = self.inner.writer.run(move |store| {
            let mut sealed = Vec::new();
            for (pointer, secret) in secrets {
                let place = AssociatedData { table: "secrets", row: &[&name], field: &pointer };
                let value = seal_in(store, &seal, &place, secret.expose().as_bytes())?;
                sealed.push((pointer, value));
            }
            store
                .prepare_cached(
                    "INSERT INTO connections (name, connector, document, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (name) DO UPDATE
                     SET connector = excluded.connector, document = excluded.document, updated_at = excluded.updated_at",
                )?
                .execute(params![name, connector, document, now()])?;
            store.prepare_cached("DELETE FROM secrets WHERE connection = ?1")?.execute([&name])?;
            let mut insert = store
                .prepare_cached("INSERT INTO secrets (connection, pointer, key_id, sealed) VALUES (?1, ?2, ?3, ?4)")?;
            for (pointer, sealed) in sealed {
                insert.execute(params![name, pointer, sealed.key_id, sealed.bytes])?;
            }
            Ok(())
        });
        put.await
    }

    /// Returns a connection as it was saved, with its secrets.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `store` if it cannot be read or decrypted.
    pub async fn connection(&self, name: &str) -> Result<Connection> {
        let found = self.readers.look("reading a connection", |store| {
            let Some(document) = document(store, name)? else { return Ok((None, names(store)?)) };
            let mut statement =
                store.prepare_cached("SELECT pointer, key_id, sealed FROM secrets WHERE connection = ?1")?;
            let secret = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, String>(0)?, Sealed { key_id: row.get(1)?, bytes: row.get(2)? }))
            };
            let secrets = statement.query_map([name], secret)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((Some((document, secrets)), Vec::new()))
        });
        let (found, known) = found?;
        let (document, secrets) = found.ok_or_else(|| no_connection(name, &known))?;
        let mut document = parse(name, &document)?;
        for (pointer, sealed) in secrets {
            let secret = self
                .inner
                .seal
                .open_text(&AssociatedData { table: "secrets", row: &[name], field: &pointer }, &sealed)
                .map_err(|error| error.with("connection", name).setting(pointer.clone()))?;
            // Only the mask is replaced: any other value was not written by this code.
            match document.pointer_mut(&pointer) {
                Some(value) if *value == MASK => *value = secret.expose().into(),
                _ => return Err(damaged(name).setting(pointer)),
            }
        }
        Connection::from_value(document).map_err(|error| damaged(name).source(error))
    }

    /// Returns all connections, sorted by name.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be read.
    pub async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        let read = self.readers.read("listing the connections", |store| {
            let mut statement = store.prepare_cached(
                "SELECT name, connector, created_at, connections.updated_at,
                        vault.connection IS NOT NULL, vault.sign_in
                 FROM good_connections AS connections LEFT JOIN good_vault AS vault ON vault.connection = connections.name
                 ORDER BY name",
            )?;
            let summary = |row: &rusqlite::Row<'_>| {
                Ok(ConnectionSummary {
                    name: row.get(0)?,
                    connector: row.get(1)?,
                    created_at: time(row.get(2)?),
                    updated_at: time(row.get(3)?),
                    sign_in: row
                        .get::<_, bool>(4)?
                        .then(|| row.get::<_, Option<String>>(5))
                        .transpose()?
                        .map(|text| vault_table::read(text.as_deref())),
                    used_by: Vec::new(),
                    flows: Vec::new(),
                })
            };
            let mut all = statement.query_map([], summary)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let (mut uses, mut flows) = (uses(store)?, flow_uses(store)?);
            for one in &mut all {
                one.used_by = uses.remove(&one.name).unwrap_or_default();
                one.flows = flows.remove(&one.name).unwrap_or_default();
            }
            Ok(all)
        });
        read.await
    }

    /// Returns the document of a connection with `***` in the place of each secret. Nothing is decrypted.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection.
    pub async fn masked_connection(&self, name: &str) -> Result<Value> {
        let read = self.readers.look("reading a connection", |store| match document(store, name)? {
            Some(document) => Ok((Some(document), Vec::new())),
            None => Ok((None, names(store)?)),
        });
        let (document, known) = read?;
        parse(name, &document.ok_or_else(|| no_connection(name, &known))?)
    }

    /// Removes a connection with its secrets and tokens. Returns the content of its vault entry, so that the tokens can be
    /// revoked.
    ///
    /// # Errors
    ///
    /// `conflict` if an unfinished run or an active flow uses it, unless `force` is set; `not_found` if there is no such
    /// connection.
    pub async fn remove_connection(&self, name: &str, force: bool) -> Result<Option<Secret>> {
        let (wanted, seal) = (name.to_owned(), self.inner.seal.clone());
        let removed = self.inner.writer.run(move |store| {
            // In the same transaction, so that no run can start in between.
            if !force {
                if let Some(found) = uses(store)?.remove(&wanted) {
                    return Err(in_use(&wanted, &found).into());
                }
                let mut flows = flow_uses(store)?.remove(&wanted).unwrap_or_default();
                flows.retain(|one| one.active);
                if !flows.is_empty() {
                    return Err(in_flows(&wanted, &flows).into());
                }
            }
            let tokens = vault_table::open(store, &seal, &wanted)?;
            // The foreign keys remove its secrets and its vault entry too.
            let removed = store.prepare_cached("DELETE FROM connections WHERE name = ?1")?.execute([&wanted])?;
            if removed == 0 { Err(no_connection(&wanted, &names(store)?).into()) } else { Ok(tokens) }
        });
        removed.await
    }
}

/// Returns the unfinished runs by the connections they use. A failed run counts: it can be resumed.
fn uses(store: &rusqlite::Connection) -> rusqlite::Result<BTreeMap<String, Vec<ConnectionUse>>> {
    let mut statement = store.prepare_cached(
        "SELECT runs.id, runs.flow, runs.status, events.event FROM good_runs AS runs JOIN good_events AS events ON run = id AND seq = 1
         WHERE status IN (?1, ?2) ORDER BY started_at DESC",
    )?;
    let mut rows = statement.query([RunStatus::Running.as_str(), RunStatus::Failed.as_str()])?;
    let mut uses: BTreeMap<String, Vec<ConnectionUse>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (status, event): (String, String) = (row.get(2)?, row.get(3)?);
        let status = if status == RunStatus::Failed.as_str() { RunStatus::Failed } else { RunStatus::Running };
        // A run whose first event cannot be read cannot be resumed either.
        let Ok(RunEvent::Started { connections, .. }) = serde_json::from_str(&event) else { continue };
        let names: BTreeSet<_> = connections.into_values().collect();
        for name in names {
            let one = ConnectionUse { run: RunId::from(row.get::<_, String>(0)?), flow: row.get(1)?, status };
            uses.entry(name).or_default().push(one);
        }
    }
    Ok(uses)
}

/// Returns the saved flows by the connections they use.
fn flow_uses(store: &rusqlite::Connection) -> rusqlite::Result<BTreeMap<String, Vec<FlowUse>>> {
    let mut statement = store.prepare_cached("SELECT name, active, connections FROM good_kept_flows ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut uses: BTreeMap<String, Vec<FlowUse>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // Bindings that cannot be read name no connection.
        let bindings: BTreeMap<String, String> = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default();
        for name in bindings.into_values().collect::<BTreeSet<_>>() {
            uses.entry(name).or_default().push(FlowUse { flow: row.get(0)?, active: row.get(1)? });
        }
    }
    Ok(uses)
}

fn in_flows(name: &str, flows: &[FlowUse]) -> Error {
    let listed: Vec<_> = flows.iter().map(|one| one.flow.as_str()).collect();
    let message = format!("the connection {name} is in use by active flows: {}", listed.join(", "));
    Error::new(ErrorKind::Conflict, message)
        .next(NextStep::DeactivateFlow { flow: if let [only] = flows { Some(only.flow.clone()) } else { None } })
        .next("or give the flow another connection")
        .next(NextStep::ForceRemove { connection: name.to_owned() })
        .next("then no run of these flows can start")
        .with("connection", name)
}

fn in_use(name: &str, found: &[ConnectionUse]) -> Error {
    let listed = found.iter().take(5).map(|one| format!("{} of {} ({})", one.run, one.flow, one.status.as_str()));
    let listed: Vec<_> = listed.collect();
    let more = if found.len() > 5 { format!(" and {} more", found.len() - 5) } else { String::new() };
    let only = if let [only] = found { Some(only.run.as_str().to_owned()) } else { None };
    let message = format!("the connection {name} is used by unfinished runs: {}{more}", listed.join(", "));
    Error::new(ErrorKind::Conflict, message)
        .next(NextStep::ResumeRun { run: only.clone() })
        .next(NextStep::CancelRun { run: only })
        .next(NextStep::ForceRemove { connection: name.to_owned() })
        .next("then these runs cannot be resumed")
        .with("connection", name)
}

fn document(store: &rusqlite::Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = store.prepare_cached("SELECT document FROM good_connections WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

fn names(store: &rusqlite::Connection) -> rusqlite::Result<Vec<String>> {
    store.prepare_cached("SELECT name FROM connections ORDER BY name")?.query_map([], |row| row.get(0))?.collect()
}

fn parse(name: &str, document: &str) -> Result<Value> {
    serde_json::from_str(document).map_err(|error| damaged(name).source(error))
}

fn damaged(name: &str) -> Error {
    Error::new(ErrorKind::Store, format!("the stored connection {name} cannot be read"))
        .hint("save it again, or restore the last backup of the data directory")
}

fn not_a_secret(connection: &Connection, pointer: &str, why: &str) -> Error {
    let error = Error::new(ErrorKind::Config, format!("{pointer} of connection {} {why}", connection.name));
    error
        .hint("write the secret itself, {\"env\": \"NAME\"} or {\"file\": \"path\"}")
        .with("connection", &connection.name)
        .setting(pointer.to_owned())
}

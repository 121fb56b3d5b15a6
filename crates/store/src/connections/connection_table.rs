//! Connections. The document is one row, with `***` in the place of each secret, and each secret is encrypted in a row
//! of its own.
//!
//! A document that is shown is the stored one. Nothing is decrypted for it, so nothing can leak.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use serde_json::Value;
use trunkline_core::{Connection, Error, ErrorKind, Result, RunId, Schema, Secret, Timestamp, async_trait};
use trunkline_engine::{RunEvent, RunStatus};

use crate::{
    connections::{
        connection_store::{
            ConnectionStore, ConnectionSummary, ConnectionUse, FlowUse, Replacement, SeenConnection, SignInEvent,
            was_changed,
        },
        in_use::{bound, must_be_unused},
        secrets::{MASK, MaskedDocument, mask},
    },
    database::Store,
    encryption::{AssociatedData, Seal, Sealed},
    lookup::not_found::no_connection,
    sqlite::{
        WorkResult, authentication,
        manifest::{self, Manifest, Record},
        now, seal_in, signed, time,
    },
    vault::vault_table,
};

#[async_trait]
impl ConnectionStore for Store {
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: Replacement) -> Result<()> {
        let row = |(connection, settings): &(&Connection, &Schema)| ConnectionRow::new(connection, settings);
        let rows = connections.iter().map(row).collect::<Result<Vec<_>>>()?;
        let seal = self.inner.seal.clone();
        let saved = self.inner.writer.run(move |store| {
            let is_checked = !matches!(replace, Replacement::Always);
            for row in rows.iter().filter(|_| is_checked) {
                if let Some(now) = seen(store, &row.name)? {
                    replace.check(&row.name, &now?)?;
                }
            }
            let manifest = Manifest::read(store)?;
            let names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
            rows.into_iter().try_for_each(|row| put(store, &seal, row))?;
            let records: Vec<_> = names.iter().map(|name| Record::Connection(name)).collect();
            Ok(manifest.save(store, &records)?)
        });
        saved.await
    }

    async fn replace_connection(
        &self,
        previous: &Connection,
        connection: &Connection,
        settings: &Schema,
    ) -> Result<()> {
        let (row, previous) = (ConnectionRow::new(connection, settings)?, previous.document());
        let seal = self.inner.seal.clone();
        let saved = self.inner.writer.run(move |store| {
            let name = row.name.clone();
            let Some(known) = SealedConnection::read(store, &name)? else {
                return Err(no_connection(&name, &names(store)?).into());
            };
            if known.open(&seal, &name)?.document() != previous {
                return Err(was_changed(&name).into());
            }
            let manifest = Manifest::read(store)?;
            put(store, &seal, row)?;
            Ok(manifest.save(store, &[Record::Connection(&name)])?)
        });
        saved.await
    }

    async fn connection(&self, name: &str) -> Result<Connection> {
        let found = self.readers.look("reading a connection", |store| match SealedConnection::read(store, name)? {
            Some(found) => Ok((Some(found), Vec::new())),
            None => Ok((None, names(store)?)),
        });
        let (found, known) = found?;
        found.ok_or_else(|| no_connection(name, &known))?.open(&self.inner.seal, name)
    }

    async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        self.connection_page(None, usize::MAX).await
    }

    async fn connection_page(&self, after: Option<&str>, most: usize) -> Result<Vec<ConnectionSummary>> {
        let (after, most) = (after.map(str::to_owned), signed(most as u64));
        let read = self.readers.read("listing the connections", move |store| {
            let mut statement = store.prepare_cached(
                "SELECT name, connector, created_at, connections.updated_at, vault.connection IS NOT NULL, vault.sign_in,
                     CASE WHEN connections.intact IS NOT TRUE THEN 'connections'
                          WHEN vault.connection IS NOT NULL AND vault.intact IS NOT TRUE THEN 'vault' END
                 FROM all_connections AS connections LEFT JOIN all_vault AS vault ON vault.connection = connections.name
                 WHERE ?1 IS NULL OR name > ?1 ORDER BY name LIMIT ?2",
            )?;
            let summary = |row: &rusqlite::Row<'_>| {
                if let Some(table) = row.get::<_, Option<String>>(6)? {
                    let name = authentication::text_of(&row.get(0)?);
                    let note = authentication::note(&authentication::damaged_row(&table, &name));
                    return Ok(ConnectionSummary {
                        name,
                        connector: String::new(),
                        created_at: Timestamp::EPOCH,
                        updated_at: Timestamp::EPOCH,
                        sign_in: None,
                        used_by: Vec::new(),
                        flows: Vec::new(),
                        damaged: Some(note),
                    });
                }
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
                    damaged: None,
                })
            };
            let mut all = statement.query_map(params![after, most], summary)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let (mut uses, mut flows) = (uses(store)?, flow_uses(store)?);
            for one in &mut all {
                one.used_by = uses.remove(&one.name).unwrap_or_default();
                one.flows = flows.remove(&one.name).unwrap_or_default();
            }
            Ok(all)
        });
        read.await
    }

    async fn seen_connection(&self, name: &str) -> Result<SeenConnection> {
        let read = self.readers.look("reading a connection", |store| match seen(store, name)? {
            Some(seen) => Ok((Some(seen), Vec::new())),
            None => Ok((None, names(store)?)),
        });
        let (seen, known) = read?;
        seen.ok_or_else(|| no_connection(name, &known))?
    }

    async fn remove_connection(
        &self,
        name: &str,
        force: bool,
        looked: Option<&SeenConnection>,
    ) -> Result<Option<Secret>> {
        let (wanted, seal, looked) = (name.to_owned(), self.inner.seal.clone(), looked.cloned());
        let removed = self.inner.writer.run(move |store| {
            if let Some(looked) = looked {
                let now = seen(store, &wanted)?.ok_or_else(|| no_connection(&wanted, &[]))?;
                looked.check(&wanted, &now?)?;
            }
            // In the same transaction, so that no run can start in between.
            if !force {
                let runs = uses(store)?.remove(&wanted).unwrap_or_default();
                must_be_unused(&wanted, &runs, &flow_uses(store)?.remove(&wanted).unwrap_or_default())?;
            }
            let manifest = Manifest::read(store)?;
            let tokens = vault_table::open(store, &seal, &wanted)?;
            // The foreign keys remove its secrets and its vault entry too.
            let removed = store.prepare_cached("DELETE FROM connections WHERE name = ?1")?.execute([&wanted])?;
            if removed == 0 {
                return Err(no_connection(&wanted, &names(store)?).into());
            }
            manifest.save(store, &[Record::Connection(&wanted), Record::Tokens(&wanted)])?;
            Ok(tokens)
        });
        removed.await
    }

    async fn sign_in_events(&self, connection: Option<&str>, after: u64, most: usize) -> Result<Vec<SignInEvent>> {
        let (name, after, most) = (connection.map(str::to_owned), signed(after), signed(most as u64));
        let read = self.readers.read("reading sign-in events", move |store| {
            let sql = "SELECT id, connection, at, sign_in FROM good_sign_ins
                       WHERE id > ?1 AND (?2 IS NULL OR connection = ?2) ORDER BY id LIMIT ?3";
            let event = |row: &rusqlite::Row<'_>| {
                Ok(SignInEvent {
                    id: row.get::<_, i64>(0)?.unsigned_abs(),
                    connection: row.get(1)?,
                    at: time(row.get(2)?),
                    state: vault_table::read(row.get::<_, Option<String>>(3)?.as_deref()).state,
                })
            };
            store.prepare_cached(sql)?.query_map(params![after, name, most], event)?.collect()
        });
        read.await
    }
}

/// A connection as it is stored.
struct ConnectionRow {
    name: String,
    connector: String,
    document: String,
    secrets: Vec<(String, Secret)>,
}

impl ConnectionRow {
    fn new(connection: &Connection, settings: &Schema) -> Result<ConnectionRow> {
        let MaskedDocument { document, secrets } = mask(connection, settings)?;
        let (name, connector) = (connection.name.clone(), connection.connector.clone());
        Ok(ConnectionRow { name, connector, document: document.to_string(), secrets })
    }
}

/// A connection as it is read: its document, and each secret with its JSON pointer.
struct SealedConnection {
    document: String,
    secrets: Vec<(String, Sealed)>,
}

impl SealedConnection {
    fn read(store: &rusqlite::Connection, name: &str) -> rusqlite::Result<Option<SealedConnection>> {
        manifest::check(store, Record::Connection(name))?;
        let Some(document) = document(store, name)? else { return Ok(None) };
        let mut statement =
            store.prepare_cached("SELECT pointer, key_id, sealed FROM secrets WHERE connection = ?1")?;
        let secret = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, Sealed { key_id: row.get(1)?, bytes: row.get(2)? }))
        };
        let secrets = statement.query_map([name], secret)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Some(SealedConnection { document, secrets }))
    }

    /// Puts the secrets into the document.
    fn open(self, seal: &Seal, name: &str) -> Result<Connection> {
        let mut document = parse(name, &self.document)?;
        for (pointer, sealed) in self.secrets {
            let secret = seal
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
}

/// Writes a connection and its secrets, in place of those of the same name.
fn put(store: &rusqlite::Connection, seal: &Seal, row: ConnectionRow) -> WorkResult<()> {
    let ConnectionRow { name, connector, document, secrets } = row;
    let mut sealed = Vec::new();
    for (pointer, secret) in secrets {
        let place = AssociatedData { table: "secrets", row: &[&name], field: &pointer };
        let value = seal_in(store, seal, &place, secret.expose().as_bytes())?;
        sealed.push((pointer, value));
    }
    store
        .prepare_cached(
            "INSERT INTO connections (name, connector, document, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (name) DO UPDATE
             SET connector = excluded.connector, document = excluded.document,
                 updated_at = max(excluded.updated_at, updated_at + 1)",
        )?
        .execute(params![name, connector, document, now()])?;
    store.prepare_cached("DELETE FROM secrets WHERE connection = ?1")?.execute([&name])?;
    let mut insert =
        store.prepare_cached("INSERT INTO secrets (connection, pointer, key_id, sealed) VALUES (?1, ?2, ?3, ?4)")?;
    for (pointer, sealed) in sealed {
        insert.execute(params![name, pointer, sealed.key_id, sealed.bytes])?;
    }
    Ok(())
}

/// Returns the unfinished runs by the connections they use. A failed run counts: it can be resumed. A damaged one cannot.
fn uses(store: &rusqlite::Connection) -> rusqlite::Result<BTreeMap<String, Vec<ConnectionUse>>> {
    let mut statement = store.prepare_cached(
        "SELECT runs.id, runs.flow, runs.status, events.event
         FROM all_runs AS runs JOIN all_events AS events ON run = id AND seq = 1
         WHERE status IN (?1, ?2) AND runs.intact AND events.intact ORDER BY started_at DESC",
    )?;
    let mut rows = statement.query([RunStatus::Running.as_str(), RunStatus::Failed.as_str()])?;
    let mut uses: BTreeMap<String, Vec<ConnectionUse>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (status, event): (String, String) = (row.get(2)?, row.get(3)?);
        let status = if status == RunStatus::Failed.as_str() { RunStatus::Failed } else { RunStatus::Running };
        // A run whose first event cannot be read cannot be resumed either.
        let Ok(RunEvent::Started { connections, .. }) = serde_json::from_str(&event) else { continue };
        for name in bound(connections) {
            let one = ConnectionUse { run: RunId::from(row.get::<_, String>(0)?), flow: row.get(1)?, status };
            uses.entry(name).or_default().push(one);
        }
    }
    Ok(uses)
}

/// Returns the saved flows by the connections they use.
fn flow_uses(store: &rusqlite::Connection) -> rusqlite::Result<BTreeMap<String, Vec<FlowUse>>> {
    let mut statement =
        store.prepare_cached("SELECT name, active, connections FROM all_kept_flows WHERE intact ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut uses: BTreeMap<String, Vec<FlowUse>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // Bindings that cannot be read name no connection.
        let bindings: BTreeMap<String, String> = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default();
        for name in bound(bindings) {
            uses.entry(name).or_default().push(FlowUse { flow: row.get(0)?, active: row.get(1)? });
        }
    }
    Ok(uses)
}

/// Looks at a connection. The inner error is that of a document that cannot be read.
fn seen(store: &rusqlite::Connection, name: &str) -> rusqlite::Result<Option<Result<SeenConnection>>> {
    let mut statement = store.prepare_cached(
        "SELECT document, updated_at, EXISTS (SELECT 1 FROM vault WHERE connection = ?1)
         FROM good_connections WHERE name = ?1",
    )?;
    let seen = |row: &rusqlite::Row<'_>| {
        let (updated_at, is_signed_in) = (time(row.get(1)?), row.get(2)?);
        let document = parse(name, &row.get::<_, String>(0)?);
        Ok(document.map(|document| SeenConnection { document, is_signed_in, updated_at }))
    };
    statement.query_row([name], seen).optional()
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

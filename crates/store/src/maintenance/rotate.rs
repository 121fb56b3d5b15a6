//! Key rotation of a store that is in use.
//!
//! The order makes it safe. The new key is in the key file before anything is encrypted with it. One transaction makes
//! it the current key, which every writer of every process reads in its own transaction. Then the old values are
//! encrypted again, a few at a time. The old key leaves the file when no value uses it. After a kill at any point, the
//! next call continues.

use rusqlite::{Connection, OptionalExtension, params, types::Value};
use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::RunEvent;
use zeroize::Zeroizing;

use crate::{
    database::{Store, secret_part},
    encryption::{AssociatedData, KeySource, Seal, Sealed},
    files::{file_fault, hold},
    flows::flow_table,
    journal::process_log,
    sqlite::{
        WorkError, WorkResult,
        manifest::{Manifest, Record},
        schema,
    },
    vault::vault_table,
};

/// The number of values encrypted again in one transaction. Other writers wait for that long.
const BATCH: usize = 64;

/// The progress of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The number of values encrypted with the new key so far.
    pub done: u64,
    /// The number of values to encrypt again.
    pub total: u64,
}

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RotationReport {
    /// The id of the key that everything is encrypted with now.
    pub key: String,
    /// The number of values that this call encrypted again.
    pub values: u64,
    /// Whether this call finished an interrupted rotation instead of making a new key.
    pub resumed: bool,
    /// Files with the old keys. Only older backups need them.
    pub retired: Vec<std::path::PathBuf>,
}

/// A table with encrypted values.
struct Table {
    name: &'static str,
    /// The two columns that name a row, in the order of the primary key. The second one may be a constant.
    key: [&'static str; 2],
    /// The column that determines the place of the value.
    of: &'static str,
    /// The view or table to read the row from.
    from: &'static str,
}

const TABLES: [Table; 5] = [
    Table { name: "secrets", key: ["connection", "pointer"], of: "pointer", from: "secrets" },
    Table { name: "vault", key: ["connection", "version"], of: "version", from: "vault" },
    Table { name: "webhooks", key: ["flow", "0"], of: "0", from: "webhooks" },
    Table { name: "events", key: ["run", "seq"], of: "event", from: "good_events" },
    Table { name: "step_log", key: ["run", "seq"], of: "seq", from: "step_log" },
];

/// The name of a row.
type Key = (String, Value);

impl Store {
    /// Encrypts everything with a new key, while this and other processes keep working.
    ///
    /// With a key file, a new key is made and written before the old one. When no value uses the old key, it moves to a
    /// file of its own beside the key file. If a call is interrupted, the next one finishes it and makes no further
    /// key. With [`KeySource::Value`], the value has to hold both keys, the new one first.
    ///
    /// # Errors
    ///
    /// `conflict` while another process rotates the key, `config` if no new key is given, and `store` if a value is
    /// damaged: then all others are encrypted again, and the old key stays in place.
    pub async fn rotate_key(&self, mut progress: impl FnMut(Rotation)) -> Result<RotationReport> {
        let lock = match self.inner.seal.ring().source() {
            KeySource::File(path) => path.with_added_extension("lock"),
            KeySource::Value(_) => self.inner.dir.join("key.lock"),
        };
        let Some(_lock) = hold(&lock).map_err(|error| file_fault("changing the key", &lock, error))? else {
            return Err(Error::new(ErrorKind::Conflict, "another process is changing the key")
                .hint("wait until it is done; if it is interrupted, run the command again"));
        };
        let (key, resumed) = self.begin().await?;
        let id = key.clone();
        let total = self.readers.read("counting encrypted values", move |store| count(store, &id)).await?;
        let (mut done, mut damage) = (0, Vec::new());
        progress(Rotation { done, total });
        for table in &TABLES {
            let mut last: Key = (String::new(), Value::Integer(-1));
            loop {
                let (id, after) = (key.clone(), last.clone());
                let rows = self
                    .readers
                    .read("listing values with an old key", move |store| pending(store, table, &id, &after));
                let rows = rows.await?;
                let Some(end) = rows.last() else { break };
                last = end.clone();
                let (seal, id) = (self.inner.seal.clone(), key.clone());
                let changed = self.inner.writer.run(move |store| {
                    let (mut done, mut damage) = (0, Vec::new());
                    for row in rows {
                        match reseal(store, &seal, table, &id, &row) {
                            Ok(changed) => done += u64::from(changed),
                            Err(WorkError::Refused(error)) => damage.push(error),
                            Err(error) => return Err(error),
                        }
                    }
                    Ok((done, damage))
                });
                let (changed, faults) = changed.await?;
                done += changed;
                damage.extend(faults);
                progress(Rotation { done, total: total.max(done) });
            }
        }
        let broken = damage.len();
        if let Some(error) = damage.into_iter().next() {
            return Err(error
                .with("values that could not be encrypted again", broken)
                .with("values encrypted again", done));
        }
        let id = key.clone();
        let left = self.readers.read("counting encrypted values", move |store| count(store, &id)).await?;
        if left > 0 {
            return Err(Error::new(ErrorKind::Internal, format!("{left} values are still encrypted with an old key"))
                .hint("run the command again; the old key is still there"));
        }
        let retired = match self.inner.seal.ring().source() {
            KeySource::File(path) => self.inner.seal.ring().keep_only(path, &key)?,
            KeySource::Value(_) => Vec::new(),
        };
        Ok(RotationReport { key, values: done, resumed, retired })
    }

    /// Finds or makes the new key, and makes it the current key of the store.
    async fn begin(&self) -> Result<(String, bool)> {
        let ring = self.inner.seal.ring();
        let current = self.readers.read("reading the key's id", schema::key_id).await?;
        let listed = ring.reread()?;
        let newest = listed.first().filter(|key| key.id != current).cloned();
        let (key, resumed) = match (newest, ring.source()) {
            (Some(newest), source) => (newest, matches!(source, KeySource::File(_))),
            (None, _) if listed.len() > 1 => return Ok((current, true)),
            (None, KeySource::File(path)) => (ring.grow(path)?, false),
            (None, KeySource::Value(_)) => {
                return Err(Error::new(ErrorKind::Config, "the key was given as a value, without a new one")
                    .hint("make a new one with `openssl rand -base64 32`, and give it in TRUNKLINE_NEW_KEY"));
            }
        };
        let id = key.id.clone();
        let seal = self.inner.seal.clone();
        self.inner.writer.run(move |store| schema::change_key(store, &key, seal.records())).await?;
        Ok((id, resumed))
    }
}

fn count(store: &Connection, id: &str) -> rusqlite::Result<u64> {
    let mut total = 0;
    for table in &TABLES {
        let sql = format!("SELECT count(*) FROM {} WHERE key_id <> ?1", table.name);
        total += store.query_row(&sql, [id], |row| row.get::<_, i64>(0))?.unsigned_abs();
    }
    Ok(total)
}

fn pending(store: &Connection, table: &Table, id: &str, after: &Key) -> rusqlite::Result<Vec<Key>> {
    let Table { name, key: [first, second], .. } = table;
    let mut statement = store.prepare_cached(&format!(
        "SELECT {first}, {second} FROM {name} WHERE key_id <> ?1 AND ({first}, {second}) > (?2, ?3)
         ORDER BY 1, 2 LIMIT ?4"
    ))?;
    let rows =
        statement.query_map(params![id, after.0, after.1, BATCH as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Encrypts one value again, if it still exists and still uses another key.
fn reseal(store: &Connection, seal: &Seal, table: &Table, id: &str, key: &Key) -> WorkResult<bool> {
    let Table { name, key: [first, second], of, from } = table;
    let mut statement = store
        .prepare_cached(&format!("SELECT key_id, sealed, {of} FROM {from} WHERE {first} = ?1 AND {second} = ?2"))?;
    let found = statement.query_row(params![key.0, key.1], |row| {
        Ok((Sealed { key_id: row.get(0)?, bytes: row.get(1)? }, row.get::<_, Value>(2)?))
    });
    let Some((sealed, of)) = found.optional()?.filter(|(sealed, _)| sealed.key_id != id) else { return Ok(false) };
    let record = record(table, &key.0);
    let manifest = record.map(|record| checked(store, record)).transpose()?;
    let (row, field) = place(table, &key.0, of)?;
    let row: Vec<_> = row.iter().map(String::as_str).collect();
    let place = AssociatedData { table: name, row: &row, field: &field };
    let plain: Zeroizing<Vec<u8>> = seal.open(&place, &sealed)?;
    // An error here aborts the transaction.
    let sealed = schema::seal_in(store, seal, &place, &plain).map_err(WorkError::into_sqlite)?;
    let update = format!("UPDATE {name} SET key_id = ?3, sealed = ?4 WHERE {first} = ?1 AND {second} = ?2");
    store.prepare_cached(&update)?.execute(params![key.0, key.1, sealed.key_id, sealed.bytes])?;
    if let Some((manifest, record)) = manifest.zip(record) {
        manifest.save(store, &[record])?;
    }
    Ok(true)
}

fn checked(store: &Connection, record: Record<'_>) -> WorkResult<Manifest> {
    let manifest = Manifest::read(store)?;
    manifest.check(store, record)?;
    Ok(manifest)
}

/// Returns the record that a value is a part of, if records of its table are in the manifest.
fn record<'a>(table: &Table, name: &'a str) -> Option<Record<'a>> {
    match table.name {
        "secrets" => Some(Record::Connection(name)),
        "vault" => Some(Record::Tokens(name)),
        "webhooks" => Some(Record::Flow(name)),
        _ => None,
    }
}

/// Returns the row and the field of a value's [`AssociatedData`].
fn place(table: &Table, first: &str, of: Value) -> Result<(Vec<String>, String)> {
    let damaged = || Error::new(ErrorKind::Store, format!("a row of {} cannot be read", table.name)).with("row", first);
    match (table.name, of) {
        ("vault", Value::Integer(version)) => Ok((vec![first.to_owned()], vault_table::field(version))),
        ("secrets", Value::Text(pointer)) => Ok((vec![first.to_owned()], pointer)),
        ("step_log", Value::Integer(seq)) => {
            Ok((vec![first.to_owned(), seq.to_string()], process_log::ENTRY.to_owned()))
        }
        ("webhooks", _) => Ok((vec![first.to_owned()], flow_table::SECRET.to_owned())),
        (_, Value::Text(event)) => {
            let mut event: RunEvent = serde_json::from_str(&event).map_err(|error| damaged().source(error))?;
            let (row, field, _) = secret_part(&mut event).ok_or_else(damaged)?;
            Ok((vec![first.to_owned(), row.to_owned()], field.to_owned()))
        }
        _ => Err(damaged()),
    }
}

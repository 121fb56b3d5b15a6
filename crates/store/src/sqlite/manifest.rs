//! The list of the records that decide where a secret goes and what is run, in their last versions: connections with
//! their secrets, tokens, and saved flows with their webhooks.
//!
//! A MAC shows that this store wrote a row, not that it is the last one it wrote. So a record also has to be the one in
//! this list, which is one authenticated value: a row of an earlier time that is put back is refused, and so is a
//! record that was put together from rows of two times. Only the whole list, with all its records, could be put back.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::{Error, ErrorKind};

use crate::sqlite::{WorkError, WorkResult};

/// A record of the list, by its name.
#[derive(Clone, Copy)]
pub(crate) enum Record<'a> {
    /// A connection with its secrets.
    Connection(&'a str),
    /// The tokens of a connection.
    Tokens(&'a str),
    /// A saved flow with its webhook, without the position of its trigger.
    Flow(&'a str),
}

/// The MAC of each record, by the MAC of its kind and name.
pub(crate) struct Manifest(BTreeMap<i64, i64>);

const NAME: &str = "manifest";

impl Record<'_> {
    fn name(&self) -> &str {
        let (Record::Connection(name) | Record::Tokens(name) | Record::Flow(name)) = self;
        name
    }

    fn kind(&self) -> &'static str {
        match self {
            Record::Connection(_) => "connection",
            Record::Tokens(_) => "tokens of the connection",
            Record::Flow(_) => "flow",
        }
    }

    fn key(&self, store: &Connection) -> rusqlite::Result<i64> {
        let mut statement = store.prepare_cached("SELECT mac('name', ?1, ?2)")?;
        statement.query_row([self.kind(), self.name()], |row| row.get(0))
    }

    /// Returns the MAC of the record as it is in the tables, if it is there. The nonce of a sealed value stands for it.
    fn now(&self, store: &Connection) -> rusqlite::Result<Option<i64>> {
        let sql = match self {
            Record::Connection(_) => {
                "SELECT mac('connection', name, connector, document, created_at, updated_at,
                    (SELECT group_concat(quote(pointer) || quote(substr(sealed, 1, 24)) ORDER BY pointer)
                     FROM secrets WHERE connection = name)) FROM connections WHERE name = ?1"
            }
            Record::Tokens(_) => {
                "SELECT mac('tokens', connection, version, updated_at, sign_in, substr(sealed, 1, 24))
                 FROM vault WHERE connection = ?1"
            }
            Record::Flow(_) => {
                "SELECT mac('flow', name, version, connections, input, active, created_at, updated_at, token_hash,
                    substr(sealed, 1, 24)) FROM kept_flows LEFT JOIN webhooks ON flow = name WHERE name = ?1"
            }
        };
        store.prepare_cached(sql)?.query_row([self.name()], |row| row.get(0)).optional()
    }
}

impl Manifest {
    /// Reads the list. A list that was changed, or is missing, is refused.
    pub(crate) fn read(store: &Connection) -> WorkResult<Manifest> {
        let mut statement =
            store.prepare_cached("SELECT value, mac(name, substr(value, 9)) FROM meta WHERE name = ?1")?;
        let found = statement.query_row([NAME], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)));
        let changed = || changed("the list of connections and flows in the store".to_owned());
        let (bytes, mac) = found.optional()?.ok_or_else(changed)?;
        let (sum, entries) = bytes.split_first_chunk().ok_or_else(changed)?;
        let (entries, []) = entries.as_chunks::<16>() else { return Err(changed().into()) };
        if i64::from_le_bytes(*sum) != mac {
            return Err(changed().into());
        }
        let entry = |entry: &[u8; 16]| {
            let both = u128::from_le_bytes(*entry);
            (both as i64, (both >> 64) as i64)
        };
        Ok(Manifest(entries.iter().map(entry).collect()))
    }

    /// Writes a list with these records, as they are in the tables.
    pub(crate) fn write(&self, store: &Connection) -> rusqlite::Result<()> {
        let entries = self.0.iter().flat_map(|(key, mac)| [key.to_le_bytes(), mac.to_le_bytes()]);
        let entries: Vec<u8> = entries.flatten().collect();
        let mac: i64 =
            store.prepare_cached("SELECT mac(?1, ?2)")?.query_row(params![NAME, entries], |row| row.get(0))?;
        store
            .prepare_cached(
                "INSERT INTO meta (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![NAME, [&mac.to_le_bytes()[..], &entries].concat()])
            .map(drop)
    }

    /// Makes the list of a store of a format that had none.
    pub(crate) fn of_all(store: &Connection) -> rusqlite::Result<Manifest> {
        let mut all = Manifest(BTreeMap::new());
        let names = |sql: &str| -> rusqlite::Result<Vec<String>> {
            store.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        for name in names("SELECT name FROM connections")? {
            all.put(store, Record::Connection(&name))?;
            all.put(store, Record::Tokens(&name))?;
        }
        for name in names("SELECT name FROM kept_flows")? {
            all.put(store, Record::Flow(&name))?;
        }
        Ok(all)
    }

    /// Saves changed records as the last ones, in the transaction that has changed them. Where a part of a record
    /// stays, it is checked before the change.
    pub(crate) fn save(mut self, store: &Connection, records: &[Record<'_>]) -> rusqlite::Result<()> {
        records.iter().try_for_each(|record| self.put(store, *record))?;
        self.write(store)
    }

    fn put(&mut self, store: &Connection, record: Record<'_>) -> rusqlite::Result<()> {
        let key = record.key(store)?;
        match record.now(store)? {
            Some(mac) => self.0.insert(key, mac),
            None => self.0.remove(&key),
        };
        Ok(())
    }

    /// Fails unless the record in the tables is the one in the list, or in neither.
    pub(crate) fn check(&self, store: &Connection, record: Record<'_>) -> WorkResult<()> {
        if record.now(store)?.as_ref() == self.0.get(&record.key(store)?) {
            return Ok(());
        }
        Err(changed(format!("the {} {}", record.kind(), record.name())).with("row", record.name()).into())
    }
}

/// Fails unless a record is the one that was saved last.
pub(crate) fn check(store: &Connection, record: Record<'_>) -> rusqlite::Result<()> {
    Manifest::read(store).and_then(|manifest| manifest.check(store, record)).map_err(WorkError::into_sqlite)
}

fn changed(what: String) -> Error {
    let message = format!("something other than Trunkline has changed {what}, or has put back an earlier version");
    Error::new(ErrorKind::Store, message).hint(
        "find out what wrote to the store; then remove it and add it again, or restore the last backup of the data \
         directory",
    )
}

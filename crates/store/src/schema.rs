//! The tables, their versions, and the look at a file before anything is written to it.
//!
//! Migrations are an ordered list of SQL texts; `PRAGMA user_version` counts those that have been applied. One that has
//! been released is never changed: a change is a new one.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, config::DbConfig, params};
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    key::{Key, KeySource, Ring, hex, random},
    seal::{self, AssociatedData, Seal, Sealed},
    sqlite::{fault, open_as_it_lies, wait},
};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
    include_str!("migrations/8.sql"),
];
/// `PRAGMA application_id`: says that an SQLite file is ours.
const APPLICATION: i64 = 0x7472_6b6c;
const CANARY: AssociatedData<'static> = AssociatedData { table: "meta", row: &["canary"], field: "value" };
const CANARY_TEXT: &[u8] = b"this key opens this store";

/// What a store knows of itself.
pub(crate) struct Meta {
    instance: String,
    canary: Sealed,
}

impl Meta {
    fn fresh(key: &Key) -> Result<Meta> {
        let instance = hex(&random::<16>()?);
        let canary = canary(key, &instance)?;
        Ok(Meta { instance, canary })
    }

    /// The id of the key that seals.
    pub(crate) fn key_id(&self) -> &str {
        &self.canary.key_id
    }

    /// Whether the store's key is among these.
    pub(crate) fn check(&self, ring: &Ring, path: &Path) -> Result<()> {
        if ring.find(self.key_id())?.is_none() {
            let message =
                format!("the store was made with the key {}, but the key here is {}", self.key_id(), ring.ids());
            let hint = match ring.source() {
                KeySource::File(file) => format!(
                    "start with the key that this store was made with; if `trunkline key rotate` changed the key file for \
                     another data directory, put the content of {}.{}.old into the key file as a second line. To begin \
                     anew, move the data directory away",
                    file.display(),
                    self.key_id()
                ),
                KeySource::Value(_) => {
                    "start with the key that this store was made with, or has been changed to since; to begin anew, move \
                     the data directory away"
                        .to_owned()
                }
            };
            return Err(Error::new(ErrorKind::Config, message).hint(hint).with("file", path.display()));
        }
        Ok(())
    }

    /// The seal of the store.
    pub(crate) fn unlock(&self, ring: Ring, path: &Path) -> Result<Seal> {
        self.check(&ring, path)?;
        let seal = Seal::new(ring, &self.instance);
        seal.open(&CANARY, &self.canary).map_err(|error| error.with("file", path.display()))?;
        Ok(seal)
    }
}

fn canary(key: &Key, instance: &str) -> Result<Sealed> {
    seal::seal(key, instance, &CANARY, CANARY_TEXT)
}

/// The id of the key that seals.
pub(crate) fn key_id(store: &Connection) -> rusqlite::Result<String> {
    store.prepare_cached("SELECT value FROM meta WHERE name = 'key'")?.query_row([], |row| row.get(0))
}

/// From this transaction on, another key seals.
pub(crate) fn change_key(store: &Connection, key: &Key) -> rusqlite::Result<Result<()>> {
    let instance: String = store.query_row("SELECT value FROM meta WHERE name = 'instance'", [], |row| row.get(0))?;
    let canary = match canary(key, &instance) {
        Ok(canary) => canary,
        Err(error) => return Ok(Err(error)),
    };
    let mut update = store.prepare("UPDATE meta SET value = ?2 WHERE name = ?1")?;
    update.execute(params!["key", canary.key_id])?;
    update.execute(params!["canary", canary.bytes])?;
    Ok(Ok(()))
}

/// Looks at the file without changing a byte of it: nothing if there is no store yet.
pub(crate) fn inspect(path: &Path) -> Result<Option<Meta>> {
    Ok(look(path)?.map(|(_, meta)| meta))
}

/// The same for a file that cannot be brought up to date: it has to be so already.
pub(crate) fn current(path: &Path) -> Result<Option<Meta>> {
    let Some((applied, meta)) = look(path)? else { return Ok(None) };
    if applied < MIGRATIONS.len() {
        let message = format!(
            "the store has version {applied}, has to be brought to version {} first, and cannot be written",
            MIGRATIONS.len()
        );
        let hint = "make its file and its directory writable, and start Trunkline once, or read it with the version that made it";
        return Err(Error::new(ErrorKind::Store, message).hint(hint).with("file", path.display()));
    }
    Ok(Some(meta))
}

/// How many migrations have been applied, and what the store knows of itself.
fn look(path: &Path) -> Result<Option<(usize, Meta)>> {
    if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(None);
    }
    let read = || -> rusqlite::Result<Result<Option<(usize, Meta)>>> {
        let mut connection = open_as_it_lies(path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_handler(Some(wait))?;
        // One state of the file, even while another process makes the store.
        let transaction = connection.transaction()?;
        Ok(match version(&transaction, path)? {
            Ok(0) => Ok(None),
            Ok(applied) => meta(&transaction)?.map(|meta| Some((applied, meta))).ok_or_else(|| foreign(path)),
            Err(error) => Err(error),
        })
    };
    read().map_err(|error| fault("opening the store", path, error))?
}

/// Brings the tables up to date; a new store gets its name and its canary in the same transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, ring: &Ring) -> Result<Meta> {
    let fresh = Meta::fresh(&*ring.first()?)?;
    let mut write = || -> rusqlite::Result<Result<Meta>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied = match version(&transaction, path)? {
            Ok(applied) => applied,
            Err(error) => return Ok(Err(error)),
        };
        for migration in &MIGRATIONS[applied..] {
            transaction.execute_batch(migration)?;
        }
        if applied == 0 {
            let mut insert = transaction.prepare("INSERT INTO meta (name, value) VALUES (?1, ?2)")?;
            insert.execute(params!["instance", fresh.instance])?;
            insert.execute(params!["key", fresh.canary.key_id])?;
            insert.execute(params!["canary", fresh.canary.bytes])?;
        }
        if applied < MIGRATIONS.len() {
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        }
        let meta = meta(&transaction)?;
        transaction.commit()?;
        Ok(meta.ok_or_else(|| foreign(path)))
    };
    write().map_err(|error| fault("bringing the store's tables up to date", path, error))?
}

/// How many migrations have been applied; refuses files of others and of later versions.
fn version(connection: &Connection, path: &Path) -> rusqlite::Result<Result<usize>> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        return Ok(if application == 0 && version == 0 && tables == 0 { Ok(0) } else { Err(foreign(path)) });
    }
    let known = usize::try_from(version).ok().filter(|version| *version <= MIGRATIONS.len());
    Ok(known.ok_or_else(|| {
        Error::new(
            ErrorKind::Store,
            format!("the store has version {version}, this Trunkline knows versions up to {}", MIGRATIONS.len()),
        )
        .hint("use the newer Trunkline that made it, or another data directory")
        .with("file", path.display())
    }))
}

fn meta(connection: &Connection) -> rusqlite::Result<Option<Meta>> {
    let mut statement = connection.prepare("SELECT value FROM meta WHERE name = ?1")?;
    let instance: Option<String> = statement.query_row(["instance"], |row| row.get(0)).optional()?;
    let key_id: Option<String> = statement.query_row(["key"], |row| row.get(0)).optional()?;
    let bytes: Option<Vec<u8>> = statement.query_row(["canary"], |row| row.get(0)).optional()?;
    let (Some(instance), Some(key_id), Some(bytes)) = (instance, key_id, bytes) else { return Ok(None) };
    Ok(Some(Meta { instance, canary: Sealed { key_id, bytes } }))
}

fn foreign(path: &Path) -> Error {
    Error::new(ErrorKind::Store, "the file is an SQLite database, but not a store of Trunkline")
        .hint("choose another data directory, or put back the last backup of this one")
        .with("file", path.display())
}

//! The tables and their versions, and the check of a file before anything is written to it.
//!
//! Migrations are an ordered list of SQL texts; `PRAGMA user_version` counts the applied ones. The statements of a
//! released migration are never changed: a change is a new migration.

use std::path::Path;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, config::DbConfig, params};
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_flow::Retention;
use zeroize::Zeroizing;

use crate::{
    encryption::{AssociatedData, Key, KeySource, RecordKey, Ring, Seal, Sealed, random, seal},
    files::{file_fault, place},
    sqlite::{WorkResult, authentication, manifest::Manifest, open_as_it_lies, retention, wait},
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
    include_str!("migrations/9.sql"),
    include_str!("migrations/10.sql"),
    include_str!("migrations/11.sql"),
    include_str!("migrations/12.sql"),
    include_str!("migrations/13.sql"),
    include_str!("migrations/14.sql"),
    include_str!("migrations/16.sql"),
];
/// The first format whose rows are authenticated.
const AUTHENTICATED: usize = 11;
/// `PRAGMA application_id` of our files.
const APPLICATION: i64 = 0x7472_6b6c;
/// What shows that a key is that of the store: the sealed key of the MACs. Before, it was a text at another place. So a
/// store whose version is set back, to have its rows authenticated again, is refused.
const RECORD_KEY: AssociatedData<'static> = AssociatedData { table: "meta", row: &["records"], field: "value" };
const FORMER_CANARY: AssociatedData<'static> = AssociatedData { table: "meta", row: &["canary"], field: "value" };

/// The metadata of a store.
pub(crate) struct Meta {
    instance: String,
    canary: Sealed,
}

impl Meta {
    /// Returns the id of the current key.
    pub(crate) fn key_id(&self) -> &str {
        &self.canary.key_id
    }

    /// Fails unless the key of the store is in the key ring.
    pub(crate) fn check(&self, ring: &Ring, path: &Path) -> Result<()> {
        if ring.find(self.key_id())?.is_none() {
            let message =
                format!("the store was made with the key {}, but the key here is {}", self.key_id(), ring.ids());
            let hint = match ring.source() {
                KeySource::File(file) => format!(
                    "start with the key of this store; if a rotation changed the key file for another data \
                     directory, add the content of {}.{}.old to the key file as a second line. To start with an empty \
                     store, move the data directory away",
                    file.display(),
                    self.key_id()
                ),
                KeySource::Value(_) => {
                    "start with the current key of this store; to start with an empty store, move the data directory \
                     away"
                        .to_owned()
                }
            };
            return Err(Error::new(ErrorKind::Config, message).hint(hint).with("file", path.display()));
        }
        Ok(())
    }

    /// Returns the seal of the store, after it has opened the key of the MACs.
    pub(crate) fn unlock(&self, ring: Ring, path: &Path) -> Result<Seal> {
        self.check(&ring, path)?;
        let records = self.records(&ring, path)?;
        Ok(Seal::new(ring, &self.instance, records))
    }

    /// Opens the key of the MACs.
    fn records(&self, ring: &Ring, path: &Path) -> Result<RecordKey> {
        let key = self.open(ring, &RECORD_KEY).map_err(|error| error.with("file", path.display()))?;
        Ok(RecordKey::new(key.as_slice().try_into().map_err(|_| foreign(path))?))
    }

    fn open(&self, ring: &Ring, place: &AssociatedData<'_>) -> Result<Zeroizing<Vec<u8>>> {
        seal::open(ring, &self.instance, place, &self.canary)
    }
}

/// Returns the id of the current key.
pub(crate) fn key_id(store: &Connection) -> rusqlite::Result<String> {
    store.prepare_cached("SELECT value FROM meta WHERE name = 'key'")?.query_row([], |row| row.get(0))
}

/// Seals a value with the key that is current in this transaction. After a rotation no process seals with the previous
/// key, so that key can be removed in the end.
pub(crate) fn seal_in(store: &Connection, seal: &Seal, place: &AssociatedData<'_>, plain: &[u8]) -> WorkResult<Sealed> {
    Ok(seal.seal_with(&key_id(store)?, place, plain)?)
}

/// Makes another key the current one, from this transaction on.
pub(crate) fn change_key(store: &Connection, key: &Key, records: &RecordKey) -> WorkResult<()> {
    let instance: String = store.query_row("SELECT value FROM meta WHERE name = 'instance'", [], |row| row.get(0))?;
    let canary = seal::seal(key, &instance, &RECORD_KEY, records.as_slice())?;
    let mut update = store.prepare(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?;
    update.execute(params!["key", canary.key_id])?;
    update.execute(params!["canary", canary.bytes])?;
    Ok(())
}

/// Reads the metadata of a file without changing it. Returns `None` if there is no store yet.
pub(crate) fn inspect(path: &Path) -> Result<Option<Meta>> {
    Ok(look(path)?.map(|(_, meta)| meta))
}

/// Reads the metadata of a file that cannot be migrated. Fails unless it has the current version.
pub(crate) fn current(path: &Path) -> Result<Option<Meta>> {
    let Some((applied, meta)) = look(path)? else { return Ok(None) };
    if applied < MIGRATIONS.len() {
        let message = format!(
            "the store has version {applied}, must be migrated to version {}, and is read-only",
            MIGRATIONS.len()
        );
        let hint = "make its file and directory writable and start Trunkline once, or use the version of Trunkline that wrote it";
        return Err(Error::new(ErrorKind::Store, message).hint(hint).with("file", path.display()));
    }
    Ok(Some(meta))
}

/// Returns the number of applied migrations, and the metadata.
fn look(path: &Path) -> Result<Option<(usize, Meta)>> {
    if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(None);
    }
    let read = || -> WorkResult<Option<(usize, Meta)>> {
        let mut connection = open_as_it_lies(path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_handler(Some(wait))?;
        // A snapshot of the file, even while another process creates the store.
        let transaction = connection.transaction()?;
        match version(&transaction, path)? {
            0 => Ok(None),
            applied => Ok(Some((applied, meta(&transaction)?.ok_or_else(|| foreign(path))?))),
        }
    };
    read().map_err(|error| error.into_error("opening the store", path))
}

/// Applies missing migrations. A new store gets its instance id and its sealed key in the same transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, ring: &Ring) -> Result<Meta> {
    let mut write = || -> WorkResult<Meta> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied = version(&transaction, path)?;
        if applied < MIGRATIONS.len() {
            apply(&transaction, applied, path, ring)?;
        }
        let meta = meta(&transaction)?;
        transaction.commit()?;
        Ok(meta.ok_or_else(|| foreign(path))?)
    };
    write().map_err(|error| error.into_error("migrating the store", path))
}

fn apply(store: &Connection, applied: usize, path: &Path, ring: &Ring) -> WorkResult<()> {
    let mut records = RecordKey::new(random::<32>()?);
    let key = match applied {
        0 => ring.first()?,
        _ => {
            let meta = meta(store)?.ok_or_else(|| foreign(path))?;
            match applied < AUTHENTICATED {
                true => drop(meta.open(ring, &FORMER_CANARY).map_err(|error| error.with("file", path.display()))?),
                false => records = meta.records(ring, path)?,
            }
            ring.find(meta.key_id())?.ok_or_else(|| foreign(path))?
        }
    };
    authentication::former_functions(store)?;
    authentication::functions(store, &records)?;
    apply_from(store, applied)?;
    if applied == 0 {
        let instance = HEXLOWER.encode(&random::<16>()?);
        store.execute("INSERT INTO meta (name, value) VALUES ('instance', ?1)", [instance])?;
        retention::write(store, Retention::DEFAULT)?;
    }
    if applied < AUTHENTICATED {
        change_key(store, &key, &records)?;
        set_place(store, &place(path).map_err(|error| file_fault("reading the place of the store", path, error))?)?;
        Manifest::of_all(store)?.write(store)?;
    }
    store.pragma_update(None, "application_id", APPLICATION)?;
    Ok(store.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?)
}

/// Applies the migrations after the first ones.
fn apply_from(store: &Connection, applied: usize) -> rusqlite::Result<()> {
    MIGRATIONS[applied..].iter().try_for_each(|migration| store.execute_batch(migration))
}

/// Returns the place that the store was made for, and the number of its commits.
pub(crate) fn place_and_commits(store: &Connection) -> rusqlite::Result<(Option<String>, i64)> {
    let place = store.query_row("SELECT value FROM meta WHERE name = 'place'", [], |row| row.get(0)).optional()?;
    let commits = store.query_row("SELECT value FROM meta WHERE name = 'commits'", [], |row| row.get(0)).optional()?;
    Ok((place, commits.unwrap_or_default()))
}

/// Makes this the place of the store, in a commit. Returns the number of the commit.
pub(crate) fn set_place(store: &Connection, place: &str) -> rusqlite::Result<i64> {
    store.execute_batch("SAVEPOINT adopted")?;
    let sql = "INSERT INTO meta (name, value) VALUES ('place', ?1) ON CONFLICT DO UPDATE SET value = excluded.value";
    store.execute(sql, [place])?;
    let commits = count_commit(store)?;
    store.execute_batch("RELEASE adopted")?;
    Ok(commits)
}

/// Counts a commit in its transaction. Returns its number.
pub(crate) fn count_commit(store: &Connection) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO meta (name, value) VALUES ('commits', 1) ON CONFLICT DO UPDATE SET value = value + 1
               RETURNING value";
    store.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Returns the number of applied migrations. Fails for foreign files and for later versions.
fn version(connection: &Connection, path: &Path) -> WorkResult<usize> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        return if application == 0 && version == 0 && tables == 0 { Ok(0) } else { Err(foreign(path).into()) };
    }
    let known = usize::try_from(version).ok().filter(|version| *version <= MIGRATIONS.len());
    let known = known.ok_or_else(|| {
        let message =
            format!("the store has version {version}, this Trunkline knows versions up to {}", MIGRATIONS.len());
        Error::new(ErrorKind::Store, message)
            .hint("use the newer Trunkline that wrote it, or another data directory")
            .with("file", path.display())
    })?;
    Ok(known)
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
        .hint("choose another data directory, or restore the last backup of this one")
        .with("file", path.display())
}

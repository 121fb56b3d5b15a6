//! How this crate opens SQLite, reads from it, and what it says when SQLite or the system fails.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, config::DbConfig};
use tokio::sync::Semaphore;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{Fault, checksum};

/// How many reads may go on at once.
const READERS: usize = 4;

/// How many statements a connection keeps: more than there are.
const STATEMENTS: usize = 200;

/// What SQLite says, for a person: what was tried, on which file, why it failed, what to do next.
pub(crate) fn fault(tried: &str, path: &Path, error: rusqlite::Error) -> Error {
    if let rusqlite::Error::ToSqlConversionFailure(inner) = &error
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone().with("file", path.display());
    }
    let told = Error::new(ErrorKind::Store, format!("{tried} failed: {error}")).with("file", path.display());
    let told = match (Fault::of(&error, path), error.sqlite_error_code()) {
        (Some(fault), _) => fault.tell(told),
        (None, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => told.hint(
            "the file is damaged, or is no store of Trunkline: stop every process that uses it, keep a copy of the \
             data directory, and put back the last backup of it",
        ),
        (None, _) => {
            told.hint("start Trunkline again, runs go on from what is on disk; if it happens again, please report it")
        }
    };
    told.source(error)
}

/// An error of ours on its way through SQLite; [`fault`] takes it out again.
pub(crate) fn ours(error: Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// What the system says of a file.
pub(crate) fn file_fault(tried: &str, path: &Path, error: std::io::Error) -> Error {
    let told = Error::new(ErrorKind::Store, format!("{tried} failed: {error}")).with("file", path.display());
    let told = match Fault::of_file(&error) {
        Some(fault) => fault.tell(told),
        None => told.hint("the user that Trunkline runs as must be able to read and write there"),
    };
    told.source(error)
}

/// Waits for another process's write lock in short steps: one that commits without pause must not starve the others, as
/// SQLite's own, growing steps would. Gives up after about 30 seconds.
pub(crate) fn wait(tries: i32) -> bool {
    thread::sleep(Duration::from_millis(if tries < 100 { 1 } else { 5 }));
    tries < 6_000
}

/// What every connection needs: the functions of the tables, and that no statement is planned twice. (With another value to
/// compare with, SQLite would plan it anew each time.)
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    checksum::functions(connection)
}

/// Runs a statement that returns nothing, and keeps it prepared.
pub(crate) fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// A store's file as it could be opened.
pub(crate) enum Opened {
    ToWrite(Connection),
    /// It can only be read; what is said to who wants more.
    ToRead(Error),
}

/// A connection for the writer: what it has committed survives a power cut, and what it has deleted is wiped, so that no
/// sealed value outlives its key in a free corner of the file.
pub(crate) fn open_writer(path: &Path) -> Result<Opened> {
    let open = || {
        let mut connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        if connection.is_readonly(MAIN_DB)? {
            let error = Error::new(ErrorKind::Store, "the store can be read here, but not written");
            return Ok(Opened::ToRead(Fault::ReadOnly.tell(error.with("file", path.display()))));
        }
        connection.busy_handler(Some(wait))?;
        prepare(&connection)?;
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
             PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 67108864;",
        )?;
        // Two processes that make a new store at once: the slower one is told "busy" here without being made to wait.
        let mut tries = 0;
        loop {
            match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && wait(tries) => tries += 1,
                Err(error) => return Err(error),
                Ok(_) => return Ok(Opened::ToWrite(connection)),
            }
        }
    };
    open().map_err(|error| fault("opening the store", path, error))
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens the file without leaving others beside it, as even a reader would in the common way. Only if there is a log beside
/// it already, that has to be read, too.
pub(crate) fn open_as_it_lies(path: &Path) -> rusqlite::Result<Connection> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if std::fs::metadata(wal).map_or(0, |metadata| metadata.len()) > 0 {
        return Connection::open_with_flags(path, READ_ONLY);
    }
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Connection::open_with_flags(format!("file:{name}?immutable=1"), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// Connections that only read, handed out one at a time.
pub(crate) struct Readers {
    path: PathBuf,
    /// Whether the file can change.
    changes: bool,
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: &Path, changes: bool) -> Arc<Self> {
        Arc::new(Readers { path: path.to_owned(), changes, idle: Mutex::default(), room: Semaphore::new(READERS) })
    }

    /// Runs `look` on one state of the store, where it is called: for a few rows that are found by their keys. These take
    /// less time than it takes to wake another thread, and no writer ever keeps a reader waiting.
    pub(crate) fn look<T>(
        &self,
        tried: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.on_one_state(look).map_err(|error| fault(tried, &self.path, error))
    }

    fn on_one_state<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        // One that failed is not handed out again.
        let connection = self.take()?;
        execute(&connection, "BEGIN")?;
        let value = read(&connection)?;
        execute(&connection, "ROLLBACK")?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(value)
    }

    /// The same for whatever may take longer: off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        tried: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let _room = self.room.acquire().await.map_err(|error| Error::new(ErrorKind::Internal, tried).source(error))?;
        let readers = self.clone();
        match tokio::task::spawn_blocking(move || readers.on_one_state(read)).await {
            Ok(result) => result.map_err(|error| fault(tried, &self.path, error)),
            Err(error) => Err(Error::new(ErrorKind::Internal, format!("{tried} was broken off")).source(error)),
        }
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let mut connection = match self.changes {
            true => Connection::open_with_flags(&self.path, READ_ONLY)?,
            false => open_as_it_lies(&self.path)?,
        };
        connection.busy_handler(Some(wait))?;
        prepare(&connection)?;
        // A commit of the writer empties the cache anyway.
        connection
            .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -512;")?;
        Ok(connection)
    }
}

//! Opening the SQLite file: one connection for the writer, and a pool of connections for readers.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, config::DbConfig};
use tokio::sync::Semaphore;
use trunkline_core::{Error, ErrorKind, Result, StoreFault};

use crate::{
    encryption::Seal,
    files::describe,
    sqlite::{authentication, fault},
};

/// The number of concurrent reads.
const READERS: usize = 4;

/// The number of prepared statements that a connection caches: more than there are.
const STATEMENTS: usize = 200;

/// Waits for another process's write lock, in short steps. With SQLite's own growing steps, a process that commits
/// without a pause would starve the others. Gives up after about 30 seconds.
pub(crate) fn wait(tries: i32) -> bool {
    thread::sleep(Duration::from_millis(if tries < 100 { 1 } else { 5 }));
    tries < 6_000
}

/// Sets up a connection: stable query plans, which SQLite would otherwise make again for other parameter values, and
/// nothing in the file that is more than data.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    for switched_off in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        connection.set_db_config(switched_off, false)?;
    }
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;")
}

/// Runs a statement without a result, and keeps it prepared.
pub(crate) fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// An opened store file.
pub(crate) enum Opened {
    ToWrite(Connection),
    /// The file is read-only; the error is returned for every change.
    ToRead(Error),
}

/// Opens a connection for the writer. What it commits survives a power cut, and what it deletes is overwritten, so no
/// encrypted value outlives its key in unused pages of the file.
pub(crate) fn open_writer(path: &Path) -> Result<Opened> {
    let open = || {
        let mut connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        if connection.is_readonly(MAIN_DB)? {
            let error = Error::new(ErrorKind::Store, "the store is read-only here");
            return Ok(Opened::ToRead(describe(StoreFault::ReadOnly, error.with("file", path.display()))));
        }
        connection.busy_handler(Some(wait))?;
        prepare(&connection)?;
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
             PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 67108864;",
        )?;
        // When two processes create a store at once, SQLite returns "busy" to the slower one without calling the
        // handler.
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

/// Opens the file without creating others beside it, which a normal reader does. If there is a write-ahead log, it is
/// opened normally, because the log has to be read too.
pub(crate) fn open_as_it_lies(path: &Path) -> rusqlite::Result<Connection> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if std::fs::metadata(wal).map_or(0, |metadata| metadata.len()) > 0 {
        return Connection::open_with_flags(path, READ_ONLY);
    }
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Connection::open_with_flags(format!("file:{name}?immutable=1"), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// A pool of read-only connections.
pub(crate) struct Readers {
    path: PathBuf,
    seal: Arc<Seal>,
    /// Whether the file can change while it is open.
    changes: bool,
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: &Path, seal: Arc<Seal>, changes: bool) -> Arc<Self> {
        Arc::new(Readers {
            path: path.to_owned(),
            seal,
            changes,
            idle: Mutex::default(),
            room: Semaphore::new(READERS),
        })
    }

    /// Runs `look` on a snapshot of the store, in the calling thread. It is for a few rows that are found by their
    /// keys, which takes less time than waking another thread. A writer never makes a reader wait.
    pub(crate) fn look<T>(
        &self,
        tried: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.on_one_state(look).map_err(|error| fault(tried, &self.path, error))
    }

    fn on_one_state<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        // A connection that failed is not returned to the pool.
        let connection = self.take()?;
        execute(&connection, "BEGIN")?;
        let value = read(&connection).map_err(authentication::name_row)?;
        execute(&connection, "ROLLBACK")?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(value)
    }

    /// Runs `read` on a snapshot of the store, in a blocking thread: for reads that may take longer.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        tried: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let _room = self.room.acquire().await.map_err(|error| Error::new(ErrorKind::Internal, tried).source(error))?;
        let readers = self.clone();
        match tokio::task::spawn_blocking(move || readers.on_one_state(read)).await {
            Ok(result) => result.map_err(|error| fault(tried, &self.path, error)),
            Err(error) => Err(Error::new(ErrorKind::Internal, format!("{tried} was aborted")).source(error)),
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
        // A small cache: each commit of the writer invalidates it.
        connection.execute_batch("PRAGMA cache_size = -512")?;
        authentication::authenticate(&connection, self.seal.records(), false)?;
        Ok(connection)
    }
}

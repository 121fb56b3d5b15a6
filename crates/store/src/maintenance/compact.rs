//! Giving the free pages of a store back to the disk.

use std::{fs, path::Path, time::Duration};

use rusqlite::ErrorCode;
use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    database::Store,
    encryption::KeySource,
    files::file_fault,
    sqlite::{Opened, fault, open_writer},
};

/// The size of a store before and after it was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compaction {
    /// The bytes of its file before.
    pub before: u64,
    /// The bytes of its file now.
    pub after: u64,
}

impl Store {
    /// Writes the file of a store again, without the pages that removed runs have left free. Until it is done, it needs
    /// as much space as the new file has beside the store, and as much for temporary files. No process may have the
    /// store open: its writers would wait all the time.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; `not_found` if there is no store in the directory, and `conflict` if a process has it open.
    /// Nothing is changed then.
    pub fn compact(dir: &Path, key: KeySource) -> Result<Compaction> {
        let path = dir.join("trunkline.db");
        if !path.exists() {
            let message = format!("there is no store in {}", dir.display());
            return Err(Error::new(ErrorKind::NotFound, message).hint("name the data directory of the store"));
        }
        // Checks the key, the format and the owner.
        if let Some(refusal) = Store::open(dir, key)?.inner.writer.refusal() {
            return Err(refusal.clone());
        }
        let connection = match open_writer(&path)? {
            Opened::ToWrite(connection) => connection,
            Opened::ToRead(refusal) => return Err(refusal),
        };
        let size = || fs::metadata(&path).map(|file| file.len());
        let size = || size().map_err(|error| file_fault("reading the size of the store", &path, error));
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => in_use(dir),
            _ => fault("compacting the store", &path, error),
        };
        let before = size()?;
        // In this mode, a transaction begins only if no other connection is open, even an idle one.
        let alone = "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT";
        connection.busy_timeout(PATIENCE).and_then(|()| connection.execute_batch(alone)).map_err(failed)?;
        // The new file is written to the disk first: it may be larger than the memory.
        let sql = "PRAGMA temp_store = FILE; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)";
        connection.execute_batch(sql).map_err(failed)?;
        drop(connection);
        Ok(Compaction { before, after: size()? })
    }
}

/// How long a command that has the store open for a moment is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

fn in_use(dir: &Path) -> Error {
    let message = format!("the store in {} cannot be compacted now: another process has it open", dir.display());
    Error::new(ErrorKind::Conflict, message)
        .hint("stop the server and all other processes that use this data directory, and try again")
}

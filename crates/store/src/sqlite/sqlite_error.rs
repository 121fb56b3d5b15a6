//! Turns errors of SQLite into ours.

use std::{fs::File, path::Path};

use rusqlite::{ErrorCode, ffi};
use trunkline_core::{Error, ErrorKind, StoreFault};

use crate::files::{describe, fault_of_file};

/// Turns an SQLite error into ours: what was tried, on which file, why it failed, what to do next.
pub(crate) fn fault(tried: &str, path: &Path, error: rusqlite::Error) -> Error {
    if let rusqlite::Error::ToSqlConversionFailure(inner) = &error
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone().with("file", path.display());
    }
    let failed = Error::new(ErrorKind::Store, format!("{tried} failed: {error}")).with("file", path.display());
    let failed = match (fault_of(&error, path), error.sqlite_error_code()) {
        (Some(fault), _) => describe(fault, failed),
        (None, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => failed.hint(
            "the file is damaged, or not a store of Trunkline: stop every process that uses it, keep a copy of the \
             data directory, and restore the last backup of it",
        ),
        (None, _) => failed
            .hint("start Trunkline again: runs continue from what is on disk; if it happens again, please report it"),
    };
    failed.source(error)
}

/// Wraps an error of ours to pass through SQLite; [`fault`] unwraps it.
pub(crate) fn ours(error: Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// Why work on the database ends without a value.
pub(crate) enum WorkError {
    /// SQLite failed. The transaction is rolled back.
    Sqlite(rusqlite::Error),
    /// The work was refused before it changed anything. Other work of the same transaction is committed.
    Refused(Error),
}

pub(crate) type WorkResult<T> = std::result::Result<T, WorkError>;

impl WorkError {
    /// Turns it into an error of ours, see [`fault`].
    pub(crate) fn into_error(self, tried: &str, path: &Path) -> Error {
        match self {
            WorkError::Sqlite(error) => fault(tried, path, error),
            WorkError::Refused(error) => error,
        }
    }

    /// Turns it into an SQLite error, which rolls the transaction back in any case.
    pub(crate) fn into_sqlite(self) -> rusqlite::Error {
        match self {
            WorkError::Sqlite(error) => error,
            WorkError::Refused(error) => ours(error),
        }
    }
}

impl From<rusqlite::Error> for WorkError {
    fn from(error: rusqlite::Error) -> WorkError {
        WorkError::Sqlite(error)
    }
}

impl From<Error> for WorkError {
    fn from(error: Error) -> WorkError {
        WorkError::Refused(error)
    }
}

/// Returns the fault behind an SQLite error about the store at this path.
pub(crate) fn fault_of(error: &rusqlite::Error, path: &Path) -> Option<StoreFault> {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(StoreFault::Full),
        ErrorCode::ReadOnly if extended == Some(ffi::SQLITE_READONLY_DBMOVED) => None,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(StoreFault::ReadOnly),
        // Read-only is the most common cause, unless the system names another.
        ErrorCode::CannotOpen => Some(fault_of_directory(path).unwrap_or(StoreFault::ReadOnly)),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(StoreFault::Busy),
        ErrorCode::SystemIoFailure => match extended {
            Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Some(StoreFault::Flush),
            _ => Some(StoreFault::Refused),
        },
        _ => None,
    }
}

/// Returns the fault of opening the store's directory. The store itself is not opened for this: closing it would
/// release SQLite's locks.
fn fault_of_directory(path: &Path) -> Option<StoreFault> {
    fault_of_file(&File::open(path.parent()?).err()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_error_names_its_fault() {
        for (code, fault) in [
            (ffi::SQLITE_FULL, Some(StoreFault::Full)),
            (ffi::SQLITE_READONLY, Some(StoreFault::ReadOnly)),
            (ffi::SQLITE_READONLY_DBMOVED, None),
            (ffi::SQLITE_BUSY, Some(StoreFault::Busy)),
            (ffi::SQLITE_CANTOPEN, Some(StoreFault::ReadOnly)),
            (ffi::SQLITE_IOERR_WRITE, Some(StoreFault::Refused)),
            (ffi::SQLITE_IOERR_FSYNC, Some(StoreFault::Flush)),
            (ffi::SQLITE_IOERR_DIR_FSYNC, Some(StoreFault::Flush)),
            (ffi::SQLITE_CORRUPT, None),
            (ffi::SQLITE_CONSTRAINT, None),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(fault_of(&error, "/".as_ref()), fault, "{code}");
        }
    }
}

//! The fault of the disk or the system behind an error, see [`StoreFault`].

use std::{fs::File, io, path::Path};

use rusqlite::{ErrorCode, ffi};
use trunkline_core::{
    Error, ErrorDetail, Retry,
    StoreFault::{self, Busy, Files, Flush, Full, ReadOnly, Refused},
};

/// Returns an error of the store with the fault behind it and what to do about it. Work that failed may be repeated.
pub(crate) fn describe(fault: StoreFault, error: Error) -> Error {
    error.hint(fault.advice()).with_detail(ErrorDetail::StoreFault { fault }).retry(Retry::Backoff)
}

/// Returns the fault behind an SQLite error about the store at this path.
pub(crate) fn fault_of(error: &rusqlite::Error, path: &Path) -> Option<StoreFault> {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(Full),
        ErrorCode::ReadOnly if extended == Some(ffi::SQLITE_READONLY_DBMOVED) => None,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(ReadOnly),
        // Read-only is the most common cause, unless the system names another.
        ErrorCode::CannotOpen => Some(fault_here(path).unwrap_or(ReadOnly)),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(Busy),
        ErrorCode::SystemIoFailure => match extended {
            Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Some(Flush),
            _ => Some(Refused),
        },
        _ => None,
    }
}

/// Returns the fault of opening the store's directory. The store itself is not opened for this: closing it would release
/// SQLite's locks.
fn fault_here(path: &Path) -> Option<StoreFault> {
    fault_of_file(&File::open(path.parent()?).err()?)
}

/// Returns the fault behind a system error.
pub(crate) fn fault_of_file(error: &io::Error) -> Option<StoreFault> {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => Some(Full),
        ReadOnlyFilesystem | PermissionDenied => Some(ReadOnly),
        _ if is_out_of_files(error) => Some(Files),
        _ if error.raw_os_error() == Some(EIO) => Some(Refused),
        _ => None,
    }
}

const EIO: i32 = 5;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

fn is_out_of_files(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

#[cfg(test)]
mod tests {
    use trunkline_core::ErrorKind;

    use super::*;

    #[test]
    fn an_error_names_its_fault_and_a_failed_flush_is_permanent() {
        for (number, fault) in [(28, Full), (30, ReadOnly), (24, Files), (23, Files), (5, Refused)] {
            let error = io::Error::from_raw_os_error(number);
            let error = crate::sqlite::file_fault("claiming the run", "runs/a".as_ref(), error);
            assert_eq!((error.store_fault(), error.retryable()), (Some(fault), Retry::Backoff), "{error:?}");
        }
        for (code, fault) in [
            (ffi::SQLITE_FULL, Some(Full)),
            (ffi::SQLITE_READONLY, Some(ReadOnly)),
            (ffi::SQLITE_READONLY_DBMOVED, None),
            (ffi::SQLITE_BUSY, Some(Busy)),
            (ffi::SQLITE_CANTOPEN, Some(ReadOnly)),
            (ffi::SQLITE_IOERR_WRITE, Some(Refused)),
            (ffi::SQLITE_IOERR_FSYNC, Some(Flush)),
            (ffi::SQLITE_IOERR_DIR_FSYNC, Some(Flush)),
            (ffi::SQLITE_CORRUPT, None),
            (ffi::SQLITE_CONSTRAINT, None),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(fault_of(&error, "/".as_ref()), fault, "{code}");
        }
        assert!(StoreFault::ALL.into_iter().all(|fault| fault.passes() != (fault == Flush)));
        assert_eq!(Error::new(ErrorKind::Store, "damaged").store_fault(), None);
    }
}

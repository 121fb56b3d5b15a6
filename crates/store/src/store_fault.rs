//! What a disk or a system does to a store, in few words that may be told to anybody: no paths, no numbers.

use std::{fs::File, io, path::Path};

use rusqlite::{ErrorCode, ffi};
use trunkline_core::{Error, ErrorKind, Retry};

/// The key under which an error says which fault it comes from.
const FAULT: &str = "fault";

/// Why a store cannot work now although nothing is wrong with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no space left, or no inode.
    Full,
    /// The file system, or the file, can only be read.
    ReadOnly,
    /// The process, or the system, has as many open files as it may.
    Files,
    /// Another process holds the write lock without letting go.
    Busy,
    /// There is no answer: the disk hangs, or another process holds the write lock.
    Silent,
    /// The disk refused a call.
    Refused,
    /// A flush failed. What was written before it may be gone, and the system may have forgotten that: nothing that this
    /// process believes of the disk can be trusted any more, and another try would say nothing.
    Flush,
}

use Fault::{Busy, Files, Flush, Full, ReadOnly, Refused, Silent};

impl Fault {
    const ALL: [Fault; 7] = [Full, ReadOnly, Files, Busy, Silent, Refused, Flush];

    /// What is said of it to anybody who asks.
    pub fn as_str(self) -> &'static str {
        match self {
            Full => "store: disk full",
            ReadOnly => "store: read-only",
            Files => "store: too many open files",
            Busy => "store: locked by another process",
            Silent => "store: no answer",
            Refused => "store: the disk refused",
            Flush => "store: a flush failed",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Full => "free some space on that disk, or inodes: what was begun can then go on",
            ReadOnly => {
                "the user that Trunkline runs as must be able to write this file and its directory; a file system that \
                 became read-only by itself has met an error: look into the system's log"
            }
            Files => "raise the limit of open files (`ulimit -n`), or close connections: what was begun can then go on",
            Busy => "another process holds the store's write lock without letting go: find it, and end it",
            Silent => {
                "another process may hold the store's write lock, or the disk hangs: look for other processes of Trunkline \
                 on this data directory, and into the system's log"
            }
            Refused => {
                "the disk failed or refused: look into the system's log and at the disk's free space, then start again"
            }
            Flush => {
                "the disk failed or refused to keep what was written: look into the system's log and at the disk, then \
                 start Trunkline again: runs go on from what is on disk"
            }
        }
    }

    /// Whether this process can go on by itself when the cause is gone.
    pub fn passes(self) -> bool {
        self != Flush
    }

    /// The fault that an error comes from.
    pub fn behind(error: &Error) -> Option<Fault> {
        let told = error.context(FAULT).filter(|_| error.kind() == ErrorKind::Store)?;
        Fault::ALL.into_iter().find(|fault| fault.as_str() == told)
    }

    pub(crate) fn tell(self, error: Error) -> Error {
        error.hint(self.advice()).with(FAULT, self.as_str()).retry(Retry::Backoff)
    }

    /// What SQLite's error about the store at this path comes from.
    pub(crate) fn of(error: &rusqlite::Error, path: &Path) -> Option<Fault> {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code()? {
            ErrorCode::DiskFull => Some(Full),
            ErrorCode::ReadOnly if extended == Some(ffi::SQLITE_READONLY_DBMOVED) => None,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(ReadOnly),
            // The most common reason, unless the system knows better.
            ErrorCode::CannotOpen => Some(Fault::here(path).unwrap_or(ReadOnly)),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(Busy),
            ErrorCode::SystemIoFailure => match extended {
                Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Some(Flush),
                _ => Some(Refused),
            },
            _ => None,
        }
    }

    /// What keeps this process from opening anything beside the store. Not the store itself: to close that file would take
    /// SQLite's locks on it away.
    fn here(path: &Path) -> Option<Fault> {
        Fault::of_file(&File::open(path.parent()?).err()?)
    }

    pub(crate) fn of_file(error: &io::Error) -> Option<Fault> {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Some(Full),
            ReadOnlyFilesystem | PermissionDenied => Some(ReadOnly),
            _ if is_out_of_files(error) => Some(Files),
            _ if error.raw_os_error() == Some(EIO) => Some(Refused),
            _ => None,
        }
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
    use super::*;

    #[test]
    fn an_error_tells_its_fault_to_who_asks_and_a_failed_flush_does_not_pass() {
        for (number, fault) in [(28, Full), (30, ReadOnly), (24, Files), (23, Files), (5, Refused)] {
            let error = io::Error::from_raw_os_error(number);
            let told = crate::sqlite::file_fault("claiming the run", "runs/a".as_ref(), error);
            assert_eq!((Fault::behind(&told), told.retryable()), (Some(fault), Retry::Backoff), "{told:?}");
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
            assert_eq!(Fault::of(&error, "/".as_ref()), fault, "{code}");
        }
        assert!(Fault::ALL.into_iter().all(|fault| fault.passes() != (fault == Flush)));
        assert_eq!(Fault::behind(&Error::new(ErrorKind::Store, "damaged")), None);
    }
}

//! Faults of the disk or the system that keep a store from working. Their short names hold no paths or numbers, so they can
//! be shown without authentication.

use std::{io, path::Path};

use trunkline_core::{Error, ErrorKind, Retry};

/// The context key of an error that names its fault.
const FAULT: &str = "fault";

/// Why a store cannot work now although its content is intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space or no inode is left.
    Full,
    /// The file system or the file is read-only.
    ReadOnly,
    /// The limit of open files of the process or the system is reached.
    Files,
    /// Another process keeps the write lock.
    Busy,
    /// The store does not respond: the disk hangs, or another process keeps the write lock.
    Silent,
    /// The disk returned an error.
    Refused,
    /// A flush failed. Earlier writes may be lost, and the system may have dropped them without a trace. This process can no
    /// longer know what is on disk, and another flush would prove nothing.
    Flush,
}

use Fault::{Busy, Files, Flush, Full, ReadOnly, Refused, Silent};

impl Fault {
    const ALL: [Fault; 7] = [Full, ReadOnly, Files, Busy, Silent, Refused, Flush];

    /// Returns its short public name.
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

    /// Returns what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Full => "free space or inodes on that disk: runs continue by themselves",
            ReadOnly => {
                "the user that Trunkline runs as must be able to write this file and its directory; a file system that \
                 became read-only by itself has had an error: see the system's log"
            }
            Files => "raise the limit of open files (`ulimit -n`), or close connections: runs continue by themselves",
            Busy => "another process keeps the store's write lock: find it, and end it",
            Silent => {
                "another process may hold the store's write lock, or the disk hangs: look for other Trunkline processes \
                 on this data directory, and see the system's log"
            }
            Refused => {
                "the disk returned an error: check the system's log and the disk's free space, then start Trunkline again"
            }
            Flush => {
                "the disk did not keep what was written: check the system's log and the disk, then start Trunkline again: \
                 runs continue from what is on disk"
            }
        }
    }

    /// Returns whether this process can continue by itself when the cause is gone.
    pub fn passes(self) -> bool {
        self != Flush
    }

    /// Returns the fault that caused an error of kind `store`.
    pub fn behind(error: &Error) -> Option<Fault> {
        let name = error.context(FAULT).filter(|_| error.kind() == ErrorKind::Store)?;
        Fault::ALL.into_iter().find(|fault| fault.as_str() == name)
    }

    pub(crate) fn describe(self, error: Error) -> Error {
        error.hint(self.advice()).with(FAULT, self.as_str()).retry(Retry::Backoff)
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

/// Turns a system error about a file into ours.
pub(crate) fn file_fault(tried: &str, path: &Path, error: io::Error) -> Error {
    let failed = Error::new(ErrorKind::Store, format!("{tried} failed: {error}")).with("file", path.display());
    let failed = match Fault::of_file(&error) {
        Some(fault) => fault.describe(failed),
        None => failed.hint("the user that Trunkline runs as must be able to read and write there"),
    };
    failed.source(error)
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
    fn an_error_names_its_fault_and_a_failed_flush_is_permanent() {
        for (number, fault) in [(28, Full), (30, ReadOnly), (24, Files), (23, Files), (5, Refused)] {
            let error = io::Error::from_raw_os_error(number);
            let error = file_fault("claiming the run", "runs/a".as_ref(), error);
            assert_eq!((Fault::behind(&error), error.retryable()), (Some(fault), Retry::Backoff), "{error:?}");
        }
        assert!(Fault::ALL.into_iter().all(|fault| fault.passes() != (fault == Flush)));
        assert_eq!(Fault::behind(&Error::new(ErrorKind::Store, "damaged")), None);
    }
}

//! The fault of the disk or the system behind an error, see [`StoreFault`].

use std::{io, path::Path};

use trunkline_core::{
    Error, ErrorDetail, ErrorKind, Retry,
    StoreFault::{self, Files, Full, ReadOnly, Refused},
};

/// Returns an error of the store with the fault behind it and what to do about it. Work that failed may be repeated.
pub(crate) fn describe(fault: StoreFault, error: Error) -> Error {
    error.hint(fault.advice()).with_detail(ErrorDetail::StoreFault { fault }).retry(Retry::Backoff)
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

/// Turns a system error about a file into ours.
pub(crate) fn file_fault(tried: &str, path: &Path, error: io::Error) -> Error {
    let failed = Error::new(ErrorKind::Store, format!("{tried} failed: {error}")).with("file", path.display());
    let failed = match fault_of_file(&error) {
        Some(fault) => describe(fault, failed),
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
            assert_eq!((error.store_fault(), error.retryable()), (Some(fault), Retry::Backoff), "{error:?}");
        }
        assert!(StoreFault::ALL.iter().all(|fault| fault.passes() != (*fault == StoreFault::Flush)));
        assert_eq!(Error::new(ErrorKind::Store, "damaged").store_fault(), None);
    }
}

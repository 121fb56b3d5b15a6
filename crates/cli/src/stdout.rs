//! Standard output. Everything that the process prints there passes through [`print`], so that the first write that
//! fails ends the command: no result is lost silently, and no further page of a list is asked for.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{LazyLock, OnceLock},
};

use trunkline::core::{CancellationToken, Error, ErrorKind, Result};

/// The exit code of a command whose reader has closed the pipe, as of a process that SIGPIPE ends.
pub(crate) const READER_GONE: u8 = 141;

/// The first write that failed.
static FAILURE: OnceLock<io::Error> = OnceLock::new();
/// Cancelled by the first write that fails.
static FAILED: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Writes to standard output.
///
/// # Errors
///
/// `cancelled` if the write fails. The command has to end, and [`ended`] says how.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
        let failed = Error::new(ErrorKind::Cancelled, format!("standard output cannot be written: {error}"));
        let _ = FAILURE.set(error);
        FAILED.cancel();
        failed
    })
}

/// Writes a line to standard output.
///
/// # Errors
///
/// As [`print`].
pub(crate) fn print_line(line: &str) -> Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Waits until a write fails.
pub(crate) async fn failed() {
    FAILED.cancelled().await;
}

/// Returns how a command ends whose output could not be written, and `None` if all of it was written. A reader that has
/// closed the pipe wants no more: the exit code is that of a process that SIGPIPE ends.
///
/// # Errors
///
/// `store` if the output is lost for another reason, such as a full disk.
pub(crate) fn ended() -> Option<Result<ExitCode>> {
    FAILURE.get().map(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(READER_GONE.into()),
        _ => Err(Error::new(ErrorKind::Store, format!("the output cannot be written: {error}"))
            .hint("the command itself may have succeeded: look before you repeat it")),
    })
}

//! Claims: locks for working on a run. They are locks of the operating system: the kernel releases them when
//! their process ends, in whichever way, so no lease can be wrong about which process is alive.

use std::{io::ErrorKind as Io, path::Path};

use trunkline_core::{Error, ErrorKind, NextStep, Result, RunId, async_trait};
use trunkline_engine::{RunClaim, RunClaims, RunNote};

use crate::{
    database::Store,
    files::{file_fault, private_dir},
    journal::{active_marks, run_notes},
};

#[async_trait]
impl RunClaims for Store {
    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        let claimed = claim(&self.inner.dir, run)?;
        if self.inner.pending.check(run).is_err() {
            // What the previous worker queued is dropped first, while the run still counts as failed.
            let _ = self.inner.writer.flush().await;
            self.inner.pending.reload(run);
        }
        Ok(claimed)
    }

    async fn is_claimed(&self, run: &RunId) -> Result<bool> {
        check(run)?;
        let dir = self.inner.dir.join("runs");
        match is_held(&dir, run) {
            Err(error) if error.kind() == Io::NotFound => Ok(false),
            held => held.map_err(|error| file_fault("looking for the claim of the run", &dir, error).with("run", run)),
        }
    }

    async fn note(&self, run: &RunId, note: Option<&RunNote>) -> Result<()> {
        run_notes::write(&self.inner.dir, run, note)
    }

    async fn noted(&self, run: &RunId) -> Result<Option<RunNote>> {
        run_notes::read(&self.inner.dir, run)
    }

    async fn mark_active(&self, run: &RunId) -> Result<()> {
        active_marks::add(&self.inner.dir, run)
    }

    async fn active_marks(&self, run: &RunId) -> Result<u32> {
        active_marks::count(&self.inner.dir, run)
    }

    async fn clear_active(&self, run: &RunId) -> Result<()> {
        active_marks::clear(&self.inner.dir, run)
    }
}

/// Fails for an id that is not safe as the name of a file.
pub(crate) fn check(run: &RunId) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&run.as_str().len()) && run.as_str().bytes().all(fits) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "a run's id has at most 64 lower case letters, digits and hyphens")
        .next(NextStep::ListRuns))
}

fn claim(dir: &Path, run: &RunId) -> Result<RunClaim> {
    check(run)?;
    let dir = dir.join("runs");
    let failed = |error| file_fault("claiming the run", &dir, error).with("run", run);
    let held = match hold_run(&dir, run) {
        Err(error) if error.kind() == Io::NotFound => private_dir(&dir).and_then(|()| hold_run(&dir, run)),
        held => held,
    };
    held.map_err(failed)?.ok_or_else(|| {
        Error::new(ErrorKind::Conflict, format!("another process works on run {run}"))
            .hint("wait until it is done, or end that process: a run continues where it was")
            .with("run", run)
    })
}

/// Locks one byte of a file that all runs share, so a run needs no file of its own. It is an open file description
/// lock, see fcntl(2), and belongs to the open file. Returns `None` if another process holds it.
#[cfg(target_os = "linux")]
fn hold_run(dir: &Path, run: &RunId) -> std::io::Result<Option<RunClaim>> {
    use nix::{
        errno::Errno,
        fcntl::{FcntlArg, fcntl},
    };

    use crate::files::private_file;

    let file = private_file().create(true).truncate(false).open(dir.join(CLAIMS))?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&byte_of(run))) {
        Ok(_) => Ok(Some(RunClaim::new(file))),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a process holds the lock, without taking it.
#[cfg(target_os = "linux")]
fn is_held(dir: &Path, run: &RunId) -> std::io::Result<bool> {
    use nix::{
        fcntl::{FcntlArg, fcntl},
        libc::F_UNLCK,
    };

    use crate::files::private_file;

    let file = private_file().write(false).read(true).open(dir.join(CLAIMS))?;
    let mut byte = byte_of(run);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut byte))?;
    Ok(byte.l_type != F_UNLCK as nix::libc::c_short)
}

/// The file whose bytes stand for runs.
#[cfg(target_os = "linux")]
const CLAIMS: &str = "claims.lock";

/// Returns the lock of a run: one of 2^63 bytes. Two running runs do not share one in practice.
#[cfg(target_os = "linux")]
fn byte_of(run: &RunId) -> nix::libc::flock {
    use nix::libc::{F_WRLCK, SEEK_SET, flock};
    use sha2::{Digest, Sha256};

    let start = crate::sqlite::authentication::number(&Sha256::digest(run.as_str())) & i64::MAX;
    flock { l_type: F_WRLCK as _, l_whence: SEEK_SET as _, l_start: start as _, l_len: 1, l_pid: 0 }
}

#[cfg(not(target_os = "linux"))]
fn hold_run(dir: &Path, run: &RunId) -> std::io::Result<Option<RunClaim>> {
    Ok(crate::files::file_lock::hold(&dir.join(format!("{run}.lock")))?.map(RunClaim::new))
}

#[cfg(not(target_os = "linux"))]
fn is_held(dir: &Path, run: &RunId) -> std::io::Result<bool> {
    // The holder removes the file. One that a dead process has left is not locked.
    match std::fs::File::open(dir.join(format!("{run}.lock")))?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

//! The marks of runs that are active without progress, see [`RunClaims::mark_active`](trunkline_engine::RunClaims). A run
//! with marks has a file beside the claims, of one byte for each mark. It is not flushed: a crash of the process leaves it,
//! and a power cut is not the fault of a run.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use trunkline_core::{Result, RunId};

use crate::{
    files::{file_fault, private_dir, private_file},
    journal::run_claim,
};

/// Adds a mark.
pub(super) fn add(dir: &Path, run: &RunId) -> Result<()> {
    let path = path(dir, run)?;
    let write = || {
        path.parent().map_or(Ok(()), private_dir)?;
        private_file().create(true).append(true).truncate(false).open(&path)?.write_all(b"+")
    };
    write().map_err(|error| file_fault("marking the run as active", &path, error).with("run", run))
}

/// Returns the number of marks.
pub(super) fn count(dir: &Path, run: &RunId) -> Result<u32> {
    let path = path(dir, run)?;
    match fs::metadata(&path) {
        Ok(file) => Ok(u32::try_from(file.len()).unwrap_or(u32::MAX)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(file_fault("reading the marks of the run", &path, error).with("run", run)),
    }
}

/// Removes all marks.
pub(super) fn clear(dir: &Path, run: &RunId) -> Result<()> {
    let path = path(dir, run)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_fault("removing the marks of the run", &path, error).with("run", run))
        }
        _ => Ok(()),
    }
}

fn path(dir: &Path, run: &RunId) -> Result<PathBuf> {
    run_claim::check(run)?;
    Ok(dir.join("runs").join(format!("{run}.active")))
}

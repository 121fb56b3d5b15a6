//! The notes about what runs do, see [`RunClaims::note`](trunkline_engine::RunClaims): a file for each run that has one,
//! beside the claims. It is not flushed, because it counts only as long as its process lives. It holds no key of an item
//! and nothing of a service.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use trunkline_core::{Result, RunId};
use trunkline_engine::RunNote;

use crate::{
    files::{file_fault, private_dir, private_file},
    journal::run_claim,
};

/// The largest note that is read, in bytes.
const MOST: u64 = 16 * 1024;

/// Writes a note in place of an earlier one, or removes it.
pub(super) fn write(dir: &Path, run: &RunId, note: Option<&RunNote>) -> Result<()> {
    let path = path(dir, run)?;
    let written = match note {
        Some(note) => replace(&path, &serde_json::to_vec(note).unwrap_or_default()),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    };
    written.map_err(|error| file_fault("noting what the run does", &path, error).with("run", run))
}

/// Replaces a file at once, so that no process reads half a note.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("note.new");
    path.parent().map_or(Ok(()), private_dir)?;
    private_file().create(true).truncate(true).open(&new)?.write_all(content)?;
    fs::rename(&new, path)
}

/// Returns the note about a run. One that is not readable is none.
pub(super) fn read(dir: &Path, run: &RunId) -> Result<Option<RunNote>> {
    let path = path(dir, run)?;
    let mut text = Vec::new();
    let mut read = || private_file().write(false).read(true).open(&path)?.take(MOST).read_to_end(&mut text);
    match read() {
        Ok(_) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_fault("reading what the run does", &path, error).with("run", run)),
    }
}

fn path(dir: &Path, run: &RunId) -> Result<PathBuf> {
    run_claim::check(run)?;
    Ok(dir.join("runs").join(format!("{run}.note")))
}

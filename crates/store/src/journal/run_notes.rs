//! The notes about what runs do, see [`RunClaims::note`](trunkline_engine::RunClaims): a file for each run that has
//! one, beside the claims. It is not flushed, because it counts only as long as its process lives. It holds no key of an
//! item, and of a service nothing but the size and the rest of a quota.

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

/// Returns the note about a run. One that cannot be read is none: a list of runs must not fail because of it.
pub(super) fn read(dir: &Path, run: &RunId) -> Result<Option<RunNote>> {
    let path = path(dir, run)?;
    let mut text = Vec::new();
    let mut read = || private_file().write(false).read(true).open(&path)?.take(MOST).read_to_end(&mut text);
    match read() {
        Ok(_) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(%run, "the note about the run cannot be read: {error}");
            }
            Ok(None)
        }
    }
}

fn path(dir: &Path, run: &RunId) -> Result<PathBuf> {
    run_claim::check(run)?;
    Ok(dir.join("runs").join(format!("{run}.note")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use trunkline_engine::RunState;

    use super::*;

    #[test]
    fn a_note_is_replaced_and_removed_and_what_is_no_note_is_ignored() {
        let (home, run) = (tempfile::tempdir().unwrap(), RunId::from("a1"));
        let file = home.path().join("runs/a1.note");
        assert_eq!(read(home.path(), &run).unwrap(), None);
        for state in [RunState::Running, RunState::Queued { behind: Some("a2".into()), limit: None }] {
            let note = RunNote { by: "a3".into(), state, quota: None };
            write(home.path(), &run, Some(&note)).unwrap();
            assert_eq!(read(home.path(), &run).unwrap(), Some(note));
        }
        let whole = fs::read(&file).unwrap();
        for text in [&b"{"[..], b"null", &[&whole[..], &[b' '; MOST as usize], b"}"].concat()[1..]] {
            fs::write(&file, text).unwrap();
            assert_eq!(read(home.path(), &run).unwrap(), None);
        }
        write(home.path(), &run, None).unwrap();
        assert!(!file.exists());
        write(home.path(), &run, None).unwrap();
        assert!(write(home.path(), &RunId::from("../a1"), None).is_err(), "a run's id is not a path");
        // A link in its place is not followed.
        #[cfg(unix)]
        {
            fs::write(home.path().join("elsewhere"), &whole).unwrap();
            std::os::unix::fs::symlink(home.path().join("elsewhere"), &file).unwrap();
            assert_eq!(read(home.path(), &run).unwrap(), None);
        }
    }
}

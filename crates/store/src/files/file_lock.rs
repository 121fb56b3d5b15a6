//! Locks on whole files. They are locks of the operating system: the kernel releases them when their process ends, in
//! whichever way.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::files::private_file;

/// A file that this process has locked.
pub(crate) struct FileLock {
    // Closed, and so unlocked, after `drop` below has run.
    _file: File,
    path: PathBuf,
}

/// Locks a file. Returns `None` if another process holds it.
pub(crate) fn hold(path: &Path) -> std::io::Result<Option<FileLock>> {
    loop {
        let file = private_file().create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The previous holder may have removed the file after it was opened here; others would then lock a new file.
        if is_at(&file, path)? {
            return Ok(Some(FileLock { _file: file, path: path.to_owned() }));
        }
    }
}

/// Only the holder removes the file, while it still holds the lock. A process that locks a removed file notices and
/// retries.
impl Drop for FileLock {
    fn drop(&mut self) {
        if cfg!(unix) {
            // A file that stays does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> std::io::Result<bool> {
    Ok(true)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A process may open a file that its holder removes before it locks it: the lock of such a file keeps out nothing.
    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_the_one_at_its_path() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap(), "it was removed");
        let other = File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap() && is_at(&other, &path).unwrap(), "it was replaced");
        // Below a file there are no files: another error than that of a missing one.
        assert!(is_at(&file, &path.join("below")).is_err());
    }

    #[test]
    fn a_lock_does_not_follow_a_planted_link() {
        let home = tempfile::tempdir().unwrap();
        let (lock, victim) = (home.path().join("lock"), home.path().join("victim"));
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        assert!(hold(&lock).is_err() && !victim.exists());
        // The sabotage twin: without the link the same lock is held.
        fs::remove_file(&lock).unwrap();
        assert!(hold(&lock).unwrap().is_some());
    }
}

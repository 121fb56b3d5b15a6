//! The data directory, and the users that have access to what is in it.

use std::{io::ErrorKind as Io, path::Path};

use trunkline_core::Result;

use crate::files::{file_fault, make_private, private_dir, private_file, sync_dir};

/// What is in a data directory.
const BESIDE: [&str; 7] =
    ["trunkline.db", "trunkline.db-wal", "trunkline.db-shm", "trunkline.db-journal", "runs", "staging", "commits"];

/// Makes a directory that only the user that runs this process has access to. What is in it under these names is taken
/// from all others.
///
/// # Errors
///
/// `store` if the directory cannot be made, and `config` if it or one of the files, or a link in its place, belongs to
/// another user.
pub fn make_private_directory(dir: &Path, names: &[&str]) -> Result<()> {
    private_dir(dir).map_err(|error| file_fault("creating the directory", dir, error))?;
    make_private(dir)?;
    names.iter().try_for_each(|name| make_private(&dir.join(name)))
}

/// Makes the data directory and the file if they do not exist. Both, and what SQLite and locks need beside the file,
/// have to be private to the user that runs this process: a file that another user planted is not opened.
pub(crate) fn make_data_directory(dir: &Path, path: &Path) -> Result<()> {
    let failed = |error| file_fault("creating the data directory", dir, error);
    make_private_directory(dir, &BESIDE)?;
    match private_file().create_new(true).open(path) {
        Ok(file) => file.sync_all().and_then(|()| sync_dir(dir)).map_err(failed),
        Err(error) if error.kind() == Io::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

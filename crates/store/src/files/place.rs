//! The place of a store, which a copy does not share, and the mark of its last commit, which a restored file lacks.
//!
//! The place is made of the machine, and of the number and the birth of the file. A directory that is moved within a
//! file system keeps it. Systems without a machine id or without these numbers make it of the rest.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::UNIX_EPOCH,
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::files::{private_dir, private_file};

/// Returns a text for the place of a file.
pub(crate) fn place(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0_u64;
    let birth = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(b"trunkline place")
        .chain_update(machine.trim())
        .chain_update(number.to_le_bytes())
        .chain_update(birth.as_nanos().to_le_bytes());
    Ok(HEXLOWER.encode(&digest.finalize()[..16]))
}

/// The number of the last commit, in a file beside the store. It is written after the commit is on disk, without a
/// flush of its own: so it is never ahead of a store from which nothing was lost.
pub(crate) struct CommitMark(File);

const DIRECTORY: &str = "commits";

impl CommitMark {
    /// Opens the mark of a data directory, or makes one.
    pub(crate) fn open(dir: &Path) -> io::Result<CommitMark> {
        let dir = dir.join(DIRECTORY);
        private_dir(&dir)?;
        private_file().read(true).create(true).truncate(false).open(dir.join("last")).map(CommitMark)
    }

    /// Returns the number, or 0 if there is none.
    pub(crate) fn read(&self) -> io::Result<i64> {
        let (mut file, mut text) = (&self.0, String::new());
        file.seek(SeekFrom::Start(0))?;
        file.take(20).read_to_string(&mut text)?;
        Ok(text.trim().parse().unwrap_or_default())
    }

    pub(crate) fn write(&self, commits: i64) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{commits:019}\n").as_bytes())
    }
}

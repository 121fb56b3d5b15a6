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

use crate::files::{private_dir, private_file, sync_dir};

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

/// Returns whether a file has further names, as a copy of its directory with hard links gives it.
pub(crate) fn is_shared(path: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    let names = std::os::unix::fs::MetadataExt::nlink(&metadata);
    #[cfg(not(unix))]
    let names = u64::from(metadata.is_file());
    Ok(names > 1)
}

/// The number of the last commit, in a file beside the store. It is written after the commit is on disk: so it is never
/// ahead of a store from which nothing was lost. It is flushed when it is made and at every [`FLUSHED`]th commit: so it
/// is never [`BEHIND`] or more behind, also after a power failure.
pub(crate) struct CommitMark(File);

const DIRECTORY: &str = "commits";
/// The length of the file: 19 digits and a line break.
const LENGTH: u64 = 20;
/// The number of commits between two flushes of the mark.
const FLUSHED: i64 = 256;
/// Twice what a power failure can undo, because a process can be killed before it flushes the mark, and twice for the
/// commits of other processes meanwhile.
pub(crate) const BEHIND: i64 = 4 * FLUSHED;

impl CommitMark {
    /// Opens the mark of a data directory, if it has one, and reads its number. There is none if the file has another
    /// content than [`CommitMark::write`] gives it.
    pub(crate) fn open(dir: &Path) -> io::Result<Option<(CommitMark, Option<i64>)>> {
        let file = match private_file().read(true).open(dir.join(DIRECTORY).join("last")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        (&file).take(LENGTH + 1).read_to_end(&mut text)?;
        let digits = str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
        let digits = digits.filter(|digits| digits.len() == 19 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let commits = digits.and_then(|digits| digits.parse().ok()).filter(|commits| *commits > 0);
        Ok(Some((CommitMark(file), commits)))
    }

    /// Makes the mark of a data directory, also in place of another one.
    pub(crate) fn make(dir: &Path, commits: i64) -> io::Result<CommitMark> {
        let dir = dir.join(DIRECTORY);
        private_dir(&dir)?;
        let mark = private_file().read(true).create(true).truncate(false).open(dir.join("last")).map(CommitMark)?;
        mark.write(commits)?;
        mark.0.set_len(LENGTH)?;
        mark.0.sync_all()?;
        sync_dir(&dir)?;
        Ok(mark)
    }

    pub(crate) fn write(&self, commits: i64) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{commits:019}\n").as_bytes())?;
        if commits % FLUSHED == 0 { file.sync_data() } else { Ok(()) }
    }
}

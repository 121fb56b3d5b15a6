//! Files and directories that only their owner can read, and flushes of directories.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use chacha20poly1305::aead::Generate;
use data_encoding::HEXLOWER;
use trunkline_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::files::file_fault;

/// Creates a directory and its parents, private to the owner. An existing directory is not changed.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options for writing a file that only its owner can read. A symbolic link in its place is not followed, and a pipe in
/// its place is not waited for.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits());
    }
    options
}

/// Takes a file or a directory of the store from all others than its owner, if they have access to it. What does not
/// exist is left alone.
///
/// # Errors
///
/// `config` if it, or the link in its place, belongs to another user, who could exchange it at any time; or if others
/// can write to it and this cannot be changed.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    let failed = |error| file_fault("checking the owner of a file", path, error).into_kind(ErrorKind::Config);
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    check_owner(path, &metadata)?;
    let metadata = if metadata.is_symlink() { fs::metadata(resolved(path)?).map_err(failed)? } else { metadata };
    check_owner(path, &metadata)?;
    #[cfg(unix)]
    if let Some(mode) = exposed(&metadata) {
        use std::os::unix::fs::PermissionsExt;
        match fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)) {
            Ok(()) => {
                tracing::warn!("others than its owner had access to {} (mode {mode:o}): taken away", path.display());
            }
            // What others cannot write to can still be read.
            Err(_) if mode & 0o022 == 0 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Reads a file with a secret. What is checked is the open file, so it cannot be exchanged in between.
///
/// # Errors
///
/// `config` if others than its owner have access to it, if it or the link in its place belongs to another user, or if
/// it cannot be read.
pub fn read_private_file(what: &str, path: &Path) -> Result<Zeroizing<String>> {
    let failed = |error| file_fault(&format!("reading {what}"), path, error).into_kind(ErrorKind::Config);
    let at = fs::symlink_metadata(path).map_err(failed)?;
    check_owner(path, &at)?;
    let target = if at.is_symlink() { resolved(path)? } else { path.to_owned() };
    let mut options = private_file();
    let mut file = options.write(false).read(true).open(target).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_owner(path, &metadata)?;
    if !metadata.is_file() {
        let message = format!("{what} {} cannot be used: it is not a file", path.display());
        return Err(Error::new(ErrorKind::Config, message).hint("find out what put it there, and remove it"));
    }
    if let Some(mode) = exposed(&metadata) {
        let message = format!("{what} {} cannot be used: others can read it (mode {mode:o})", path.display());
        return Err(Error::new(ErrorKind::Config, message)
            .hint(format!("run `chmod 600 {}`, and consider which users may have read it", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Returns the path to which a symbolic link leads.
fn resolved(link: &Path) -> Result<PathBuf> {
    fs::canonicalize(link).map_err(|error| {
        let target = fs::read_link(link).unwrap_or_default();
        let message = format!("{} is a symbolic link to {}, which cannot be opened", link.display(), target.display());
        Error::new(ErrorKind::Config, format!("{message}: {error}"))
            .hint("remove the link, or put back what it leads to")
            .source(error)
    })
}

/// Fails unless a file belongs to the user that runs this process, or to root.
#[cfg(unix)]
fn check_owner(path: &Path, metadata: &Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let (owner, us) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if owner == us || owner == 0 {
        return Ok(());
    }
    let what = if metadata.is_symlink() { "the symbolic link" } else { "the file or directory" };
    let message = format!("{what} {} belongs to the user {owner}, but Trunkline runs as {us}", path.display());
    Err(Error::new(ErrorKind::Config, message).hint(
        "find out which user made it, and remove it or give it to the user that Trunkline runs as; with a file of \
         another user in its place, that user would decide what Trunkline reads and writes",
    ))
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &Metadata) -> Result<()> {
    Ok(())
}

/// Returns the mode of a file if others than its owner have access to it. Systems without modes return `None`.
fn exposed(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(metadata.permissions().mode() & 0o777).filter(|mode| mode & 0o077 != 0)
    }
    #[cfg(not(unix))]
    None
}

/// Flushes a directory, so that the names of new files survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Writes a file that only its owner can read, in place of a file or a link of that name.
///
/// # Errors
///
/// The error of the disk, or `AlreadyExists` if another process makes a file of that name at the same time.
pub fn write_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    // A new file, because an existing one may be readable by others, or a link to another place.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file().create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Creates a file that only its owner can read, in a directory that exists. It gets its name when it is complete and
/// flushed, and it never replaces another file. Returns `false` if there is one, for example because another process
/// was faster.
///
/// # Errors
///
/// The error of the disk.
pub fn create_private_file(path: &Path, content: &[u8]) -> io::Result<bool> {
    let suffix = <[u8; 8]>::try_generate().map_err(|error| io::Error::other(error.to_string()))?;
    let draft = path.with_added_extension(HEXLOWER.encode(&suffix));
    let linked = write_private_file(&draft, content).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
        Ok(()) => {
            removed?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new(".")))?;
            Ok(true)
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

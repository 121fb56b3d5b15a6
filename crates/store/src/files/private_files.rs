//! Files and directories that only their owner can read, and flushes of directories.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use chacha20poly1305::aead::Generate;
use data_encoding::HEXLOWER;

/// Creates a directory and its parents, private to the owner. An existing directory is not changed.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options for writing a file that only its owner can read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Flushes a directory, so that the names of new files survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Writes a file that only its owner can read, in place of a file of that name.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // A new file, because an existing one may be readable by others.
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
    let linked = write_private(&draft, content).and_then(|()| fs::hard_link(&draft, path));
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

/// Returns the mode of a file if others than its owner have access to it. Systems without modes return `None`.
///
/// # Errors
///
/// The error of the disk, such as a missing file.
pub fn exposed_mode(path: &Path) -> io::Result<Option<u32>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        Ok(Some(mode).filter(|mode| mode & 0o077 != 0))
    }
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_file_is_complete_or_absent_and_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        assert!(create_private_file(&path, b"first").unwrap());
        assert!(!create_private_file(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");
        assert_eq!(exposed_mode(&path).unwrap(), None);
        // The sabotage twin: a file that others can read is found.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(exposed_mode(&path).unwrap(), Some(0o640));
        write_private(&path, b"third").unwrap();
        assert_eq!((fs::read(&path).unwrap(), exposed_mode(&path).unwrap()), (b"third".to_vec(), None));
    }
}

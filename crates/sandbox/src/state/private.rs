//! Files of the state folder: only their owner can read them, and no link in their place is followed.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a folder and its parents, private to the owner. An existing folder is not changed.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Returns the options of a file. A symbolic link in its place is an error, and a pipe is not waited for.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    }
    options
}

/// Says that a symbolic link is in the place of a file, if that is the reason of an error.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    let why = match std::fs::read_link(path) {
        Ok(target) => format!("it is a symbolic link to {}; remove the link", target.display()),
        Err(_) => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{} cannot be opened: {why}", path.display()))
}

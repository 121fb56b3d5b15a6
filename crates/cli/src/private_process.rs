//! What the operating system lets the process do and may keep of it. Secrets are in its memory and in its environment; neither may end in
//! a file, or be read by other processes of the same user.

use trunkline::core::{Error, ErrorKind, Result};

/// Asks the operating system to write no core dump of the process, and to let no other process of its user read its memory
/// and its environment.
///
/// # Errors
///
/// `internal` if the system refuses.
#[cfg(target_os = "linux")]
pub(crate) fn keep_private() -> Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable)).map_err(
        |error| {
            let message = format!("core dumps of this process cannot be switched off: {error}");
            Error::new(ErrorKind::Internal, message).hint("switch them off for it with `ulimit -c 0`")
        },
    )
}

/// Lets the process open as many files as the system allows it: a server has one for each connection.
#[cfg(target_os = "linux")]
pub(crate) fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where the system refuses, the server makes room when it runs out of files.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// As on Linux, for systems where the shell that starts the process sets the limit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn allow_files() {}

/// As on Linux, for systems without a way to do so: core dumps are limited by the shell that starts the process.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn keep_private() -> Result<()> {
    Ok(())
}

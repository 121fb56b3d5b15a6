//! What the operating system may keep of the process. Secrets are in its memory and in its environment; neither may end in
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

/// As on Linux, for systems without a way to do so: core dumps are limited by the shell that starts the process.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn keep_private() -> Result<()> {
    Ok(())
}

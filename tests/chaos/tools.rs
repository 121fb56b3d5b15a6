//! Tools of the system that not everybody has: a test asks for one, and ends early where it is missing.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Says that a test is skipped and why.
///
/// # Panics
/// Where `TRUNKLINE_REQUIRE_PEERS` is `1`, unless `TRUNKLINE_WITHOUT` names the tool: a machine may not give what no
/// installation can bring, such as the right to mount a disk.
fn skip(tool: &str, why: &str) {
    let without = env::var("TRUNKLINE_WITHOUT").unwrap_or_default();
    let required = env::var_os("TRUNKLINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required || without.split_whitespace().any(|one| one == tool), "{why}");
    // Not by a macro, whose output the test harness would keep to itself.
    writeln!(io::stderr(), "skipped: {why}").ok();
}

/// Whether system calls can be made to fail.
pub(crate) fn strace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=9", "true"]);
    let works = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        skip("strace", "strace is not installed, or may not trace: install the package strace");
    }
    works
}

/// The library that gives a process another clock.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if found.is_none() {
        skip("libfaketime", "libfaketime is not installed: install the package libfaketime");
    }
    found
}

/// A small disk of its own, in memory; gone when dropped.
pub(crate) struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    /// One of so many bytes at this path, which is made.
    pub(crate) fn mount(path: &'a Path, bytes: u64) -> Option<Disk<'a>> {
        fs::create_dir_all(path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"]).arg(path);
        if command.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Disk(path));
        }
        skip("tmpfs", "a small disk cannot be mounted: that needs root");
        None
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0).status().ok();
    }
}

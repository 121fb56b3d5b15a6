//! System tools that not every machine has. A test asks for one, and ends early if it is missing.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use trunkline_testkit::clock::ProcessClock;

/// Prints that a test is skipped, and why.
///
/// # Panics If `TRUNKLINE_REQUIRE_PEERS` is `1`, unless `TRUNKLINE_WITHOUT` names the tool: a machine may lack
/// something that cannot be installed, such as the right to mount a disk.
fn skip(tool: &str, why: &str) {
    let without = env::var("TRUNKLINE_WITHOUT").unwrap_or_default();
    let required = env::var_os("TRUNKLINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required || without.split_whitespace().any(|one| one == tool), "{why}");
    // The test harness captures the output of `eprintln!`, but not what is written to the stream itself.
    writeln!(io::stderr(), "skipped: {why}").ok();
}

/// Returns whether strace can inject faults into system calls.
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

/// Returns the path of the library that changes the clock of a process.
pub(crate) fn faketime() -> Option<PathBuf> {
    let found = ProcessClock::library();
    if found.is_none() {
        skip("libfaketime", "libfaketime is not installed: install the package libfaketime");
    }
    found
}

/// Runs a command that needs root. Returns whether it succeeded.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A small disk in memory, unmounted when dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk of `bytes` bytes at a path, and creates the path.
    pub(crate) fn mount(path: &Path, bytes: u64) -> Option<Disk> {
        Disk::with(path, &format!("size={bytes}"))
    }

    /// Mounts a disk with these options, such as `nr_inodes=64`.
    pub(crate) fn with(path: &Path, options: &str) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let options = format!("mode=0700,{options}");
        if succeeds("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path.to_str().unwrap()]) {
            return Some(Disk(path.to_owned()));
        }
        skip("tmpfs", "a small disk cannot be mounted: that needs root");
        None
    }

    /// Remounts the disk with an option, `ro` or `rw`. No file may be open for writing.
    pub(crate) fn remount(&self, option: &str) {
        assert!(succeeds("mount", &["-o", &format!("remount,{option}"), self.0.to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        succeeds("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

/// Fault injection into the system calls of a running process, active until dropped.
pub(crate) struct Injected(Child);

impl Injected {
    /// Makes the calls `inject` fail, all of them or those on `files`, and logs the calls `trace`.
    pub(crate) fn into(process: u32, trace: &str, inject: &str, files: &[&Path], log: &Path) -> Injected {
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "200", "-e", &format!("trace={trace}"), "-e", &format!("inject={inject}"), "-o"]);
        command.arg(log).args(["-p", &process.to_string()]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let mut tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // strace reports when it is attached.
        let messages = BufReader::new(tracer.stderr.as_mut().unwrap()).lines().map(Result::unwrap);
        assert!(messages.into_iter().any(|line| line.contains("attached")), "strace is not attached");
        Injected(tracer)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // SIGTERM instead of SIGKILL, so that strace detaches from the process.
        succeeds("kill", &["-INT", &self.0.id().to_string()]);
        self.0.wait().ok();
    }
}

/// Returns the processor load of a process over some seconds; 1 is one whole processor.
pub(crate) async fn busy(process: u32) -> f64 {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // Fields 14 and 15 of proc_pid_stat(5), counted after the name, which may hold spaces.
        let numbers: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        numbers[11].parse::<u64>().unwrap() + numbers[12].parse::<u64>().unwrap()
    };
    let (before, since) = (ticks(), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Linux counts in hundredths of a second on all machines.
    (ticks() - before) as f64 / 100.0 / since.elapsed().as_secs_f64()
}

/// The sabotage twin: a spinning process is detected.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_spinning_process_is_measured_as_busy() {
    let mut spins = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let mut sleeps = Command::new("sleep").arg("60").spawn().unwrap();
    let (all, none) = tokio::join!(busy(spins.id()), busy(sleeps.id()));
    for process in [&mut spins, &mut sleeps] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(all > 0.2 && none < 0.02, "{all} {none}");
}

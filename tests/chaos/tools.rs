//! Tools of the system that not everybody has: a test asks for one, and ends early where it is missing.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
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

/// Runs a command that only root may run; whether it succeeded.
pub(crate) fn did(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A small disk of its own, in memory; gone when dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// One of so many bytes at this path, which is made.
    pub(crate) fn mount(path: &Path, bytes: u64) -> Option<Disk> {
        Disk::with(path, &format!("size={bytes}"))
    }

    /// One with these options, such as `nr_inodes=64`.
    pub(crate) fn with(path: &Path, options: &str) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let options = format!("mode=0700,{options}");
        if did("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path.to_str().unwrap()]) {
            return Some(Disk(path.to_owned()));
        }
        skip("tmpfs", "a small disk cannot be mounted: that needs root");
        None
    }

    /// Mounts it anew with this option, `ro` or `rw`, while nobody writes there.
    pub(crate) fn remount(&self, option: &str) {
        assert!(did("mount", &["-o", &format!("remount,{option}"), self.0.to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        did("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

/// System calls of a running process that fail until this is dropped.
pub(crate) struct Injected(Child);

impl Injected {
    /// Makes these calls fail, all of them or those on these files, and writes down what else is traced.
    pub(crate) fn into(process: u32, trace: &str, inject: &str, files: &[&Path], log: &Path) -> Injected {
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "200", "-e", &format!("trace={trace}"), "-e", &format!("inject={inject}"), "-o"]);
        command.arg(log).args(["-p", &process.to_string()]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let mut tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // It says when it has taken hold.
        let said = BufReader::new(tracer.stderr.as_mut().unwrap()).lines().map(Result::unwrap);
        assert!(said.into_iter().any(|line| line.contains("attached")), "strace has not taken hold");
        Injected(tracer)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // Asked, not killed: it has to let go of the process.
        did("kill", &["-INT", &self.0.id().to_string()]);
        self.0.wait().ok();
    }
}

/// How much of one processor a process takes over some seconds, 1 for all of it.
pub(crate) async fn busy(process: u32) -> f64 {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // After the name, which may hold anything: the 14th and 15th of all.
        let numbers: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        numbers[11].parse::<u64>().unwrap() + numbers[12].parse::<u64>().unwrap()
    };
    let (before, since) = (ticks(), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Linux counts a hundred a second, on all machines.
    (ticks() - before) as f64 / 100.0 / since.elapsed().as_secs_f64()
}

/// The sabotage twin: who spins is seen.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_spins_takes_a_processor() {
    let mut spins = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let mut sleeps = Command::new("sleep").arg("60").spawn().unwrap();
    let (all, none) = tokio::join!(busy(spins.id()), busy(sleeps.id()));
    for process in [&mut spins, &mut sleeps] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(all > 0.2 && none < 0.02, "{all} {none}");
}

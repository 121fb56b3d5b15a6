//! Processes of tests: the binary under test, or this test program again with one of its tests as its program.
//!
//! ```no_run
//! # async fn test() {
//! use tokio::process::Command;
//! use trunkline_testkit::process::{TestProcess, test_child};
//!
//! // The ignored test `workers::process` is the program of the child.
//! let mut worker = TestProcess::spawn(test_child("workers::process").env("WORKER_HOME", "data"));
//! let claimed = worker.line(|line| line.strip_prefix("claimed ").map(str::to_owned)).await;
//! worker.kill().await;
//! # }
//! ```

use std::{env, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// The timeout for whatever a test waits for in another process, enough for the slowest machine.
pub const LONG: Duration = Duration::from_secs(180);

/// The output of a command, and its exit code.
#[derive(Debug)]
pub struct CommandOutput {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// Asserts that the command ended with this code and did not panic.
    #[track_caller]
    pub fn expect(self, code: i32) -> CommandOutput {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Returns standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }

    /// Returns the error that a command with `--json` prints on standard error.
    #[track_caller]
    pub fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {}", self.stderr));
        assert!(document["error"]["kind"].is_string() && document["error"]["message"].is_string(), "{document}");
        document["error"].clone()
    }
}

/// Waits for a command to end.
///
/// # Panics
///
/// If it has not ended within [`LONG`].
pub async fn finish(child: Child) -> CommandOutput {
    TestProcess::from(child).finish().await
}

/// Polls until `look` returns a value.
///
/// # Panics
///
/// After about a minute, with the text `what`.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within a minute");
}

/// Returns a command that runs one test of this test program, such as `workers::process`, as the program of a process
/// of its own. The test may be ignored, so that it does not run by itself.
///
/// # Panics
///
/// If the path of this program is not known.
pub fn test_child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the test has a path"));
    command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.stdout(Stdio::piped());
    command
}

/// A process that a test can read and kill. It is killed when dropped if [`TestProcess::spawn`] started it.
#[derive(Debug)]
pub struct TestProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<BufReader<ChildStderr>>,
}

impl From<Child> for TestProcess {
    fn from(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        TestProcess { child, stdin, stdout: None, stderr: None }
    }
}

impl TestProcess {
    /// Starts a process.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn spawn(command: &mut Command) -> TestProcess {
        TestProcess::from(command.kill_on_drop(true).spawn().expect("the process starts"))
    }

    /// Returns the id of the process.
    ///
    /// # Panics
    ///
    /// If it has ended and was waited for.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Returns whether the process has ended.
    ///
    /// # Panics
    ///
    /// If that cannot be found out.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_some()
    }

    /// Reads lines of standard output until `pick` takes one, and returns what it made of it.
    ///
    /// # Panics
    ///
    /// If standard output is not piped, ends before that, or has no further line for [`LONG`].
    pub async fn line<T>(&mut self, pick: impl FnMut(&str) -> Option<T>) -> T {
        let child = &mut self.child;
        let lines = self.stdout.get_or_insert_with(|| BufReader::new(child.stdout.take().expect("a piped output")));
        picked(lines, pick).await
    }

    /// Reads lines of standard error as [`TestProcess::line`] does those of standard output.
    ///
    /// # Panics
    ///
    /// As [`TestProcess::line`].
    pub async fn error_line<T>(&mut self, pick: impl FnMut(&str) -> Option<T>) -> T {
        let child = &mut self.child;
        let lines = self.stderr.get_or_insert_with(|| BufReader::new(child.stderr.take().expect("a piped output")));
        picked(lines, pick).await
    }

    /// Writes a line to standard input.
    ///
    /// # Panics
    ///
    /// If standard input is not piped, or the process does not read it.
    pub async fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("a piped input");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("the process reads its input");
    }

    /// Kills the process with SIGKILL, as a crash does, and waits until it has gone.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the process can be killed");
    }

    /// Kills the process like [`TestProcess::kill`], and returns the lines of standard output that were not read yet.
    /// A line that the kill has cut off does not count.
    ///
    /// # Panics
    ///
    /// If it cannot be killed or standard output is not piped.
    pub async fn kill_and_read(mut self) -> Vec<String> {
        self.child.kill().await.expect("the process can be killed");
        self.rest().await
    }

    /// Waits for the process to end by itself, and returns the lines of standard output that were not read yet.
    ///
    /// # Panics
    ///
    /// If it fails, has not ended within [`LONG`], or standard output is not piped.
    pub async fn read_to_end(mut self) -> Vec<String> {
        let lines = timeout(LONG, self.rest()).await.expect("the process ends");
        let status = self.child.wait().await.expect("the process can be waited for");
        assert!(status.success(), "{status}: {lines:?}");
        lines
    }

    async fn rest(&mut self) -> Vec<String> {
        let reader = self.stdout.take().or_else(|| self.child.stdout.take().map(BufReader::new));
        let printed = text(Some(reader.expect("a piped output"))).await;
        let complete = printed.rfind('\n').map_or(0, |end| end + 1);
        printed[..complete].lines().map(str::to_owned).collect()
    }

    /// Closes standard input, waits for the process to end, and returns what it has printed since the last read line.
    ///
    /// # Panics
    ///
    /// If it has not ended within [`LONG`].
    pub async fn finish(mut self) -> CommandOutput {
        drop(self.stdin.take());
        let stdout = self.stdout.take().or_else(|| self.child.stdout.take().map(BufReader::new));
        let stderr = self.stderr.take().or_else(|| self.child.stderr.take().map(BufReader::new));
        let all = async { tokio::join!(text(stdout), text(stderr), self.child.wait()) };
        let (stdout, stderr, status) = timeout(LONG, all).await.expect("the process ends");
        let code = status.expect("the process can be waited for").code().unwrap_or(-1);
        CommandOutput { code, stdout, stderr }
    }
}

/// Reads the rest of an output; empty if it is not piped.
async fn text(reader: Option<BufReader<impl AsyncRead + Unpin>>) -> String {
    let mut printed = Vec::new();
    if let Some(mut reader) = reader {
        reader.read_to_end(&mut printed).await.expect("the output can be read");
    }
    String::from_utf8_lossy(&printed).into_owned()
}

/// Reads lines until one is picked.
async fn picked<T>(reader: &mut BufReader<impl AsyncRead + Unpin>, mut pick: impl FnMut(&str) -> Option<T>) -> T {
    let mut line = String::new();
    loop {
        line.clear();
        let read = timeout(LONG, reader.read_line(&mut line)).await.expect("the process prints a line");
        assert!(read.expect("the output can be read") > 0, "the process has ended its output");
        if let Some(picked) = pick(line.trim_end()) {
            return picked;
        }
    }
}

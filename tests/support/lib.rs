//! What the suites share: the command line with a data directory of its own, a sandbox in the process of the test, and
//! the requests that arrived there.
//!
//! The idea: the simulated systems run in the process of the test, so that a test can read their logs. Trunkline is the
//! real binary in a process of its own, so that a test can kill it.

pub mod hostile;
pub mod library;
pub mod login;
pub mod memory;
pub mod peers;
pub mod refresh;
pub mod serve;

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};
use trunkline::Runtime;
use trunkline_sandbox::{Options, Sandbox};
use trunkline_store::KeySource;

/// The timeout for every command of the suites, enough for the slowest machine.
pub const LONG: Duration = Duration::from_secs(180);

/// Returns the milliseconds since 1970 of a time in JSON.
pub fn milliseconds(time: &Value) -> u64 {
    serde_json::from_value::<trunkline::core::Timestamp>(time.clone()).expect("a time").as_millis()
}

/// Returns the root folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the project").to_owned()
}

/// Returns the path of the shipped flow.
pub fn shipped_flow() -> PathBuf {
    project().join("crates/host/flows/mediaflow-to-mediavalet.json")
}

/// Returns the path of a flow of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    project().join("tests/fixtures/flows").join(name)
}

/// Returns the path of the binary. It is built from the current sources in the profile of the test, unless
/// `TRUNKLINE_BIN` names one.
pub fn trunkline() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = env::var_os("TRUNKLINE_BIN") {
            return given.into();
        }
        // TARGET/PROFILE/deps/TEST
        let test = env::current_exe().expect("the test has a path");
        let folder = test.parent().and_then(Path::parent).expect("the test lies in target/PROFILE/deps");
        let profile = match folder.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "trunkline", "--profile", profile]);
        let selection: &[&str] = match profile {
            // Under `cargo test --workspace`, dependencies have the features that all packages and their tests ask for. With
            // the same selection here, none of them is built twice.
            "dev" => &["--workspace", "--test", "memory"],
            // As it is published, see the README.
            "dist" => &["--package", "trunkline", "--features", "jemalloc"],
            _ => &["--package", "trunkline"],
        };
        build.args(selection);
        build.arg("--target-dir").arg(folder.parent().expect("a target folder")).current_dir(project());
        // Variables that cargo sets for this test would make build scripts run again.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the binary cannot be built");
        folder.join(format!("trunkline{}", env::consts::EXE_SUFFIX))
    })
}

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

/// The command line with a data directory and a key file of its own, which are removed when it is dropped.
#[derive(Debug)]
pub struct Cli {
    home: TempDir,
}

impl Default for Cli {
    fn default() -> Self {
        Cli { home: tempfile::tempdir().expect("a temporary folder") }
    }
}

impl Cli {
    /// Returns the folder of the data directory and the key file.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns the data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Returns the path of the key file, outside the data directory.
    pub fn key_file(&self) -> PathBuf {
        self.home.path().join("config").join("key")
    }

    /// Opens the same data directory in this process.
    pub fn runtime(&self) -> Runtime {
        Runtime::open(&self.data(), KeySource::File(self.key_file())).expect("the store opens")
    }

    /// Returns a command that is not started yet. Its process is killed when dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(trunkline());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TRUNKLINE_") {
                command.env_remove(&name);
            }
        }
        command.args(arguments).arg("--data").arg(self.data()).arg("--key-file").arg(self.key_file());
        command.env("HOME", self.home()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the binary starts")
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        finish(self.start(arguments)).await
    }

    /// Runs a command to its end with `input` on its standard input.
    pub async fn pipe(&self, arguments: &[&str], input: &str) -> CommandOutput {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that fails early does not read its input.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        finish(child).await
    }

    /// Adds a connection, and asserts that it is accepted.
    pub async fn add(&self, document: &Value) {
        self.pipe(&["connection", "add", "-"], &document.to_string()).await.expect(0);
    }

    /// Adds connections to both systems of a sandbox.
    pub async fn connect(&self, sandbox: &Sandbox) {
        for document in sandbox.settings() {
            self.add(&document).await;
        }
    }

    /// Writes a file into the home folder, and returns its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.home().join(name);
        std::fs::write(&path, content).expect("the home can be written");
        path.to_string_lossy().into_owned()
    }
}

/// Waits for a command to end.
pub async fn finish(child: Child) -> CommandOutput {
    let output = tokio::time::timeout(LONG, child.wait_with_output()).await.expect("the command ends");
    let output = output.expect("the command can be waited for");
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts a sandbox in this process.
pub async fn sandbox(options: Options) -> Sandbox {
    Sandbox::start(options).await.expect("the sandbox starts")
}

/// Returns sandbox options with a few small files that are processed at once, for tests that are not about bytes.
pub fn few(files: u64) -> Options {
    Options { files, min_size: 100, max_size: 4_000, processing: Duration::ZERO, ..Options::default() }
}

/// Returns the sandbox's connection document for `mediaflow` or `mediavalet`.
pub fn document(sandbox: &Sandbox, connector: &str) -> Value {
    sandbox.settings().into_iter().find(|one| one["name"] == connector).expect("a connector of the sandbox")
}

/// Returns the input of the shipped flow.
pub fn flow_input(sandbox: &Sandbox) -> Value {
    json!({ "folder": sandbox.root_folder(), "category": sandbox.category() })
}

/// Returns an HTTP client that does not follow redirects.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LONG);
    builder.build().expect("an HTTP client")
}

/// Returns the requests that arrived at the sandbox, oldest first. It keeps the last 10,000.
pub async fn requests(sandbox: &Sandbox) -> Vec<Value> {
    let address = format!("http://{}/_sandbox/requests", sandbox.address());
    let answer = http().get(address).send().await.expect("the sandbox responds");
    answer.json().await.expect("the sandbox responds with JSON")
}

/// Signs in and consents as a browser does, and returns the URL that the login server redirects to.
pub async fn approve(authorization_url: &str) -> String {
    let answer = http().get(format!("{authorization_url}&approve=1")).send().await.expect("the login server responds");
    let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
    location.unwrap_or_else(|| panic!("{} instead of a redirect", answer.status())).to_owned()
}

/// Polls until `look` returns a value.
///
/// # Panics
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

/// A pseudorandom number generator. It prints its seed, and `SEED` sets the seed to repeat a run.
#[derive(Debug)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        let seed = env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64));
        println!("SEED={seed}");
        Dice(seed)
    }
}

impl Dice {
    /// Creates a generator with this seed.
    pub fn seeded(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns a number from `from` on, below `to` (SplitMix64).
    pub fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (z ^ (z >> 31)) % (to - from).max(1)
    }
}

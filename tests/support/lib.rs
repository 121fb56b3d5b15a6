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
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};
use trunkline::{
    Ports, Runtime,
    rest::{HttpEnvironment, NetworkPolicy},
};

use trunkline_sandbox::{Options, Sandbox};
use trunkline_store::KeySource;
use trunkline_testkit::process::TestProcess;
pub use trunkline_testkit::{
    dice::Dice,
    process::{CommandOutput, LONG, finish, until},
};

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
    project().join("crates/cli/flows/mediaflow-to-mediavalet.json")
}

/// The options that bind a flow from Mediaflow to MediaValet to the connections of a sandbox.
pub const BOUND: [&str; 4] = ["--connection", "source=mediaflow", "--connection", "target=mediavalet"];

/// Returns the path of a flow of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    project().join("tests/fixtures/flows").join(name)
}

/// Returns the path of the binary. It is built from the current sources in the profile of the test, unless
/// `TRUNKLINE_BIN` names one.
pub fn trunkline() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TRUNKLINE_BIN") {
        Some(given) => given.into(),
        None => built("bin", "trunkline"),
    })
}

/// Returns the path of the example that is a host with a connector of its own, built from the current sources.
pub fn own_connector() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| built("example", "own_connector"))
}

/// Builds a `bin` or an `example` of the command line in the profile of the test, and returns its path.
fn built(kind: &str, name: &str) -> PathBuf {
    // TARGET/PROFILE/deps/TEST
    let test = env::current_exe().expect("the test has a path");
    let folder = test.parent().and_then(Path::parent).expect("the test lies in target/PROFILE/deps");
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.args(["build", "--quiet", &format!("--{kind}"), name, "--profile", profile]);
    let selection: &[&str] = match profile {
        // Under `cargo test --workspace`, dependencies have the features that all packages and their tests ask for.
        // With the same selection here, none of them is built twice.
        "dev" => &["--workspace", "--test", "memory"],
        // As it is published, see the README.
        "dist" => &["--package", "trunkline-cli", "--features", "jemalloc"],
        _ => &["--package", "trunkline-cli"],
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
    assert!(built.success(), "{name} cannot be built");
    let folder = if kind == "example" { folder.join("examples") } else { folder.to_owned() };
    folder.join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// Returns an environment whose connections may reach the servers of the tests, which are on this machine.
pub fn environment() -> HttpEnvironment {
    HttpEnvironment::default().with_network(NetworkPolicy::any())
}

/// The command line with a data directory and a key file of its own, which are removed when it is dropped.
#[derive(Debug)]
pub struct Cli {
    home: TempDir,
    program: &'static Path,
}

impl Default for Cli {
    fn default() -> Self {
        Cli::of(trunkline())
    }
}

impl Cli {
    /// Uses another program with the same command line.
    pub fn of(program: &'static Path) -> Cli {
        Cli { home: tempfile::tempdir().expect("a temporary folder"), program }
    }

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
        let ports = Ports::sqlite(&self.data(), KeySource::File(self.key_file())).expect("the store opens");
        let registry = trunkline::registry(None).expect("the registry of this program");
        Runtime::new(registry, Ports { http: environment(), ..ports })
    }

    /// Returns a command that is not started yet. Its process is killed when dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TRUNKLINE_") {
                command.env_remove(&name);
            }
        }
        command.args(arguments).arg("--data").arg(self.data()).arg("--key-file").arg(self.key_file());
        command.env("HOME", self.home()).env("TRUNKLINE_ALLOW_PRIVATE_NETWORK", "true").kill_on_drop(true);
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

    /// Starts a process that runs a flow, or resumes the last run if there is one. No other process may work on it.
    pub async fn run_or_resume(&self, flow: &str, input: &str) -> TestProcess {
        let runs = self.runtime().journal().runs().await.expect("the runs");
        TestProcess::from(match runs.last() {
            Some(run) => self.start(&["runs", "resume", run.id.as_str(), "--json"]),
            None => self.start(&["run", flow, "--input", input, "--json"]),
        })
    }

    /// Adds a connection, which may refer to secrets, and asserts that it is accepted.
    pub async fn add(&self, document: &Value) {
        self.pipe(&["connection", "add", "-", "--allow-references"], &document.to_string()).await.expect(0);
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

pub use trunkline_testkit::fact;

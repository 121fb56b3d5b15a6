//! Programs of other projects that the suites run against: storage emulators and login servers, installed in
//! `tests/peers`.
//!
//! The idea: a simulator of our own shares our misunderstandings. Where a service has an emulator by its makers, that
//! one decides. Not every machine has it, so a test asks for it and ends early if it is missing:
//!
//! ```no_run
//! # async fn test() {
//! let Some(peer) = trunkline_tests::peers::peer("azurite-blob") else { return };
//! let storage = peer.start(&["--blobPort", "0"]).await;
//! println!("{}", storage.address());
//! # }
//! ```

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;
use tokio::{sync::oneshot, time::timeout};

use crate::{LONG, project};

/// The command that installs all of them.
const INSTALL: &str = "npm ci --prefix tests/peers";
/// The commands that install the ones in Python.
const INSTALL_PYTHON: &str =
    "python3 -m venv tests/peers/.venv && tests/peers/.venv/bin/pip install --requirement tests/peers/requirements.txt";

/// A program that is installed and not started yet.
#[derive(Debug)]
pub struct Peer {
    name: String,
    script: PathBuf,
}

/// Finds the program of this name, or a script of ours: `oidc`, the login server, or `forms`, the page with forms. If it is
/// missing, prints why and returns `None`: the test is skipped.
///
/// # Panics
/// If it is missing and `TRUNKLINE_REQUIRE_PEERS` is `1`.
pub fn peer(name: &str) -> Option<Peer> {
    find(name).inspect_err(|why| skip(name, why)).ok()
}

/// Prints that a test is skipped, and why.
///
/// # Panics
/// If `TRUNKLINE_REQUIRE_PEERS` is `1`.
pub fn missing(why: &str) {
    skip("", why);
}

/// Prints that a test without this program is skipped. A machine may lack a browser that cannot be installed there:
/// `TRUNKLINE_WITHOUT` then names `chromium`.
fn skip(name: &str, why: &str) {
    let is_required = env::var_os("TRUNKLINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    let without = env::var("TRUNKLINE_WITHOUT").unwrap_or_default();
    let is_excused = name == "forms" && without.split_whitespace().any(|one| one == "chromium");
    assert!(!is_required || is_excused, "{why}");
    // The test harness captures the output of `eprintln!`, but not what is written to the stream itself.
    writeln!(io::stderr(), "skipped: {why}").ok();
}

/// Finds the program of this name. The error says what is missing and how to install it.
///
/// # Errors
///
/// The reason, if the part is missing.
pub fn find(name: &str) -> Result<Peer, String> {
    let folder = project().join("tests/peers");
    if name == "schemathesis" {
        let script = folder.join(".venv/bin/schemathesis");
        return match script.exists() {
            true => Ok(Peer { name: name.to_owned(), script }),
            false => Err(format!("{name} is not installed: run `{INSTALL_PYTHON}`")),
        };
    }
    let (script, installed) = match name {
        // A library that our script starts.
        // A script that was compiled by a test.
        "node" => (PathBuf::new(), folder.join("node_modules/typescript")),
        "forms" => {
            if chromium().is_none() {
                return Err(
                    "forms needs Chromium: install Debian's package `chromium`, or set CHROMIUM to its path".into()
                );
            }
            (folder.join("forms/forms.mjs"), folder.join("node_modules/@rjsf/core"))
        }
        "oidc" => (folder.join("oidc.mjs"), folder.join("node_modules/oidc-provider")),
        _ => (folder.join("node_modules/.bin").join(name), folder.join("node_modules/.bin").join(name)),
    };
    if !installed.exists() {
        return Err(format!("{name} is not installed: run `{INSTALL}`"));
    }
    let node = Command::new("node").arg("--version").stdin(Stdio::null()).output();
    match node.is_ok_and(|output| output.status.success()) {
        true => Ok(Peer { name: name.to_owned(), script }),
        false => Err(format!("{name} needs Node.js 20 or newer, and there is no `node`")),
    }
}

/// Returns the path of the browser.
fn chromium() -> Option<PathBuf> {
    let given = env::var_os("CHROMIUM").map(PathBuf::from);
    given.into_iter().chain([PathBuf::from("/usr/bin/chromium")]).find(|path| path.exists())
}

impl Peer {
    /// Returns a command that runs the program, or a script of ours with its interpreter.
    pub fn command(&self) -> tokio::process::Command {
        let mut command = match self.name.as_str() {
            "schemathesis" => tokio::process::Command::new(&self.script),
            _ => tokio::process::Command::new("node"),
        };
        if self.name != "schemathesis" {
            command.arg(&self.script);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the program in a temporary folder and waits until it has printed its address. The program has to choose a
    /// free port itself.
    ///
    /// # Panics
    /// If it has not printed an address within [`LONG`], with the text of its standard error.
    pub async fn start(&self, arguments: &[&str]) -> Running {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let errors = folder.path().join("stderr");
        let mut command = Command::new("node");
        command.arg(&self.script).args(arguments).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(&errors).expect("the folder can be written"));
        let mut process = command.spawn().expect("node starts");
        let output = process.stdout.take().expect("a pipe");
        let mut running = Running { process, folder, address: String::new() };
        let (found, address) = oneshot::channel();
        // The output is read to its end, since a full pipe would block the program.
        thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("http://")
                    && let Some(found) = found.take()
                {
                    found.send(rest.split(['/', ' ']).next().unwrap_or_default().to_owned()).ok();
                }
            }
        });
        match timeout(LONG, address).await {
            Ok(Ok(address)) => running.address = address,
            _ => panic!("{} does not listen: {}", self.name, fs::read_to_string(errors).unwrap_or_default()),
        }
        running
    }
}

/// A running program. When dropped, it is killed and its folder removed.
#[derive(Debug)]
pub struct Running {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Running {
    /// Returns the host and port it listens on, such as `127.0.0.1:40009`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns its working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Waited for, so that it writes nothing into the folder that is about to go.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

//! Programs of others that the suites talk to: storages and login servers as their makers wrote them, from `tests/peers`.
//!
//! The idea: a look-alike of our own believes what we believe. Where a service has an emulator of its own, that one has the
//! last word. It is a part that not everybody has, so a test asks for it and ends early where it is missing:
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

/// What installs them all.
const INSTALL: &str = "npm ci --prefix tests/peers";

/// A program that is installed, not started yet.
#[derive(Debug)]
pub struct Peer {
    name: String,
    script: PathBuf,
}

/// The program of this name, or `oidc`, the login server. Where it is missing, says so and gives `None`: the test ends there.
///
/// # Panics
/// Where it is missing and `TRUNKLINE_REQUIRE_PEERS` is `1`.
pub fn peer(name: &str) -> Option<Peer> {
    find(name).inspect_err(|why| missing(why)).ok()
}

/// Says that a test ends here because something is not there.
///
/// # Panics
/// Where `TRUNKLINE_REQUIRE_PEERS` is `1`.
pub fn missing(why: &str) {
    assert!(env::var_os("TRUNKLINE_REQUIRE_PEERS").is_none_or(|value| value != "1"), "{why}");
    // Not by a macro, whose output the test harness would keep to itself.
    writeln!(io::stderr(), "skipped: {why}").ok();
}

/// The program of this name, or what is missing and how to get it.
pub fn find(name: &str) -> Result<Peer, String> {
    let folder = project().join("tests/peers");
    let (script, installed) = match name {
        // A library of others that a script of ours starts.
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

impl Peer {
    /// Starts it in a folder of its own and waits until it has printed the address it listens at: it is to choose a free
    /// port itself.
    ///
    /// # Panics
    /// If it does not listen after a long while, with what it said.
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
        // Reads to the end, for a full pipe would stop the program.
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

/// A program at work; dropped, it is killed and its folder is gone.
#[derive(Debug)]
pub struct Running {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Running {
    /// Where it listens, such as `127.0.0.1:40009`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder it works in.
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

//! One process with a client for the connection: what it does, and how the test has it in its hand.

use std::{
    env,
    io::{self, BufRead, Write},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, sleep_until, timeout},
};
use trunkline_core::{Connections, Context, Result, Retry, Secret, SignIn, Vault, VaultEntry, VaultSlot, async_trait};
use trunkline_rest::{Auth, Client, ClientAuth, ClientLimits, OAuth, Table};
use trunkline_store::{KeySource, Store};

use super::CONNECTION;
use crate::LONG;

/// Where a process finds what it is.
const SETUP: &str = "REFRESH_PROCESS";

static TABLE: Table = Table::new(
    "refresh",
    &[(
        "me.toml",
        r#"
        [[operation]]
        name  = "me.get"
        title = "Who I am"
        route = "GET /me"
        "#,
    )],
);

/// How the connection gets its first token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Grant {
    /// A person signs in.
    Browser,
    /// With a user's name and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// The client for itself.
    Client,
}

/// A point in the course of a refresh, as the vault sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// The lease and the attempt's name are on disk; nothing was sent.
    Begun,
    /// The answer is there; nothing of it was written.
    Answered,
    /// The same, but the process only tells of it and goes on.
    Storing,
    /// The new tokens are on disk; the process does not know yet.
    Stored,
}

/// A defence less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sabotage {
    /// Nobody's lease is seen.
    NoLease,
    /// The same, and each call has a client of its own, so that no two share a refresh.
    NoFlight,
    /// New tokens are used at once and stored a little later.
    StoreAfterUse,
    /// The access token is written first, the refresh token after it.
    TwoWrites,
    /// What others have written since the attempt began is not seen, so that its name seems to stand there for ever.
    NoFence,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) program: String,
    pub(super) data: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) base: String,
    pub(super) authorization_url: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) scopes: Vec<String>,
    pub(super) grant: Grant,
    pub(super) attempt: Duration,
    pub(super) stop: Option<Point>,
    /// How long it stops there.
    pub(super) stop_for: Duration,
    pub(super) sabotage: Option<Sabotage>,
}

impl Setup {
    pub(super) fn client(&self, vault: Arc<dyn Vault>) -> Client {
        let oauth = OAuth {
            client_id: self.client_id.clone(),
            client_secret: Some(self.client_secret.as_str().into()),
            client_auth: ClientAuth::Form,
            token_url: format!("{}/token", self.base).parse().unwrap(),
            authorization_url: Some(self.authorization_url.parse().unwrap()),
            revocation_url: None,
            redirect_uri: None,
            scopes: self.scopes.clone(),
            grant: match self.grant.clone() {
                Grant::Browser => trunkline_rest::Grant::AuthorizationCode,
                Grant::Password { username, password } => {
                    trunkline_rest::Grant::Password { username, password: password.into() }
                }
                Grant::Client => trunkline_rest::Grant::ClientCredentials,
            },
        };
        let limits = ClientLimits { attempt: self.attempt, ..ClientLimits::default() };
        let builder = Client::builder("the DAM", self.base.parse().unwrap(), &TABLE).private_network(true);
        builder.limits(limits).auth(Auth::OAuth(oauth), VaultSlot::new(CONNECTION, vault)).build().unwrap()
    }
}

fn say(what: &Value) {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}").unwrap();
    out.flush().unwrap();
}

/// The store as this process sees it: it stops at the wanted point, and has the wanted defect.
struct Watched {
    store: Store,
    stop: Option<Point>,
    stop_for: Duration,
    sabotage: Option<Sabotage>,
    /// What this process wrote when its attempt began.
    begun: Mutex<Option<String>>,
}

impl Watched {
    async fn at(&self, point: Point) {
        let storing = point == Point::Answered && self.stop == Some(Point::Storing);
        if storing || self.stop == Some(point) {
            say(&json!({ "at": if storing { Point::Storing } else { point } }));
        }
        if self.stop == Some(point) {
            sleep(self.stop_for).await;
        }
    }

    async fn put(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.store.replace(CONNECTION, expected, content, sign_in).await
    }

    /// Writes new tokens in the way that the sabotage wants it.
    async fn land(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        match self.sabotage {
            Some(Sabotage::StoreAfterUse) => {
                let (store, content, sign_in) = (self.store.clone(), content.clone(), sign_in.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(300)).await;
                    store.replace(CONNECTION, expected, &content, &sign_in).await.ok();
                });
                Ok(true)
            }
            Some(Sabotage::TwoWrites) => {
                let before = self.store.load(CONNECTION).await?.unwrap();
                let before: Value = serde_json::from_str(before.content.expose()).unwrap();
                let mut half: Value = serde_json::from_str(content.expose()).unwrap();
                half["refreshToken"] = before["refreshToken"].clone();
                let first = self.put(expected, &Secret::from(half.to_string()), sign_in).await?;
                self.at(Point::Stored).await;
                Ok(first && self.put(expected + 1, content, sign_in).await?)
            }
            _ => self.put(expected, content, sign_in).await,
        }
    }
}

#[async_trait]
impl Vault for Watched {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        let Some(mut entry) = self.store.load(connection).await? else { return Ok(None) };
        match self.sabotage {
            Some(Sabotage::NoLease | Sabotage::NoFlight) => {
                let mut row: Value = serde_json::from_str(entry.content.expose()).unwrap();
                row.as_object_mut().unwrap().shift_remove("lease");
                entry.content = Secret::from(row.to_string());
            }
            Some(Sabotage::NoFence) => {
                if let Some(begun) = &*self.begun.lock().unwrap() {
                    entry.content = Secret::from(begun.as_str());
                }
            }
            _ => {}
        }
        Ok(Some(entry))
    }

    async fn replace(&self, _: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        let row: Value = serde_json::from_str(content.expose()).unwrap();
        // A begun attempt has a lease; new tokens come without, and without a failure.
        let begins = row["lease"].is_object();
        let lands = !begins && row["failed"].is_null();
        if lands {
            self.at(Point::Answered).await;
        }
        let done = if lands {
            self.land(expected, content, sign_in).await?
        } else {
            self.put(expected, content, sign_in).await?
        };
        if done && begins {
            *self.begun.lock().unwrap() = Some(content.expose().to_owned());
            self.at(Point::Begun).await;
        }
        if done && lands {
            *self.begun.lock().unwrap() = None;
            self.at(Point::Stored).await;
        }
        Ok(done)
    }
}

/// How a call ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Called {
    /// Kind of its error, if it failed.
    pub error: Option<String>,
    /// The error's words.
    pub message: String,
    /// Whether it says that trying again may help.
    pub retryable: bool,
    /// The error's context `cause`.
    pub cause: Option<String>,
    /// The error's context `setting`.
    pub setting: Option<String>,
    /// By how much it outlived its deadline, less what a sleep until then overslept.
    pub late: Duration,
}

#[derive(Serialize, Deserialize)]
struct Go {
    calls: usize,
    deadline: Duration,
}

/// What a test calls that is to be the program of the processes; does nothing where it is not one.
pub fn process() {
    let Ok(setup) = env::var(SETUP) else { return };
    let setup: Setup = serde_json::from_str(&setup).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::open(&setup.data, KeySource::File(setup.key_file.clone())).unwrap();
    let vault = Watched {
        store,
        stop: setup.stop,
        stop_for: setup.stop_for,
        sabotage: setup.sabotage,
        begun: Mutex::default(),
    };
    let vault = Arc::new(vault);
    let shared = runtime.block_on(async { setup.client(vault.clone()) });
    say(&json!({ "ready": true }));
    for line in io::stdin().lock().lines() {
        let go: Go = serde_json::from_str(&line.unwrap()).unwrap();
        let client = || match setup.sabotage {
            Some(Sabotage::NoFlight) => setup.client(vault.clone()),
            _ => shared.clone(),
        };
        let done = runtime.block_on(calls(client, &go));
        say(&json!({ "done": done }));
    }
    // Whoever held the pipe is gone or has had enough.
    std::process::exit(0);
}

async fn calls(client: impl Fn() -> Client, go: &Go) -> Vec<Called> {
    let deadline = Instant::now() + go.deadline;
    let woken = tokio::spawn(async move {
        sleep_until(deadline.into()).await;
        Instant::now()
    });
    let call = async || {
        let cx = Context::new("", CONNECTION, Connections::default());
        let cx = cx.with_timeout(deadline.saturating_duration_since(Instant::now()));
        let outcome = client().call("me.get", json!({}), &cx).await;
        (outcome, Instant::now())
    };
    let mut done = Vec::new();
    for (outcome, ended) in futures::future::join_all((0..go.calls).map(|_| call())).await {
        let error = outcome.err();
        done.push((
            ended,
            Called {
                message: error.as_ref().map(|error| error.message().to_owned()).unwrap_or_default(),
                retryable: error.as_ref().is_some_and(|error| error.retryable() != Retry::Never),
                cause: error.as_ref().and_then(|error| error.context("cause")).map(str::to_owned),
                setting: error.as_ref().and_then(|error| error.context("setting")).map(str::to_owned),
                error: error.map(|error| error.kind().as_str().to_owned()),
                late: Duration::ZERO,
            },
        ));
    }
    // Whoever was in time needs no look at the clock of the machine.
    if done.iter().all(|(ended, _)| *ended <= deadline) {
        woken.abort();
        return done.into_iter().map(|(_, called)| called).collect();
    }
    let woken = woken.await.unwrap();
    done.into_iter().map(|(ended, called)| Called { late: ended.saturating_duration_since(woken), ..called }).collect()
}

/// A process at work; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) async fn start(setup: &Setup) -> Process {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([&*setup.program, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(SETUP, serde_json::to_string(setup).unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut process = Process { child, stdin, lines: BufReader::new(stdout).lines() };
        assert_eq!(process.heard().await["ready"], true);
        process
    }

    /// The next thing it says.
    async fn heard(&mut self) -> Value {
        loop {
            let line = timeout(LONG, self.lines.next_line()).await.expect("the process says something").unwrap();
            let line = line.expect("the process lives");
            // The test harness has words of its own, also in front of ours.
            if let Some(begin) = line.find('{') {
                return serde_json::from_str(&line[begin..]).unwrap();
            }
        }
    }

    /// Begins so many calls at once, each with this deadline.
    pub async fn go(&mut self, calls: usize, deadline: Duration) {
        let line = serde_json::to_string(&Go { calls, deadline }).unwrap();
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits until it tells that it is at its point.
    pub async fn reached(&mut self) -> Point {
        let heard = self.heard().await;
        serde_json::from_value(heard["at"].clone()).unwrap_or_else(|_| panic!("it passed its point: {heard}"))
    }

    /// Waits for the calls to end.
    pub async fn done(&mut self) -> Vec<Called> {
        let heard = self.heard().await;
        serde_json::from_value(heard["done"].clone()).unwrap_or_else(|_| panic!("it is not done: {heard}"))
    }

    /// Calls once, and waits for how that ends.
    pub async fn call(&mut self) -> Called {
        self.go(1, Duration::from_secs(60)).await;
        self.done().await.remove(0)
    }

    /// Kills it: SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// A shell that sends it a signal, such as `STOP` or `CONT`, the moment it is told to: a program that has to be started
    /// first would come late, and a process that is stopped in the middle of a write keeps the store locked.
    pub async fn signal(&self, name: &str) -> Signal {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo ready; read line; kill -{name} {}; echo done", self.child.id().unwrap())]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut shell = command.spawn().unwrap();
        let (stdin, stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut signal = Signal { _shell: shell, stdin, lines: BufReader::new(stdout).lines() };
        assert_eq!(signal.lines.next_line().await.unwrap().as_deref(), Some("ready"));
        signal
    }
}

/// A signal that is ready to be sent.
#[derive(Debug)]
pub struct Signal {
    _shell: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Signal {
    /// Sends it.
    pub async fn send(mut self) {
        self.stdin.write_all(b"\n").await.unwrap();
        assert_eq!(self.lines.next_line().await.unwrap().as_deref(), Some("done"));
    }
}

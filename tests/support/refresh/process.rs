//! One process with a client for the connection: its program, and the handle through which the test controls it.

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
    process::Command,
    time::{sleep, sleep_until},
};
use trunkline_core::{
    ConnectionContext, Connections, Context, Result, Retry, Secret, SignIn, Vault, VaultEntry, async_trait,
};
use trunkline_rest::{Auth, Client, ClientAuth, ClientLimits, OAuth, Table};
use trunkline_store::{KeySource, Store};
use trunkline_testkit::process::{TestProcess, test_child};

use super::CONNECTION;
use crate::fact;

/// The environment variable with the [`Setup`] of a process.
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

/// The time that a process waits for the response to a token request, as a multiple of the time of a call.
pub const PATIENCE: u32 = 4;

/// How the connection gets its first token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Grant {
    /// A user signs in with a browser.
    Browser,
    /// A user's name and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// The client's own credentials.
    Client,
}

/// A point of a refresh, as the vault sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// The lease and the attempt's name are on disk; no request is sent.
    Begun,
    /// The response has arrived; none of it is written.
    Answered,
    /// The same point, but the process only reports it and continues.
    Storing,
    /// The new tokens are on disk; the process does not know yet.
    Stored,
}

/// A defect: a protection that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sabotage {
    /// Leases of other processes are not seen.
    NoLease,
    /// The same, and each call has a client of its own, so that no two calls share a refresh.
    NoFlight,
    /// New tokens are used at once, and stored a little later.
    StoreAfterUse,
    /// The access token is written first, the refresh token after it.
    TwoWrites,
    /// Writes of other processes since the attempt began are not seen, so that its name always seems to be in the row.
    NoFence,
    /// The response to a token request is given up after the time of a call.
    GivesUp,
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
    /// How long the process stops at that point.
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
        let patience = if self.sabotage == Some(Sabotage::GivesUp) { 1 } else { PATIENCE };
        let limits = ClientLimits {
            attempt: self.attempt,
            token_response: self.attempt * patience,
            confirm: Duration::from_millis(100),
            ..ClientLimits::default()
        };
        let builder = Client::builder("the DAM", self.base.parse().unwrap(), &TABLE).private_network(true);
        builder.limits(limits).auth(Auth::OAuth(oauth), ConnectionContext::new(CONNECTION, vault)).build().unwrap()
    }
}

fn print_message(what: &Value) {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}").unwrap();
    out.flush().unwrap();
}

/// The store as this process sees it: it stops at the configured point, and has the configured defect.
struct Watched {
    store: Store,
    stop: Option<Point>,
    stop_for: Duration,
    sabotage: Option<Sabotage>,
    /// The row that this process wrote when its attempt began.
    begun: Mutex<Option<String>>,
}

impl Watched {
    async fn at(&self, point: Point) {
        let storing = point == Point::Answered && self.stop == Some(Point::Storing);
        if storing || self.stop == Some(point) {
            print_message(&json!({ "at": if storing { Point::Storing } else { point } }));
        }
        if self.stop == Some(point) {
            sleep(self.stop_for).await;
        }
    }

    async fn put(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.store.replace(CONNECTION, expected, content, sign_in).await
    }

    /// Stores new tokens, with the configured defect.
    async fn store_tokens(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
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
        // The row of a started attempt has a lease. The row with new tokens has neither a lease nor a failure.
        let begins = row["lease"].is_object();
        let stores_tokens = !begins && row["failed"].is_null();
        if stores_tokens {
            self.at(Point::Answered).await;
        }
        let done = if stores_tokens {
            self.store_tokens(expected, content, sign_in).await?
        } else {
            self.put(expected, content, sign_in).await?
        };
        if done && begins {
            *self.begun.lock().unwrap() = Some(content.expose().to_owned());
            self.at(Point::Begun).await;
        }
        if done && stores_tokens {
            *self.begun.lock().unwrap() = None;
            self.at(Point::Stored).await;
        }
        Ok(done)
    }
}

/// The outcome of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallOutcome {
    /// Kind of the error, if the call failed.
    pub error: Option<String>,
    /// Message of the error.
    pub message: String,
    /// Whether the error can be retried.
    pub retryable: bool,
    /// The error's context `cause`.
    pub cause: Option<String>,
    /// The error's context `setting`.
    pub setting: Option<String>,
    /// By how much the call exceeded its deadline, less the delay of a timer for the same deadline.
    pub late: Duration,
}

#[derive(Serialize, Deserialize)]
struct CallRequest {
    calls: usize,
    deadline: Duration,
}

/// The program of the processes: the test that is their entry point calls it. It does nothing in the test's own
/// process.
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
    print_message(&json!({ "ready": true }));
    for line in io::stdin().lock().lines() {
        let request: CallRequest = serde_json::from_str(&line.unwrap()).unwrap();
        let client = || match setup.sabotage {
            Some(Sabotage::NoFlight) => setup.client(vault.clone()),
            _ => shared.clone(),
        };
        let done = runtime.block_on(calls(client, &request));
        print_message(&json!({ "done": done }));
    }
    // The test has closed the pipe, or has ended.
    std::process::exit(0);
}

async fn calls(client: impl Fn() -> Client, request: &CallRequest) -> Vec<CallOutcome> {
    let deadline = Instant::now() + request.deadline;
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
    for (outcome, ended) in futures::future::join_all((0..request.calls).map(|_| call())).await {
        let error = outcome.err();
        done.push((
            ended,
            CallOutcome {
                message: error.as_ref().map(|error| error.message().to_owned()).unwrap_or_default(),
                retryable: error.as_ref().is_some_and(|error| error.retryable() != Retry::Never),
                cause: error.as_ref().and_then(|error| fact(error, "cause")).map(str::to_owned),
                setting: error.as_ref().and_then(|error| error.setting_pointer()).map(str::to_owned),
                error: error.map(|error| error.kind().as_str().to_owned()),
                late: Duration::ZERO,
            },
        ));
    }
    // If all calls were in time, the delay of the timer is not needed.
    if done.iter().all(|(ended, _)| *ended <= deadline) {
        woken.abort();
        return done.into_iter().map(|(_, outcome)| outcome).collect();
    }
    let woken = woken.await.unwrap();
    done.into_iter()
        .map(|(ended, outcome)| CallOutcome { late: ended.saturating_duration_since(woken), ..outcome })
        .collect()
}

/// A running process, killed when dropped.
#[derive(Debug)]
pub struct Process(TestProcess);

impl Process {
    pub(super) async fn start(setup: &Setup) -> Process {
        let mut command = test_child(&setup.program);
        command.env(SETUP, serde_json::to_string(setup).unwrap()).stdin(Stdio::piped());
        let mut process = Process(TestProcess::spawn(&mut command));
        assert_eq!(process.next_message().await["ready"], true);
        process
    }

    /// Returns the next message of the process.
    async fn next_message(&mut self) -> Value {
        // The test harness prints text of its own, also on the line of a message.
        self.0.line(|line| line.find('{').map(|begin| serde_json::from_str(&line[begin..]).unwrap())).await
    }

    /// Starts `calls` calls at once, each with this deadline.
    pub async fn start_calls(&mut self, calls: usize, deadline: Duration) {
        self.0.send(&serde_json::to_string(&CallRequest { calls, deadline }).unwrap()).await;
    }

    /// Waits until the process reports that it has reached its point.
    pub async fn reached(&mut self) -> Point {
        let message = self.next_message().await;
        serde_json::from_value(message["at"].clone())
            .unwrap_or_else(|_| panic!("the process is not at its point: {message}"))
    }

    /// Waits for the calls to end.
    pub async fn done(&mut self) -> Vec<CallOutcome> {
        let message = self.next_message().await;
        serde_json::from_value(message["done"].clone())
            .unwrap_or_else(|_| panic!("the calls have not ended: {message}"))
    }

    /// Makes one call, and returns its outcome.
    pub async fn call(&mut self) -> CallOutcome {
        self.start_calls(1, Duration::from_secs(60)).await;
        self.done().await.remove(0)
    }

    /// Kills the process with SIGKILL.
    pub async fn kill(self) {
        self.0.kill().await;
    }

    /// Prepares a shell that sends the process a signal, such as `STOP` or `CONT`, without delay. A program that had to
    /// be started first would be late, and a process that is stopped in the middle of a write keeps the store locked.
    pub async fn signal(&self, name: &str) -> Signal {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo ready; read line; kill -{name} {}; echo done", self.0.id())]);
        let mut shell = TestProcess::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        shell.line(|line| (line == "ready").then_some(())).await;
        Signal(shell)
    }
}

/// A prepared signal.
#[derive(Debug)]
pub struct Signal(TestProcess);

impl Signal {
    /// Sends the signal.
    pub async fn send(mut self) {
        self.0.send("").await;
        self.0.line(|line| (line == "done").then_some(())).await;
    }
}

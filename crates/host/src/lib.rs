//! Trunkline as a library. A [`Runtime`] holds the connectors, connections, saved flows and runs of one data directory.
//!
//! The command line and the server are built on it, and a flow builder embeds it. `examples/embed.rs` shows how in 40 lines.

mod connectors;
mod export;
mod flows;
mod runs;
pub mod serve;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use trunkline_core as core;
pub use trunkline_engine as engine;
pub use trunkline_rest as rest;
pub use trunkline_store as store;

pub use export::{Exported, Provide};
pub use flows::SaveOptions;
pub use runs::ItemPage;

use trunkline_core::{
    ActionSpec, ByteProgress, Connected, Connection, Connections, ConnectorSpec, Context, Diagnostic, Error, ErrorKind,
    Recorder, Registry, Result, Secret, SecretSource, Timestamp, redact,
};
use trunkline_engine::{Engine, Flow, Run, RunHandle, RunId, RunStatus};
use trunkline_rest::Discovered;
use trunkline_store::{ConnectionStore, KeySource, Store};

/// Returns the connectors that are linked into this program, and those that `folder` describes: one folder for each, with a
/// `connector.toml` and `operations/*.toml`.
///
/// # Errors
///
/// `config` if two connectors have the same name, or with every fault in the folder, each with file, line and column.
pub fn registry(folder: Option<&Path>) -> Result<Registry> {
    let registry = Registry::discover()?;
    match folder {
        None => Ok(registry),
        Some(folder) => http_connector::load(registry, folder),
    }
}

/// Returns the JSON Schema (draft 2020-12) of a `connector.toml`, see [`registry`].
pub fn connector_schema() -> Value {
    http_connector::manifest_schema()
}

/// The connectors, connections, saved flows and runs of one data directory. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
    store: Store,
    engine: Engine,
    /// The clients of connections, each with the settings it was made from. All runs of this process share a client, and so
    /// its open connections and its request limits.
    clients: Arc<Mutex<HashMap<String, (Secret, Connected)>>>,
    /// Saved flows that have been read, by version.
    flows: Arc<Mutex<HashMap<String, Flow>>>,
}

impl Runtime {
    /// Opens or creates a data directory, with the connectors that are linked into this program.
    ///
    /// # Errors
    ///
    /// `config` if the key is not the one that the data directory was written with, `store` if it cannot be opened.
    pub fn open(data: &Path, key: KeySource) -> Result<Runtime> {
        Runtime::with(registry(None)?, data, key)
    }

    /// Opens or creates a data directory with the given connectors, such as those of [`registry`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::open`].
    pub fn with(registry: Registry, data: &Path, key: KeySource) -> Result<Runtime> {
        let store = Store::open(data, key)?;
        let engine = engine(&store);
        Ok(Runtime { registry: Arc::new(registry), store, engine, clients: Arc::default(), flows: Arc::default() })
    }

    /// Returns the connectors and their actions.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the engine that runs flows.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Checks a connection document and saves it under its name, which is returned. A connection of the same name is
    /// replaced. Settings of an earlier version of the connector are migrated. Nothing is sent.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for every setting that is wrong, or `store`.
    pub async fn add_connection(&self, document: Value) -> Result<String> {
        let mut names = self.add_connections(vec![document]).await?;
        names.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "no connection was added"))
    }

    /// Checks and saves several connection documents. If one of them is wrong, none is saved.
    ///
    /// # Errors
    ///
    /// As [`Runtime::add_connection`].
    pub async fn add_connections(&self, documents: Vec<Value>) -> Result<Vec<String>> {
        let mut checked = Vec::new();
        for document in documents {
            let connection = self.registry.current(&Connection::from_value(document)?)?;
            Diagnostic::accept("the connection", &self.registry.check(&connection))?;
            checked.push(connection);
        }
        let mut names = Vec::new();
        for connection in checked {
            let settings = self.registry.connector(connection.connector_name())?.settings();
            self.store.put_connection(&connection, settings).await?;
            names.push(connection.name);
        }
        Ok(names)
    }

    /// Copies discovered addresses of a login server into the settings of a connection. Returns the settings that changed.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection; otherwise as [`Runtime::add_connection`].
    pub async fn apply_discovery(&self, name: &str, found: &Discovered) -> Result<Map<String, Value>> {
        let mut connection = self.store.connection(name).await?;
        let mut changed = found.settings();
        changed.retain(|setting, value| connection.settings.get(setting) != Some(value));
        connection.settings.extend(changed.clone());
        self.add_connection(connection.document()).await?;
        Ok(changed)
    }

    /// Returns the current id of a connector (`mediavalet-v1.1`) if a connection was saved with another version of it.
    pub fn current_version(&self, connector: &str) -> Option<String> {
        let current = self.registry.connector(ConnectorSpec::name_in(connector)).ok()?.spec().id();
        (current != connector).then_some(current)
    }

    /// Returns a connection that is ready to run actions. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `config` if a setting is wrong or a referenced secret is missing.
    pub async fn connect(&self, name: &str) -> Result<Connected> {
        let connection = self.store.connection(name).await?;
        let resolved = self.registry.resolved(&connection, &secret)?;
        let is_same = |of: &Secret| of.expose() == resolved.expose();
        let known = self.clients().get(name).filter(|(of, _)| is_same(of)).map(|(_, connected)| connected.clone());
        if let Some(connected) = known {
            return Ok(connected);
        }
        let connected = self.registry.connect(&connection, Arc::new(self.store.clone()), &secret)?;
        self.clients().insert(name.to_owned(), (resolved, connected.clone()));
        Ok(connected)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, (Secret, Connected)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a connection with its secrets and tokens, and revokes the tokens at its login server where that is possible
    /// (RFC 7009). The returned [`Removal`] says whether the login server did so.
    ///
    /// # Errors
    ///
    /// `conflict` if an active flow or an unfinished run uses the connection, unless `force` is set. `not_found` if there is
    /// no such connection.
    pub async fn remove_connection(&self, name: &str, force: bool) -> Result<Removal> {
        // The client is made first: afterwards there are no settings to make it from.
        let connected = self.connect(name).await;
        let tokens = self.store.remove_connection(name, force).await?;
        self.clients().remove(name);
        let revoked = match (connected, tokens) {
            (Ok(connected), Some(tokens)) => connected.sign_out(&tokens).await,
            (Err(error), Some(_)) => Err(error),
            (_, None) => Ok(()),
        };
        Ok(revoked.map_or_else(Removal::TokensNotRevoked, |()| Removal::Complete))
    }

    /// Runs one action outside a flow. `action` is written `connector.resource.verb`.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such action or connection, `config` if the connection belongs to another connector,
    /// `invalid_input` if the input does not fit, or the error of the action.
    pub async fn call(&self, action: &str, connection: &str, input: Value) -> Result<CallOutput> {
        let (connected, action) = self.connected(action, connection).await?;
        let recorded = Arc::new(Warnings::default());
        let context = Runtime::context(&connected).with_recorder(recorded.clone(), None);
        let output = connected.run(&action.name, input, &context).await?;
        let warnings = std::mem::take(&mut *recorded.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(CallOutput { output, warnings })
    }

    /// Reads all pages of an action that lists, and calls `take` with every item.
    ///
    /// # Errors
    ///
    /// As [`Runtime::call`]; items before the error have been passed to `take`.
    pub async fn list(&self, action: &str, connection: &str, input: Value, mut take: impl FnMut(Value)) -> Result<()> {
        let (connected, action) = self.connected(action, connection).await?;
        let context = Runtime::context(&connected);
        let mut next = None;
        loop {
            let page = connected.page(&action.name, input.clone(), next, &context).await?;
            page.items.into_iter().for_each(&mut take);
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns the connection and the action, if both belong to the same connector.
    async fn connected(&self, action: &str, connection: &str) -> Result<(Connected, &ActionSpec)> {
        let (connector, action) = self.registry.action(action)?;
        let (connector, connected) = (&connector.spec().name, self.connect(connection).await?);
        let found = &connected.connector().spec().name;
        if found != connector {
            let action = &action.name;
            let message = format!("{connection} is a connection to {found}, and {action} is an action of {connector}");
            return Err(Error::new(ErrorKind::Config, message).hint("`trunkline connection list` shows them all"));
        }
        Ok((connected, action))
    }

    fn context(connected: &Connected) -> Context {
        let connections: Connections = [connected.clone()].into_iter().collect();
        Context::new(&Uuid::new_v4().to_string(), connected.name(), connections)
    }

    /// Checks a flow against the connectors and starts a run of it. `bindings` maps the connections that the flow declares to
    /// names of connections. One that is missing is bound to the only connection of its connector, if there is exactly one.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for everything that is wrong with the flow or its bindings, `invalid_input` if the input
    /// does not fit the flow's schema, or `store`.
    pub async fn start(&self, flow: &Flow, input: Value, bindings: BTreeMap<String, String>) -> Result<RunHandle> {
        let bindings = self.all_bindings(flow, bindings).await?;
        self.accept(flow, &bindings).await?;
        self.engine.start(flow, input, self.connect_all(&bindings).await?).await
    }

    /// Resumes a run that was stopped, with the connections that it was started with.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has ended, was rerun, or is worked on by another process; `not_found` if there is no such run.
    pub async fn resume(&self, id: &RunId) -> Result<RunHandle> {
        let run = self.engine.run(id).await?;
        if let RunStatus::Running | RunStatus::Failed = run.status {
            return self.engine.resume(id, self.connect_all(&run.connections).await?).await;
        }
        // The engine reports why the run cannot be resumed.
        self.engine.resume(id, BTreeMap::new()).await
    }

    /// Returns the run whose id starts with `start`.
    ///
    /// # Errors
    ///
    /// `not_found` if there is none, `invalid_input` if there are several.
    pub async fn find_run(&self, start: &str) -> Result<RunId> {
        use trunkline_engine::RunIndex;
        let runs = self.store.runs().await?;
        let mut found = runs.into_iter().filter(|run| run.id.as_str().starts_with(start));
        match (found.next(), found.next()) {
            (Some(run), None) => Ok(run.id),
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::InvalidInput, format!("several runs start with {start}"))
                .hint("give more digits of the id; `trunkline runs` lists them")),
            _ => {
                Err(Error::new(ErrorKind::NotFound, format!("there is no run {start}"))
                    .hint("`trunkline runs` lists them"))
            }
        }
    }

    async fn connect_all(&self, bindings: &BTreeMap<String, String>) -> Result<BTreeMap<String, Connected>> {
        let mut connected = BTreeMap::new();
        for (binding, name) in bindings {
            connected.insert(binding.clone(), self.connect(name).await?);
        }
        Ok(connected)
    }
}

/// Makes an engine that keeps its journal and its staged files in this store.
fn engine(store: &Store) -> Engine {
    Engine::new(Arc::new(store.clone())).with_staging(Arc::new(store.clone()))
}

/// The result of an action that was called outside a flow.
pub struct CallOutput {
    /// The output of the action.
    pub output: Value,
    /// Warnings of the service; the call succeeded all the same.
    pub warnings: Vec<String>,
}

/// The result of [`Runtime::remove_connection`].
#[derive(Debug)]
pub enum Removal {
    /// The connection is removed, and its tokens, if there were any, are revoked at the login server.
    Complete,
    /// The connection is removed here, but the login server did not revoke its tokens, for this reason.
    TokensNotRevoked(Error),
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

#[core::async_trait]
impl Recorder for Warnings {
    async fn checkpoint(&self, _: Value) -> Result<()> {
        Ok(())
    }

    fn progress(&self, _: ByteProgress) {}

    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}

/// Reads a secret that the settings refer to.
fn secret(source: &SecretSource) -> Result<Secret> {
    let missing = |what: String| {
        Error::new(ErrorKind::Config, what)
            .hint("it is needed whenever the connection is used, not only when it is added")
    };
    let text = match source {
        SecretSource::Env(name) => {
            std::env::var(name).map_err(|_| missing(format!("the environment variable {name} is not set")))?
        }
        SecretSource::File(path) => fs::read_to_string(path)
            .map_err(|error| missing(format!("the secret file {path} cannot be read: {error}")))?,
    };
    let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        "" => Err(missing(format!("{source:?} is empty"))),
        text => Ok(Secret::from(text)),
    }
}

/// Returns a run as JSON, with the progress of its lists while it is running.
pub fn run_view(run: &Run) -> Value {
    let mut shown = serde_json::to_value(run).unwrap_or_default();
    let progress = run.progress(Timestamp::now());
    if run.status == RunStatus::Running && !progress.is_empty() {
        shown["progress"] = serde_json::to_value(progress).unwrap_or_default();
    }
    shown
}

/// Returns a value as JSON with known secrets redacted. Each text is redacted by itself: in the serialized JSON a secret
/// would be escaped, and not be found.
pub fn redacted(value: &impl Serialize) -> Value {
    fn redact_all(value: &mut Value) {
        match value {
            Value::String(text) => *text = redact(text).into_owned(),
            Value::Array(all) => all.iter_mut().for_each(redact_all),
            Value::Object(all) => all.values_mut().for_each(redact_all),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    redact_all(&mut value);
    value
}

/// Returns the default data directory: `$XDG_DATA_HOME/trunkline`, else `~/.local/share/trunkline`.
pub fn default_data() -> PathBuf {
    home("XDG_DATA_HOME", ".local/share").join("trunkline")
}

/// Returns the default path of the key that encrypts secrets: `$XDG_CONFIG_HOME/trunkline/key`, else
/// `~/.config/trunkline/key`. It is never inside the data directory, so a copy of that directory alone reveals no secret.
pub fn default_key() -> PathBuf {
    home("XDG_CONFIG_HOME", ".config").join("trunkline").join("key")
}

fn home(variable: &str, below_home: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(below_home))).unwrap_or_else(|| PathBuf::from("."))
}

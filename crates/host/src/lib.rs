//! Trunkline as a library: a [`Runtime`] has the connectors, the connections and the runs of one data directory.
//!
//! It is what the command line stands on, and what a flow builder embeds; `examples/embed.rs` shows it in 40 lines.

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
use trunkline_store::{KeySource, Store};

/// The connectors that are linked into this program, and those that a folder describes: each in a folder of its own, with a
/// `connector.toml` and `operations/*.toml`. Everything that is wrong with them is told at once.
pub fn registry(folder: Option<&Path>) -> Result<Registry> {
    let registry = Registry::discover()?;
    match folder {
        None => Ok(registry),
        Some(folder) => http_connector::load(registry, folder),
    }
}

/// JSON Schema (draft 2020-12) of the `connector.toml` of such a folder.
pub fn connector_schema() -> Value {
    http_connector::manifest_schema()
}

/// Connectors, connections and runs, on one data directory.
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
    store: Store,
    engine: Engine,
    /// The clients of connections with what they were made of: what a client has learnt and keeps open serves all runs of
    /// this process.
    clients: Arc<Mutex<HashMap<String, (Secret, Connected)>>>,
    /// Kept flows as they were read, by version.
    flows: Arc<Mutex<HashMap<String, Flow>>>,
}

impl Runtime {
    /// Opens a data directory, or begins one, with the connectors that are linked into this program.
    pub fn open(data: &Path, key: KeySource) -> Result<Runtime> {
        Runtime::with(registry(None)?, data, key)
    }

    /// The same with connectors of one's choice, such as those of [`registry`].
    pub fn with(registry: Registry, data: &Path, key: KeySource) -> Result<Runtime> {
        let store = Store::open(data, key)?;
        let engine = engine(&store);
        Ok(Runtime { registry: Arc::new(registry), store, engine, clients: Arc::default(), flows: Arc::default() })
    }

    /// The connectors and their actions.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The store of connections.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What works on runs.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Checks a connection document and keeps it; one of the same name is replaced. Nothing is sent. Settings of an earlier
    /// version of the connector are kept as those of today.
    pub async fn add_connection(&self, document: Value) -> Result<String> {
        let mut names = self.add_connections(vec![document]).await?;
        names.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "no connection was added"))
    }

    /// The same for several: if one of them is faulty, none is kept.
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

    /// Puts what a login server says of itself into a connection's settings, checked as [`Runtime::add_connection`] does;
    /// those that have changed.
    pub async fn apply_discovery(&self, name: &str, found: &Discovered) -> Result<Map<String, Value>> {
        let mut connection = self.store.connection(name).await?;
        let mut changed = found.settings();
        changed.retain(|setting, value| connection.settings.get(setting) != Some(value));
        connection.settings.extend(changed.clone());
        self.add_connection(connection.document()).await?;
        Ok(changed)
    }

    /// What a connector is called today (`mediavalet-v1.1`), if a connection was saved with another version of it.
    pub fn current_version(&self, connector: &str) -> Option<String> {
        let now = self.registry.connector(ConnectorSpec::name_in(connector)).ok()?.spec().id();
        (now != connector).then_some(now)
    }

    /// A connection, ready to run actions. Nothing is sent yet.
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

    /// Removes a connection with its secrets and tokens, and takes the tokens back at its login server, where that can be
    /// done: a second `Err` says that only this failed.
    ///
    /// Fails with `conflict` while a run that is not over needs it, unless that does not matter (`force`).
    pub async fn remove_connection(&self, name: &str, force: bool) -> Result<Result<()>> {
        // Made before: afterwards there are no settings to make it of. Without it, the rest can still be done.
        let connected = self.connect(name).await;
        let held = self.store.remove_connection(name, force).await?;
        self.clients().remove(name);
        Ok(match (connected, held) {
            (Ok(connected), Some(held)) => connected.sign_out(&held).await,
            (Err(error), Some(_)) => Err(error),
            (_, None) => Ok(()),
        })
    }

    /// Runs one action outside a flow; `action` is written `connector.resource.verb`.
    pub async fn call(&self, action: &str, connection: &str, input: Value) -> Result<CallOutput> {
        let (connected, action) = self.connected(action, connection).await?;
        let heard = Arc::new(Warnings::default());
        let context = Runtime::context(&connected).with_recorder(heard.clone(), None);
        let output = connected.run(&action.name, input, &context).await?;
        let warnings = std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(CallOutput { output, warnings })
    }

    /// Goes through everything an action lists, page by page, and hands over item after item.
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

    /// The connection, if it is one of the action's connector, and the action.
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

    /// Checks a flow against the connectors and begins a run of it; `slots` says which connection fills which slot. A slot
    /// that is not named is filled by the only connection that fits, if there is just one.
    pub async fn start(&self, flow: &Flow, input: Value, slots: BTreeMap<String, String>) -> Result<RunHandle> {
        let slots = self.all_slots(flow, slots).await?;
        self.accept(flow, &slots).await?;
        self.engine.start(flow, input, self.fill(&slots).await?).await
    }

    /// Takes up a run that was stopped, with the connections it was started with.
    pub async fn resume(&self, id: &RunId) -> Result<RunHandle> {
        let run = self.engine.run(id).await?;
        if let RunStatus::Running | RunStatus::Failed = run.status {
            return self.engine.resume(id, self.fill(&run.connections).await?).await;
        }
        // The engine says why not.
        self.engine.resume(id, BTreeMap::new()).await
    }

    /// The run whose name begins like this, if there is just one.
    pub async fn find_run(&self, start: &str) -> Result<RunId> {
        use trunkline_engine::Journal;
        let runs = self.store.runs().await?;
        let mut found = runs.into_iter().filter(|run| run.id.as_str().starts_with(start));
        match (found.next(), found.next()) {
            (Some(run), None) => Ok(run.id),
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::InvalidInput, format!("several runs begin with {start}"))
                .hint("give more of the name; `trunkline runs` lists them")),
            _ => {
                Err(Error::new(ErrorKind::NotFound, format!("there is no run {start}"))
                    .hint("`trunkline runs` lists them"))
            }
        }
    }

    async fn fill(&self, slots: &BTreeMap<String, String>) -> Result<BTreeMap<String, Connected>> {
        let mut filled = BTreeMap::new();
        for (slot, name) in slots {
            filled.insert(slot.clone(), self.connect(name).await?);
        }
        Ok(filled)
    }
}

/// An engine on this store.
fn engine(store: &Store) -> Engine {
    Engine::new(Arc::new(store.clone())).with_staging(Arc::new(store.clone()))
}

/// What came of an action that was called outside a flow.
pub struct CallOutput {
    /// What the action yields.
    pub output: Value,
    /// What the service said although the call succeeded.
    pub warnings: Vec<String>,
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

/// Fetches a secret that settings only refer to.
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

/// A run as it is shown: while it is at work, with how far its lists are.
pub fn run_view(run: &Run) -> Value {
    let mut shown = serde_json::to_value(run).unwrap_or_default();
    let progress = run.progress(Timestamp::now());
    if run.status == RunStatus::Running && !progress.is_empty() {
        shown["progress"] = serde_json::to_value(progress).unwrap_or_default();
    }
    shown
}

/// A value as JSON without known secrets. Its texts are looked at one by one: in the JSON they would be escaped once more.
pub fn clean(value: &impl Serialize) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = redact(text).into_owned(),
            Value::Array(all) => all.iter_mut().for_each(clean),
            Value::Object(all) => all.values_mut().for_each(clean),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    clean(&mut value);
    value
}

/// Where data goes if nobody says: `$XDG_DATA_HOME/trunkline`, else `~/.local/share/trunkline`.
pub fn default_data() -> PathBuf {
    home("XDG_DATA_HOME", ".local/share").join("trunkline")
}

/// Where the key that encrypts secrets is if nobody says: `$XDG_CONFIG_HOME/trunkline/key`, else
/// `~/.config/trunkline/key`: never in the data directory, so that a copy of the one is worthless without the other.
pub fn default_key() -> PathBuf {
    home("XDG_CONFIG_HOME", ".config").join("trunkline").join("key")
}

fn home(variable: &str, below_home: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(below_home))).unwrap_or_else(|| PathBuf::from("."))
}

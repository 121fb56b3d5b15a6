//! The [`Runtime`]: connections, calls of actions, and the start of runs. Saved flows, outcomes of items and exports are in
//! modules of their own.

#[cfg(feature = "sqlite")]
use std::path::Path;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use lru::LruCache;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use trunkline_core::{
    ActionSpec, Connected, Connection, ConnectionHost, Connections, Context, Diagnostic, Effect, Error, ErrorKind,
    MemoryVault, NextStep, Redactor, Registry, Result, RunId, Schema, Secret, Timestamp,
};
use trunkline_engine::{Engine, Journal, ResumeOptions, Run, RunHandle, RunStatus};
use trunkline_flow::Flow;
use trunkline_rest::Discovered;
#[cfg(feature = "sqlite")]
use trunkline_store::KeySource;
use trunkline_store::{ConnectionStore, FlowStore, Replacement};
use uuid::Uuid;

use super::{LocalLauncher, RunLauncher, recent_pages::RecentPages, sign_ins::SignIns, warnings::Warnings};
use crate::{
    Ports,
    tickets::Tickets,
    watching::{Pages, SharedPage, WatchPlace},
};

/// The most clients and the most flow versions held in memory.
const MOST_CACHED: NonZeroUsize = NonZeroUsize::new(1000).expect("it is not zero");

/// The connectors, connections, saved flows and runs of one data directory. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
    ports: Ports,
    /// What connections get of the ports.
    pub(crate) host: ConnectionHost,
    engine: Engine,
    launcher: Arc<dyn RunLauncher>,
    /// The URL at which other services reach the server of this runtime, without a slash at its end.
    public_url: Option<Arc<str>>,
    /// The clients of the connections used last, each with the settings it was made from. All runs share a client.
    clients: Arc<Mutex<LruCache<String, (Secret, Connected)>>>,
    pub(super) sign_ins: Arc<SignIns>,
    /// The saved flows used last, by version.
    pub(crate) flow_cache: Arc<Mutex<LruCache<String, Flow>>>,
    /// What watchers of all runs share, and the tickets for streams of events.
    watching: Arc<(Pages, Tickets)>,
    recent_pages: Arc<RecentPages>,
}

impl Runtime {
    /// Returns a runtime on these ports, with these connectors, such as those of [`registry`](crate::registry).
    pub fn new(registry: Registry, ports: Ports) -> Runtime {
        let engine = engine(&ports);
        let host = ConnectionHost::new(ports.vault.clone())
            .with_redactor(ports.redactor.clone())
            .with_clock(ports.clock.clone())
            .with_memory(ports.memory.clone())
            .with_extension(ports.http.clone());
        Runtime {
            registry: Arc::new(registry),
            ports,
            host,
            engine,
            launcher: Arc::new(LocalLauncher::default()),
            public_url: None,
            clients: Arc::new(Mutex::new(LruCache::new(MOST_CACHED))),
            sign_ins: Arc::default(),
            flow_cache: Arc::new(Mutex::new(LruCache::new(MOST_CACHED))),
            watching: Arc::default(),
            recent_pages: Arc::default(),
        }
    }

    /// Returns a runtime that keeps everything in memory, see [`Ports::in_memory`].
    pub fn in_memory(registry: Registry) -> Runtime {
        Runtime::new(registry, Ports::in_memory())
    }

    /// Opens or creates a data directory, with the connectors that are linked into this program.
    ///
    /// # Errors
    ///
    /// `config` if the key is not the one that the data directory was written with, `store` if it cannot be opened.
    #[cfg(feature = "sqlite")]
    pub fn open(data: &Path, key: KeySource) -> Result<Runtime> {
        Ok(Runtime::new(crate::registry(None)?, Ports::sqlite(data, key)?))
    }

    /// Returns the connectors and their actions.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns what the runtime stands on.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Returns the connections.
    pub fn connections(&self) -> &dyn ConnectionStore {
        &*self.ports.connections
    }

    /// Returns the saved flows.
    pub fn flows(&self) -> &dyn FlowStore {
        &*self.ports.flows
    }

    /// Returns the journal of runs.
    pub fn journal(&self) -> &dyn Journal {
        &*self.ports.journal
    }

    /// Returns the redactor, which knows the secrets of this runtime.
    pub fn redactor(&self) -> &Redactor {
        &self.ports.redactor
    }

    pub(crate) fn recent_pages(&self) -> &RecentPages {
        &self.recent_pages
    }

    /// Returns the current time by the clock of the ports.
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Waits until no token request is running, see [`HttpEnvironment::drain_token_requests`]. A host calls it before its
    /// process ends.
    ///
    /// [`HttpEnvironment::drain_token_requests`]: trunkline_rest::HttpEnvironment::drain_token_requests
    pub async fn drain_token_requests(&self) {
        self.ports.http.drain_token_requests().await;
    }

    /// Reads what a login server publishes about itself, see [`trunkline_rest::discover`].
    ///
    /// # Errors
    ///
    /// Those of [`trunkline_rest::discover`].
    pub async fn discover(&self, issuer: &str, private_network: bool) -> Result<Discovered> {
        trunkline_rest::discover(&self.ports.http, issuer, private_network).await
    }

    /// Returns the engine that runs flows.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns a runtime of the same data directory with an engine of its own. Everything else is shared with this one. A
    /// part of a program that stops before the rest, such as a server, drains its own engine and no other.
    pub fn with_own_engine(&self) -> Runtime {
        Runtime { engine: engine(&self.ports), ..self.clone() }
    }

    /// Returns a runtime whose operations start runs through this launcher, instead of at once. Everything else is
    /// shared with this one.
    pub fn with_launcher(&self, launcher: Arc<dyn RunLauncher>) -> Runtime {
        Runtime { launcher, ..self.clone() }
    }

    /// Returns a runtime that knows the URL at which other services reach its server. Everything else is shared with this
    /// one.
    pub fn with_public_url(&self, url: &str) -> Runtime {
        Runtime { public_url: Some(url.trim_end_matches('/').into()), ..self.clone() }
    }

    /// Returns the public URL of a path, if the public URL of the server is known.
    pub(crate) fn public_url(&self, path: &str) -> Option<String> {
        self.public_url.as_ref().map(|base| format!("{base}{path}"))
    }

    /// Returns the events of all runs after a place, see [`Pages::page`].
    pub(crate) async fn watched(&self, after: Option<WatchPlace>) -> Result<Arc<SharedPage>> {
        self.watching.0.page(&self.ports, &self.engine, after).await
    }

    /// Returns the tickets for streams of events.
    pub(crate) fn tickets(&self) -> &Tickets {
        &self.watching.1
    }

    /// Returns what the operations start runs through.
    pub(crate) fn launcher(&self) -> Arc<dyn RunLauncher> {
        self.launcher.clone()
    }

    /// Returns the handle of a run that an operation has started in this process, once. There is none if the launcher
    /// keeps no handles, see [`LocalLauncher`].
    pub fn take_handle(&self, run: &RunId) -> Option<RunHandle> {
        self.launcher.take_handle(run)
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
        Ok(self.save_connections(documents, Replacement::Always).await?.0)
    }

    /// Like [`Runtime::add_connections`], with what the user has to know. The error is `conflict` if there is a connection
    /// of one of the names that is not to be replaced.
    pub(crate) async fn save_connections(
        &self,
        documents: Vec<Value>,
        replace: Replacement,
    ) -> Result<(Vec<String>, Vec<Diagnostic>)> {
        let checked = self.checked(documents)?;
        let with_settings = |connection| Ok((connection, self.settings_of(connection)?));
        let all = checked.iter().map(with_settings).collect::<Result<Vec<_>>>()?;
        let names = checked.iter().map(|connection| connection.name.clone()).collect::<Vec<_>>();
        let before = self.remembering(&names).await?;
        self.connections().save_connections(&all, replace).await?;
        let warnings = self.forgotten(&names, before).await?;
        Ok((names, warnings))
    }

    /// Reads and checks connection documents.
    pub(crate) fn checked(&self, documents: Vec<Value>) -> Result<Vec<Connection>> {
        let (mut checked, mut findings, one) = (Vec::new(), Vec::new(), documents.len() == 1);
        // What the operator does not allow is found here, too.
        let host = ConnectionHost::new(Arc::new(MemoryVault::default())).with_extension(self.ports.http.clone());
        for document in documents {
            let connection = self.registry.current(&Connection::from_value(document)?)?;
            if let Ok(registered) = self.registry.connector(connection.connector_name()) {
                registered.secrets(&connection.document()).iter().for_each(|secret| self.redactor().add(secret));
            }
            findings.extend(self.registry.check_settings(&connection, &host).into_iter().map(|found| match one {
                true => found,
                false => Diagnostic { message: format!("{}: {}", connection.name, found.message), ..found },
            }));
            checked.push(connection);
        }
        Diagnostic::accept(if one { "the connection" } else { "the list of connections" }, &findings)?;
        Ok(checked)
    }

    fn settings_of(&self, connection: &Connection) -> Result<&Schema> {
        Ok(self.registry.connector(connection.connector_name())?.settings())
    }

    /// Copies discovered addresses of a login server into the settings of a connection. Returns the settings that changed.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `conflict` if another caller changed it in the meantime; otherwise as
    /// [`Runtime::add_connection`].
    pub async fn apply_discovery(&self, name: &str, found: &Discovered) -> Result<Map<String, Value>> {
        let previous = self.connections().connection(name).await?;
        let mut changed = found.settings();
        changed.retain(|setting, value| previous.settings.get(setting) != Some(value));
        let mut connection = previous.clone();
        connection.settings.extend(changed.clone());
        for connection in self.checked(vec![connection.document()])? {
            let settings = self.settings_of(&connection)?;
            self.connections().replace_connection(&previous, &connection, settings).await?;
        }
        Ok(changed)
    }

    /// Returns a connection that is ready to run actions. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `config` if a setting is wrong or a referenced secret is missing.
    pub async fn connect(&self, name: &str) -> Result<Connected> {
        self.client_of(&self.connections().connection(name).await?)
    }

    pub(crate) fn clients(&self) -> MutexGuard<'_, LruCache<String, (Secret, Connected)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
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
        Ok(CallOutput { output, warnings: recorded.take() })
    }

    /// Reads all pages of an action that lists, one after the other. The first page is read with the first item.
    ///
    /// # Errors
    ///
    /// As [`Runtime::call`]. The stream ends with the first error; the items before it have been yielded.
    pub async fn list(
        &self,
        action: &str,
        connection: &str,
        input: Value,
    ) -> Result<BoxStream<'static, Result<ListedItem>>> {
        let (connected, action) = self.connected(action, connection).await?;
        check_lists(action)?;
        let (context, action) = (Runtime::context(&connected), action.name.clone());
        let redactor = self.redactor().clone();
        let read = move |from: Option<Value>| {
            let (connected, context, action, input) =
                (connected.clone(), context.clone(), action.clone(), input.clone());
            async move { connected.page(&action, input, from, &context).await }
        };
        let pages = stream::try_unfold(Some(None), move |from: Option<Option<Value>>| {
            let (page, redactor) = (from.map(&read), redactor.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let page = page.await?;
                let reason = page
                    .maybe_incomplete
                    .map(|reason| ListedItem::MaybeIncomplete(redactor.redact(&reason).into_owned()));
                let items = page.items.iter().map(|item| ListedItem::Item(redactor.redact_json(item)));
                let items = items.chain(reason).collect::<Vec<_>>().into_iter();
                Ok(Some((stream::iter(items.map(Ok)), page.next.map(Some))))
            }
        });
        Ok(pages.try_flatten().boxed())
    }

    /// Returns the connection and the action, if both belong to the same connector.
    pub(crate) async fn connected(&self, action: &str, connection: &str) -> Result<(Connected, &ActionSpec)> {
        let (connector, action) = self.registry.action(action)?;
        let connector = &connector.spec().name;
        let connected = match self.connect(connection).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(error.advise([self.connection_choice(connector).await?]));
            }
            connected => connected?,
        };
        let found = &connected.connector().spec().name;
        if found != connector {
            let action = &action.name;
            let message = format!("{connection} is a connection to {found}, and {action} is an action of {connector}");
            return Err(Error::new(ErrorKind::Config, message).next(self.connection_choice(connector).await?));
        }
        Ok((connected, action))
    }

    pub(crate) fn context(connected: &Connected) -> Context {
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
        self.start_bound(flow, input, self.all_bindings(flow, bindings).await?).await
    }

    /// Checks a flow against the connectors and starts a run of it with these bindings, and with no others.
    pub(crate) async fn start_bound(
        &self,
        flow: &Flow,
        input: Value,
        bindings: BTreeMap<String, String>,
    ) -> Result<RunHandle> {
        self.accept(flow, &bindings).await?;
        self.engine.start(flow, input, self.connect_all(&bindings).await?).await
    }

    /// Resumes a run that was stopped, with the connections that it was started with.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has ended, was rerun, or is worked on by another process; `not_found` if there is no such run.
    pub async fn resume(&self, id: &RunId) -> Result<RunHandle> {
        self.resume_with(id, ResumeOptions::default()).await
    }

    /// Resumes a run as [`resume`](Runtime::resume) does, with options.
    ///
    /// # Errors
    ///
    /// As [`Engine::resume_with`].
    pub async fn resume_with(&self, id: &RunId, options: ResumeOptions) -> Result<RunHandle> {
        let connections = match self.engine.run(id).await? {
            Run { status: RunStatus::Running | RunStatus::Failed, connections, .. } => connections,
            // The engine reports why the run cannot be resumed.
            _ => BTreeMap::new(),
        };
        self.engine.resume_with(id, self.connect_all(&connections).await?, options).await
    }

    /// Returns the run with this id, or else the only run whose id starts with `start`.
    ///
    /// # Errors
    ///
    /// `not_found` if there is none, `invalid_input` if there are several: the error names the first ones.
    pub async fn find_run(&self, start: &str) -> Result<RunId> {
        const NAMED: usize = 5;
        let mut found = match start {
            "" => Vec::new(),
            _ => self.journal().runs_starting_with(start, NAMED + 1).await?,
        };
        if found.len() > 1 && found[0].as_str() != start {
            let more = if found.len() > NAMED { ", and more" } else { "" };
            let named: Vec<_> = found.iter().take(NAMED).map(RunId::as_str).collect();
            let message = format!("several runs start with {start}: {}{more}", named.join(", "));
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .next("give more digits of the id")
                .next(NextStep::ListRuns));
        }
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no run {start}")).next(NextStep::ListRuns);
        found.drain(..).next().ok_or_else(missing)
    }

    pub(crate) async fn connect_all(&self, bindings: &BTreeMap<String, String>) -> Result<BTreeMap<String, Connected>> {
        let mut connected = BTreeMap::new();
        for (binding, name) in bindings {
            connected.insert(binding.clone(), self.connect(name).await?);
        }
        Ok(connected)
    }
}

/// Makes an engine on these ports.
fn engine(ports: &Ports) -> Engine {
    let engine = Engine::new(ports.journal.clone()).with_clock(ports.clock.clone()).with_memory(ports.memory.clone());
    match &ports.staging {
        Some(staging) => engine.with_staging(staging.clone()),
        None => engine,
    }
}

/// What the stream of a list yields.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListedItem {
    /// An item of the list.
    Item(Value),
    /// The reason why the list may lack items, after the items of the page that shows it.
    MaybeIncomplete(String),
}

/// The result of an action that was called outside a flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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

/// Fails if an action lists nothing, before it is called: it might change something.
pub(crate) fn check_lists(spec: &ActionSpec) -> Result<()> {
    if (spec.lists || spec.output["type"] == "array") && spec.effect == Effect::Read {
        return Ok(());
    }
    let message = format!("{} is not an action that lists items", spec.name);
    Err(Error::new(ErrorKind::InvalidInput, message).hint("call it with `actions.call`"))
}

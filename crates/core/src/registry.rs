//! All connectors and actions a host has, found through `inventory` or put together by hand.
//!
//! `inventory` is read in [`Registry::discover`] only; everything else is handed a registry. A connector crate that nobody
//! refers to is not linked and is missing here without a word: hosts name theirs with `use connector as _;`.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use crate::{
    Action, ActionEntry, ActionSpec, AnyAction, AnyConnector, Connected, Connection, Connector, ConnectorEntry,
    ConnectorSpec, Diagnostic, Effect, Error, ErrorKind, Result, Schema, Secret, SecretSource, Vault, VaultSlot,
};

/// The connectors of a host, sorted by name.
#[derive(Default)]
pub struct Registry {
    connectors: BTreeMap<String, Arc<Registered>>,
    faults: Vec<Diagnostic>,
}

/// A connector with its actions, sorted by name.
pub struct Registered {
    pub(crate) connector: Box<dyn AnyConnector>,
    settings: Schema,
    actions: BTreeMap<String, RegisteredAction>,
}

pub(crate) struct RegisteredAction {
    pub(crate) action: Box<dyn AnyAction>,
    /// Made when it is needed: hundreds of actions are registered, and a flow calls a few.
    input: OnceLock<Schema>,
}

impl RegisteredAction {
    pub(crate) fn spec(&self) -> &ActionSpec {
        self.action.spec()
    }

    pub(crate) fn input(&self) -> &Schema {
        self.input.get_or_init(|| Schema::from(self.spec().input.clone()))
    }
}

impl Registry {
    /// Everything that is linked into this program. Doubled names and broken rows are refused, all of them in one error.
    pub fn discover() -> Result<Registry> {
        let mut registry = Registry::empty();
        for entry in inventory::iter::<ConnectorEntry> {
            registry = registry.with_connector_entry(*entry);
        }
        for entry in inventory::iter::<ActionEntry> {
            registry = registry.with_entry(*entry);
        }
        registry.checked()
    }

    /// A registry with nothing in it, for tests and for hosts that choose.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// Adds a connector.
    pub fn with_connector<C: Connector>(self) -> Registry {
        self.with_connector_entry(ConnectorEntry::of::<C>())
    }

    /// Adds a hand-written action; its connector has to be there already.
    pub fn with_action<A: Action>(self) -> Registry {
        self.with_entry(ActionEntry::of::<A>())
    }

    fn with_connector_entry(self, entry: ConnectorEntry) -> Registry {
        self.with_any((entry.connector)(), Vec::new())
    }

    /// Adds a connector that was put together at run time, with its actions.
    pub fn with_any(mut self, connector: Box<dyn AnyConnector>, actions: Vec<Box<dyn AnyAction>>) -> Registry {
        let name = connector.spec().name.clone();
        let settings = Schema::from(connector.spec().connection.clone());
        let registered = Registered { connector, settings, actions: BTreeMap::new() };
        if self.connectors.insert(name.clone(), Arc::new(registered)).is_some() {
            self.faults.push(Diagnostic::error("", format!("the connector {name} is registered twice")));
        }
        self.with_actions(&name, actions)
    }

    /// Adds the actions of an entry; their connector has to be there already.
    pub fn with_entry(mut self, entry: ActionEntry) -> Registry {
        match (entry.actions)() {
            Ok(actions) => return self.with_actions(entry.connector, actions),
            Err(broken) => self.faults.extend(broken),
        }
        self
    }

    fn with_actions(mut self, connector: &str, actions: Vec<Box<dyn AnyAction>>) -> Registry {
        let Some(registered) = self.connectors.get_mut(connector).and_then(Arc::get_mut) else {
            let message = format!("actions are registered for {connector}, which is no connector here");
            self.faults.push(Diagnostic::error("", message));
            return self;
        };
        for action in actions {
            let name = action.spec().name.clone();
            let twice = format!("the action {connector}.{name} is registered twice");
            if registered.actions.insert(name, RegisteredAction { action, input: OnceLock::new() }).is_some() {
                self.faults.push(Diagnostic::error("", twice));
            }
        }
        self
    }

    /// The registry if nothing was wrong while it was filled.
    pub fn checked(self) -> Result<Registry> {
        Diagnostic::accept("the registry", &self.faults).map(|()| self)
    }

    /// All connectors by name.
    pub fn connectors(&self) -> impl Iterator<Item = &Registered> {
        self.connectors.values().map(|one| &**one)
    }

    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Result<&Arc<Registered>> {
        self.connectors.get(name).ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no connector {name}"));
            match closest(name, self.connectors.keys().map(String::as_str)) {
                Some(close) => error.hint(format!("did you mean {close}?")),
                None => error.hint("`trunkline connectors` lists them"),
            }
        })
    }

    /// An action by its whole name, `connector.resource.verb`, and its connector.
    pub fn action(&self, name: &str) -> Result<(&Arc<Registered>, &ActionSpec)> {
        let Some((connector, action)) = name.split_once('.') else {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{name} is no action of a connector"))
                .hint("write CONNECTOR.RESOURCE.VERB, such as mediavalet.asset.get"));
        };
        let connector = self.connector(connector)?;
        Ok((connector, connector.action_spec(action)?))
    }

    /// Everything that is wrong with a connection document: an unknown connector, another version, wrong settings.
    pub fn check(&self, connection: &Connection) -> Vec<Diagnostic> {
        match self.connector(connection.connector_name()) {
            Ok(registered) => registered.settings.check(&connection.document()),
            Err(error) => {
                let ids: Vec<_> = self.connectors().map(|one| one.spec().id()).collect();
                vec![Diagnostic::error("/connector", error.message()).hint(format!("choose one of {}", ids.join(", ")))]
            }
        }
    }

    /// A connection with the settings of its connector's version of today; one that was saved with an earlier version is
    /// migrated, see [`Connector::migrate`]. What is kept stays as it is.
    pub fn current(&self, connection: &Connection) -> Result<Connection> {
        let (id, mut current) = (&connection.connector, connection.clone());
        let Ok(registered) = self.connector(connection.connector_name()) else { return Ok(current) };
        let (from, spec) = (ConnectorSpec::version_in(id), registered.spec());
        if *id == spec.id() || from.is_empty() {
            return Ok(current);
        }
        let known = spec.id();
        if numbers(from) > numbers(&spec.version) {
            let message = format!("connection {} is one to {id}, and this Trunkline knows {known}", connection.name);
            return Err(Error::new(ErrorKind::Config, message)
                .hint("use the newer Trunkline that it was saved with, or save the connection anew with this one")
                .with("connection", &connection.name)
                .setting("/connector"));
        }
        current.settings = registered.connector.migrate(from, current.settings).map_err(|error| {
            let message = format!("connection {} is one to {id}, and cannot be made one to {known}", connection.name);
            Error::new(error.kind(), message)
                .hint(format!("save the connection anew, with \"connector\": \"{known}\""))
                .with("connection", &connection.name)
                .setting("/connector")
                .source(error)
        })?;
        current.connector = known;
        Ok(current)
    }

    /// Makes a client for a connection. `lookup` fetches the secrets that the settings only refer to. Sends nothing yet.
    pub fn connect(
        &self,
        connection: &Connection,
        vault: Arc<dyn Vault>,
        lookup: &dyn Fn(&SecretSource) -> Result<Secret>,
    ) -> Result<Connected> {
        let current = self.current(connection)?;
        let what = if current.connector == connection.connector {
            format!("connection {}", connection.name)
        } else {
            let (saved, today) = (&connection.connector, &current.connector);
            format!("connection {}, which was saved for {saved} and is one to {today} now", connection.name)
        };
        let connection = &current;
        Diagnostic::accept(&what, &self.check(connection))?;
        let registered = self.connector(connection.connector_name())?.clone();
        let mut document = connection.document();
        registered.look_up(&mut document, &what, lookup)?;
        if let Some(settings) = document.as_object_mut() {
            settings.shift_remove("name");
            settings.shift_remove("connector");
        }
        let client = registered.connector.connect(document, VaultSlot::new(&connection.name, vault))?;
        Ok(Connected { name: connection.name.as_str().into(), registered, client })
    }

    /// All that a client is made of, with the values of the secrets that the settings refer to: as long as it is the same,
    /// [`Registry::connect`] makes a client that works the same.
    pub fn resolved(
        &self,
        connection: &Connection,
        lookup: &dyn Fn(&SecretSource) -> Result<Secret>,
    ) -> Result<Secret> {
        let mut document = connection.document();
        let registered = self.connector(connection.connector_name())?;
        registered.look_up(&mut document, &format!("connection {}", connection.name), lookup)?;
        Ok(Secret::from(document.to_string()))
    }
}

impl Registered {
    /// Puts the secrets that a connection only refers to into their places.
    fn look_up(
        &self,
        document: &mut Value,
        what: &str,
        lookup: &dyn Fn(&SecretSource) -> Result<Secret>,
    ) -> Result<()> {
        for pointer in self.settings.secrets(document) {
            if let Some(value) = document.pointer_mut(&pointer)
                && value.is_object()
            {
                let source: SecretSource = serde_json::from_value(value.clone()).map_err(|error| {
                    Error::new(ErrorKind::Config, format!("{what}: {pointer} refers to nothing: {error}"))
                })?;
                let secret = lookup(&source).map_err(|error| error.with("setting", pointer))?;
                *value = Value::from(secret.expose());
            }
        }
        Ok(())
    }

    /// What the connector is.
    pub fn spec(&self) -> &ConnectorSpec {
        self.connector.spec()
    }

    /// The schema of its connection documents.
    pub fn settings(&self) -> &Schema {
        &self.settings
    }

    /// All its actions by name.
    pub fn actions(&self) -> impl Iterator<Item = &ActionSpec> {
        self.actions.values().map(RegisteredAction::spec)
    }

    /// What an action of this name is.
    pub fn action_spec(&self, name: &str) -> Result<&ActionSpec> {
        self.action(name).map(RegisteredAction::spec)
    }

    /// What calling an action with this input again would do.
    pub fn effect(&self, action: &str, input: &Value) -> Result<Effect> {
        self.action(action).map(|action| action.action.effect(input))
    }

    /// The compiled input schema of an action.
    pub fn action_input(&self, name: &str) -> Result<&Schema> {
        self.action(name).map(RegisteredAction::input)
    }

    pub(crate) fn action(&self, name: &str) -> Result<&RegisteredAction> {
        self.actions.get(name).ok_or_else(|| {
            let connector = &self.spec().name;
            let error = Error::new(ErrorKind::NotFound, format!("{connector} has no action {name}"));
            match closest(name, self.actions.keys().map(String::as_str)) {
                Some(close) => error.hint(format!("did you mean {close}?")),
                None => error.hint(format!("`trunkline actions {connector}` lists them")),
            }
        })
    }
}

/// A version in the order of its numbers: 1.10 is after 1.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

/// The known word a misspelt one is nearest to, if it is near enough to be meant.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

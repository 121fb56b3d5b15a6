//! The registry: all connectors and actions of a host, found through `inventory` or added by the host.
//!
//! Only [`Registry::discover`] reads `inventory`; all other code is given a registry. The linker drops a connector
//! crate that the host does not refer to, and its connector is then missing here without an error. A host therefore
//! names each connector crate with `use connector as _;`.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use crate::{
    Action, ActionEntry, ActionSpec, AnyAction, AnyConnector, Connected, Connection, ConnectionContext, ConnectionHost,
    Connector, ConnectorEntry, ConnectorSpec, Diagnostic, Effect, Error, ErrorKind, EventSpec, NextStep, OptionsSource,
    Result, Schema, Secret, SecretSource, closest, connector::package::Package, values::url_text::url_passwords,
};

/// The connectors of a host, sorted by name.
#[derive(Default)]
pub struct Registry {
    connectors: BTreeMap<String, Arc<Registered>>,
    /// Names that several connectors have.
    clashes: BTreeSet<String>,
    findings: Vec<Diagnostic>,
}

/// A connector with its actions, sorted by name.
pub struct Registered {
    pub(crate) connector: Box<dyn AnyConnector>,
    /// Where it was registered, for messages.
    origin: String,
    is_linked: bool,
    settings: Schema,
    actions: BTreeMap<String, RegisteredAction>,
}

pub(crate) struct RegisteredAction {
    pub(crate) action: Box<dyn AnyAction>,
    package: Option<Package>,
    /// The input schema, made when it is first needed: a flow calls a few of the hundreds of registered actions.
    input: OnceLock<Schema>,
}

/// Returns where something was registered: the package with its version, and the place in it.
fn origin(package: Option<Package>, place: &str) -> String {
    match (package, place) {
        (None, "") => "code without a name".to_owned(),
        (None, place) => place.to_owned(),
        (Some(package), "") => package.to_string(),
        (Some(package), place) => format!("{package} ({place})"),
    }
}

/// Returns the finding for two registrations of one name.
fn clash(what: &str, origins: [String; 2]) -> Diagnostic {
    let [first, second] = origins;
    Diagnostic::error("", format!("{what} is registered twice: by {first} and by {second}"))
        .hint("leave one of them out, or give it another name")
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
    /// Returns a registry of all connectors and actions that are linked into this program.
    ///
    /// # Errors
    ///
    /// `config` if two connectors or two actions have the same name or an operation row is broken. One error lists all
    /// findings.
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

    /// Returns an empty registry, for tests and for hosts that add connectors themselves.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// Adds a connector. [`Registry::checked`] reports a name that is registered twice.
    pub fn with_connector<C: Connector>(self) -> Registry {
        self.with_connector_entry(ConnectorEntry::of::<C>())
    }

    /// Adds a hand-written action. Its connector has to be registered before.
    pub fn with_action<A: Action>(self) -> Registry {
        self.with_entry(ActionEntry::of::<A>())
    }

    fn with_connector_entry(self, entry: ConnectorEntry) -> Registry {
        let origin = origin(entry.package, (entry.type_name)());
        let connector = (entry.connector)();
        let name = connector.spec().name.clone();
        let mut registry = self.with_any(connector, Vec::new(), &origin);
        // If another connector has the name, the clash is reported.
        if let Some(registered) = registry.connectors.get_mut(&name).and_then(Arc::get_mut) {
            registered.is_linked = true;
        }
        registry
    }

    /// Adds a connector that was assembled at run time, with its actions. `origin` names where it comes from, such as
    /// the path of a file, for the message if another connector has the same name.
    pub fn with_any(
        mut self,
        connector: Box<dyn AnyConnector>,
        actions: Vec<Box<dyn AnyAction>>,
        origin: &str,
    ) -> Registry {
        let name = connector.spec().name.clone();
        if let Some(first) = self.connectors.get(&name) {
            let origins = [(first.spec(), &*first.origin), (connector.spec(), origin)];
            let origins = origins.map(|(spec, origin)| format!("{origin} as {}", spec.id()));
            self.findings.push(clash(&format!("the connector {name}"), origins));
            self.clashes.insert(name);
            return self;
        }
        let settings = Schema::from(connector.spec().connection.clone());
        let registered =
            Registered { connector, origin: origin.to_owned(), is_linked: false, settings, actions: BTreeMap::new() };
        self.connectors.insert(name.clone(), Arc::new(registered));
        self.with_actions(&name, actions, None)
    }

    /// Adds the actions of an entry. Their connector has to be registered before.
    pub fn with_entry(mut self, entry: ActionEntry) -> Registry {
        match (entry.actions)() {
            Ok(actions) => return self.with_actions(entry.connector, actions, entry.package),
            Err(broken) => self.findings.extend(broken),
        }
        self
    }

    fn with_actions(mut self, connector: &str, actions: Vec<Box<dyn AnyAction>>, package: Option<Package>) -> Registry {
        let Some(registered) = self.connectors.get_mut(connector).and_then(Arc::get_mut) else {
            let message = format!("actions are registered for {connector}, but there is no such connector");
            self.findings.push(Diagnostic::error("", message));
            return self;
        };
        for action in actions {
            match registered.actions.entry(action.spec().name.clone()) {
                Entry::Vacant(free) => {
                    free.insert(RegisteredAction { action, package, input: OnceLock::new() });
                }
                // The actions of two connectors of one name were not the ones to rename.
                Entry::Occupied(_) if self.clashes.contains(connector) => {}
                Entry::Occupied(taken) => {
                    let first = origin(taken.get().package, &taken.get().action.origin());
                    let second = origin(package, &action.origin());
                    self.findings.push(clash(&format!("the action {connector}.{}", taken.key()), [first, second]));
                }
            }
        }
        self
    }

    /// Returns the registry if there were no findings while it was filled.
    ///
    /// # Errors
    ///
    /// `config` with all findings, see [`Registry::discover`].
    pub fn checked(mut self) -> Result<Registry> {
        let faults: Vec<_> = self.connectors.values().flat_map(|connector| connector.options_faults()).collect();
        self.findings.extend(faults);
        Diagnostic::accept("the registry", &self.findings).map(|()| self)
    }

    /// Returns all connectors, sorted by name.
    pub fn connectors(&self) -> impl Iterator<Item = &Registered> {
        self.connectors.values().map(|registered| &**registered)
    }

    /// Returns the connector of this name.
    ///
    /// # Errors
    ///
    /// `not_found` if there is none; the hint names a similar one.
    pub fn connector(&self, name: &str) -> Result<&Arc<Registered>> {
        self.connectors.get(name).ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no connector {name}"));
            match closest(name, self.connectors.keys().map(String::as_str)) {
                Some(close) => error.hint(format!("did you mean {close}?")),
                None => error.next(NextStep::ListConnectors),
            }
        })
    }

    /// Returns an action by its full name, `connector.resource.verb`, together with its connector.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connector or action, or if the name does not have that form.
    pub fn action(&self, name: &str) -> Result<(&Arc<Registered>, &ActionSpec)> {
        let Some((connector, action)) = name.split_once('.') else {
            return Err(Error::new(ErrorKind::NotFound, format!("{name} does not name an action of a connector"))
                .hint("write CONNECTOR.RESOURCE.VERB, such as mediavalet.asset.get"));
        };
        let connector = self.connector(connector)?;
        Ok((connector, connector.action_spec(action)?))
    }

    /// Returns all findings on a connection document: an unknown connector, another version, wrong settings.
    pub fn check(&self, connection: &Connection) -> Vec<Diagnostic> {
        match self.connector(connection.connector_name()) {
            Ok(registered) => registered.settings.check(&connection.document()),
            Err(error) => {
                let ids: Vec<_> = self.connectors().map(|registered| registered.spec().id()).collect();
                vec![Diagnostic::error("/connector", error.message()).hint(format!("choose one of {}", ids.join(", ")))]
            }
        }
    }

    /// Returns all findings on a connection document that can be made without its secrets and without the network: those
    /// of [`Registry::check`], else what the connector says when it makes a client. What this accepts, the first use
    /// accepts. `host` has the extensions that clients get, and a vault that may be empty.
    pub fn check_settings(&self, connection: &Connection, host: &ConnectionHost) -> Vec<Diagnostic> {
        let found = self.check(connection);
        if !found.is_empty() {
            return found;
        }
        // The client is dropped, and nothing is sent.
        let placeholder = |_: &SecretSource| Ok(Secret::from("placeholder"));
        self.connect(connection, host, &placeholder).err().iter().map(Diagnostic::from).collect()
    }

    /// Returns the connection with settings of the connector's current version. A connection of an earlier version is
    /// migrated, see [`Connector::migrate`]; the saved connection does not change. A connection to an unknown connector
    /// is returned unchanged.
    ///
    /// # Errors
    ///
    /// `config` if the connection was saved with a later version, and the error of [`Connector::migrate`].
    pub fn current(&self, connection: &Connection) -> Result<Connection> {
        let (id, mut current) = (&connection.connector, connection.clone());
        let Ok(registered) = self.connector(connection.connector_name()) else { return Ok(current) };
        let (from, spec) = (ConnectorSpec::version_in(id), registered.spec());
        if *id == spec.id() || from.is_empty() {
            return Ok(current);
        }
        let known = spec.id();
        if numbers(from) > numbers(&spec.version) {
            let message =
                format!("connection {} was saved for {id}, but this version of Trunkline has {known}", connection.name);
            return Err(Error::new(ErrorKind::Config, message)
                .hint("use the later version of Trunkline, or save the connection again with this one")
                .with("connection", &connection.name)
                .setting("/connector"));
        }
        current.settings = registered.connector.migrate(from, current.settings).map_err(|error| {
            let message =
                format!("connection {} was saved for {id} and cannot be migrated to {known}", connection.name);
            Error::new(error.kind(), message)
                .hint(format!("save the connection again, with \"connector\": \"{known}\""))
                .with("connection", &connection.name)
                .setting("/connector")
                .source(error)
        })?;
        current.connector = known;
        Ok(current)
    }

    /// Makes a client for a connection. `host` is what the connection gets from its host; a test passes only a vault.
    /// `lookup` fetches the secrets that the settings only refer to. The host's redactor learns all secrets. Sends
    /// nothing.
    ///
    /// # Errors
    ///
    /// `config` if the settings are wrong, and the errors of [`Registry::current`], of `lookup` and of
    /// [`Connector::connect`].
    pub fn connect(
        &self,
        connection: &Connection,
        host: impl Into<ConnectionHost>,
        lookup: &dyn Fn(&SecretSource) -> Result<Secret>,
    ) -> Result<Connected> {
        let current = self.current(connection)?;
        let what = if current.connector == connection.connector {
            format!("connection {}", connection.name)
        } else {
            let (saved, migrated) = (&connection.connector, &current.connector);
            format!("connection {}, which was saved for {saved} and migrated to {migrated}", connection.name)
        };
        let connection = &current;
        Diagnostic::accept(&what, &self.check(connection))?;
        let registered = self.connector(connection.connector_name())?.clone();
        let mut document = connection.document();
        registered.resolve_secrets(&mut document, &what, lookup)?;
        let secrets = registered.secrets(&document);
        if let Some(settings) = document.as_object_mut() {
            settings.shift_remove("name");
            settings.shift_remove("connector");
        }
        let context = ConnectionContext::new(&connection.name, host).with_secrets(secrets);
        let client = registered.connector.connect(document, context.clone())?;
        Ok(Connected { name: connection.name.as_str().into(), registered, client, context })
    }

    /// Returns everything that a client is made from, as one secret: the connection document with the values of the
    /// secrets that it refers to. As long as it is the same, [`Registry::connect`] makes an equivalent client.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connector, and the errors of `lookup`.
    pub fn resolved(
        &self,
        connection: &Connection,
        lookup: &dyn Fn(&SecretSource) -> Result<Secret>,
    ) -> Result<Secret> {
        let mut document = connection.document();
        let registered = self.connector(connection.connector_name())?;
        registered.resolve_secrets(&mut document, &format!("connection {}", connection.name), lookup)?;
        Ok(Secret::from(document.to_string()))
    }
}

impl Registered {
    /// Returns what is wrong with the sources of choices that the inputs of its actions name.
    fn options_faults(&self) -> Vec<Diagnostic> {
        let (connector, mut found) = (&self.spec().name, Vec::new());
        for action in self.actions() {
            for (pointer, source) in OptionsSource::all(&action.input) {
                let of_this = |action: &str| action.strip_prefix(connector)?.strip_prefix('.').map(str::to_owned);
                let faults = match source {
                    Err(fault) => vec![format!("x-options: {fault}")],
                    Ok(source) => match of_this(&source.action).and_then(|name| self.actions.get(&name)) {
                        Some(listing) => source.faults(&action.input, listing.spec()),
                        None => vec![format!("x-options: {connector} has no action {}", source.action)],
                    },
                };
                let what = format!("the input {pointer} of {connector}.{}", action.name);
                found.extend(faults.into_iter().map(|fault| Diagnostic::error("", format!("{what}: {fault}"))));
            }
        }
        found
    }

    /// Replaces references to secrets in a connection document by the secrets.
    fn resolve_secrets(
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
                    let message = format!("{what}: {pointer} is not a valid reference to a secret: {error}");
                    Error::new(ErrorKind::Config, message)
                })?;
                let secret = lookup(&source).map_err(|error| error.setting(pointer))?;
                *value = Value::from(secret.expose());
            }
        }
        Ok(())
    }

    /// Returns the references to secrets in a connection document, with their JSON pointers.
    pub fn references(&self, document: &Value) -> Vec<(String, SecretSource)> {
        let reference = |pointer: String| {
            let source = serde_json::from_value(document.pointer(&pointer)?.clone()).ok()?;
            Some((pointer, source))
        };
        self.settings.secrets(document).into_iter().filter_map(reference).collect()
    }

    /// Returns the secrets that a connection document holds itself, with the passwords in its URLs; references are left
    /// out.
    pub fn secrets(&self, document: &Value) -> Vec<Secret> {
        let texts = self.settings.secrets(document).into_iter();
        let texts = texts.filter_map(|pointer| document.pointer(&pointer)?.as_str().map(Secret::from));
        texts.chain(url_passwords(document)).collect()
    }

    /// Returns the description of the connector.
    pub fn spec(&self) -> &ConnectorSpec {
        self.connector.spec()
    }

    /// Returns whether the connector is a part of this program. Others are read from files, which a stranger may have
    /// written.
    pub fn is_linked(&self) -> bool {
        self.is_linked
    }

    /// Returns the schema of its connection documents.
    pub fn settings(&self) -> &Schema {
        &self.settings
    }

    /// Returns the event of this name.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector declares no such event; the hint names similar ones, or all.
    pub fn event(&self, name: &str) -> Result<&EventSpec> {
        let (connector, events) = (&self.spec().name, &self.spec().events);
        events.iter().find(|one| one.name == name).ok_or_else(|| {
            let names: Vec<_> = events.iter().map(|one| one.name.as_str()).collect();
            let error = Error::new(ErrorKind::NotFound, format!("{connector} has no event {name}"));
            match (closest(name, names.iter().copied()), &names[..]) {
                (Some(close), _) => error.hint(format!("did you mean {close}?")),
                (None, []) => error.hint("it declares no events: use a poll, or a webhook that the service calls"),
                (None, names) => error.hint(format!("it has {}", names.join(", "))),
            }
        })
    }

    /// Returns the descriptions of all its actions, sorted by name.
    pub fn actions(&self) -> impl Iterator<Item = &ActionSpec> {
        self.actions.values().map(RegisteredAction::spec)
    }

    /// Returns the description of the action of this name.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector has no such action; the hint names a similar one.
    pub fn action_spec(&self, name: &str) -> Result<&ActionSpec> {
        self.action(name).map(RegisteredAction::spec)
    }

    /// Returns the effect of calling an action again with this input.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector has no such action.
    pub fn effect(&self, action: &str, input: &Value) -> Result<Effect> {
        self.action(action).map(|action| action.action.effect(input))
    }

    /// Returns whether an action finds out if an earlier attempt took effect.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector has no such action.
    pub fn looks_up(&self, action: &str) -> Result<bool> {
        self.action(action).map(|action| action.action.looks_up())
    }

    /// Returns the input schema of an action.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector has no such action.
    pub fn action_input(&self, name: &str) -> Result<&Schema> {
        self.action(name).map(RegisteredAction::input)
    }

    pub(crate) fn action(&self, name: &str) -> Result<&RegisteredAction> {
        self.actions.get(name).ok_or_else(|| {
            let connector = &self.spec().name;
            let error = Error::new(ErrorKind::NotFound, format!("{connector} has no action {name}"));
            match closest(name, self.actions.keys().map(String::as_str)) {
                Some(close) => error.hint(format!("did you mean {close}?")),
                None => error.next(NextStep::ListActions { connector: Some(connector.clone()) }),
            }
        })
    }
}

/// Returns the numbers of a version, so that versions compare in numerical order: 1.10 is after 1.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

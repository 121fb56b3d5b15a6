//! Connections: a connector together with the settings of one user.
//!
//! A [`Connection`] is the document that a user writes. The [`Registry`](crate::Registry) checks it, makes a client and
//! returns a [`Connected`], which runs actions. The connections of a run are its [`Connections`].

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    ActionSpec, AnyClient, Authorization, CheckReport, ConnectionContext, ConnectorSpec, Context, Error, ErrorKind,
    FileOpener, FileRef, FileStream, NextStep, Page, Position, Redactor, Registered, Result, Secret, SignInClient,
    connector::{connector::no_browser, context::unknown_connection},
};

/// A named connector with its settings, as a user writes it: one flat JSON object in the order of the vendor's form.
///
/// It may hold secrets, so it does not implement `Serialize`, and its `Debug` output leaves the settings out.
#[derive(Clone, Deserialize)]
pub struct Connection {
    /// The name by which flows and commands refer to the connection.
    pub name: String,
    /// The connector's id: name and version, such as `mediavalet-v1.0`.
    pub connector: String,
    /// All other members of the document: the connector's settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl Connection {
    /// Reads a connection document. Only `name` and `connector` are looked at;
    /// [`Registry::check`](crate::Registry::check) checks the settings.
    ///
    /// # Errors
    ///
    /// `config` if the document is not an object with the strings `name` and `connector`.
    pub fn from_value(document: Value) -> Result<Self> {
        serde_json::from_value(document).map_err(|_| {
            Error::new(ErrorKind::Config, "a connection is a JSON object with the strings `name` and `connector`")
                .advise([NextStep::ListConnectors, NextStep::ShowConnectionSchema { connector: None }])
        })
    }

    /// Returns the connector's name without its version.
    pub fn connector_name(&self) -> &str {
        ConnectorSpec::name_in(&self.connector)
    }

    /// Returns the whole document, secrets included. It is meant for checks and for the store only.
    pub fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("name".into(), self.name.clone().into());
        document.insert("connector".into(), self.connector.clone().into());
        document.extend(self.settings.clone());
        document.into()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

/// A connection with its client, ready to run the connector's actions.
#[derive(Clone)]
pub struct Connected {
    pub(crate) name: Arc<str>,
    pub(crate) registered: Arc<Registered>,
    pub(crate) client: Arc<AnyClient>,
    pub(crate) context: ConnectionContext,
}

impl Connected {
    /// Returns the connection's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the connector with its actions.
    pub fn connector(&self) -> &Registered {
        &self.registered
    }

    /// Returns the redactor that knows the connection's secrets.
    pub fn redactor(&self) -> &Redactor {
        self.context.redactor()
    }

    /// Checks the connection, see [`Connector::check`](crate::Connector::check). Secrets in the report are redacted.
    pub async fn check(&self) -> CheckReport {
        self.registered.connector.check(&*self.client).await.redacted(self.redactor())
    }

    /// Starts a sign-in in the browser that returns to `redirect_uri`, unless the settings name another URL, see
    /// [`SignInClient::begin_authorization`].
    ///
    /// # Errors
    ///
    /// Those of the connector; `config` if the connection does not use a sign-in in the browser.
    pub fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        self.browser_sign_in()?.begin_authorization(redirect_uri)
    }

    /// Completes a sign-in in the browser, see [`SignInClient::finish_authorization`]. `callback` is the whole URL that
    /// the browser was redirected to.
    ///
    /// # Errors
    ///
    /// Those of the connector, such as `auth` if the login server refuses the sign-in.
    pub async fn finish_authorization(&self, authorization: &Authorization, callback: &str) -> Result<()> {
        self.browser_sign_in()?.finish_authorization(authorization, callback).await
    }

    /// Revokes the vault's former `content` at the service after the connection has been removed, see
    /// [`SignInClient::sign_out`]. A connection without a sign-in has nothing to revoke.
    ///
    /// # Errors
    ///
    /// Those of the connector, redacted and with the connection's name.
    pub async fn sign_out(&self, content: &Secret) -> Result<()> {
        let Some(client) = self.registered.connector.sign_in(&*self.client)? else { return Ok(()) };
        client.sign_out(content).await.map_err(|error| error.redacted(self.redactor()).with("connection", &self.name))
    }

    fn browser_sign_in(&self) -> Result<&dyn SignInClient> {
        let client = self.registered.connector.sign_in(&*self.client)?;
        client.ok_or_else(|| no_browser(&self.registered.spec().title))
    }

    /// Checks the input against the action's schema, runs the action and returns its output.
    ///
    /// # Errors
    ///
    /// `not_found` if the connector has no such action, `invalid_input` if the input does not fit its schema, and the
    /// errors of [`Action::run`](crate::Action::run), redacted and with the names of connection and action.
    pub async fn run(&self, action: &str, input: Value, cx: &Context) -> Result<Value> {
        let (action, spec) = self.action_for(action, &input)?;
        let result = action.run(&*self.client, input, &cx.with_host(&self.context)).await;
        result.map_err(|error| self.with_names(error, spec))
    }

    /// Returns one page of an action's list: the first page if `from` is `None`, else the page at that [`Page::next`].
    ///
    /// # Errors
    ///
    /// Those of [`Connected::run`], and `config` if the action does not return a list.
    pub async fn page(&self, action: &str, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        let (action, spec) = self.action_for(action, &input)?;
        let result = action.page(&*self.client, input, from, &cx.with_host(&self.context)).await;
        result.map_err(|error| self.with_names(error, spec))
    }

    /// Finds out whether an earlier attempt with an unknown outcome took effect: its output if it did, `None` if not.
    /// See [`Action::reconcile`](crate::Action::reconcile).
    ///
    /// # Errors
    ///
    /// Those of [`Connected::run`], and `unknown_outcome` if it cannot be found out.
    pub async fn reconcile(&self, action: &str, input: Value, cx: &Context) -> Result<Option<Value>> {
        let (action, spec) = self.action_for(action, &input)?;
        let result = action.reconcile(&*self.client, input, &cx.with_host(&self.context)).await;
        result.map_err(|error| self.with_names(error, spec))
    }

    /// Returns the action of this name after checking the input against its schema.
    fn action_for<'a>(&'a self, action: &str, input: &Value) -> Result<(&'a dyn crate::AnyAction, &'a ActionSpec)> {
        let action = self.registered.action(action)?;
        let connector = &self.registered.spec().name;
        action.input().accept(&format!("the input of {connector}.{}", action.spec().name), input).map_err(|error| {
            let name = &action.spec().name;
            error.advise([NextStep::ShowActionSchema { action: format!("{connector}.{name}") }]).with("action", name)
        })?;
        Ok((&*action.action, action.spec()))
    }

    fn with_names(&self, error: Error, spec: &ActionSpec) -> Error {
        error.redacted(self.redactor()).with("connection", &self.name).with("action", &spec.name)
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The connections of a run by name. Steps run on them, and files are opened through them.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<BTreeMap<String, Connected>>);

impl FromIterator<Connected> for Connections {
    fn from_iter<I: IntoIterator<Item = Connected>>(all: I) -> Self {
        Connections(Arc::new(all.into_iter().map(|connected| (connected.name.to_string(), connected)).collect()))
    }
}

impl Connections {
    /// Returns the connection of this name.
    ///
    /// # Errors
    ///
    /// `config` if the run has no such connection.
    pub fn get(&self, name: &str) -> Result<&Connected> {
        self.0.get(name).ok_or_else(|| unknown_connection(name))
    }

    /// Returns the redactor, which all connections of a host share, or `None` if there are no connections.
    pub fn redactor(&self) -> Option<&Redactor> {
        self.0.values().next().map(Connected::redactor)
    }

    /// Opens a file through the connection that it belongs to, from a byte or a [`Position`] on. `cx` is the context of
    /// the step that reads it.
    ///
    /// # Errors
    ///
    /// `config` if the run does not have the file's connection, `conflict` if the file's size or digest differs from
    /// the reference because the file has changed since, and the errors of [`Connector::open`](crate::Connector::open).
    pub async fn open(&self, file: &FileRef, from: impl Into<Position>, cx: &Context) -> Result<FileStream> {
        let connected = self.get(&file.connection)?;
        let opened = connected.registered.connector.open(&*connected.client, &file.source, from.into(), cx).await;
        let opened = opened.map_err(|error| error.with("connection", &file.connection).with("file", &file.name))?;
        let changed = |actual: String, expected: String| {
            let message = format!("{} has {actual}, but the reference to it says {expected}", file.name);
            Err(Error::new(ErrorKind::Conflict, message)
                .hint("the file has changed since an earlier step listed it: run the item again"))
        };
        match (opened.size, file.size, &opened.digest, &file.digest) {
            (Some(actual), Some(expected), ..) if actual != expected => {
                changed(format!("{actual} bytes"), expected.to_string())
            }
            (.., Some(actual), Some(expected)) if actual.algorithm() == expected.algorithm() && actual != expected => {
                changed(format!("the digest {actual}"), expected.to_string())
            }
            _ => Ok(opened),
        }
    }
}

#[async_trait]
impl FileOpener for Connections {
    async fn open_file(&self, file: &FileRef, from: Position, cx: &Context) -> Result<FileStream> {
        self.open(file, from, cx).await
    }
}

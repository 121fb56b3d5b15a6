//! What a user configures, and what becomes of it: a [`Connection`] is a document, a [`Connected`] can be worked with.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    ActionSpec, AnyClient, Authorization, CheckReport, ConnectorSpec, Context, Error, ErrorKind, FileRef, FileStream,
    Page, Position, Registered, Result, Secret,
};

/// A named connector with its settings, as a user writes it: one flat JSON object in the order of the vendor's form.
///
/// It may hold secrets, so it is never serialized as it is and its `Debug` shows no settings.
#[derive(Clone, Deserialize)]
pub struct Connection {
    /// What flows and commands call it.
    pub name: String,
    /// Connector and version, such as `mediavalet-v1.0`.
    pub connector: String,
    /// Everything else.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl Connection {
    /// Reads a connection document; what is missing or of the wrong type beyond name and connector is for the
    /// [`Registry`](crate::Registry) to say.
    pub fn from_value(document: Value) -> Result<Self> {
        serde_json::from_value(document).map_err(|_| {
            Error::new(ErrorKind::Config, "a connection is a JSON object with the texts `name` and `connector`").hint(
                "`trunkline schema connection` lists the connectors, `trunkline schema connection NAME` shows one",
            )
        })
    }

    /// The connector's name without its version.
    pub fn connector_name(&self) -> &str {
        ConnectorSpec::name_in(&self.connector)
    }

    /// The whole document again, secrets included: for checks and for the store only.
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

/// A connection with a client: ready to run its connector's actions.
#[derive(Clone)]
pub struct Connected {
    pub(crate) name: Arc<str>,
    pub(crate) registered: Arc<Registered>,
    pub(crate) client: Arc<AnyClient>,
}

impl Connected {
    /// The connection's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its connector and that connector's actions.
    pub fn connector(&self) -> &Registered {
        &self.registered
    }

    /// Tries the connection, see [`Connector::check`](crate::Connector::check).
    pub async fn check(&self) -> CheckReport {
        self.registered.connector.check(&*self.client).await.redacted()
    }

    /// Begins a sign-in in the browser that comes back to `redirect_uri`, unless the settings name another, see [`Connector::begin_authorization`](crate::Connector::begin_authorization).
    pub fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        self.registered.connector.begin_authorization(&*self.client, redirect_uri)
    }

    /// Ends a sign-in in the browser, see [`Connector::finish_authorization`](crate::Connector::finish_authorization).
    pub async fn finish_authorization(&self, begun: &Authorization, callback: &str) -> Result<()> {
        self.registered.connector.finish_authorization(&*self.client, begun, callback).await
    }

    /// Takes back what the vault held for this connection, now that it has been removed, see
    /// [`Connector::sign_out`](crate::Connector::sign_out).
    pub async fn sign_out(&self, held: &Secret) -> Result<()> {
        let signed_out = self.registered.connector.sign_out(&*self.client, held).await;
        signed_out.map_err(|error| error.redacted().with("connection", &self.name))
    }

    /// Runs an action with a checked input.
    pub async fn run(&self, action: &str, input: Value, cx: &Context) -> Result<Value> {
        let (action, spec) = self.checked(action, &input)?;
        let result = action.run(&*self.client, input, cx).await;
        result.map_err(|error| self.named(error, spec))
    }

    /// One page of what an action lists, from the beginning or from where a page said that the next one begins.
    pub async fn page(&self, action: &str, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        let (action, spec) = self.checked(action, &input)?;
        let result = action.page(&*self.client, input, from, cx).await;
        result.map_err(|error| self.named(error, spec))
    }

    /// Finds out what became of an attempt that ended unclear, see [`Action::reconcile`](crate::Action::reconcile).
    pub async fn reconcile(&self, action: &str, input: Value, cx: &Context) -> Result<Option<Value>> {
        let (action, spec) = self.checked(action, &input)?;
        let result = action.reconcile(&*self.client, input, cx).await;
        result.map_err(|error| self.named(error, spec))
    }

    fn checked<'a>(&'a self, action: &str, input: &Value) -> Result<(&'a dyn crate::AnyAction, &'a ActionSpec)> {
        let action = self.registered.action(action)?;
        let connector = &self.registered.spec().name;
        action.input().accept(&format!("the input of {connector}.{}", action.spec().name), input).map_err(|error| {
            error
                .hint(format!("`trunkline schema action {connector}.{}` shows what it takes", action.spec().name))
                .with("action", &action.spec().name)
        })?;
        Ok((&*action.action, action.spec()))
    }

    fn named(&self, error: Error, spec: &ActionSpec) -> Error {
        error.redacted().with("connection", &self.name).with("action", &spec.name)
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The connections of a run by their names: what a step runs on, and where files are opened.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<BTreeMap<String, Connected>>);

impl FromIterator<Connected> for Connections {
    fn from_iter<I: IntoIterator<Item = Connected>>(all: I) -> Self {
        Connections(Arc::new(all.into_iter().map(|one| (one.name.to_string(), one)).collect()))
    }
}

impl Connections {
    /// The connection of this name.
    pub fn get(&self, name: &str) -> Result<&Connected> {
        self.0.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("there is no connection {name} in this run"))
                .hint("fill the slot with `--connection SLOT=NAME`")
        })
    }

    /// Opens a file where it lives, from a byte or a [`Position`] on. A file whose size or digest is not the one it was
    /// handed over with is refused: it has changed meanwhile.
    pub async fn open(&self, file: &FileRef, from: impl Into<Position>) -> Result<FileStream> {
        let connected = self.get(&file.connection)?;
        let opened = connected.registered.connector.open(&*connected.client, &file.source, from.into()).await;
        let opened = opened.map_err(|error| error.with("connection", &file.connection).with("file", &file.name))?;
        let changed = |has: String, had: String| {
            let message = format!("{} has {has} now, but had {had} when it was handed over", file.name);
            Err(Error::new(ErrorKind::Conflict, message).hint("it was changed meanwhile: run the item again"))
        };
        match (opened.size, file.size, &opened.digest, &file.digest) {
            (Some(has), Some(had), ..) if has != had => changed(format!("{has} bytes"), had.to_string()),
            (.., Some(has), Some(had)) if has.algorithm() == had.algorithm() && has != had => {
                changed(format!("the digest {has}"), had.to_string())
            }
            _ => Ok(opened),
        }
    }
}

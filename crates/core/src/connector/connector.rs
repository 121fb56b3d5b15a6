//! Connectors: the systems that flows can reach.
//!
//! A connector has two faces. Authors implement [`Connector`], with typed settings and a typed client. Hosts hold
//! [`AnyConnector`], which is object safe and takes settings as JSON. [`any_connector`] turns the first into the
//! second, and a [`ConnectorEntry`] registers it. The example at the top of the [crate](crate) shows a whole connector.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{client::wrong_client, package::Package};
use crate::{
    AnyClient, CheckReport, ConnectionContext, Context, Error, ErrorKind, EventSpec, FileStream, NextStep, Position,
    Result, Secret, Timestamp, connection_schema, schema_of,
};

/// A system that flows can reach, as its author writes it.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// The product's name in lower case. Actions and connections refer to it.
    const NAME: &'static str;
    /// The version of settings and actions together. A connection names it in its `connector` (`mediavalet-v1.0`).
    const VERSION: &'static str;
    /// The product's name as its vendor writes it.
    const TITLE: &'static str;
    /// One sentence on what the product is for, for menus.
    const ABOUT: &'static str = "";
    /// The URL of the vendor's API documentation; empty if there is none.
    const DOCUMENTATION: &'static str = "";
    /// The OAuth scopes that every action needs. Before a flow runs, its actions are checked against the scopes that
    /// the connection was granted.
    const SCOPES: &'static [&'static str] = &[];
    /// The settings that a user fills in. Their doc comments become the form; secrets are [`Secret`](crate::Secret)s.
    type Settings: DeserializeOwned + JsonSchema + Send;
    /// The client that actions work with.
    type Client: Send + Sync + 'static;

    /// Makes a client from checked settings and from what the host provides. Sends nothing.
    ///
    /// # Errors
    ///
    /// `config` if the settings contradict each other in a way that the schema cannot express.
    fn connect(settings: Self::Settings, context: ConnectionContext) -> Result<Self::Client>;

    /// Returns settings that were saved with the earlier version `from`, in the form of this version. The default
    /// returns them unchanged.
    ///
    /// An author that raises `VERSION` because settings have changed adds a branch for each earlier version here.
    /// Connections that were saved with an earlier version then keep working without being saved again. The result is
    /// checked against the current schema.
    ///
    /// Secrets may be moved but not interpreted: each is a string, a reference such as `{"env": "NAME"}`, or `***`.
    ///
    /// # Errors
    ///
    /// `config` if settings of that version cannot be migrated.
    fn migrate(_from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(settings)
    }

    /// Checks the connection in stages, of which the last is a harmless call. Returns the stages and, by JSON pointer,
    /// the settings that are wrong.
    async fn check(client: &Self::Client) -> CheckReport;

    /// The events that flows can name in their trigger. By default there are none.
    fn events() -> Vec<EventSpec> {
        Vec::new()
    }

    /// Returns the client as one that signs in at a login server, if the connector's connections can use one. By
    /// default they do not.
    fn sign_in(_client: &Self::Client) -> Option<&dyn SignInClient> {
        None
    }

    /// Opens a file from a position on. `source` is the member of a [`FileRef`](crate::FileRef) that this connector
    /// made. `cx` is the context of the step that reads the file: its cancellation and its deadline end the transfer,
    /// and requests for the file count for its run.
    ///
    /// If the position names a version, the caller continues only with a stream of the same version. It does not trust
    /// a stream that has another version or none.
    ///
    /// # Errors
    ///
    /// `conflict` if the file is not the version that the position names; `config` if the connector has no files, which
    /// is the default.
    async fn open(_client: &Self::Client, _source: &Value, _from: Position, _cx: &Context) -> Result<FileStream> {
        Err(Error::new(ErrorKind::Config, format!("{} does not provide files", Self::TITLE)))
    }
}

/// The sign-in of a client at a login server. A connector offers it in [`Connector::sign_in`]; the client of
/// `trunkline-rest` implements it.
#[async_trait]
pub trait SignInClient: Send + Sync {
    /// Starts a sign-in in the browser that ends at `redirect_uri`. Sends nothing.
    ///
    /// # Errors
    ///
    /// `config` if connections with these settings do not use a sign-in in the browser, or if a setting is missing for
    /// it.
    fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization>;

    /// Completes a sign-in in the browser. `callback` is the whole URL that the browser was redirected to. When this
    /// returns, the tokens are in the vault.
    ///
    /// # Errors
    ///
    /// `auth` if the login server refuses the sign-in, or if the callback does not belong to it.
    async fn finish_authorization(&self, authorization: &Authorization, callback: &str) -> Result<()>;

    /// Revokes at the service the `content` that the vault had for a connection that has been removed.
    ///
    /// # Errors
    ///
    /// Those of the call to the service.
    async fn sign_out(&self, content: &Secret) -> Result<()>;
}

/// Returns the error for a connection that does not sign in with a browser.
pub(crate) fn no_browser(title: &str) -> Error {
    Error::new(ErrorKind::Config, format!("this connection to {title} does not use a sign-in in the browser"))
        .hint("it may work without one")
        .next(NextStep::CheckConnection { connection: None })
}

/// A sign-in in the browser that has started. The host keeps it until the browser returns; it is valid for one
/// callback.
#[derive(Debug)]
pub struct Authorization {
    /// The URL to open in the browser.
    pub url: String,
    /// The URL that the browser returns to, exactly as sent to the login server.
    pub redirect_uri: String,
    /// The `state` parameter, which binds the callback to this sign-in (RFC 6749 section 10.12).
    pub state: Secret,
    /// The PKCE verifier: it proves that the process that redeems the code also started the sign-in (RFC 7636).
    pub verifier: Secret,
    /// The nonce that binds an ID token to this sign-in (OpenID Connect Core section 3.1.2.1), if one is requested.
    pub nonce: Option<Secret>,
    /// The start of the sign-in. A callback that comes later than [`Authorization::LASTS`] after it is refused.
    pub begun_at: Timestamp,
    answered: AtomicBool,
}

impl Authorization {
    /// The time that a user has for a sign-in: 10 minutes.
    pub const LASTS: Duration = Duration::from_secs(600);

    /// Returns a sign-in that starts at `begun_at`, the current time of the host, without a nonce.
    pub fn new(url: String, redirect_uri: String, state: Secret, verifier: Secret, begun_at: Timestamp) -> Self {
        let (nonce, answered) = (None, AtomicBool::new(false));
        Authorization { url, redirect_uri, state, verifier, nonce, begun_at, answered }
    }

    /// Sets the nonce.
    pub fn with_nonce(self, nonce: Option<Secret>) -> Self {
        Authorization { nonce, ..self }
    }

    /// Returns whether the time for the callback is over at the time `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        // A start in the future means that the clock was set back, so the true age is unknown: the distance counts.
        now.since(self.begun_at).max(self.begun_at.since(now)) > Authorization::LASTS
    }

    /// Claims the one callback that the sign-in is valid for. Returns true for the first caller and false for every
    /// other, also for concurrent ones. A login server may revoke the tokens of a code that is redeemed twice (RFC 6749
    /// section 4.1.2).
    pub fn answer(&self) -> bool {
        !self.answered.swap(true, Ordering::SeqCst)
    }
}

/// The description of a connector: everything that is known without connecting.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectorSpec {
    /// The product's name in lower case.
    pub name: String,
    /// The version of settings and actions together.
    pub version: String,
    /// The product's name as its vendor writes it.
    pub title: String,
    /// One sentence on what the product is for; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The URL of the vendor's API documentation; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub documentation: String,
    /// The OAuth scopes that every action needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The events that flows can name in their trigger.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventSpec>,
    /// JSON Schema of a whole connection document: `name`, `connector` and the settings.
    pub connection: Value,
}

impl ConnectorSpec {
    /// Returns the connector's id as connections name it in `connector`, such as `mediavalet-v1.0`.
    pub fn id(&self) -> String {
        format!("{}-v{}", self.name, self.version)
    }

    /// Returns the connector's name in such an id.
    pub fn name_in(id: &str) -> &str {
        ConnectorSpec::parts(id).0
    }

    /// Returns the version in such an id; empty if there is none.
    pub fn version_in(id: &str) -> &str {
        ConnectorSpec::parts(id).1
    }

    fn parts(id: &str) -> (&str, &str) {
        id.rsplit_once("-v").unwrap_or((id, ""))
    }
}

/// A connector, as hosts hold it: settings as JSON, a client without its type.
#[async_trait]
pub trait AnyConnector: Send + Sync {
    /// Returns the description of the connector.
    fn spec(&self) -> &ConnectorSpec;
    /// Migrates settings of an earlier version, see [`Connector::migrate`].
    ///
    /// # Errors
    ///
    /// Those of [`Connector::migrate`].
    fn migrate(&self, _from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(settings)
    }
    /// Makes a client, see [`Connector::connect`]. The settings have been checked, and their secret references have
    /// been replaced by the secrets.
    ///
    /// # Errors
    ///
    /// Those of [`Connector::connect`], and `config` if the settings do not fit the connector's type.
    fn connect(&self, settings: Value, context: ConnectionContext) -> Result<Arc<AnyClient>>;
    /// Checks the connection, see [`Connector::check`].
    async fn check(&self, client: &AnyClient) -> CheckReport;
    /// Returns the client as one that signs in, see [`Connector::sign_in`].
    ///
    /// # Errors
    ///
    /// `internal` if the client belongs to another connector.
    fn sign_in<'a>(&self, client: &'a AnyClient) -> Result<Option<&'a dyn SignInClient>>;
    /// Opens a file, see [`Connector::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Connector::open`], and `internal` if the client belongs to another connector.
    async fn open(&self, client: &AnyClient, source: &Value, from: Position, cx: &Context) -> Result<FileStream>;
}

/// Returns a connector as hosts hold it. Hosts need it to assemble a connector at run time; connector crates submit a
/// [`ConnectorEntry`] instead.
pub fn any_connector<C: Connector>() -> Box<dyn AnyConnector> {
    Box::new(TypedConnector::<C>::new())
}

/// The adapter from [`Connector`] to [`AnyConnector`].
struct TypedConnector<C> {
    spec: ConnectorSpec,
    connector: PhantomData<C>,
}

impl<C: Connector> TypedConnector<C> {
    fn new() -> Self {
        let mut spec = ConnectorSpec {
            name: C::NAME.into(),
            version: C::VERSION.into(),
            title: C::TITLE.into(),
            about: C::ABOUT.into(),
            documentation: C::DOCUMENTATION.into(),
            scopes: C::SCOPES.iter().copied().map(str::to_owned).collect(),
            events: C::events(),
            connection: Value::Null,
        };
        spec.connection = connection_schema(&spec.id(), C::TITLE, C::DOCUMENTATION, schema_of::<C::Settings>());
        TypedConnector { spec, connector: PhantomData }
    }
}

fn typed_client<C: Connector>(client: &AnyClient) -> Result<&C::Client> {
    client.downcast_ref().ok_or_else(|| wrong_client(C::NAME))
}

#[async_trait]
impl<C: Connector> AnyConnector for TypedConnector<C> {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn migrate(&self, from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        C::migrate(from, settings)
    }

    fn connect(&self, settings: Value, context: ConnectionContext) -> Result<Arc<AnyClient>> {
        let connection = context.connection().to_owned();
        let settings = serde_json::from_value(settings).map_err(|error| {
            // serde quotes the value that does not fit, which may be a secret: only the category is reported.
            Error::new(ErrorKind::Config, format!("the settings of connection {connection} do not fit {}", C::TITLE))
                .with("category", format!("{:?}", error.classify()))
                .next(NextStep::ShowConnectionSchema { connector: Some(C::NAME.to_owned()) })
        })?;
        Ok(Arc::new(C::connect(settings, context).map_err(|error| error.with("connection", connection))?))
    }

    async fn check(&self, client: &AnyClient) -> CheckReport {
        match typed_client::<C>(client) {
            Ok(client) => C::check(client).await,
            Err(error) => CheckReport::of_settings("", &error),
        }
    }

    fn sign_in<'a>(&self, client: &'a AnyClient) -> Result<Option<&'a dyn SignInClient>> {
        Ok(C::sign_in(typed_client::<C>(client)?))
    }

    async fn open(&self, client: &AnyClient, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        C::open(typed_client::<C>(client)?, source, from, cx).await
    }
}

/// A registration of a connector. Connector crates pass it to [`submit!`](crate::submit).
#[derive(Clone, Copy)]
pub struct ConnectorEntry {
    pub(crate) connector: fn() -> Box<dyn AnyConnector>,
    pub(crate) type_name: fn() -> &'static str,
    pub(crate) package: Option<Package>,
}

impl ConnectorEntry {
    /// Returns the entry of a connector.
    pub const fn of<C: Connector>() -> Self {
        ConnectorEntry { connector: any_connector::<C>, type_name: std::any::type_name::<C>, package: None }
    }

    /// Sets the package that registers the connector. [`submit!`](crate::submit) does so.
    #[doc(hidden)]
    pub const fn from_package(self, name: &'static str, version: &'static str) -> Self {
        ConnectorEntry { package: Some(Package { name, version }), ..self }
    }
}

inventory::collect!(ConnectorEntry);

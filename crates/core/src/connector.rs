//! One system flows can reach: [`Connector`] is the face authors write, [`AnyConnector`] the one hosts hold.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    AnyClient, CheckReport, Error, ErrorKind, FileStream, Position, Result, Secret, VaultSlot, action::foreign_client,
    schema_of,
};

/// A system that flows can reach, for its author.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// The product in lower case: what actions and connections refer to.
    const NAME: &'static str;
    /// Of the settings and the actions together; part of what a connection refers to (`mediavalet-v1.0`).
    const VERSION: &'static str;
    /// The product as its vendor writes it.
    const TITLE: &'static str;
    /// Where the vendor documents the API, as a URL; empty if nowhere.
    const DOCUMENTATION: &'static str = "";
    /// The OAuth scopes without which the service refuses every action; a flow is held against what a connection was
    /// granted before it runs.
    const SCOPES: &'static [&'static str] = &[];
    /// What a user fills in. Doc comments become the form; secrets are [`Secret`](crate::Secret)s.
    type Settings: DeserializeOwned + JsonSchema + Send;
    /// What actions get to work with.
    type Client: Send + Sync + 'static;

    /// Makes a client of checked settings. Sends nothing yet.
    fn connect(settings: Self::Settings, vault: VaultSlot) -> Result<Self::Client>;

    /// Settings of the earlier version `from` as this version has them: as they are, unless the author says otherwise. Who
    /// raises `VERSION` because settings have changed writes a branch for each earlier version here; connections that were
    /// saved with it go on working as they lie. What comes out is checked against today's schema.
    ///
    /// Secrets are values to be moved, not looked at: they may be texts, references such as `{"env": "NAME"}`, or `***`.
    fn migrate(_from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(settings)
    }

    /// Tries the connection in stages that end with a harmless call: what it went through, and the settings that are wrong,
    /// by JSON pointer.
    async fn check(client: &Self::Client) -> CheckReport;

    /// Begins a sign-in in the browser that ends at `redirect_uri`. Sends nothing yet.
    fn begin_authorization(_client: &Self::Client, _redirect_uri: &str) -> Result<Authorization> {
        Err(no_browser(Self::TITLE))
    }

    /// Ends a sign-in in the browser: `callback` is the whole address the browser was sent back to. The tokens are in the
    /// vault when this returns.
    async fn finish_authorization(_client: &Self::Client, _begun: &Authorization, _callback: &str) -> Result<()> {
        Err(no_browser(Self::TITLE))
    }

    /// Takes back, at the service, what the vault held for a connection that has been removed.
    async fn sign_out(_client: &Self::Client, _held: &Secret) -> Result<()> {
        Ok(())
    }

    /// Opens a file this connector handed out as a [`FileRef`](crate::FileRef), from a position on. Where the position
    /// names a version, a stream that says the same version goes on from there; one that says another or none is not
    /// trusted, and a `conflict` says that the file was changed.
    async fn open(_client: &Self::Client, _source: &Value, _from: Position) -> Result<FileStream> {
        Err(Error::new(ErrorKind::Config, format!("{} hands out no files", Self::TITLE)))
    }
}

fn no_browser(title: &str) -> Error {
    Error::new(ErrorKind::Config, format!("this connection to {title} needs no sign-in in the browser"))
        .hint("`trunkline connection check NAME` says whether it works as it is")
}

/// A sign-in in the browser that has begun: good for one answer, kept by the host until the browser comes back.
#[derive(Debug)]
pub struct Authorization {
    /// Where the browser goes.
    pub url: String,
    /// Where it comes back to, exactly as announced.
    pub redirect_uri: String,
    /// Binds the answer to this attempt.
    pub state: Secret,
    /// Proves that whoever redeems the code is whoever began (RFC 7636).
    pub verifier: Secret,
    /// Binds an ID token to this attempt (OpenID Connect Core section 3.1.2.1), where one is asked for.
    pub nonce: Option<Secret>,
    /// When it began: an answer that comes later than [`Authorization::LASTS`] is refused.
    pub begun_at: SystemTime,
    answered: AtomicBool,
}

impl Authorization {
    /// How long a person has for a sign-in: 10 minutes.
    pub const LASTS: Duration = Duration::from_secs(600);

    /// A sign-in that begins now, without a nonce.
    pub fn new(url: String, redirect_uri: String, state: Secret, verifier: Secret) -> Self {
        let (nonce, begun_at, answered) = (None, SystemTime::now(), AtomicBool::new(false));
        Authorization { url, redirect_uri, state, verifier, nonce, begun_at, answered }
    }

    /// The same with a nonce.
    pub fn with_nonce(self, nonce: Option<Secret>) -> Self {
        Authorization { nonce, ..self }
    }

    /// Whether it is too late for an answer.
    pub fn has_expired(&self) -> bool {
        let now = SystemTime::now();
        // A beginning in the future: the clock was set back, and how long ago it was is not known.
        let away = now.duration_since(self.begun_at).unwrap_or_else(|early| early.duration());
        away > Authorization::LASTS
    }

    /// Takes the one answer there is: true the first time, false ever after, however many ask at once. A code that is
    /// redeemed twice makes a login server take back what it gave for it (RFC 6749 section 4.1.2).
    pub fn answer(&self) -> bool {
        !self.answered.swap(true, Ordering::SeqCst)
    }
}

/// What there is to know about a connector without connecting.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorSpec {
    /// The product in lower case.
    pub name: String,
    /// Of settings and actions together.
    pub version: String,
    /// The product as its vendor writes it.
    pub title: String,
    /// Where the vendor documents the API, as a URL; empty if nowhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub documentation: String,
    /// The OAuth scopes that every action needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// JSON Schema of a whole connection document: `name`, `connector` and the settings.
    pub connection: Value,
}

impl ConnectorSpec {
    /// What a connection's `connector` says, such as `mediavalet-v1.0`.
    pub fn id(&self) -> String {
        format!("{}-v{}", self.name, self.version)
    }

    /// The connector's name in such an id.
    pub fn name_in(id: &str) -> &str {
        ConnectorSpec::parts(id).0
    }

    /// The version in such an id; empty if there is none.
    pub fn version_in(id: &str) -> &str {
        ConnectorSpec::parts(id).1
    }

    fn parts(id: &str) -> (&str, &str) {
        id.rsplit_once("-v").unwrap_or((id, ""))
    }
}

/// A connector, for hosts: settings as JSON, client without a type.
#[async_trait]
pub trait AnyConnector: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ConnectorSpec;
    /// See [`Connector::migrate`].
    fn migrate(&self, _from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(settings)
    }
    /// See [`Connector::connect`]; the settings have been checked and hold no secret references any more.
    fn connect(&self, settings: Value, vault: VaultSlot) -> Result<Arc<AnyClient>>;
    /// See [`Connector::check`].
    async fn check(&self, client: &AnyClient) -> CheckReport;
    /// See [`Connector::begin_authorization`].
    fn begin_authorization(&self, client: &AnyClient, redirect_uri: &str) -> Result<Authorization>;
    /// See [`Connector::finish_authorization`].
    async fn finish_authorization(&self, client: &AnyClient, begun: &Authorization, callback: &str) -> Result<()>;
    /// See [`Connector::sign_out`].
    async fn sign_out(&self, client: &AnyClient, held: &Secret) -> Result<()>;
    /// See [`Connector::open`].
    async fn open(&self, client: &AnyClient, source: &Value, from: Position) -> Result<FileStream>;
}

/// A connector as a host holds it, for those who put one together at run time; others submit a [`ConnectorEntry`].
pub fn any_connector<C: Connector>() -> Box<dyn AnyConnector> {
    Box::new(Typed::<C>::new())
}

/// The one way from [`Connector`] to [`AnyConnector`].
struct Typed<C> {
    spec: ConnectorSpec,
    connector: PhantomData<C>,
}

impl<C: Connector> Typed<C> {
    fn new() -> Self {
        let mut spec = ConnectorSpec {
            name: C::NAME.into(),
            version: C::VERSION.into(),
            title: C::TITLE.into(),
            documentation: C::DOCUMENTATION.into(),
            scopes: C::SCOPES.iter().copied().map(str::to_owned).collect(),
            connection: Value::Null,
        };
        spec.connection = connection_schema(&spec.id(), C::TITLE, schema_of::<C::Settings>());
        Typed { spec, connector: PhantomData }
    }
}

/// Puts name and connector in front of the settings, as the forms of the field do, and refuses what is neither.
fn connection_schema(id: &str, title: &str, settings: Value) -> Value {
    let Value::Object(mut schema) = settings else { return settings };
    let mut properties = json!({
        "name": {
            "type": "string", "title": "Connection Name", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "description": "What flows and commands call this connection: letters, digits, dots, dashes and underscores."
        },
        "connector": { "const": id, "title": "Connector" }
    });
    let mut required = vec![json!("name"), json!("connector")];
    if let (Some(all), Some(Value::Object(own))) = (properties.as_object_mut(), schema.remove("properties")) {
        all.extend(own);
    }
    if let Some(Value::Array(own)) = schema.remove("required") {
        required.extend(own);
    }
    schema.remove("additionalProperties");
    schema.insert("title".into(), format!("Connection to {title}").into());
    schema.insert("properties".into(), properties);
    schema.insert("required".into(), required.into());
    schema.insert("unevaluatedProperties".into(), false.into());
    schema.into()
}

fn own<C: Connector>(client: &AnyClient) -> Result<&C::Client> {
    client.downcast_ref().ok_or_else(|| foreign_client(C::NAME))
}

#[async_trait]
impl<C: Connector> AnyConnector for Typed<C> {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn migrate(&self, from: &str, settings: Map<String, Value>) -> Result<Map<String, Value>> {
        C::migrate(from, settings)
    }

    fn connect(&self, settings: Value, vault: VaultSlot) -> Result<Arc<AnyClient>> {
        let connection = vault.connection().to_owned();
        let settings = serde_json::from_value(settings).map_err(|error| {
            // serde quotes the value it stumbled over, and that may be a secret: only the place is told.
            Error::new(ErrorKind::Config, format!("the settings of connection {connection} do not fit {}", C::TITLE))
                .with("category", format!("{:?}", error.classify()))
                .hint(format!("compare them with `trunkline schema connection {}`", C::NAME))
        })?;
        Ok(Arc::new(C::connect(settings, vault).map_err(|error| error.with("connection", connection))?))
    }

    async fn check(&self, client: &AnyClient) -> CheckReport {
        match own::<C>(client) {
            Ok(client) => C::check(client).await,
            Err(error) => CheckReport::from(&error),
        }
    }

    fn begin_authorization(&self, client: &AnyClient, redirect_uri: &str) -> Result<Authorization> {
        C::begin_authorization(own::<C>(client)?, redirect_uri)
    }

    async fn finish_authorization(&self, client: &AnyClient, begun: &Authorization, callback: &str) -> Result<()> {
        C::finish_authorization(own::<C>(client)?, begun, callback).await
    }

    async fn sign_out(&self, client: &AnyClient, held: &Secret) -> Result<()> {
        C::sign_out(own::<C>(client)?, held).await
    }

    async fn open(&self, client: &AnyClient, source: &Value, from: Position) -> Result<FileStream> {
        C::open(own::<C>(client)?, source, from).await
    }
}

/// What a connector crate submits for the connector itself.
#[derive(Clone, Copy)]
pub struct ConnectorEntry {
    pub(crate) connector: fn() -> Box<dyn AnyConnector>,
}

impl ConnectorEntry {
    /// The entry of a connector.
    pub const fn of<C: Connector>() -> Self {
        ConnectorEntry { connector: any_connector::<C> }
    }
}

inventory::collect!(ConnectorEntry);

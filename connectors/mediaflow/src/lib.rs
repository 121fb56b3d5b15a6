//! The connector of Mediaflow, a digital asset management system. The crate's README explains how to make a connection.
//!
//! The operations of Mediaflow's API are the rows of `operations/*.toml`. An action that does not fit a row has a
//! module here.

mod changes;
mod download;
mod errors;
mod may_publish;
mod permalink;
mod rendition;
mod report_usage;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{
    ActionEntry, Authorization, CheckReport, Connector, ConnectorEntry, FileStream, Position, Result, Secret,
    VaultSlot, async_trait, submit,
};
use trunkline_rest::{Auth, Client, ClientAuth, Grant, OAuth, Table, generic};
use url::Url;

pub use changes::Changes;
pub use download::FileDownload;
pub use may_publish::MayPublish;
pub use permalink::Permalink;
pub use report_usage::ReportUsage;

static OPERATIONS: Table = Table::new(
    "mediaflow",
    &[
        ("connectors/mediaflow/operations/account.toml", include_str!("../operations/account.toml")),
        ("connectors/mediaflow/operations/files.toml", include_str!("../operations/files.toml")),
        ("connectors/mediaflow/operations/folders.toml", include_str!("../operations/folders.toml")),
        ("connectors/mediaflow/operations/usage.toml", include_str!("../operations/usage.toml")),
    ],
);

/// The connector of Mediaflow.
pub struct Mediaflow;

/// Settings of a connection to a Mediaflow account. Mediaflow support issues the keys, for each customer and
/// integration.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// URL of the API.
    #[serde(default = "endpoint_url")]
    endpoint_url: Url,
    /// # Authentication
    authentication: Authentication,
    #[serde(flatten)]
    flows: Flows,
    /// # Client ID
    /// From Mediaflow support.
    client_id: String,
    /// # Client Secret
    /// From Mediaflow support.
    client_secret: Secret,
    /// # Client Authentication
    /// How client ID and secret are sent to the token URL: as form fields, or as Basic authentication.
    #[serde(default)]
    client_authentication: ClientAuth,
    /// # Token URL
    /// URL that issues tokens.
    #[serde(default = "token_url")]
    token_url: Url,
    /// # Authorization URL
    /// URL at which a user signs in; used by the flow `authorization_code` only.
    #[serde(default = "authorization_url")]
    authorization_url: Url,
    /// # Revocation URL
    /// URL at which tokens are revoked when the connection is removed. Mediaflow does not publish one.
    revocation_url: Option<Url>,
    /// # Redirect URI
    /// URL that the browser returns to after the sign-in, if it is not the host's own.
    redirect_uri: Option<Url>,
    /// # Requests a Second
    /// Maximum number of requests a second. If absent, the rate follows the service's throttling.
    #[schemars(range(min = 1, max = 1000))]
    requests_per_second: Option<u32>,
    /// # Requests at Once
    /// Maximum number of concurrent requests of all runs together; 16 if absent.
    #[schemars(range(min = 1, max = 100))]
    requests_at_once: Option<u32>,
    /// # Allow Private Network
    /// Whether the URLs may lead to a private network or to this machine. If off, such an address is rejected, whatever
    /// host name leads to it.
    #[serde(default)]
    allow_private_network: bool,
}

/// The way to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Authentication {
    /// OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that Mediaflow supports.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Refresh Token
    /// Uses the long-lived token ("server key") from Mediaflow support; for unattended use.
    RefreshToken {
        /// # Refresh Token
        /// From Mediaflow support.
        #[serde(rename = "refreshToken")]
        refresh_token: Secret,
    },
    /// # Authorization Code
    /// A user signs in with the browser, once.
    AuthorizationCode {},
    /// # Password
    /// Uses a user's name and password. Mediaflow allows it for some client IDs only.
    Password {
        /// # Username
        username: String,
        /// # Password
        password: Secret,
    },
}

fn default_url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

fn endpoint_url() -> Url {
    default_url("https://api.mediaflow.com/1")
}

fn token_url() -> Url {
    default_url("https://accounts.mediaflow.com/1/oauth2/token")
}

fn authorization_url() -> Url {
    default_url("https://login.mediaflowpro.com/authorize")
}

#[async_trait]
impl Connector for Mediaflow {
    const NAME: &'static str = "mediaflow";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Mediaflow";
    const DOCUMENTATION: &'static str = "https://docs.mediaflow.com";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        let Authentication::OAuth2 = settings.authentication;
        let auth = Auth::OAuth(OAuth {
            client_id: settings.client_id,
            client_secret: Some(settings.client_secret),
            client_auth: settings.client_authentication,
            token_url: settings.token_url,
            revocation_url: settings.revocation_url,
            authorization_url: Some(settings.authorization_url),
            redirect_uri: settings.redirect_uri,
            scopes: Vec::new(),
            grant: match settings.flows {
                Flows::RefreshToken { refresh_token } => Grant::RefreshToken { refresh_token },
                Flows::AuthorizationCode {} => Grant::AuthorizationCode,
                Flows::Password { username, password } => Grant::Password { username, password },
            },
        });
        Client::builder(Self::TITLE, settings.endpoint_url, &OPERATIONS)
            .auth(auth, vault)
            .rate(settings.requests_per_second.unwrap_or_default())
            .at_once(settings.requests_at_once.unwrap_or_default())
            .private_network(settings.allow_private_network)
            // Mediaflow does not publish the hosts of its files.
            .data_hosts(["*"])
            .classify(errors::classify)
            .build()
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("user.current", json!({})).await
    }

    fn begin_authorization(client: &Client, redirect_uri: &str) -> Result<Authorization> {
        client.begin_authorization(redirect_uri)
    }

    async fn finish_authorization(client: &Client, authorization: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(authorization, callback).await
    }

    async fn sign_out(client: &Client, content: &Secret) -> Result<()> {
        client.sign_out(content).await
    }

    async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
        match source.get("path") {
            Some(_) => generic::open(client, source, from).await,
            None => download::open(client, source, from).await,
        }
    }
}

submit! { ConnectorEntry::of::<Mediaflow>() }
submit! { ActionEntry::many::<Mediaflow>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<generic::RequestAction<Mediaflow>>() }
submit! { ActionEntry::of::<generic::DownloadAction<Mediaflow>>() }
submit! { ActionEntry::of::<generic::UploadAction<Mediaflow>>() }

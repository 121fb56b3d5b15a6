//! Mediaflow: a digital asset management system. See the crate's README for making a connection.
//!
//! What its API can do is in `operations/*.toml`, row by row; what does not fit a row is a file of its own here.

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

/// The connector.
pub struct Mediaflow;

/// How to reach a Mediaflow account. The keys come from Mediaflow support, for each customer and integration.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// Address of the API.
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
    /// Where tokens come from.
    #[serde(default = "token_url")]
    token_url: Url,
    /// # Authorization URL
    /// Where a user signs in; only for the flow `authorization_code`.
    #[serde(default = "authorization_url")]
    authorization_url: Url,
    /// # Revocation URL
    /// Where tokens are taken back when the connection is removed, should Mediaflow have such an address.
    revocation_url: Option<Url>,
    /// # Redirect URI
    /// Where the browser comes back to, if it is another address than the host's own.
    redirect_uri: Option<Url>,
    /// # Requests a Second
    /// How many calls the connection makes at most; without it, the service's own throttling sets the pace.
    #[schemars(range(min = 1, max = 1000))]
    requests_per_second: Option<u32>,
    /// # Requests at Once
    /// How many calls the connection has under way at most, of all runs together; 16 if absent.
    #[schemars(range(min = 1, max = 100))]
    requests_at_once: Option<u32>,
    /// # Allow Private Network
    /// Whether the addresses may lie in a private network or on this machine. Off: they are refused, whatever name they go by.
    #[serde(default)]
    allow_private_network: bool,
}

/// How to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Authentication {
    /// OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that Mediaflow has.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Refresh Token
    /// With the long-lived token ("server key") from Mediaflow support: for unattended use.
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
    /// With a user's name and password; only some client IDs may do this.
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
            // Where Mediaflow keeps files is not published.
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

    async fn finish_authorization(client: &Client, begun: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(begun, callback).await
    }

    async fn sign_out(client: &Client, held: &Secret) -> Result<()> {
        client.sign_out(held).await
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

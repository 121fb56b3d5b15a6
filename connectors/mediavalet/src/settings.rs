//! The settings of a connection, in the words and the order of MediaValet's own pages: from them the form is derived.

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_core::Secret;
use trunkline_rest::ClientAuth;
use url::Url;

/// How to reach a MediaValet library. Client ID, client secret and subscription key come from MediaValet support and the
/// developer portal; support also registers each redirect URI.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// Address of the API.
    #[serde(default = "endpoint_url")]
    pub(crate) endpoint_url: Url,
    /// # Subscription Key
    /// From the developer portal; sent with every call as `Ocp-Apim-Subscription-Key`.
    pub(crate) subscription_key: Secret,
    /// # Authentication
    pub(crate) authentication: Authentication,
    #[serde(flatten)]
    pub(crate) flows: Flows,
    /// # Client ID
    /// From MediaValet support.
    pub(crate) client_id: String,
    /// # Client Secret
    /// From MediaValet support.
    pub(crate) client_secret: Secret,
    /// # Client Authentication
    /// How client ID and secret are sent to the token URL: as form fields, or as Basic authentication.
    #[serde(default)]
    pub(crate) client_authentication: ClientAuth,
    /// # Token URL
    /// Where tokens come from.
    #[serde(default = "token_url")]
    pub(crate) token_url: Url,
    /// # Authorization URL
    /// Where a user signs in; only for the flow `authorization_code`.
    #[serde(default = "authorization_url")]
    pub(crate) authorization_url: Url,
    /// # Revocation URL
    /// Where tokens are taken back when the connection is removed; `revocation` beside the token URL if absent.
    pub(crate) revocation_url: Option<Url>,
    /// # Redirect URI
    /// Where the browser comes back to, exactly as MediaValet support has registered it; the host's own address if absent.
    pub(crate) redirect_uri: Option<Url>,
    /// # Scopes
    /// What to ask for, with spaces between; `offline_access` is what gives a refresh token.
    #[serde(default = "scopes")]
    pub(crate) scopes: String,
    /// # Requests a Second
    /// How many calls the connection makes at most; without it, the service's own throttling sets the pace.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) requests_per_second: Option<u32>,
    /// # Requests at Once
    /// How many calls the connection has under way at most, of all runs together; 16 if absent.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) requests_at_once: Option<u32>,
    /// # Allow Private Network
    /// Whether the addresses may lie in a private network or on this machine. Off: they are refused, whatever name they go by.
    #[serde(default)]
    pub(crate) allow_private_network: bool,
    /// # Data Hosts
    /// Further hosts where files may lie, such as `files.example.com` or `*.example.com`, should MediaValet move its storage.
    #[serde(default)]
    pub(crate) data_hosts: Vec<String>,
}

/// How to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Authentication {
    /// OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that MediaValet has.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
pub(crate) enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once; the refresh token keeps the connection alive.
    AuthorizationCode {},
    /// # Refresh Token
    /// With a refresh token that was made elsewhere. MediaValet may give a new one each time: it is kept.
    RefreshToken {
        /// # Refresh Token
        #[serde(rename = "refreshToken")]
        refresh_token: Secret,
    },
    /// # Password
    /// With a user's name and password: for unattended use. A user of its own is advisable.
    Password {
        /// # Username
        username: String,
        /// # Password
        password: Secret,
    },
    /// # Client Credentials
    /// Without a user. Announced by MediaValet; ask support whether your client may use it.
    ClientCredentials {},
}

fn default_url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

fn endpoint_url() -> Url {
    default_url("https://api.mediavalet.com")
}

fn token_url() -> Url {
    default_url("https://login.mediavalet.com/connect/token")
}

fn authorization_url() -> Url {
    default_url("https://login.mediavalet.com/connect/authorize")
}

fn scopes() -> String {
    "openid api offline_access".to_owned()
}

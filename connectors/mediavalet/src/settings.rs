//! The settings of a connection, with the names and in the order of MediaValet's own pages.
//!
//! The form of a connection is derived from the doc comments of these types.

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_core::Secret;
use trunkline_rest::ClientAuth;
use url::Url;

/// Settings of a connection to a MediaValet library. MediaValet support issues client ID and client secret and
/// registers each redirect URI; the developer portal shows the subscription key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// URL of the API.
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
    /// URL that issues tokens.
    #[serde(default = "token_url")]
    pub(crate) token_url: Url,
    /// # Authorization URL
    /// URL at which a user signs in; used by the flow `authorization_code` only.
    #[serde(default = "authorization_url")]
    pub(crate) authorization_url: Url,
    /// # Revocation URL
    /// URL at which tokens are revoked when the connection is removed. If absent, the token URL with `revocation` as
    /// its last segment.
    pub(crate) revocation_url: Option<Url>,
    /// # Redirect URI
    /// URL that the browser returns to after the sign-in, exactly as MediaValet support has registered it. If absent,
    /// the host's own.
    pub(crate) redirect_uri: Option<Url>,
    /// # Scopes
    /// The scopes to request, separated by spaces; `offline_access` requests a refresh token.
    #[serde(default = "scopes")]
    pub(crate) scopes: String,
    /// # Requests a Second
    /// Maximum number of requests a second. If absent, the rate follows the service's throttling.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) requests_per_second: Option<u32>,
    /// # Requests at Once
    /// Maximum number of concurrent requests of all runs together; 16 if absent.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) requests_at_once: Option<u32>,
    /// # Allow Private Network
    /// Whether the URLs may lead to a private network or to this machine. If off, such an address is rejected, whatever
    /// host name leads to it.
    #[serde(default)]
    pub(crate) allow_private_network: bool,
    /// # Data Hosts
    /// Further hosts that may have files, such as `files.example.com` or `*.example.com`, in case MediaValet moves its
    /// storage.
    #[serde(default)]
    pub(crate) data_hosts: Vec<String>,
}

/// The way to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Authentication {
    /// OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that MediaValet supports.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
pub(crate) enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once; the refresh token keeps the connection alive.
    AuthorizationCode {},
    /// # Refresh Token
    /// Uses a refresh token that was issued elsewhere. If MediaValet returns a new one, it replaces the old one.
    RefreshToken {
        /// # Refresh Token
        #[serde(rename = "refreshToken")]
        refresh_token: Secret,
    },
    /// # Password
    /// Uses a user's name and password; for unattended use. Create a separate user for it.
    Password {
        /// # Username
        username: String,
        /// # Password
        password: Secret,
    },
    /// # Client Credentials
    /// Signs in without a user. MediaValet has announced this flow; ask support whether your client may use it.
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

//! The settings of a connection to any HTTP service.
//!
//! The form is derived from the doc comments of these types. [`Settings::client`] makes a client from the settings; it
//! serves the connector `http` and the connectors that are loaded from folders.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_core::{ConnectionContext, Result, Secret};
use trunkline_rest::{Auth, Client, Grant, HttpSettings, OAuthSettings, TableHandle};
use url::Url;

/// Settings of a connection to an HTTP service.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// URL that all paths are appended to, such as `https://api.example.com/v1`.
    #[schemars(extend("examples" = ["https://api.example.com/v1"]))]
    endpoint_url: Url,
    #[serde(flatten)]
    authentication: Authentication,
    /// # Check Path
    /// A path that can be read without side effects. A check of the connection requests it.
    #[serde(default = "root")]
    #[schemars(regex(pattern = "^/"), extend("examples" = ["/health"], "x-group" = "advanced"))]
    check_path: String,
    /// # Idempotency Header
    /// Name of the header in which the service takes an idempotency key, such as `Idempotency-Key`. Each call that does
    /// more than read then sends its step's key, which is the same in every attempt.
    #[schemars(
        regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        extend("examples" = ["Idempotency-Key"], "x-group" = "advanced")
    )]
    idempotency_header: Option<String>,
    #[serde(flatten)]
    http: HttpSettings,
    /// # Data Hosts
    /// Further hosts that a download may be redirected to, such as `files.example.com` or `*.example.com`.
    #[serde(default)]
    #[schemars(extend("examples" = [["files.example.com"]], "x-group" = "advanced"))]
    data_hosts: Vec<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// The way in which the connection authenticates its calls.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "authentication", rename_all = "camelCase")]
#[allow(clippy::large_enum_variant, reason = "made once a connection")]
enum Authentication {
    /// # None
    /// The service needs no authentication.
    None {},
    /// # Bearer token
    /// Sends a fixed token in the header `Authorization`.
    #[serde(rename_all = "camelCase")]
    Bearer {
        /// # Token
        #[schemars(extend("examples" = [{ "env": "API_TOKEN" }]))]
        token: Secret,
    },
    /// # Basic
    /// Sends a user's name and password with every call.
    #[serde(rename_all = "camelCase")]
    Basic {
        /// # Username
        #[schemars(extend("examples" = ["eva@example.com"]))]
        username: String,
        /// # Password
        /// Leave it out if the service takes a key as the user name.
        #[schemars(extend("examples" = [{ "env": "API_PASSWORD" }]))]
        password: Option<Secret>,
    },
    /// # API key
    /// Sends a key in a header that the service defines.
    #[serde(rename_all = "camelCase")]
    ApiKey {
        /// # Header
        /// Name of the header that takes the key.
        #[serde(default = "api_key_header")]
        #[schemars(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), extend("examples" = ["X-Api-Key"]))]
        api_key_header: String,
        /// # API Key
        #[schemars(extend("examples" = [{ "env": "API_KEY" }]))]
        api_key: Secret,
    },
    /// # OAuth 2
    /// Requests a token and renews it.
    #[serde(rename = "oauth2", rename_all = "camelCase")]
    #[schemars(transform = OAuthSettings::require_token_url)]
    OAuth2 {
        #[serde(flatten)]
        flows: Flows,
        #[serde(flatten)]
        client: OAuthSettings,
        /// # Issuer
        /// The login server's issuer identifier, which its discovery document has. A sign-in that another
        /// issuer answers is rejected.
        #[schemars(extend(
            "examples" = ["https://login.example.com"], "x-group" = "advanced",
            "x-doc" = "https://www.rfc-editor.org/rfc/rfc9207"
        ))]
        issuer: Option<String>,
        /// # Scopes
        /// The scopes to request, separated by spaces.
        #[serde(default)]
        #[schemars(extend(
            "examples" = ["read write"], "x-doc" = "https://www.rfc-editor.org/rfc/rfc6749#section-3.3"
        ))]
        scopes: String,
    },
}

fn api_key_header() -> String {
    "X-API-Key".to_owned()
}

/// The OAuth 2 flow that gets the first token.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once.
    AuthorizationCode {},
    /// # Refresh Token
    /// Uses a refresh token that was issued elsewhere.
    RefreshToken {
        /// # Refresh Token
        #[serde(rename = "refreshToken")]
        #[schemars(extend("examples" = [{ "env": "REFRESH_TOKEN" }]))]
        refresh_token: Secret,
    },
    /// # Password
    /// Uses a user's name and password.
    Password {
        /// # Username
        #[schemars(extend("examples" = ["eva@example.com"]))]
        username: String,
        /// # Password
        #[schemars(extend("examples" = [{ "env": "API_PASSWORD" }]))]
        password: Secret,
    },
    /// # Client Credentials
    /// The client signs in as itself, without a user.
    ClientCredentials {},
}

impl Authentication {
    fn issuer(&self) -> Option<String> {
        match self {
            Authentication::OAuth2 { issuer, .. } => issuer.clone(),
            _ => None,
        }
    }

    fn auth(self) -> Result<Auth> {
        Ok(match self {
            Authentication::None {} => Auth::None,
            Authentication::Bearer { token } => Auth::Bearer(token),
            Authentication::Basic { username, password } => {
                Auth::Basic { username, password: password.unwrap_or_else(|| "".into()) }
            }
            Authentication::ApiKey { api_key_header, api_key } => Auth::ApiKey { header: api_key_header, key: api_key },
            Authentication::OAuth2 { flows, client, issuer: _, scopes } => {
                Auth::OAuth(client.oauth(flows.grant(), &scopes)?)
            }
        })
    }
}

impl Flows {
    fn grant(self) -> Grant {
        match self {
            Flows::AuthorizationCode {} => Grant::AuthorizationCode,
            Flows::RefreshToken { refresh_token } => Grant::RefreshToken { refresh_token },
            Flows::Password { username, password } => Grant::Password { username, password },
            Flows::ClientCredentials {} => Grant::ClientCredentials,
        }
    }
}

impl Settings {
    /// Returns a client with these settings for the rows of a table. `headers` are sent with every call.
    pub(crate) fn client(
        self,
        service: impl Into<Arc<str>>,
        table: impl Into<TableHandle>,
        headers: &[(String, String)],
        context: ConnectionContext,
    ) -> Result<Client> {
        let builder = Client::builder(service, self.endpoint_url, table)
            .issuer(self.authentication.issuer())
            .auth(self.authentication.auth()?, context)
            .check_path(self.check_path)
            .idempotency_header(self.idempotency_header)
            .settings(&self.http)
            .data_hosts(self.data_hosts);
        headers.iter().fold(builder, |builder, (name, value)| builder.plain_header(name, value)).build()
    }
}

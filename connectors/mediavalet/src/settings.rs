//! The settings of a connection, with the names and in the order of MediaValet's own pages.
//!
//! The form of a connection is derived from the doc comments of these types.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use trunkline_core::{ConnectionContext, Result, Secret};
use trunkline_rest::{Auth, Client, Grant, HttpSettings, OAuthPresets, OAuthSettings, Table};
use url::Url;

use crate::errors;

const WORKFLOWS: &str = concat!(
    "https://support.mediavalet.com/hc/en-us/articles/",
    "16057366273300-Which-authentication-workflows-are-supported-by-the-API",
);
const SIGN_UP: &str =
    "https://support.mediavalet.com/hc/en-us/articles/5550696271380-How-do-I-sign-up-to-use-the-MediaValet-API";
const REFRESH_TOKEN: &str =
    "https://support.mediavalet.com/hc/en-us/articles/16657063526548-How-to-use-a-Refresh-Token-in-Postman";

const OAUTH: OAuthPresets = OAuthPresets {
    token_url: "https://login.mediavalet.com/connect/token",
    authorization_url: "https://login.mediavalet.com/connect/authorize",
    credentials: "From MediaValet support.",
    documentation: WORKFLOWS,
    revocation_url: Some(
        "URL at which tokens are revoked when the connection is removed. If absent, the token URL with `revocation` as \
         its last segment.",
    ),
    redirect_uri: Some(
        "URL that the browser returns to after the sign-in, exactly as MediaValet support has registered it. If absent, \
         the host's own.",
    ),
};

/// Settings of a connection to a MediaValet library. MediaValet support issues client ID and client secret and
/// registers each redirect URI; the developer portal shows the subscription key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = |schema: &mut Schema| OAUTH.describe(schema))]
pub struct Settings {
    /// # Endpoint URL
    /// URL of the API.
    #[serde(default = "endpoint_url")]
    #[schemars(extend("examples" = ["https://api.mediavalet.com"]))]
    endpoint_url: Url,
    /// # Subscription Key
    /// From the developer portal; MediaValet support has to approve it. Sent with every call as
    /// `Ocp-Apim-Subscription-Key`.
    #[schemars(extend("examples" = [{ "env": "MEDIAVALET_SUBSCRIPTION_KEY" }], "x-doc" = SIGN_UP))]
    subscription_key: Secret,
    /// # Authentication
    authentication: Authentication,
    #[serde(flatten)]
    flows: Flows,
    #[serde(flatten)]
    oauth: OAuthSettings,
    /// # Scopes
    /// The scopes to request, separated by spaces; `offline_access` requests a refresh token.
    #[serde(default = "scopes")]
    #[schemars(extend("examples" = ["openid api offline_access"], "x-group" = "advanced"))]
    scopes: String,
    #[serde(flatten)]
    http: HttpSettings,
    /// # Data Hosts
    /// Further hosts that may have files, such as `files.example.com` or `*.example.com`, in case MediaValet moves its
    /// storage.
    #[serde(default)]
    #[schemars(extend("examples" = [["files.example.com"]], "x-group" = "advanced"))]
    data_hosts: Vec<String>,
}

/// The way to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Authentication {
    /// # OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that MediaValet supports.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once; the refresh token keeps the connection alive.
    AuthorizationCode {},
    /// # Refresh Token
    /// Uses a refresh token that was issued elsewhere. If MediaValet returns a new one, it replaces the old one.
    RefreshToken {
        /// # Refresh Token
        #[serde(rename = "refreshToken")]
        #[schemars(extend("examples" = [{ "env": "MEDIAVALET_REFRESH_TOKEN" }], "x-doc" = REFRESH_TOKEN))]
        refresh_token: Secret,
    },
    /// # Password
    /// Uses a user's name and password; for unattended use. Create a separate user for it.
    Password {
        /// # Username
        #[schemars(extend("examples" = ["integration@example.com"]))]
        username: String,
        /// # Password
        #[schemars(extend("examples" = [{ "env": "MEDIAVALET_PASSWORD" }]))]
        password: Secret,
    },
    /// # Client Credentials
    /// Signs in without a user. MediaValet has announced this flow; ask support whether your client may use it.
    ClientCredentials {},
}

fn endpoint_url() -> Url {
    let text = "https://api.mediavalet.com";
    Url::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

fn scopes() -> String {
    "openid api offline_access".to_owned()
}

impl Settings {
    /// Returns a client with these settings. `title` is the product's name for messages.
    pub(crate) fn client(
        self,
        title: &'static str,
        operations: &'static Table,
        context: ConnectionContext,
    ) -> Result<Client> {
        let Authentication::OAuth2 = self.authentication;
        let grant = match self.flows {
            Flows::AuthorizationCode {} => Grant::AuthorizationCode,
            Flows::RefreshToken { refresh_token } => Grant::RefreshToken { refresh_token },
            Flows::Password { username, password } => Grant::Password { username, password },
            Flows::ClientCredentials {} => Grant::ClientCredentials,
        };
        let mut oauth = OAUTH.fill(self.oauth)?.oauth(grant, &self.scopes)?;
        oauth.revocation_url = oauth.revocation_url.or_else(|| oauth.token_url.join("revocation").ok());
        Client::builder(title, self.endpoint_url, operations)
            .auth(Auth::OAuth(oauth), context)
            .header("Ocp-Apim-Subscription-Key", self.subscription_key, Some("/subscriptionKey"))
            .plain_header("x-mv-api-version", "1.2")
            .settings(&self.http)
            .data_hosts(["*.blob.core.windows.net", "*.mediavalet.com", "*.mediavalet.net"])
            .data_hosts(self.data_hosts)
            .warnings("/warnings")
            .classify(errors::classify)
            .build()
    }
}

//! The settings of a connection, with the names and in the order of Mediaflow's own pages.
//!
//! The form of a connection is derived from the doc comments of these types.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use trunkline_core::{ConnectionContext, Result, Secret};
use trunkline_rest::{Auth, Client, Grant, HttpSettings, OAuthPresets, OAuthSettings, Table};
use url::Url;

use crate::errors;

const OAUTH: OAuthPresets = OAuthPresets {
    token_url: "https://accounts.mediaflow.com/1/oauth2/token",
    authorization_url: "https://login.mediaflowpro.com/authorize",
    credentials: "From Mediaflow support.",
    documentation: "https://docs.mediaflow.com/developer/integrations/integration-guides/authentication",
    revocation_url: Some(
        "URL at which tokens are revoked when the connection is removed. Mediaflow does not publish one.",
    ),
    redirect_uri: None,
};

/// Settings of a connection to a Mediaflow account. Mediaflow support issues the keys, for each customer and
/// integration.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = |schema: &mut Schema| OAUTH.describe(schema))]
pub struct Settings {
    /// # Endpoint URL
    /// URL of the API; older accounts have `https://customerapi.mediaflowpro.com/1`.
    #[serde(default = "endpoint_url")]
    #[schemars(extend(
        "examples" = ["https://api.mediaflow.com/1"],
        "x-doc" = "https://docs.mediaflow.com/developer/integrations/integration-guides/integrating-directly-to-the-api"
    ))]
    endpoint_url: Url,
    /// # Authentication
    authentication: Authentication,
    #[serde(flatten)]
    flows: Flows,
    #[serde(flatten)]
    oauth: OAuthSettings,
    #[serde(flatten)]
    http: HttpSettings,
}

/// The way to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Authentication {
    /// # OAuth 2
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
        #[schemars(extend("examples" = [{ "env": "MEDIAFLOW_REFRESH_TOKEN" }]))]
        refresh_token: Secret,
    },
    /// # Authorization Code
    /// A user signs in with the browser, once.
    AuthorizationCode {},
    /// # Password
    /// Uses a user's name and password. Mediaflow allows it for some client IDs only.
    Password {
        /// # Username
        #[schemars(extend("examples" = ["integration@example.com"]))]
        username: String,
        /// # Password
        #[schemars(extend("examples" = [{ "env": "MEDIAFLOW_PASSWORD" }]))]
        password: Secret,
    },
}

fn endpoint_url() -> Url {
    let text = "https://api.mediaflow.com/1";
    Url::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
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
            Flows::RefreshToken { refresh_token } => Grant::RefreshToken { refresh_token },
            Flows::AuthorizationCode {} => Grant::AuthorizationCode,
            Flows::Password { username, password } => Grant::Password { username, password },
        };
        Client::builder(title, self.endpoint_url, operations)
            .auth(Auth::OAuth(OAUTH.fill(self.oauth)?.oauth(grant, "")?), context)
            .settings(&self.http)
            // Mediaflow does not publish the hosts of its files.
            .data_hosts(["*"])
            .classify(errors::classify)
            .build()
    }
}

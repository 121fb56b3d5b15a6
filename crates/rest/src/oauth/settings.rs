//! The OAuth 2 settings of a connection (RFC 6749).

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use url::Url;

use crate::transport::{SsrfPolicy, url_policy};

/// An OAuth 2 client and the grant that it uses.
#[derive(Clone)]
pub struct OAuth {
    /// The client ID.
    pub client_id: String,
    /// The client secret; public clients have none.
    pub client_secret: Option<Secret>,
    /// How the client sends its ID and secret.
    pub client_auth: ClientAuth,
    /// The token endpoint.
    pub token_url: Url,
    /// The authorization endpoint, where the user signs in; needed for [`Grant::AuthorizationCode`] only.
    pub authorization_url: Option<Url>,
    /// The revocation endpoint (RFC 7009), used when the connection is removed.
    pub revocation_url: Option<Url>,
    /// The redirect URI exactly as it is registered, if it differs from the URL of the host's own callback.
    pub redirect_uri: Option<Url>,
    /// The requested scopes.
    pub scopes: Vec<String>,
    /// How the connection obtains its first token.
    pub grant: Grant,
}

/// How a client sends its ID and secret to the token endpoint (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// # Form fields
    /// As fields of the form.
    #[default]
    Form,
    /// # Basic authentication
    /// In a Basic header.
    Basic,
}

/// How a connection obtains its first token.
#[derive(Clone)]
pub enum Grant {
    /// A user signs in in the browser (RFC 6749 section 4.1, with PKCE by RFC 7636).
    AuthorizationCode,
    /// A refresh token that the vendor issued.
    RefreshToken {
        /// The refresh token of the settings. A newer one in the vault takes precedence.
        refresh_token: Secret,
    },
    /// The user name and password of a user (RFC 6749 section 4.3). RFC 9700 discourages it, but some services offer
    /// nothing else for unattended use.
    Password {
        /// The user whose rights the connection has.
        username: String,
        /// The password of that user.
        password: Secret,
    },
    /// The credentials of the client itself (RFC 6749 section 4.4).
    ClientCredentials,
}

impl Grant {
    /// Returns whether a token request uses something up or counts as a sign-in, so that it is not simply sent again:
    /// a refresh token, a code, or a password. The client's own credentials are none of these.
    pub(crate) fn spends(&self) -> bool {
        !matches!(self, Grant::ClientCredentials)
    }
}

impl OAuth {
    /// Checks the client ID and the URLs.
    ///
    /// # Errors
    ///
    /// `config`, with the setting, if the client ID is empty or a URL is not allowed.
    pub(crate) fn check(&self, ssrf: &SsrfPolicy) -> Result<()> {
        url_policy::check_base("token URL", &self.token_url).map_err(|error| error.setting("/tokenUrl"))?;
        ssrf.check("token URL", &self.token_url).map_err(|error| error.setting("/tokenUrl"))?;
        for (what, url, setting) in [
            ("authorization URL", &self.authorization_url, "/authorizationUrl"),
            ("redirect URI", &self.redirect_uri, "/redirectUri"),
        ] {
            let Some(url) = url else { continue };
            let checked = url_policy::check(what, url).and_then(|()| url_policy::check_browser(what, url));
            checked.map_err(|error| error.setting(setting))?;
        }
        if let Some(url) = &self.revocation_url {
            url_policy::check_base("revocation URL", url).map_err(|error| error.setting("/revocationUrl"))?;
            ssrf.check("revocation URL", url).map_err(|error| error.setting("/revocationUrl"))?;
        }
        if self.client_id.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the client ID is empty").setting("/clientId"));
        }
        Ok(())
    }

    /// Returns all secrets of the settings; messages must not contain them.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let grant = match &self.grant {
            Grant::RefreshToken { refresh_token } => Some(refresh_token),
            Grant::Password { password, .. } => Some(password),
            Grant::AuthorizationCode | Grant::ClientCredentials => None,
        };
        self.client_secret.iter().chain(grant).cloned().collect()
    }

    /// Returns the fingerprint of the settings that the tokens belong to. If it changes, earlier tokens no longer
    /// belong to this connection.
    pub(crate) fn settings_fingerprint(&self) -> String {
        let scopes = self.scopes.join(" ");
        // Another login server issues other tokens. These grants can request a token at any time, so a change loses
        // nothing.
        let server = url_policy::host(&self.token_url);
        let parts: Vec<&str> = match &self.grant {
            Grant::AuthorizationCode => vec!["code", &self.client_id],
            Grant::RefreshToken { refresh_token } => vec!["refresh", refresh_token.expose()],
            Grant::Password { username, password } => {
                vec!["password", &server, &self.client_id, username, password.expose(), &scopes]
            }
            Grant::ClientCredentials => vec!["client", &server, &self.client_id, &scopes],
        };
        fingerprint(&parts.join("\0"))
    }

    /// Returns the fingerprint of all settings that are sent to the login server.
    pub(crate) fn request_fingerprint(&self) -> String {
        let secret = self.client_secret.as_ref().map_or("", |secret| secret.expose());
        let client = format!("{}\0{:?}\0{}\0{secret}", self.client_id, self.client_auth, self.token_url);
        fingerprint(&format!("{client}\0{}\0{}", self.scopes.join(" "), self.settings_fingerprint()))
    }

    /// Returns whether this scope is requested.
    pub(crate) fn requests_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|one| one == scope)
    }

    /// Returns the setting to look at when the login server refuses the grant.
    pub(crate) fn grant_setting(&self) -> &'static str {
        match self.grant {
            Grant::AuthorizationCode => "/flows",
            Grant::RefreshToken { .. } => "/refreshToken",
            Grant::Password { .. } => "/password",
            Grant::ClientCredentials => "/clientId",
        }
    }
}

/// Returns the SHA-256 of a text in hexadecimal.
fn fingerprint(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

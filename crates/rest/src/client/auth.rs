//! The authentication schemes of connections, and the header that each puts on a request.
//!
//! The idea: a connection chooses an [`Auth`] once. The client makes a [`Signer`] of it, which yields the
//! [`Credentials`] of each request; only the signer knows whether they can be renewed.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, header};
use trunkline_core::{ConnectionContext, Error, ErrorKind, Result, Secret};

use crate::{
    oauth::{ClientParts, Grant, OAuth, Token, Tokens},
    transport::{SsrfPolicy, TokenProblem, header_carries_keys, secret_header},
};

/// The authentication scheme of a connection.
#[derive(Clone)]
// One value per connection: a `Box` would only complicate the code of connector authors.
#[allow(clippy::large_enum_variant)]
pub enum Auth {
    /// OAuth 2 (RFC 6749): an access token that the client renews.
    OAuth(OAuth),
    /// A fixed token in `Authorization: Bearer` (RFC 6750).
    Bearer(Secret),
    /// User name and password in `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user name. It must not contain a colon.
        username: String,
        /// The password; some services take a key as the user name, and an empty password.
        password: Secret,
    },
    /// A key in a header that the service defines.
    ApiKey {
        /// The name of the header.
        header: String,
        /// The key.
        key: Secret,
    },
    /// No authentication.
    None,
}

impl Auth {
    /// Returns the settings that distinguish one user of a service from another.
    pub(crate) fn identifying(&self) -> Vec<&str> {
        match self {
            Auth::OAuth(oauth) => match &oauth.grant {
                Grant::RefreshToken { refresh_token } => vec![&oauth.client_id, refresh_token.expose()],
                Grant::Password { username, .. } => vec![&oauth.client_id, username],
                Grant::AuthorizationCode | Grant::ClientCredentials => vec![&oauth.client_id],
            },
            Auth::Bearer(token) => vec![token.expose()],
            Auth::Basic { username, .. } => vec![username],
            Auth::ApiKey { key, .. } => vec![key.expose()],
            Auth::None => Vec::new(),
        }
    }
}

/// The source of the credentials of requests.
#[derive(Clone)]
pub(crate) enum Signer {
    /// At most one fixed header, and the setting that its value comes from.
    Fixed { headers: HeaderMap, setting: Option<&'static str> },
    /// Access tokens from a login server.
    Tokens(Tokens),
}

/// The credentials of one request.
pub(crate) struct Credentials {
    /// At most one header.
    pub(crate) headers: HeaderMap,
    /// The access token in the header, if it can be renewed.
    pub(crate) token: Option<Token>,
}

impl Signer {
    /// Returns the signer of a connection, and the secrets that must not appear in messages.
    ///
    /// # Errors
    ///
    /// `config`, with the setting, if a header cannot carry a value or if a URL of the login server is not allowed.
    pub(crate) fn new(
        auth: Auth,
        context: ConnectionContext,
        parts: ClientParts,
        ssrf: &SsrfPolicy,
    ) -> Result<(Signer, Vec<Secret>)> {
        let fixed = |name: HeaderName, value: &str, setting| match secret_header(value) {
            Ok(value) => Ok(Signer::Fixed { headers: HeaderMap::from_iter([(name, value)]), setting: Some(setting) }),
            Err(error) => Err(error.setting(setting)),
        };
        Ok(match auth {
            Auth::None => (Signer::Fixed { headers: HeaderMap::new(), setting: None }, Vec::new()),
            Auth::Bearer(token) => {
                (fixed(header::AUTHORIZATION, &format!("Bearer {}", token.expose()), "/token")?, vec![token])
            }
            Auth::Basic { username, password } => {
                if username.contains(':') {
                    let message = "the user name contains a colon, which Basic authentication does not allow";
                    return Err(Error::new(ErrorKind::Config, message).setting("/username"));
                }
                let encoded = BASE64_STANDARD.encode(format!("{username}:{}", password.expose()));
                // Without a password, the user name is the key.
                let setting = if password.expose().is_empty() { "/username" } else { "/password" };
                let signer = fixed(header::AUTHORIZATION, &format!("Basic {encoded}"), setting)?;
                (signer, vec![password, encoded.into()])
            }
            Auth::ApiKey { header, key } => {
                let name = header.parse().ok().filter(header_carries_keys).ok_or_else(|| {
                    Error::new(ErrorKind::Config, format!("`{header}` is not a header that can carry an API key"))
                        .setting("/apiKeyHeader")
                        .hint("write the name from the service's reference, such as X-API-Key")
                })?;
                (fixed(name, key.expose(), "/apiKey")?, vec![key])
            }
            Auth::OAuth(oauth) => {
                oauth.check(ssrf)?;
                let secrets = oauth.secrets();
                (Signer::Tokens(Tokens::new(oauth, context, parts)), secrets)
            }
        })
    }

    /// Returns the tokens, if the connection uses OAuth 2.
    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        match self {
            Signer::Tokens(tokens) => Some(tokens),
            Signer::Fixed { .. } => None,
        }
    }

    /// Returns whether the credentials are in this header.
    pub(crate) fn uses(&self, name: &HeaderName) -> bool {
        match self {
            Signer::Fixed { headers, .. } => headers.contains_key(name),
            Signer::Tokens(_) => *name == header::AUTHORIZATION,
        }
    }

    /// Returns the setting of the user whose rights the connection has.
    pub(crate) fn owner_setting(&self) -> Option<&'static str> {
        match self {
            Signer::Fixed { setting: Some("/password"), .. } => Some("/username"),
            Signer::Fixed { setting, .. } => *setting,
            Signer::Tokens(tokens) => Some(match tokens.endpoint().oauth.grant_setting() {
                "/password" => "/username",
                setting => setting,
            }),
        }
    }

    /// Returns credentials that are valid now.
    ///
    /// # Errors
    ///
    /// The error of the login server or of the vault if an access token is needed and cannot be obtained.
    pub(crate) async fn credentials(&self) -> Result<Credentials> {
        match self {
            Signer::Fixed { headers, .. } => Ok(Credentials { headers: headers.clone(), token: None }),
            Signer::Tokens(tokens) => bearer(tokens.access().await?),
        }
    }

    /// Returns other credentials after a 401 with these headers, or `None` if these credentials cannot have expired.
    ///
    /// # Errors
    ///
    /// As [`Signer::credentials`].
    pub(crate) async fn renewed(&self, rejected: &Credentials, headers: &HeaderMap) -> Result<Option<Credentials>> {
        let (Signer::Tokens(tokens), Some(token)) = (self, &rejected.token) else { return Ok(None) };
        let problem = TokenProblem::of(headers).unwrap_or_default();
        if problem.is_insufficient_scope() {
            return Ok(None);
        }
        tokens.renew(token, problem.is_invalid_token()).await?.map(bearer).transpose()
    }
}

fn bearer(token: Token) -> Result<Credentials> {
    let value = secret_header(&format!("Bearer {}", token.access().expose()))?;
    Ok(Credentials { headers: HeaderMap::from_iter([(header::AUTHORIZATION, value)]), token: Some(token) })
}

//! How a connection says who it is, and the header that comes of it.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, header};
use trunkline_core::{Error, ErrorKind, Result, Secret, VaultSlot};

use crate::{
    oauth::{Grant, OAuth},
    ssrf::SsrfPolicy,
    token::Token,
    tokens::Tokens,
};

/// A scheme a connection can use.
#[derive(Clone)]
// Made once a connection: a box would only be in the way of those who write it down.
#[allow(clippy::large_enum_variant)]
pub enum Auth {
    /// OAuth 2 (RFC 6749): an access token that is renewed.
    OAuth(OAuth),
    /// A token that never changes, in `Authorization: Bearer` (RFC 6750).
    Bearer(Secret),
    /// User name and password in `Authorization: Basic` (RFC 7617).
    Basic {
        /// Without a colon.
        username: String,
        /// Whatever the user chose.
        password: Secret,
    },
    /// A key in a header of the service's own.
    ApiKey {
        /// Name of the header.
        header: String,
        /// The key.
        key: Secret,
    },
    /// Nothing.
    None,
}

impl Auth {
    /// What tells one user of a service from another, as far as the settings say.
    pub(crate) fn shown(&self) -> Vec<&str> {
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

/// What puts the credentials on a request.
#[derive(Clone)]
pub(crate) enum Signer {
    /// A header, and the setting its value comes from.
    Fixed(Option<(HeaderName, HeaderValue)>, Option<&'static str>),
    Tokens(Tokens),
}

/// The credentials of one request.
pub(crate) struct Credentials {
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
    /// The token they are made of, where it can be renewed.
    pub(crate) token: Option<Token>,
}

impl Signer {
    pub(crate) fn new(
        auth: Auth,
        slot: VaultSlot,
        parts: crate::tokens::Parts,
        guard: &SsrfPolicy,
    ) -> Result<(Signer, Vec<Secret>)> {
        let fixed = |name: HeaderName, value: &str, setting| match secret_header(value) {
            Ok(value) => Ok(Signer::Fixed(Some((name, value)), Some(setting))),
            Err(error) => Err(error.setting(setting)),
        };
        Ok(match auth {
            Auth::None => (Signer::Fixed(None, None), Vec::new()),
            Auth::Bearer(token) => {
                (fixed(header::AUTHORIZATION, &format!("Bearer {}", token.expose()), "/token")?, vec![token])
            }
            Auth::Basic { username, password } => {
                if username.contains(':') {
                    let message = "the user name has a colon in it, which Basic authentication cannot carry";
                    return Err(Error::new(ErrorKind::Config, message).setting("/username"));
                }
                let encoded = BASE64_STANDARD.encode(format!("{username}:{}", password.expose()));
                let signer = fixed(header::AUTHORIZATION, &format!("Basic {encoded}"), "/password")?;
                (signer, vec![password, encoded.into()])
            }
            Auth::ApiKey { header, key } => {
                let name = header
                    .parse::<HeaderName>()
                    .map_err(|_| Error::new(ErrorKind::Config, format!("`{header}` is no name of a header")))?;
                (fixed(name, key.expose(), "/apiKey")?, vec![key])
            }
            Auth::OAuth(oauth) => {
                oauth.check(guard)?;
                let secrets = oauth.secrets();
                (Signer::Tokens(Tokens::new(oauth, slot, parts)), secrets)
            }
        })
    }

    /// The setting that says whose rights the connection has.
    pub(crate) fn owner(&self) -> Option<&'static str> {
        match self {
            Signer::Fixed(_, Some("/password")) => Some("/username"),
            Signer::Fixed(_, setting) => *setting,
            Signer::Tokens(tokens) => Some(match tokens.endpoint().oauth.grant_setting() {
                "/password" => "/username",
                setting => setting,
            }),
        }
    }

    /// Credentials that are good for now.
    pub(crate) async fn credentials(&self) -> Result<Credentials> {
        match self {
            Signer::Fixed(header, _) => Ok(Credentials { header: header.clone(), token: None }),
            Signer::Tokens(tokens) => bearer(tokens.access().await?),
        }
    }

    /// Other credentials after a 401, if it could mean that these ran out.
    pub(crate) async fn renewed(&self, refused: &Credentials) -> Result<Option<Credentials>> {
        match (self, &refused.token) {
            (Signer::Tokens(tokens), Some(token)) => tokens.renew(token).await?.map(bearer).transpose(),
            _ => Ok(None),
        }
    }
}

fn bearer(token: Token) -> Result<Credentials> {
    let value = secret_header(&format!("Bearer {}", token.access().expose()))?;
    Ok(Credentials { header: Some((header::AUTHORIZATION, value)), token: Some(token) })
}

/// A header value that is a secret: HTTP/2 does not index it, and it prints as `Sensitive`.
pub(crate) fn secret_header(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Error::new(ErrorKind::Config, "a secret has characters in it that no header can carry")
            .hint("copy it again, without line breaks and spaces at its ends")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

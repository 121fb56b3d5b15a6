//! OAuth 2 (RFC 6749) towards the login server: what is asked, in which words, and what its answers mean.
//!
//! Requests are built and errors are read by the `oauth2` crate; they travel through our own bounded transport. Secrets go
//! into the form or into a Basic header, never into an address.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, Scope, StandardRevocableToken, TokenUrl,
    basic::{
        BasicErrorResponse, BasicErrorResponseType as Code, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Result, Retry, Secret};
use url::Url;

use crate::{
    ClientLimits, response::excerpt, retry::retry_after, ssrf::SsrfPolicy, token_response::GrantedTokens, transport,
    url_policy,
};

/// Longest answer of a token endpoint in bytes.
pub(crate) const LONGEST: usize = 1 << 20;

/// What to do where it may be the login server's trouble, or not be a token endpoint at all.
const KEPT: &str = "the sign-in is kept; if it stays like this, check the token URL";

/// An OAuth 2 client and the grant it uses.
#[derive(Clone)]
pub struct OAuth {
    /// Client ID.
    pub client_id: String,
    /// Client secret; public clients have none.
    pub client_secret: Option<Secret>,
    /// How id and secret reach the login server.
    pub client_auth: ClientAuth,
    /// Token endpoint.
    pub token_url: Url,
    /// Page the browser is sent to; needed for [`Grant::AuthorizationCode`] only.
    pub authorization_url: Option<Url>,
    /// Where tokens are taken back (RFC 7009), for when the connection is removed.
    pub revocation_url: Option<Url>,
    /// Where the browser comes back to, if that is another address than the host's own: exactly as it is registered.
    pub redirect_uri: Option<Url>,
    /// Scopes that are asked for.
    pub scopes: Vec<String>,
    /// How the first token is had.
    pub grant: Grant,
}

/// How client id and secret reach the token endpoint (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// As fields of the form.
    #[default]
    Form,
    /// In a Basic header.
    Basic,
}

/// How the first token is had; the flow of the connection.
#[derive(Clone)]
pub enum Grant {
    /// A person signs in in the browser (RFC 6749 section 4.1, with PKCE by RFC 7636).
    AuthorizationCode,
    /// From a refresh token that the vendor handed out.
    RefreshToken {
        /// The one in the settings; a newer one in the vault goes before it.
        refresh_token: Secret,
    },
    /// With a user's name and password (RFC 6749 section 4.3; discouraged by RFC 9700, but some services have nothing else
    /// for unattended use).
    Password {
        /// Whose rights the connection has.
        username: String,
        /// That user's password.
        password: Secret,
    },
    /// The client for itself (RFC 6749 section 4.4).
    ClientCredentials,
}

impl OAuth {
    /// Refuses addresses that would carry secrets in the open.
    pub(crate) fn check(&self, guard: &SsrfPolicy) -> Result<()> {
        url_policy::check_base("token URL", &self.token_url).map_err(|error| error.setting("/tokenUrl"))?;
        guard.check("token URL", &self.token_url).map_err(|error| error.setting("/tokenUrl"))?;
        if let Some(url) = &self.authorization_url {
            url_policy::check("authorization URL", url).map_err(|error| error.setting("/authorizationUrl"))?;
        }
        if let Some(url) = &self.revocation_url {
            url_policy::check_base("revocation URL", url).map_err(|error| error.setting("/revocationUrl"))?;
            guard.check("revocation URL", url).map_err(|error| error.setting("/revocationUrl"))?;
        }
        if self.client_id.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the client ID is empty").setting("/clientId"));
        }
        Ok(())
    }

    /// All secrets of the settings, to be kept out of messages.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let grant = match &self.grant {
            Grant::RefreshToken { refresh_token } => Some(refresh_token),
            Grant::Password { password, .. } => Some(password),
            Grant::AuthorizationCode | Grant::ClientCredentials => None,
        };
        self.client_secret.iter().chain(grant).cloned().collect()
    }

    /// Fingerprint of what tokens are got with: if it changes, tokens from before are not this connection's any more.
    pub(crate) fn fingerprint(&self) -> String {
        let scopes = self.scopes.join(" ");
        // Another login server gives other tokens; where a token can be had again at any time, nothing is lost by asking.
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

    /// Fingerprint of all that is sent to the login server.
    pub(crate) fn everything(&self) -> String {
        let secret = self.client_secret.as_ref().map_or("", |secret| secret.expose());
        let client = format!("{}\0{:?}\0{}\0{secret}", self.client_id, self.client_auth, self.token_url);
        fingerprint(&format!("{client}\0{}\0{}", self.scopes.join(" "), self.fingerprint()))
    }

    /// Whether this scope is asked for.
    pub(crate) fn asks_for(&self, scope: &str) -> bool {
        self.scopes.iter().any(|one| one == scope)
    }

    /// The setting to look at when the grant is refused.
    pub(crate) fn grant_setting(&self) -> &'static str {
        match self.grant {
            Grant::AuthorizationCode => "/flows",
            Grant::RefreshToken { .. } => "/refreshToken",
            Grant::Password { .. } => "/password",
            Grant::ClientCredentials => "/clientId",
        }
    }
}

/// SHA-256 in hex.
pub(crate) fn fingerprint(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is handed in for a token.
#[derive(Clone)]
pub(crate) enum Ask {
    /// What the settings have: password, or the client's own credentials.
    Settings,
    Refresh(Secret),
    Code {
        code: Secret,
        redirect_uri: String,
        verifier: Secret,
    },
}

/// A token endpoint and how to talk to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) oauth: OAuth,
    pub(crate) http: reqwest::Client,
    pub(crate) service: &'static str,
    pub(crate) limits: ClientLimits,
    /// Who the login server says it is, where the settings know.
    pub(crate) issuer: Option<String>,
}

type Talker = oauth2::Client<
    BasicErrorResponse,
    GrantedTokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Endpoint {
    fn talker(&self) -> Talker {
        let oauth = &self.oauth;
        let client = oauth2::Client::new(ClientId::new(oauth.client_id.clone()))
            .set_auth_type(match oauth.client_auth {
                ClientAuth::Form => AuthType::RequestBody,
                ClientAuth::Basic => AuthType::BasicAuth,
            })
            .set_token_uri(TokenUrl::from_url(oauth.token_url.clone()));
        match &oauth.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        }
    }

    /// Boxed and owning: the crate's futures, borrowing, would not be `Send` enough for the task they run in.
    pub(crate) fn ask_once(self, ask: Ask) -> BoxFuture<'static, Result<GrantedTokens>> {
        Box::pin(async move {
            let http = Post { endpoint: self.clone(), status: Arc::default() };
            let talker = self.talker();
            let scopes: Vec<_> = self.oauth.scopes.iter().cloned().map(Scope::new).collect();
            let answer = match (ask, &self.oauth.grant) {
                (Ask::Refresh(token), _) => {
                    let token = RefreshToken::new(token.expose().to_owned());
                    talker.exchange_refresh_token(&token).request_async(&http).await
                }
                (Ask::Code { code, redirect_uri, verifier }, _) => {
                    let redirect = RedirectUrl::new(redirect_uri)
                        .map_err(|_| Error::new(ErrorKind::Config, "the redirect URI is no address"))?;
                    talker
                        .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
                        .set_redirect_uri(Cow::Owned(redirect))
                        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
                        .request_async(&http)
                        .await
                }
                (Ask::Settings, Grant::Password { username, password }) => {
                    let username = ResourceOwnerUsername::new(username.clone());
                    let password = ResourceOwnerPassword::new(password.expose().to_owned());
                    talker.exchange_password(&username, &password).add_scopes(scopes).request_async(&http).await
                }
                (Ask::Settings, _) => {
                    talker.exchange_client_credentials().add_scopes(scopes).request_async(&http).await
                }
            };
            answer.map_err(|error| self.explain(error, http.status.load(Ordering::Relaxed)))
        })
    }

    /// Sends what the `oauth2` crate built. Trouble that has nothing to do with OAuth ends here.
    async fn post(&self, request: HttpRequest, status: &AtomicU16) -> Result<HttpResponse> {
        let host = url_policy::host(&self.oauth.token_url);
        let (parts, body) = request.into_parts();
        let request = reqwest::Request::try_from(http::Request::from_parts(parts, ""))
            .map_err(|error| Error::new(ErrorKind::Config, "the token request cannot be made").source(error))?;
        let payload = Bytes::from(body).into();
        let sent = transport::exchange(&self.http, request, payload, self.limits.attempt, LONGEST).await;
        let reply = sent.map_err(|failure| {
            if failure.error.kind() == ErrorKind::Config {
                // It leads where the connection may not go: no other try changes that.
                return failure.error.setting("/tokenUrl");
            }
            let sent = if failure.refused { "no" } else { "unclear" };
            let error = match failure.error.kind() {
                // This machine is at fault, not the login server.
                ErrorKind::Store => failure.error,
                _ => failure.error.into_kind(ErrorKind::Unavailable),
            };
            error.retry(Retry::Backoff).with("sent", sent).with("setting", "/tokenUrl")
        })?;
        status.store(reply.status.as_u16(), Ordering::Relaxed);
        let retry = retry_after(&reply.headers).map_or(Retry::Backoff, Retry::After);
        if reply.status.as_u16() == 429 || reply.status.is_server_error() {
            let kind = if reply.status.as_u16() == 429 { ErrorKind::RateLimited } else { ErrorKind::Unavailable };
            let message = format!("the login server {host} of {} answered {}", self.service, reply.status);
            return Err(Error::new(kind, message).retry(retry).hint("the sign-in is kept; try again later"));
        }
        if reply.status.is_redirection() || reply.status.as_u16() == 404 {
            let message = format!("the login server {host} of {} answered {}", self.service, reply.status);
            return Err(Error::new(ErrorKind::Config, message).setting("/tokenUrl").hint("check the token URL"));
        }
        let mut response = HttpResponse::new(reply.body.to_vec());
        // Any 2xx with a token in it is one.
        *response.status_mut() = if reply.status.is_success() { http::StatusCode::OK } else { reply.status };
        *response.headers_mut() = reply.headers;
        Ok(response)
    }

    /// What an answer that is no token means, in words for the person who has the settings.
    fn explain(&self, error: RequestTokenError<Error, BasicErrorResponse>, status: u16) -> Error {
        let host = url_policy::host(&self.oauth.token_url);
        let refused = match error {
            RequestTokenError::Request(error) => return self.name(error),
            RequestTokenError::ServerResponse(refused) => refused,
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                let message = format!("the login server {host} of {} answered {status}, but no token", self.service);
                return Error::new(ErrorKind::Unavailable, message)
                    .retry(Retry::Backoff)
                    .with("service", self.service)
                    .with("host", host)
                    .with("setting", "/tokenUrl")
                    .hint(KEPT);
            }
        };
        let (kind, setting, hint) = match refused.error() {
            Code::InvalidGrant => (ErrorKind::Auth, self.oauth.grant_setting(), self.grant_hint()),
            Code::InvalidClient => self.unknown_client(refused.error_description().map_or("", |text| text)),
            Code::InvalidScope => (ErrorKind::Config, "/scopes", "check the scopes: the login server refuses them"),
            Code::UnauthorizedClient | Code::UnsupportedGrantType => (
                ErrorKind::Config,
                "/flows",
                "this client may not sign in this way: choose another flow, or ask the vendor",
            ),
            Code::Extension(code) if code == "access_denied" => (ErrorKind::Auth, "/flows", "sign in again and agree"),
            _ => (ErrorKind::Unavailable, "/tokenUrl", KEPT),
        };
        let code = excerpt(refused.error().as_ref().as_bytes(), &self.oauth.secrets());
        let mut message = format!("the login server {host} of {} refused: {code}", self.service);
        if let Some(description) = refused.error_description().filter(|text| !text.is_empty()) {
            message += &format!(" ({})", excerpt(description.as_bytes(), &self.oauth.secrets()));
        }
        let retry = if kind == ErrorKind::Unavailable { Retry::Backoff } else { Retry::Never };
        Error::new(kind, message)
            .retry(retry)
            .with("oauth", code)
            .with("service", self.service)
            .with("host", host)
            .setting(setting)
            .hint(hint)
    }

    /// Login servers seldom say whether it is ID or secret that they do not know.
    fn unknown_client(&self, said: &str) -> (ErrorKind, &'static str, &'static str) {
        let said = said.to_lowercase();
        let of_id = ["client_id", "client id", "unknown client", "client not found", "no such client"];
        let is_id = of_id.iter().any(|words| said.contains(words)) && !said.contains("secret");
        let hint = match &self.oauth.client_secret {
            None => "check the client ID, and whether the vendor has given a client secret with it",
            Some(secret) if secret.expose().trim() != secret.expose() => {
                "the client secret begins or ends with white space: copy it again"
            }
            Some(_) => "check client ID and client secret, and how the vendor wants them sent (Client Authentication)",
        };
        (ErrorKind::Config, if is_id { "/clientId" } else { "/clientSecret" }, hint)
    }

    /// Adds to an error whose login server it is about.
    pub(crate) fn name(&self, error: Error) -> Error {
        error.with("service", self.service).with("host", url_policy::host(&self.oauth.token_url))
    }

    pub(crate) fn grant_hint(&self) -> &'static str {
        match self.oauth.grant {
            Grant::AuthorizationCode => "sign in again: the sign-in has run out or was withdrawn",
            Grant::RefreshToken { .. } => "get a new refresh token from the vendor and put it into the settings",
            Grant::Password { .. } => "check user name and password by signing in to the service",
            Grant::ClientCredentials => "check client ID and client secret",
        }
    }
}

/// The transport the `oauth2` crate talks through.
struct Post {
    endpoint: Endpoint,
    /// Of the last answer.
    status: Arc<AtomicU16>,
}

impl<'c> AsyncHttpClient<'c> for Post {
    type Error = Error;
    type Future = BoxFuture<'static, Result<HttpResponse>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let (endpoint, status) = (self.endpoint.clone(), self.status.clone());
        Box::pin(async move { endpoint.post(request, &status).await })
    }
}

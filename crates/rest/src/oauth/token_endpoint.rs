//! The token endpoint of a login server: token requests, and the meaning of the responses (RFC 6749).
//!
//! The idea: the `oauth2` crate builds the requests and parses the tokens, and our own transport with its limits sends
//! them. Errors are read here, since few login servers keep to the form of the RFC. Secrets go into the form or into a
//! Basic header, never into a URL.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    HttpRequest as TokenHttpRequest, HttpResponse as TokenHttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, ResourceOwnerPassword, ResourceOwnerUsername, Scope, StandardRevocableToken, TokenResponse,
    TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use trunkline_core::{Error, ErrorDetail, ErrorKind, Redactor, Result, Retry, Secret};
use url::Url;

use super::{
    refusal::Refusal,
    settings::{ClientAuth, Grant, OAuth},
    token_response::GrantedTokens,
};
use crate::transport::{
    ClientLimits, ContentType, HttpChannel, HttpRequest, at_setting, excerpt, exchange, retry_after, text, url_policy,
};

/// The size limit of a response of a login server in bytes.
pub(crate) const MAX_RESPONSE_SIZE: usize = 1 << 20;

/// The hint of errors that may be a fault of the login server, or that may come from a server that is not a login
/// server.
const CHECK_TOKEN_URL: &str = "the sign-in is kept; if the error persists, check the token URL";

/// Error codes of a login server that is busy. All others repeat themselves until a setting is changed.
const TEMPORARY: &[&str] = &[
    "temporarily_unavailable",
    "server_error",
    "internal_error",
    "internal_server_error",
    "service_unavailable",
    "slow_down",
    "timeout",
    "too_many_requests",
    "rate_limit_exceeded",
];

/// A request for tokens.
#[derive(Clone)]
pub(crate) enum TokenRequest {
    /// With the credentials of the settings: user name and password, or those of the client.
    Settings,
    /// With a refresh token.
    Refresh(Secret),
    /// With an authorization code.
    Code { code: Secret, redirect_uri: String, verifier: Secret },
}

/// A token endpoint and the means to send requests to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) oauth: OAuth,
    pub(crate) http: HttpChannel,
    pub(crate) service: Arc<str>,
    pub(crate) limits: ClientLimits,
    /// The issuer of the login server, if the settings have it.
    pub(crate) issuer: Option<String>,
    /// Learns the tokens that the login server grants.
    pub(crate) redactor: Redactor,
}

type OAuthClient = oauth2::Client<
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
    /// Returns an endpoint that nothing is sent to, for simulations of token refreshes.
    #[cfg(test)]
    pub(super) fn simulated(http: HttpChannel, refresh_token: &str, limits: ClientLimits) -> Endpoint {
        let oauth = OAuth {
            client_id: "client".into(),
            client_secret: None,
            client_auth: ClientAuth::Form,
            token_url: "https://login.example.com/token".parse().unwrap(),
            authorization_url: None,
            revocation_url: None,
            redirect_uri: None,
            scopes: Vec::new(),
            grant: super::settings::Grant::RefreshToken { refresh_token: refresh_token.into() },
        };
        Endpoint { oauth, http, service: "DAM".into(), limits, issuer: None, redactor: Redactor::default() }
    }

    fn client(&self) -> OAuthClient {
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

    /// Sends one token request.
    ///
    /// The future owns everything and is boxed, because the borrowing futures of the `oauth2` crate are not `Send` in
    /// the task that runs them.
    ///
    /// # Errors
    ///
    /// As `LoginServer::request_tokens`.
    pub(crate) fn request_once(self, request: TokenRequest) -> BoxFuture<'static, Result<GrantedTokens>> {
        Box::pin(async move {
            let http = TokenTransport { endpoint: self.clone(), status: Arc::default() };
            let client = self.client();
            let scopes: Vec<_> = self.oauth.scopes.iter().cloned().map(Scope::new).collect();
            let response = match (request, &self.oauth.grant) {
                (TokenRequest::Refresh(token), _) => {
                    let token = RefreshToken::new(token.expose().to_owned());
                    client.exchange_refresh_token(&token).request_async(&http).await
                }
                (TokenRequest::Code { code, redirect_uri, verifier }, _) => {
                    let redirect = RedirectUrl::new(redirect_uri)
                        .map_err(|_| Error::new(ErrorKind::Config, "the redirect URI is not a URL"))?;
                    client
                        .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
                        .set_redirect_uri(Cow::Owned(redirect))
                        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
                        .request_async(&http)
                        .await
                }
                (TokenRequest::Settings, Grant::Password { username, password }) => {
                    let username = ResourceOwnerUsername::new(username.clone());
                    let password = ResourceOwnerPassword::new(password.expose().to_owned());
                    client.exchange_password(&username, &password).add_scopes(scopes).request_async(&http).await
                }
                (TokenRequest::Settings, _) => {
                    client.exchange_client_credentials().add_scopes(scopes).request_async(&http).await
                }
            };
            let granted = response.map_err(|error| self.to_error(error, http.status.load(Ordering::Relaxed)))?;
            granted.secrets().for_each(|secret| self.redactor.add(&secret));
            match granted.token_type() {
                BasicTokenType::Bearer => Ok(granted),
                other => Err(self.with_login_server(self.not_bearer(other.as_ref()))),
            }
        })
    }

    /// Sends a request that the `oauth2` crate built. Failures that have nothing to do with OAuth become errors here.
    async fn post(&self, request: TokenHttpRequest, status: &AtomicU16) -> Result<TokenHttpResponse> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| Error::new(ErrorKind::Config, "the token request is not valid").source(error))?;
        // A token of the request may be good for one use only.
        let request = HttpRequest { headers: parts.headers, fresh: true, ..HttpRequest::new(parts.method, url) };
        let payload = Bytes::from(body).into();
        let sent = exchange(&self.http, request, payload, self.limits.token_response, MAX_RESPONSE_SIZE).await;
        let reply = sent.map_err(|failure| {
            if failure.error.kind() == ErrorKind::Config {
                // The token URL is not allowed, and another try does not change that.
                return at_setting(failure.error, "/tokenUrl");
            }
            let sent = if failure.refused { ErrorDetail::NotSent } else { ErrorDetail::MaybeSent };
            let error = match failure.error.kind() {
                // The fault is on this machine, not at the login server.
                ErrorKind::Store => failure.error,
                _ => failure.error.into_kind(ErrorKind::Unavailable),
            };
            at_setting(error.retry(Retry::Backoff).with_detail(sent), "/tokenUrl")
        })?;
        status.store(reply.status.as_u16(), Ordering::Relaxed);
        let refusal = Refusal::of(&reply);
        match reply.status.as_u16() {
            status @ (408 | 425 | 429 | 500..) => {
                let kind = if status == 429 { ErrorKind::RateLimited } else { ErrorKind::Unavailable };
                let body = String::from_utf8_lossy(&reply.body);
                let retry = retry_after(reply.status, &reply.headers, &body).map_or(Retry::Backoff, Retry::After);
                let error = Error::new(kind, self.answered("", reply.status, &refusal))
                    .retry(retry)
                    .hint("the sign-in is kept; try again later");
                // A gateway did not wait for the login server, which may still work on the request.
                let given_up = matches!(status, 504 | 524);
                return Err(if given_up { error.with_detail(ErrorDetail::MaybeSent) } else { error });
            }
            _ if refusal.code.is_some() => return Err(self.refused(reply.status, refusal)),
            300..400 | 404 => {
                let (message, code) = (self.answered("", reply.status, &refusal), reply.status.as_str().to_owned());
                return Err(Error::new(ErrorKind::Config, message)
                    .with_detail(ErrorDetail::TokenRefused { code: code.into() })
                    .setting("/tokenUrl")
                    .hint("check the token URL"));
            }
            400.. => return Err(self.refused(reply.status, refusal)),
            _ => {}
        }
        let content_type = ContentType::of(&reply.headers);
        let body = text(&reply.body, &content_type).map_or(reply.body.to_vec(), |text| text.into_owned().into());
        let mut response = TokenHttpResponse::new(body);
        // Any 2xx status with a token is accepted.
        *response.headers_mut() = reply.headers;
        if content_type.is_json() || content_type.media_type.starts_with("text/") {
            // `oauth2` knows one of the types of JSON, and some servers send it as a text.
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(response)
    }

    /// Returns the error for a success without a token.
    fn to_error(&self, error: RequestTokenError<Error, BasicErrorResponse>, status: u16) -> Error {
        if let RequestTokenError::Request(error) = error {
            return self.with_login_server(error);
        }
        let host = url_policy::host(&self.oauth.token_url);
        let message = format!("the login server {host} of {} answered {status}, but no token", self.service);
        let error = Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff);
        self.with_login_server(error.setting("/tokenUrl").hint(CHECK_TOKEN_URL))
    }

    /// Returns the error for a token of another type, which calls cannot carry.
    fn not_bearer(&self, kind: &str) -> Error {
        let (host, kind) = (url_policy::host(&self.oauth.token_url), self.quote(kind));
        let message = format!("the login server {host} of {} granted a token of the type {kind}", self.service);
        Error::new(ErrorKind::Config, message)
            .setting("/tokenUrl")
            .hint("only bearer tokens can be used: ask the vendor for the token URL that grants them")
    }

    fn quote(&self, text: &str) -> String {
        excerpt(text.as_bytes(), &self.oauth.secrets(), &self.redactor)
    }

    /// Returns the message for a response without an error code. `but` follows the status.
    fn answered(&self, but: &str, status: StatusCode, refusal: &Refusal) -> String {
        let host = url_policy::host(&self.oauth.token_url);
        let mut message = format!("the login server {host} of {} answered {status}", self.service);
        if !but.is_empty() {
            message += &format!(", {but}");
        }
        if let Some(words) = &refusal.words {
            message += &format!(": {}", self.quote(words));
        }
        message
    }

    /// Returns the error for a login server that refuses to issue a token, with the setting to look at.
    fn refused(&self, status: StatusCode, refusal: Refusal) -> Error {
        let words = refusal.words.as_deref().unwrap_or_default();
        let (kind, setting, hint) = match (refusal.code.as_deref(), status.as_u16()) {
            (Some("invalid_grant"), _) => (ErrorKind::Auth, self.oauth.grant_setting(), self.grant_hint()),
            (Some("invalid_client"), _) => self.invalid_client(words),
            (Some("invalid_scope"), _) => {
                (ErrorKind::Config, "/scopes", "check the scopes: the login server refuses them")
            }
            (Some("unauthorized_client" | "unsupported_grant_type"), _) => (
                ErrorKind::Config,
                "/flows",
                "the login server does not allow this flow for the client: choose another flow, or ask the vendor",
            ),
            (Some("access_denied"), _) => (ErrorKind::Auth, "/flows", "sign in again and grant the access"),
            // A page without a code may come from a proxy on the way.
            (None, status) if !matches!(status, 401 | 403) => (ErrorKind::Unavailable, "/tokenUrl", CHECK_TOKEN_URL),
            (Some(code), _) if TEMPORARY.contains(&code) => (ErrorKind::Unavailable, "/tokenUrl", CHECK_TOKEN_URL),
            // Without a code, another server may have answered.
            _ => (
                ErrorKind::Config,
                "/tokenUrl",
                "the sign-in is kept; check the token URL, then client ID and client secret, and look up the words of the \
                 login server in its documentation",
            ),
        };
        let host = url_policy::host(&self.oauth.token_url);
        let (message, code) = match &refusal.code {
            Some(code) => {
                let code = self.quote(code);
                let words = refusal.words.iter().map(|words| format!(" ({})", self.quote(words)));
                let message = format!("the login server {host} of {} refused: {code}", self.service);
                (message + &words.collect::<String>(), code)
            }
            None => (self.answered("but no token", status, &refusal), status.as_str().to_owned()),
        };
        let retry = if kind == ErrorKind::Unavailable { Retry::Backoff } else { Retry::Never };
        let error = Error::new(kind, message).retry(retry).setting(setting).hint(hint);
        match kind {
            // It is not known whether the login server itself has answered.
            ErrorKind::Unavailable if refusal.code.is_none() => error,
            _ => error.with_detail(ErrorDetail::TokenRefused { code: code.into() }),
        }
    }

    /// Returns kind, setting and hint of an `invalid_client` error. Login servers seldom say whether the ID or the
    /// secret is wrong; `description` may.
    fn invalid_client(&self, description: &str) -> (ErrorKind, &'static str, &'static str) {
        let description = description.to_lowercase();
        let id_phrases = ["client_id", "client id", "unknown client", "client not found", "no such client"];
        let is_id = id_phrases.iter().any(|phrase| description.contains(phrase)) && !description.contains("secret");
        let hint = match &self.oauth.client_secret {
            None => "check the client ID, and whether the vendor issued a client secret with it",
            Some(secret) if secret.expose().trim() != secret.expose() => {
                "the client secret begins or ends with white space: copy it again"
            }
            Some(_) => "check client ID and client secret, and how the vendor expects them (Client Authentication)",
        };
        (ErrorKind::Config, if is_id { "/clientId" } else { "/clientSecret" }, hint)
    }

    /// Adds the service and the login server to an error.
    pub(crate) fn with_login_server(&self, error: Error) -> Error {
        error.with("service", &self.service).with("host", url_policy::host(&self.oauth.token_url))
    }

    /// Returns the hint of an error in which the login server refuses the grant.
    pub(crate) fn grant_hint(&self) -> &'static str {
        match self.oauth.grant {
            Grant::AuthorizationCode => "sign in again: the sign-in has expired or was revoked",
            Grant::RefreshToken { .. } => "get a new refresh token from the vendor and put it into the settings",
            Grant::Password { .. } => "check user name and password by signing in to the service",
            Grant::ClientCredentials => "check client ID and client secret",
        }
    }
}

/// The transport of the `oauth2` crate.
struct TokenTransport {
    endpoint: Endpoint,
    /// The status of the last response.
    status: Arc<AtomicU16>,
}

impl<'c> AsyncHttpClient<'c> for TokenTransport {
    type Error = Error;
    type Future = BoxFuture<'static, Result<TokenHttpResponse>>;

    fn call(&'c self, request: TokenHttpRequest) -> Self::Future {
        let (endpoint, status) = (self.endpoint.clone(), self.status.clone());
        Box::pin(async move { endpoint.post(request, &status).await })
    }
}

//! The token endpoint of a login server: token requests, and the meaning of the responses (RFC 6749).
//!
//! The idea: the `oauth2` crate builds the requests and parses the error responses, and our own transport with its
//! limits sends them. Secrets go into the form or into a Basic header, never into a URL.

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
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    HttpRequest as TokenHttpRequest, HttpResponse as TokenHttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, ResourceOwnerPassword, ResourceOwnerUsername, Scope, StandardRevocableToken, TokenUrl,
    basic::{
        BasicErrorResponse, BasicErrorResponseType as Code, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse,
    },
};
use trunkline_core::{Error, ErrorDetail, ErrorKind, Redactor, Result, Retry, Secret};
use url::Url;

use super::{
    settings::{ClientAuth, Grant, OAuth},
    token_response::GrantedTokens,
};
use crate::transport::{ClientLimits, HttpChannel, HttpRequest, excerpt, exchange, retry_after, url_policy};

/// The size limit of a response of a login server in bytes.
pub(crate) const MAX_RESPONSE_SIZE: usize = 1 << 20;

/// The hint of errors that may be a fault of the login server, or that may come from a server that is not a login
/// server.
const CHECK_TOKEN_URL: &str = "the sign-in is kept; if the error persists, check the token URL";

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
            Ok(granted)
        })
    }

    /// Sends a request that the `oauth2` crate built. Failures that have nothing to do with OAuth become errors here.
    async fn post(&self, request: TokenHttpRequest, status: &AtomicU16) -> Result<TokenHttpResponse> {
        let host = url_policy::host(&self.oauth.token_url);
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| Error::new(ErrorKind::Config, "the token request is not valid").source(error))?;
        // A token of the request may be good for one use only.
        let request = HttpRequest { headers: parts.headers, fresh: true, ..HttpRequest::new(parts.method, url) };
        let payload = Bytes::from(body).into();
        let sent = exchange(&self.http, request, payload, self.limits.attempt, MAX_RESPONSE_SIZE).await;
        let reply = sent.map_err(|failure| {
            if failure.error.kind() == ErrorKind::Config {
                // The token URL is not allowed, and another try does not change that.
                return failure.error.setting("/tokenUrl");
            }
            let sent = if failure.refused { ErrorDetail::NotSent } else { ErrorDetail::MaybeSent };
            let error = match failure.error.kind() {
                // The fault is on this machine, not at the login server.
                ErrorKind::Store => failure.error,
                _ => failure.error.into_kind(ErrorKind::Unavailable),
            };
            error.retry(Retry::Backoff).with_detail(sent).setting("/tokenUrl")
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
        let mut response = TokenHttpResponse::new(reply.body.to_vec());
        // Any 2xx status with a token is accepted.
        *response.status_mut() = if reply.status.is_success() { http::StatusCode::OK } else { reply.status };
        *response.headers_mut() = reply.headers;
        Ok(response)
    }

    /// Returns the error for a response without a token, with the setting to look at.
    fn to_error(&self, error: RequestTokenError<Error, BasicErrorResponse>, status: u16) -> Error {
        let host = url_policy::host(&self.oauth.token_url);
        let refused = match error {
            RequestTokenError::Request(error) => return self.with_login_server(error),
            RequestTokenError::ServerResponse(refused) => refused,
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                let message = format!("the login server {host} of {} answered {status}, but no token", self.service);
                return Error::new(ErrorKind::Unavailable, message)
                    .retry(Retry::Backoff)
                    .with("service", &self.service)
                    .with("host", host)
                    .setting("/tokenUrl")
                    .hint(CHECK_TOKEN_URL);
            }
        };
        let (kind, setting, hint) = match refused.error() {
            Code::InvalidGrant => (ErrorKind::Auth, self.oauth.grant_setting(), self.grant_hint()),
            Code::InvalidClient => self.invalid_client(refused.error_description().map_or("", |text| text)),
            Code::InvalidScope => (ErrorKind::Config, "/scopes", "check the scopes: the login server refuses them"),
            Code::UnauthorizedClient | Code::UnsupportedGrantType => (
                ErrorKind::Config,
                "/flows",
                "the login server does not allow this flow for the client: choose another flow, or ask the vendor",
            ),
            Code::Extension(code) if code == "access_denied" => {
                (ErrorKind::Auth, "/flows", "sign in again and grant the access")
            }
            _ => (ErrorKind::Unavailable, "/tokenUrl", CHECK_TOKEN_URL),
        };
        let code = excerpt(refused.error().as_ref().as_bytes(), &self.oauth.secrets(), &self.redactor);
        let mut message = format!("the login server {host} of {} refused: {code}", self.service);
        if let Some(description) = refused.error_description().filter(|text| !text.is_empty()) {
            message += &format!(" ({})", excerpt(description.as_bytes(), &self.oauth.secrets(), &self.redactor));
        }
        let retry = if kind == ErrorKind::Unavailable { Retry::Backoff } else { Retry::Never };
        Error::new(kind, message)
            .retry(retry)
            .with_detail(ErrorDetail::TokenRefused { code: code.into() })
            .with("service", &self.service)
            .with("host", host)
            .setting(setting)
            .hint(hint)
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

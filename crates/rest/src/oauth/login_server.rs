//! The login server, which issues tokens and revokes them.
//!
//! The idea: everything that refreshes tokens talks to the trait [`LoginServer`], so tests can simulate one.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, header};
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result, Secret};

use super::{
    settings::ClientAuth,
    token_endpoint::{Endpoint, MAX_RESPONSE_SIZE, TokenRequest},
    token_response::GrantedTokens,
};
use crate::transport::{HttpRequest, at_setting, exchange, secret_header, url_policy};

/// A login server: the real token endpoint, or the simulation of a test.
pub(crate) trait LoginServer: Send + Sync {
    /// Requests tokens.
    ///
    /// # Errors
    ///
    /// The error response of the login server, or `unavailable` if there was none. It then has the detail
    /// [`ErrorDetail::NotSent`] if the request cannot have arrived, and [`ErrorDetail::MaybeSent`] otherwise.
    fn request_tokens(&self, request: TokenRequest) -> BoxFuture<'static, Result<GrantedTokens>>;
    /// Revokes a token. `type_hint` is its type as in RFC 7009 section 2.1.
    ///
    /// # Errors
    ///
    /// `unavailable` if the login server did not revoke it.
    fn revoke(&self, token: Secret, type_hint: &'static str) -> BoxFuture<'static, Result<()>>;
}

impl LoginServer for Endpoint {
    /// Repeats the request once if the first one cannot have arrived, or if a repetition is harmless. A refresh token
    /// or a code may have been used by a request whose response was lost, and each password is a sign-in that the
    /// login server counts, so those requests are not repeated.
    fn request_tokens(&self, request: TokenRequest) -> BoxFuture<'static, Result<GrantedTokens>> {
        let endpoint = self.clone();
        Box::pin(async move {
            let harmless = !endpoint.oauth.grant.spends();
            match endpoint.clone().request_once(request.clone()).await {
                Err(error) if error.has(&ErrorDetail::NotSent) => endpoint.request_once(request).await,
                Err(error) if harmless && error.has(&ErrorDetail::MaybeSent) => endpoint.request_once(request).await,
                other => other,
            }
        })
    }

    fn revoke(&self, token: Secret, type_hint: &'static str) -> BoxFuture<'static, Result<()>> {
        let endpoint = self.clone();
        Box::pin(async move {
            let Some(url) = endpoint.oauth.revocation_url.clone() else { return Ok(()) };
            let (id, secret) = (&endpoint.oauth.client_id, &endpoint.oauth.client_secret);
            let secret = secret.as_ref().map(|secret| secret.expose());
            let mut form = vec![("token", token.expose()), ("token_type_hint", type_hint)];
            let mut request = HttpRequest::new(Method::POST, url.clone());
            match endpoint.oauth.client_auth {
                ClientAuth::Basic => {
                    let credentials = format!("{}:{}", encoded(id), encoded(secret.unwrap_or_default()));
                    let basic = secret_header(&format!("Basic {}", BASE64_STANDARD.encode(credentials)))?;
                    request.headers.insert(header::AUTHORIZATION, basic);
                }
                ClientAuth::Form => {
                    form.push(("client_id", id));
                    form.extend(secret.map(|secret| ("client_secret", secret)));
                }
            }
            let body = Bytes::from(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(header::CONTENT_TYPE, form);
            let sent = exchange(&endpoint.http, request, body.into(), endpoint.limits.attempt, MAX_RESPONSE_SIZE).await;
            let reply = sent.map_err(|failure| at_setting(failure.error, "/revocationUrl"))?;
            let host = url_policy::host(&url);
            if reply.status.is_success() {
                return Ok(());
            }
            let message = format!(
                "{host} did not revoke the {} of {}: {}",
                type_hint.replace('_', " "),
                endpoint.service,
                reply.status
            );
            Err(Error::new(ErrorKind::Unavailable, message)
                .setting("/revocationUrl")
                .hint("revoke the access at the vendor, in the list of applications that may use the account"))
        })
    }
}

/// Encodes a part of a Basic header as OAuth 2 requires (RFC 6749 section 2.3.1).
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

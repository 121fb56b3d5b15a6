//! The login server: who gives tokens and takes them back.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, header};
use trunkline_core::{Error, ErrorKind, Result, Secret};

use crate::{
    ClientAuth,
    oauth::{Ask, Endpoint, LONGEST},
    token_response::GrantedTokens,
    transport, url_policy,
};

/// Who gives tokens: the token endpoint, or a test's idea of one.
pub(crate) trait LoginServer: Send + Sync {
    /// Asks for tokens.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<GrantedTokens>>;
    /// Takes a token back; the second is its kind in the words of RFC 7009.
    fn revoke(&self, token: Secret, kind: &'static str) -> BoxFuture<'static, Result<()>>;
}

impl LoginServer for Endpoint {
    /// It is asked a second time only where the first cannot have been heard, or where asking twice does no harm: a refresh
    /// token or a code may be spent by a request whose answer was lost.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<GrantedTokens>> {
        let endpoint = self.clone();
        Box::pin(async move {
            let harmless = matches!(ask, Ask::Settings);
            match endpoint.clone().ask_once(ask.clone()).await {
                Err(error) if error.context("sent") == Some("no") => endpoint.ask_once(ask).await,
                Err(error) if harmless && error.context("sent") == Some("unclear") => endpoint.ask_once(ask).await,
                other => other,
            }
        })
    }

    fn revoke(&self, token: Secret, kind: &'static str) -> BoxFuture<'static, Result<()>> {
        let endpoint = self.clone();
        Box::pin(async move {
            let Some(url) = endpoint.oauth.revocation_url.clone() else { return Ok(()) };
            let (id, secret) = (&endpoint.oauth.client_id, &endpoint.oauth.client_secret);
            let secret = secret.as_ref().map(|secret| secret.expose());
            let mut form = vec![("token", token.expose()), ("token_type_hint", kind)];
            let mut request = endpoint.http.post(url.clone());
            match endpoint.oauth.client_auth {
                ClientAuth::Basic => {
                    request = request.basic_auth(encoded(id), Some(encoded(secret.unwrap_or_default())))
                }
                ClientAuth::Form => {
                    form.push(("client_id", id));
                    form.extend(secret.map(|secret| ("client_secret", secret)));
                }
            }
            let body = Bytes::from(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            let request = request.header(header::CONTENT_TYPE, form).build();
            let request = request
                .map_err(|error| Error::new(ErrorKind::Config, "the revocation cannot be made").source(error))?;
            let sent =
                transport::exchange(&endpoint.http, request, body.into(), endpoint.limits.attempt, LONGEST).await;
            let reply = sent.map_err(|failure| failure.error.with("setting", "/revocationUrl"))?;
            let host = url_policy::host(&url);
            if reply.status.is_success() {
                return Ok(());
            }
            let message = format!(
                "{host} did not take the {} of {} back: {}",
                kind.replace('_', " "),
                endpoint.service,
                reply.status
            );
            Err(Error::new(ErrorKind::Unavailable, message)
                .setting("/revocationUrl")
                .hint("withdraw the access at the vendor, in the list of applications that may use the account"))
        })
    }
}

/// As Basic headers of OAuth 2 want their parts (RFC 6749 section 2.3.1).
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

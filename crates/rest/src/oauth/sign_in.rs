//! Sign-in in the browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), bound to one attempt by
//! `state`.
//!
//! The idea: an attempt accepts one callback, within ten minutes. The first callback with its `state` ends the attempt,
//! whatever its result, so a code is sent to the login server only once, even if the user clicks twice.

use std::borrow::Cow;

use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope, basic::BasicClient};
use subtle::ConstantTimeEq;
use trunkline_core::{Authorization, Error, ErrorKind, Redactor, Result, Secret};
use url::Url;

use super::{
    id_token::ExpectedClaims,
    settings::{Grant, OAuth},
    token_endpoint::TokenRequest,
    tokens::Tokens,
};
use crate::transport::{excerpt, url_policy};

/// Begins a sign-in. Returns the URL for the browser and the values that the callback must match. Sends nothing.
/// `tokens` are those of
/// the connection, if it uses OAuth 2. `redirect_uri` is the callback of the host; one in the settings takes
/// precedence.
///
/// # Errors
///
/// `config`, with the setting, if the connection does not use this flow or if a URL is missing or not allowed.
pub(crate) fn begin(tokens: Option<&Tokens>, service: &str, redirect_uri: &str) -> Result<Authorization> {
    let tokens = browser_tokens(tokens, service)?;
    let oauth = &tokens.endpoint().oauth;
    let url = authorization_url(oauth)?;
    let redirect_uri = oauth.redirect_uri.as_ref().map_or(redirect_uri, Url::as_str);
    let parsed = RedirectUrl::new(redirect_uri.to_owned())
        .map_err(|_| Error::new(ErrorKind::Config, "the redirect URI is not a URL").setting("/redirectUri"))?;
    url_policy::check("redirect URI", parsed.url()).map_err(|error| error.setting("/redirectUri"))?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let client = BasicClient::new(ClientId::new(oauth.client_id.clone())).set_auth_uri(AuthUrl::from_url(url));
    let mut request = client
        .authorize_url(|| CsrfToken::new_random_len(32))
        .set_redirect_uri(Cow::Owned(parsed))
        .add_scopes(oauth.scopes.iter().cloned().map(Scope::new))
        .set_pkce_challenge(challenge);
    // Only OpenID Connect defines the nonce. The ID token returns it.
    let nonce = oauth.requests_scope("openid").then(|| CsrfToken::new_random_len(32).into_secret());
    if let Some(nonce) = &nonce {
        request = request.add_extra_param("nonce", nonce.clone());
    }
    let (url, state) = request.url();
    let (state, verifier) = (state.into_secret().into(), verifier.into_secret().into());
    let begun = Authorization::new(url.into(), redirect_uri.to_owned(), state, verifier, tokens.now());
    let begun = begun.with_nonce(nonce.map(Secret::from));
    let secrets = [Some(&begun.state), Some(&begun.verifier), begun.nonce.as_ref()];
    secrets.into_iter().flatten().for_each(|secret| tokens.redactor().add(secret));
    Ok(begun)
}

/// Ends a sign-in: checks the URL of the callback, redeems the code, and stores the tokens.
///
/// # Errors
///
/// `auth` if the callback does not belong to this sign-in, came too late or a second time, or if the login server
/// refused the sign-in. `config` if the login server refused the client or the scopes, and otherwise the error of the
/// token request or of the vault.
pub(crate) async fn finish(
    tokens: Option<&Tokens>,
    service: &str,
    begun: &Authorization,
    callback: &str,
) -> Result<()> {
    let tokens = browser_tokens(tokens, service)?;
    let callback = Callback::read(begun, callback)?;
    if begun.has_expired(tokens.now()) {
        let minutes = Authorization::LASTS.as_secs() / 60;
        return Err(invalid_callback(&format!("the sign-in began more than {minutes} minutes ago")));
    }
    if !begun.answer() {
        return Err(invalid_callback("the sign-in was answered before"));
    }
    let expected_issuer = &tokens.endpoint().issuer;
    if let (Some(expected), Some(other)) = (expected_issuer, &callback.issuer)
        && expected != other
    {
        let other = excerpt(other.as_bytes(), &[], tokens.redactor());
        let message =
            format!("the sign-in to {service} was answered by the login server {other} instead of {expected}");
        return Err(Error::new(ErrorKind::Auth, message)
            .setting("/issuer")
            .hint("nothing was sent there; if it is the right one, copy it into the settings and sign in again"));
    }
    if let Some(code) = &callback.error {
        return Err(refused(service, code, callback.description.as_deref(), begun, tokens.redactor()));
    }
    let code = callback.code.filter(|code| !code.trim().is_empty()).map(Secret::from);
    let Some(code) = code else { return Err(invalid_callback("it has no code")) };
    tokens.redactor().add(&code);
    let request =
        TokenRequest::Code { code, redirect_uri: begun.redirect_uri.clone(), verifier: begun.verifier.clone() };
    let expected = ExpectedClaims {
        client_id: tokens.endpoint().oauth.client_id.clone(),
        issuer: expected_issuer.clone().or(callback.issuer),
        nonce: begun.nonce.clone(),
    };
    tokens.sign_in(request, expected).await
}

/// Returns the error of a callback with an error code (RFC 6749 section 4.1.2.1).
fn refused(service: &str, code: &str, description: Option<&str>, begun: &Authorization, redactor: &Redactor) -> Error {
    let secrets = [begun.state.clone(), begun.verifier.clone()];
    let mut message = format!("{service} ended the sign-in: {}", excerpt(code.as_bytes(), &secrets, redactor));
    if let Some(text) = description {
        message += &format!(" ({})", excerpt(text.as_bytes(), &secrets, redactor));
    }
    let error = Error::new(ErrorKind::Auth, message);
    match code {
        "access_denied" => error.hint("sign in again and grant the access"),
        "invalid_scope" => error.into_kind(ErrorKind::Config).setting("/scopes").hint("check the scopes"),
        "unauthorized_client" | "unsupported_response_type" => error
            .into_kind(ErrorKind::Config)
            .setting("/flows")
            .hint("the login server does not allow this client to sign in in the browser"),
        "server_error" | "temporarily_unavailable" => error.into_kind(ErrorKind::Unavailable).hint("try again later"),
        _ => error.hint("sign in again"),
    }
}

/// Returns the tokens of a connection whose users sign in in the browser.
fn browser_tokens<'a>(tokens: Option<&'a Tokens>, service: &str) -> Result<&'a Tokens> {
    match tokens {
        Some(tokens) if matches!(tokens.endpoint().oauth.grant, Grant::AuthorizationCode) => Ok(tokens),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("this connection to {service} does not use a sign-in in the browser"),
        )
        .setting("/flows")
        .hint("check the connection: it may work without a sign-in")),
    }
}

fn authorization_url(oauth: &OAuth) -> Result<Url> {
    oauth.authorization_url.clone().ok_or_else(|| {
        Error::new(ErrorKind::Config, "the connection has no authorization URL").setting("/authorizationUrl")
    })
}

/// The query of a callback.
#[derive(Default)]
struct Callback {
    code: Option<String>,
    error: Option<String>,
    description: Option<String>,
    issuer: Option<String>,
}

impl Callback {
    /// Reads the URL of a callback.
    ///
    /// # Errors
    ///
    /// `auth` if it is not the redirect URI of this sign-in, has a parameter twice, or has another `state`.
    fn read(begun: &Authorization, callback: &str) -> Result<Callback> {
        let found = Url::parse(callback).map_err(|_| invalid_callback("it is not a URL"))?;
        let announced = Url::parse(&begun.redirect_uri)
            .map_err(|_| invalid_callback("the redirect URI of the sign-in is not a URL"))?;
        if !url_policy::same_origin(&found, &announced) || found.path() != announced.path() {
            return Err(invalid_callback("it is not the redirect URI that was announced"));
        }
        let mut read = Callback::default();
        let mut state = None;
        for (name, value) in found.query_pairs() {
            let field = match &*name {
                "code" => &mut read.code,
                "state" => &mut state,
                "error" => &mut read.error,
                "error_description" => &mut read.description,
                "iss" => &mut read.issuer,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return Err(invalid_callback("it has a parameter twice"));
            }
        }
        match state {
            Some(state) if is_equal(&state, &begun.state) => {}
            _ => return Err(invalid_callback("it belongs to another sign-in")),
        }
        match (&read.error, read.code.as_deref().map(str::trim)) {
            (None, Some("")) => Err(invalid_callback("its code is empty")),
            _ => Ok(read),
        }
    }
}

/// Compares two secrets in a time that depends on their lengths only.
fn is_equal(one: &str, other: &Secret) -> bool {
    one.as_bytes().ct_eq(other.expose().as_bytes()).into()
}

fn invalid_callback(why: &str) -> Error {
    Error::new(ErrorKind::Auth, format!("the callback does not end this sign-in: {why}"))
        .hint("sign in again, and use the same browser for the whole sign-in")
}

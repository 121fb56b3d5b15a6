//! Sign-in in the browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), bound to one attempt by `state`.
//!
//! The idea: an attempt has one answer. It has ten minutes for it, and the first one that knows its `state` ends it, whatever
//! it says; so a code goes to the login server once, also if a person clicks twice.

use std::borrow::Cow;

use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope, basic::BasicClient};
use sha2::{Digest, Sha256};
use trunkline_core::{Authorization, Error, ErrorKind, Result, Secret};
use url::Url;

use crate::{
    auth::Signer,
    id_token::Expected,
    oauth::{Ask, Grant, OAuth},
    response::excerpt,
    tokens::Tokens,
    url_policy,
};

/// Begins a sign-in: where the browser goes, and what to hold against what it comes back with. Sends nothing.
/// `redirect_uri` is the host's own address; one in the settings goes before it.
pub(crate) fn begin(signer: &Signer, service: &str, redirect_uri: &str) -> Result<Authorization> {
    let oauth = &tokens(signer, service)?.endpoint().oauth;
    let url = authorization_url(oauth)?;
    let redirect_uri = oauth.redirect_uri.as_ref().map_or(redirect_uri, Url::as_str);
    let parsed = RedirectUrl::new(redirect_uri.to_owned())
        .map_err(|_| Error::new(ErrorKind::Config, "the redirect URI is no address").setting("/redirectUri"))?;
    url_policy::check("redirect URI", parsed.url()).map_err(|error| error.setting("/redirectUri"))?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let client = BasicClient::new(ClientId::new(oauth.client_id.clone())).set_auth_uri(AuthUrl::from_url(url));
    let mut request = client
        .authorize_url(|| CsrfToken::new_random_len(32))
        .set_redirect_uri(Cow::Owned(parsed))
        .add_scopes(oauth.scopes.iter().cloned().map(Scope::new))
        .set_pkce_challenge(challenge);
    // Only OpenID Connect knows it; there it comes back in the ID token.
    let nonce = oauth.asks_for("openid").then(|| CsrfToken::new_random_len(32).into_secret());
    if let Some(nonce) = &nonce {
        request = request.add_extra_param("nonce", nonce.clone());
    }
    let (url, state) = request.url();
    let (state, verifier) = (state.into_secret().into(), verifier.into_secret().into());
    let begun = Authorization::new(url.into(), redirect_uri.to_owned(), state, verifier);
    Ok(begun.with_nonce(nonce.map(Secret::from)))
}

/// Ends a sign-in: checks what the browser came back with, redeems the code, stores the tokens.
pub(crate) async fn finish(signer: &Signer, service: &str, begun: &Authorization, callback: &str) -> Result<()> {
    let tokens = tokens(signer, service)?;
    let callback = Callback::read(begun, callback)?;
    if begun.has_expired() {
        let minutes = Authorization::LASTS.as_secs() / 60;
        return Err(odd(&format!("it was begun more than {minutes} minutes ago")));
    }
    if !begun.answer() {
        return Err(odd("it has been answered before"));
    }
    let known = &tokens.endpoint().issuer;
    if let (Some(known), Some(said)) = (known, &callback.issuer)
        && known != said
    {
        let said = excerpt(said.as_bytes(), &[]);
        let message = format!("the sign-in to {service} was answered by the login server {said} instead of {known}");
        return Err(Error::new(ErrorKind::Auth, message).setting("/issuer").hint(
            "nothing was sent there; if it is the right one, put it into the settings as it is, and begin again",
        ));
    }
    if let Some(code) = callback.error {
        let secrets = [begun.state.clone(), begun.verifier.clone()];
        let mut message = format!("{service} ended the sign-in: {}", excerpt(code.as_bytes(), &secrets));
        if let Some(text) = callback.description {
            message += &format!(" ({})", excerpt(text.as_bytes(), &secrets));
        }
        let error = Error::new(ErrorKind::Auth, message);
        return Err(match &*code {
            "access_denied" => error.hint("sign in again and agree"),
            "invalid_scope" => error.into_kind(ErrorKind::Config).setting("/scopes").hint("check the scopes"),
            "unauthorized_client" | "unsupported_response_type" => {
                error.into_kind(ErrorKind::Config).setting("/flows").hint("this client may not sign in in the browser")
            }
            "server_error" | "temporarily_unavailable" => {
                error.into_kind(ErrorKind::Unavailable).hint("try again later")
            }
            _ => error.hint("begin the sign-in again"),
        });
    }
    let Some(code) = callback.code else { return Err(odd("it holds no code")) };
    let ask =
        Ask::Code { code: code.into(), redirect_uri: begun.redirect_uri.clone(), verifier: begun.verifier.clone() };
    let expected = Expected {
        client_id: tokens.endpoint().oauth.client_id.clone(),
        issuer: known.clone().or(callback.issuer),
        nonce: begun.nonce.clone(),
    };
    tokens.sign_in(ask, expected).await
}

fn tokens<'a>(signer: &'a Signer, service: &str) -> Result<&'a Tokens> {
    match signer {
        Signer::Tokens(tokens) if matches!(tokens.endpoint().oauth.grant, Grant::AuthorizationCode) => Ok(tokens),
        _ => {
            Err(Error::new(ErrorKind::Config, format!("this connection to {service} needs no sign-in in the browser"))
                .setting("/flows")
                .hint("a check of the connection says whether it works as it is"))
        }
    }
}

fn authorization_url(oauth: &OAuth) -> Result<Url> {
    oauth.authorization_url.clone().ok_or_else(|| {
        Error::new(ErrorKind::Config, "the connection has no authorization URL").setting("/authorizationUrl")
    })
}

/// What came back in the query of the redirect URI.
#[derive(Default)]
struct Callback {
    code: Option<String>,
    error: Option<String>,
    description: Option<String>,
    issuer: Option<String>,
}

impl Callback {
    fn read(begun: &Authorization, callback: &str) -> Result<Callback> {
        let found = Url::parse(callback).map_err(|_| odd("it is no address"))?;
        let meant = Url::parse(&begun.redirect_uri).map_err(|_| odd("its redirect URI is no address"))?;
        if !url_policy::same_origin(&found, &meant) || found.path() != meant.path() {
            return Err(odd("it is not the redirect URI that was announced"));
        }
        let mut read = Callback::default();
        let mut state = None;
        for (name, value) in found.query_pairs() {
            let slot = match &*name {
                "code" => &mut read.code,
                "state" => &mut state,
                "error" => &mut read.error,
                "error_description" => &mut read.description,
                "iss" => &mut read.issuer,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(odd("it says something twice"));
            }
        }
        match state {
            Some(state) if same(&state, &begun.state) => Ok(read),
            _ => Err(odd("it belongs to another sign-in")),
        }
    }
}

/// Compares in a time that says nothing about where the two differ.
fn same(one: &str, other: &Secret) -> bool {
    Sha256::digest(one) == Sha256::digest(other.expose())
}

fn odd(why: &str) -> Error {
    Error::new(ErrorKind::Auth, format!("what the browser came back with does not end this sign-in: {why}"))
        .hint("begin the sign-in again, and end it in the same browser")
}

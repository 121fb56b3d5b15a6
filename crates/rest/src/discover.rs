//! What a login server says of itself (OpenID Connect Discovery 1.0, RFC 8414): the addresses a connection needs.
//!
//! The idea: a person knows one address of a login server and should not have to find the others. What comes back decides
//! where secrets will be sent, so it is believed only as far as it speaks of the server that was asked.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::{Error, ErrorKind, Result, Retry};
use url::Url;

use crate::{ClientAuth, response::excerpt, ssrf::SsrfPolicy, transport, url_policy};

/// Where the document is, below the issuer.
const PLACE: &str = "/.well-known/openid-configuration";

/// Longest document in bytes.
const LONGEST: usize = 256 << 10;

/// Time for the whole answer.
const TIME: Duration = Duration::from_secs(20);

/// A login server as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Who it is, spelled as in what it sends.
    pub issuer: String,
    /// Where tokens come from.
    pub token_url: Url,
    /// Where a person signs in.
    pub authorization_url: Option<Url>,
    /// Where tokens are withdrawn (RFC 7009).
    pub revocation_url: Option<Url>,
    /// Where a token's owner can be asked for.
    pub user_info_url: Option<Url>,
    /// Scopes it tells of; there may be others.
    pub scopes: Vec<String>,
    /// Grant types it takes.
    pub grants: Vec<String>,
    /// How it wants client ID and secret: as form fields if that will do.
    pub client_auth: ClientAuth,
}

impl Discovered {
    /// As settings of a connection, under the names that connectors give them; what the login server does not have is none.
    pub fn settings(&self) -> Map<String, Value> {
        let all = json!({
            "tokenUrl": self.token_url,
            "authorizationUrl": self.authorization_url,
            "issuer": self.issuer,
            "revocationUrl": self.revocation_url,
            "clientAuthentication": self.client_auth,
        });
        let all = all.as_object().into_iter().flatten();
        all.filter(|(_, one)| !one.is_null()).map(|(name, one)| (name.clone(), one.clone())).collect()
    }
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    grant_types_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Asks a login server for its addresses; one in a private network or on this machine only if that is allowed. `issuer` is its own address, such as `https://login.example.com`; with the path of
/// the document behind it, it will do as well.
///
/// # Errors
/// Of kind `invalid_input` where the address cannot be asked, `not_found` where no document is there, `unavailable` where
/// nobody answers, `unexpected` where what is there is no document of this login server: it names another issuer, or an
/// address that is not https.
pub async fn discover(issuer: &str, private_network: bool) -> Result<Discovered> {
    let asked = issuer.trim();
    // The document of an issuer with a slash at its end is the same one (section 4.1).
    let asked = asked.strip_suffix(PLACE).unwrap_or(asked).trim_end_matches('/');
    let hint = "write it as https://host/path, as the vendor calls its issuer or authority";
    let base = Url::parse(asked).map_err(|_| {
        let said = excerpt(asked.as_bytes(), &[]);
        Error::new(ErrorKind::InvalidInput, format!("`{said}` is no address of a login server")).hint(hint)
    })?;
    url_policy::check_base("issuer", &base).map_err(|error| error.into_kind(ErrorKind::InvalidInput))?;
    let url = Url::parse(&format!("{asked}{PLACE}")).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "the issuer is no address that a path can follow").hint(hint).source(error)
    })?;
    let host = url_policy::host(&url);
    let document = fetch(url, &host, &SsrfPolicy::new(private_network, Vec::new()))
        .await
        .map_err(|error| error.with("issuer", asked).with("host", &host))?;
    read(&document, asked, &base).map_err(|error| error.with("issuer", asked).with("host", &host))
}

async fn fetch(url: Url, host: &str, guard: &SsrfPolicy) -> Result<Bytes> {
    guard.check("issuer", &url)?;
    let mut request = reqwest::Request::new(Method::GET, url);
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let sent = transport::exchange(&transport::api(guard)?, request, Bytes::new().into(), TIME, LONGEST).await;
    let reply = sent.map_err(|failure| match failure.error.kind() {
        ErrorKind::Limit => odd(host, &format!("it is longer than {LONGEST} bytes")),
        _ => failure.error,
    })?;
    let status = reply.status;
    if status.is_success() {
        return Ok(reply.body);
    }
    let failed = |kind, hint| Err(Error::new(kind, format!("the login server {host} answered {status}")).hint(hint));
    match status.as_u16() {
        // Not followed: whoever it points to was not asked for.
        300..400 => failed(
            ErrorKind::Unexpected,
            "redirects are not followed: open the address in a browser, and ask where it ends if you trust that",
        ),
        429 | 500.. => failed(ErrorKind::Unavailable, "try again later").map_err(|error| error.retry(Retry::Backoff)),
        _ => failed(
            ErrorKind::NotFound,
            "check the issuer; if the login server has no discovery, the vendor's documentation has its addresses",
        ),
    }
}

fn read(document: &[u8], asked: &str, base: &Url) -> Result<Discovered> {
    let host = url_policy::host(base);
    let document: Document =
        serde_json::from_slice(document).map_err(|error| odd(&host, "it cannot be read").source(error))?;
    if document.issuer.trim_end_matches('/') != asked {
        let said = excerpt(document.issuer.as_bytes(), &[]);
        return Err(odd(&host, &format!("it is the one of {said}, not of {asked}")));
    }
    let address = |what: &str, text: Option<String>| -> Result<Option<Url>> {
        let Some(text) = text else { return Ok(None) };
        let bad = |why: &str| odd(&host, &format!("its {what} {why}"));
        let url = Url::parse(&text).map_err(|_| bad("is no address"))?;
        url_policy::check(what, &url).map_err(|error| bad("is not one that secrets may go to").source(error))?;
        // A server on the net has no business on this machine.
        if url.scheme() != base.scheme() && url.scheme() != "https" {
            return Err(bad("is on this machine, and the login server is not"));
        }
        Ok(Some(url))
    };
    let token_url = address("token endpoint", document.token_endpoint)?;
    let methods = document.token_endpoint_auth_methods_supported;
    let by_form = methods.is_some_and(|methods| methods.iter().any(|one| one == "client_secret_post"));
    Ok(Discovered {
        token_url: token_url.ok_or_else(|| odd(&host, "it has no token endpoint"))?,
        authorization_url: address("authorization endpoint", document.authorization_endpoint)?,
        revocation_url: address("revocation endpoint", document.revocation_endpoint)?,
        user_info_url: address("user-info endpoint", document.userinfo_endpoint)?,
        scopes: document.scopes_supported,
        // What goes without saying (section 3).
        grants: document.grant_types_supported.unwrap_or_else(|| vec!["authorization_code".to_owned()]),
        client_auth: if by_form { ClientAuth::Form } else { ClientAuth::Basic },
        issuer: document.issuer,
    })
}

fn odd(host: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("what {host} has is no discovery document of this login server: {why}"))
        .hint("check the issuer with the vendor; its documentation has the addresses, too")
}

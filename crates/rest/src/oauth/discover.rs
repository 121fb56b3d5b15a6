//! Discovery of the URLs of a login server from its issuer (OpenID Connect Discovery 1.0, RFC 8414).
//!
//! The idea: a user knows one URL of a login server and should not have to find the others. The document decides where
//! secrets are sent, so it is accepted only if it names the issuer that was asked, and only secure URLs.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use trunkline_core::{Error, ErrorKind, Redactor, Result, Retry};
use url::Url;

use super::settings::ClientAuth;
use crate::{
    environment::HttpEnvironment,
    transport::{self, HttpChannel, HttpRequest, SsrfPolicy, excerpt, url_policy},
};

/// The path of the document below the issuer.
const DOCUMENT_PATH: &str = "/.well-known/openid-configuration";

/// The size limit of the document in bytes.
const MAX_SIZE: usize = 256 << 10;

/// The time limit of the request, including the response body.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A login server as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The issuer, spelled as in the document.
    pub issuer: String,
    /// The token endpoint.
    pub token_url: Url,
    /// The authorization endpoint, where users sign in.
    pub authorization_url: Option<Url>,
    /// The revocation endpoint (RFC 7009).
    pub revocation_url: Option<Url>,
    /// The user-info endpoint.
    pub user_info_url: Option<Url>,
    /// The scopes that the document lists; the server may support others.
    pub scopes: Vec<String>,
    /// The supported grant types.
    pub grants: Vec<String>,
    /// How the client sends its ID and secret: as form fields if the server accepts that.
    pub client_auth: ClientAuth,
}

impl Discovered {
    /// Returns the settings of a connection, under the names that connectors give them. Settings for endpoints that the
    /// login server does not have are left out.
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

/// The pause before a refusal is checked once more.
const CONFIRM: Duration = Duration::from_secs(1);

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

/// Reads the discovery document of a login server with the transport of this environment.
///
/// `issuer` is the URL of the login server, such as `https://login.example.com`, with or without the path of the
/// document. `private_network` allows a login server in a private network or on this machine.
///
/// # Errors
///
/// - `invalid_input` if the issuer is not a URL that may be used: not https, or with a user name, a query or a fragment
/// - `config` if the issuer leads to a private address and `private_network` is false, or if the environment does not
///   allow its host or private networks
/// - `not_found` if there is no document
/// - `unavailable` if the login server does not respond or is down
/// - `unexpected` if the response is not a document of this login server: it cannot be read, is too long, is a
///   redirect, or names another issuer or a URL that is not https
pub async fn discover(environment: &HttpEnvironment, issuer: &str, private_network: bool) -> Result<Discovered> {
    environment.network().check_private(private_network)?;
    let ssrf = SsrfPolicy::new(private_network, Vec::new(), environment.network().clone());
    discover_over(&HttpChannel::api(environment.transport(), &ssrf), &ssrf, issuer).await
}

/// Reads the discovery document over the channel of a client, see [`discover`].
pub(crate) async fn discover_over(channel: &HttpChannel, ssrf: &SsrfPolicy, issuer: &str) -> Result<Discovered> {
    let issuer_url = issuer.trim();
    // An issuer with a slash at its end has the same document (section 4.1).
    let issuer_url = issuer_url.strip_suffix(DOCUMENT_PATH).unwrap_or(issuer_url).trim_end_matches('/');
    let hint = "write it as https://host/path; the vendor calls it issuer or authority";
    let base = Url::parse(issuer_url).map_err(|_| {
        let excerpt = excerpt(issuer_url.as_bytes(), &[], &Redactor::default());
        Error::new(ErrorKind::InvalidInput, format!("`{excerpt}` is not the URL of a login server")).hint(hint)
    })?;
    url_policy::check_base("issuer", &base).map_err(|error| error.into_kind(ErrorKind::InvalidInput))?;
    let url = Url::parse(&format!("{issuer_url}{DOCUMENT_PATH}")).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "a path cannot be appended to the issuer").hint(hint).source(error)
    })?;
    let host = url_policy::host(&url);
    let document =
        fetch(channel, url, &host, ssrf).await.map_err(|error| error.with("issuer", issuer_url).with("host", &host))?;
    read(&document, issuer_url, &base).map_err(|error| error.with("issuer", issuer_url).with("host", &host))
}

async fn fetch(channel: &HttpChannel, url: Url, host: &str, ssrf: &SsrfPolicy) -> Result<Bytes> {
    ssrf.check("issuer", &url)?;
    let ask = || async {
        let mut request = HttpRequest::new(Method::GET, url.clone());
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let sent = transport::exchange(channel, request, Bytes::new().into(), TIMEOUT, MAX_SIZE).await;
        sent.map_err(|failure| match failure.error.kind() {
            ErrorKind::Limit => invalid_document(host, &format!("it is longer than {MAX_SIZE} bytes")),
            _ => failure.error,
        })
    };
    let mut reply = ask().await?;
    if reply.status.is_client_error() || reply.status.is_server_error() {
        // One refusal may be a hiccup, such as a server that starts.
        sleep(CONFIRM).await;
        reply = ask().await?;
    }
    let status = reply.status;
    if status.is_success() {
        return Ok(reply.body);
    }
    let failed = |kind, hint| Err(Error::new(kind, format!("the login server {host} answered {status}")).hint(hint));
    match status.as_u16() {
        // Not followed: the caller did not name the server that it points to.
        300..400 => failed(
            ErrorKind::Unexpected,
            "redirects are not followed: open the URL in a browser, and use the final URL if you trust it",
        ),
        429 | 500.. => failed(ErrorKind::Unavailable, "try again later").map_err(|error| error.retry(Retry::Backoff)),
        _ => failed(
            ErrorKind::NotFound,
            "check the issuer; if there is no discovery document, the URLs are in the vendor's documentation",
        ),
    }
}

fn read(document: &[u8], issuer_url: &str, base: &Url) -> Result<Discovered> {
    let host = url_policy::host(base);
    let document: Document =
        serde_json::from_slice(document).map_err(|error| invalid_document(&host, "it cannot be read").source(error))?;
    if document.issuer.trim_end_matches('/') != issuer_url {
        let other = excerpt(document.issuer.as_bytes(), &[], &Redactor::default());
        return Err(invalid_document(&host, &format!("it belongs to {other}, not to {issuer_url}")));
    }
    let endpoint = |what: &str, text: Option<String>| -> Result<Option<Url>> {
        let Some(text) = text else { return Ok(None) };
        let bad = |why: &str| invalid_document(&host, &format!("its {what} {why}"));
        let url = Url::parse(&text).map_err(|_| bad("is not a URL"))?;
        url_policy::check(what, &url).map_err(|error| bad("must not receive secrets").source(error))?;
        // A public login server must not lead to a service on this machine.
        if url.scheme() != base.scheme() && url.scheme() != "https" {
            return Err(bad("is on this machine, and the login server is not"));
        }
        Ok(Some(url))
    };
    let token_url = endpoint("token endpoint", document.token_endpoint)?;
    let methods = document.token_endpoint_auth_methods_supported;
    let by_form = methods.is_some_and(|methods| methods.iter().any(|one| one == "client_secret_post"));
    Ok(Discovered {
        token_url: token_url.ok_or_else(|| invalid_document(&host, "it has no token endpoint"))?,
        authorization_url: endpoint("authorization endpoint", document.authorization_endpoint)?,
        revocation_url: endpoint("revocation endpoint", document.revocation_endpoint)?,
        user_info_url: endpoint("user-info endpoint", document.userinfo_endpoint)?,
        scopes: document.scopes_supported,
        // The default (section 3).
        grants: document.grant_types_supported.unwrap_or_else(|| vec!["authorization_code".to_owned()]),
        client_auth: if by_form { ClientAuth::Form } else { ClientAuth::Basic },
        issuer: document.issuer,
    })
}

fn invalid_document(host: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("the response of {host} is not a discovery document of this login server: {why}"),
    )
    .hint("check the issuer with the vendor; the URLs are also in its documentation")
}

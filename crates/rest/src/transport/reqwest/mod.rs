//! The transport on `reqwest` with `rustls`: the default. Types of `reqwest` appear in this module only.

mod failure;
mod proxies;
mod resolver;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use trunkline_core::{Error, ErrorKind, Result, async_trait};

use self::{failure::Peer, proxies::Proxies, resolver::Resolver};
use super::{
    CONNECT,
    http_transport::{HttpBody, HttpRequest, HttpResponse, HttpTransport, TransportFailure, TransportOptions},
    url_policy,
};

/// Connections that were idle for longer are not reused: the server may be about to close them, and a call would have
/// to be repeated.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Sends requests with `reqwest`. It keeps connections open for the next request to the same host, and uses the proxies
/// that the environment names.
#[derive(Default)]
pub struct ReqwestTransport(Mutex<Clients>);

#[derive(Default)]
struct Clients {
    by_key: HashMap<ClientKey, reqwest::Client>,
    /// The proxies of the environment, which are read once.
    proxies: Option<Arc<Proxies>>,
    /// The settings of TLS with the certificates of the system, which are read once.
    tls: Option<ClientConfig>,
}

/// What distinguishes the clients of reqwest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    options: TransportOptions,
    /// Whether each request has a connection of its own.
    fresh: bool,
}

impl ReqwestTransport {
    #[cfg(test)]
    fn with_proxies(proxies: Proxies) -> ReqwestTransport {
        ReqwestTransport(Mutex::new(Clients { proxies: Some(Arc::new(proxies)), ..Clients::default() }))
    }

    /// Returns the client for these requests and its proxies. It is made at its first use.
    ///
    /// # Errors
    ///
    /// `config` if a variable for proxies has a value that cannot be used: requests would go past the proxy.
    fn client(&self, key: ClientKey) -> Result<(reqwest::Client, Arc<Proxies>)> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let proxies = match &clients.proxies {
            Some(proxies) => proxies.clone(),
            None => clients.proxies.insert(Arc::new(Proxies::of_environment()?)).clone(),
        };
        if let Some(client) = clients.by_key.get(&key) {
            return Ok((client.clone(), proxies));
        }
        let tls = match &clients.tls {
            Some(tls) => tls.clone(),
            None => clients.tls.insert(tls()?).clone(),
        };
        let client = client(key, tls, &proxies)?;
        clients.by_key.insert(key, client.clone());
        Ok((client, proxies))
    }
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn send(&self, request: HttpRequest, options: TransportOptions) -> Result<HttpResponse, TransportFailure> {
        let key = ClientKey { options, fresh: request.fresh };
        let (client, proxies) = self.client(key).map_err(|error| TransportFailure { error, maybe_received: false })?;
        let peer = Peer {
            host: url_policy::host(&request.url),
            proxy: proxies.proxy_for(&request.url).map(|proxy| (proxy.to_string(), proxy.variable)),
        };
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        *sent.body_mut() = request.body.map(|body| match body {
            HttpBody::Bytes(bytes) => bytes.into(),
            HttpBody::Stream(stream) => reqwest::Body::wrap_stream(stream),
        });
        let mut response = client.execute(sent).await.map_err(|error| failure::failed(&peer, error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let body = response.bytes_stream().map_err(move |error| failure::cut(&peer, error));
        Ok(HttpResponse { status, headers, body: Box::pin(body) })
    }
}

/// Makes a client. It follows no redirects, because a custom header with a key would be sent along.
fn client(key: ClientKey, tls: ClientConfig, proxies: &Arc<Proxies>) -> Result<reqwest::Client> {
    let chosen = proxies.clone();
    let built = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .proxy(reqwest::Proxy::custom(move |url| chosen.proxy_for(url).map(|proxy| proxy.url.clone())))
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(Arc::new(Resolver::new(key.options.private_network, proxies.clone())))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(if key.fresh { 0 } else { usize::MAX })
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(unusable)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(error)
}

/// Returns the settings of TLS, with the certificates of the system and the protocols that the clients speak.
fn tls() -> Result<ClientConfig> {
    set_crypto();
    let builder = ClientConfig::builder().with_platform_verifier().map_err(unusable)?;
    let mut tls = builder.with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Installs the cryptography of TLS for this process, unless the host has installed another. Every client needs it.
fn set_crypto() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // An error means that the host has installed one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

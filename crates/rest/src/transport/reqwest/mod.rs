//! The transport on `reqwest` with `rustls`: the default. Types of `reqwest` appear in this module only.

mod failure;
mod resolver;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use reqwest::redirect::Policy;
use trunkline_core::{Error, ErrorKind, Result, async_trait};

use self::resolver::Resolver;
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
pub struct ReqwestTransport(Mutex<HashMap<ClientKey, reqwest::Client>>);

/// What distinguishes the clients of reqwest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    options: TransportOptions,
    /// Whether each request has a connection of its own.
    fresh: bool,
}

impl ReqwestTransport {
    /// Returns the client for these requests. It is made at its first use.
    fn client(&self, key: ClientKey) -> Result<reqwest::Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = client(key)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn send(&self, request: HttpRequest, options: TransportOptions) -> Result<HttpResponse, TransportFailure> {
        let key = ClientKey { options, fresh: request.fresh };
        let client = self.client(key).map_err(|error| TransportFailure { error, maybe_received: false })?;
        let host = url_policy::host(&request.url);
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        *sent.body_mut() = request.body.map(|body| match body {
            HttpBody::Bytes(bytes) => bytes.into(),
            HttpBody::Stream(stream) => reqwest::Body::wrap_stream(stream),
        });
        let mut response = client.execute(sent).await.map_err(|error| failure::failed(&host, error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let body = response.bytes_stream().map_err(move |error| failure::cut(&host, error));
        Ok(HttpResponse { status, headers, body: Box::pin(body) })
    }
}

/// Makes a client. It follows no redirects, because a custom header with a key would be sent along.
fn client(key: ClientKey) -> Result<reqwest::Client> {
    set_crypto();
    let builder = reqwest::Client::builder();
    let builder = if resolver::passes_proxies_by() { builder.no_proxy() } else { builder };
    let built = builder
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(Arc::new(Resolver::new(key.options.private_network)?))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(if key.fresh { 0 } else { usize::MAX })
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(|error| Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(error))
}

/// Installs the cryptography of TLS for this process, unless the host has installed another. Every client needs it.
fn set_crypto() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // An error means that the host has installed one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

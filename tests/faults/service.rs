//! Services of this suite: one with a rate limit, and one with an untrusted certificate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// The time until a client has read a response: calls after it have to respect the throttle.
const DELIVERY_TIME: Duration = Duration::from_millis(100);

const WINDOW: Duration = Duration::from_secs(1);

/// The calls that a service received.
#[derive(Default)]
pub(crate) struct CallLog {
    /// Paths of the accepted calls, in order.
    pub(crate) taken: Vec<String>,
    pub(crate) throttled: usize,
    /// Calls that arrived before the time in `Retry-After`.
    pub(crate) too_early: usize,
    pub(crate) under_way: usize,
    pub(crate) most_under_way: usize,
    window: u128,
    left: usize,
    closed: Option<(Instant, Instant)>,
}

/// A service that accepts `a_second` calls in each second, and responds 429 with `Retry-After` to the rest.
pub(crate) struct Service {
    pub(crate) base: String,
    pub(crate) seen: Arc<Mutex<CallLog>>,
}

impl Service {
    pub(crate) async fn start(a_second: usize) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(CallLog { left: a_second, ..CallLog::default() }));
        let (begun, shared) = (Instant::now(), seen.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = shared.clone();
                tokio::spawn(async move {
                    let mut request = [0; 8192];
                    loop {
                        let Ok(read @ 1..) = stream.read(&mut request).await else { return };
                        let text = String::from_utf8_lossy(&request[..read]).into_owned();
                        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                        let answer = seen.lock().unwrap().answer(begun, a_second, path);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        seen.lock().unwrap().under_way -= 1;
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Service { base, seen }
    }
}

impl CallLog {
    fn answer(&mut self, begun: Instant, a_second: usize, path: String) -> &'static str {
        let now = Instant::now();
        self.under_way += 1;
        self.most_under_way = self.most_under_way.max(self.under_way);
        if self.closed.is_some_and(|(from, until)| now > from && now < until) {
            self.too_early += 1;
        }
        let window = (now - begun).as_millis() / WINDOW.as_millis();
        if window > self.window {
            (self.window, self.left) = (window, a_second);
        }
        if self.left == 0 {
            self.throttled += 1;
            let until = (now + WINDOW).max(self.closed.map_or(now, |(_, until)| until));
            self.closed = Some((now + DELIVERY_TIME, until));
            return "HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
        }
        self.left -= 1;
        self.taken.push(path);
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    }
}

/// A TLS server with a certificate for `name` by its own authority, and the number of connections.
pub(crate) struct Tls {
    pub(crate) port: u16,
    /// Certificate of the authority, as PEM.
    pub(crate) authority: String,
    pub(crate) knocks: Arc<AtomicUsize>,
}

impl Tls {
    pub(crate) async fn start(name: &str) -> Tls {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, knocks) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = knocks.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.ok();
                    }
                });
            }
        });
        Tls { port, authority: pem, knocks }
    }
}

//! Simulators of two digital asset management systems, MediaValet and Mediaflow, with their login servers, MediaValet's
//! blob storage and Mediaflow's download host. One process on loopback serves all of them, for demos and tests.
//!
//! The simulators are strict. They reject what the real services would reject, and they also detect mistakes that the
//! real services might not (a bearer token sent to the storage, a replayed authorization code). Faults can be switched
//! on. With a state folder, every change that a client has received a response for survives a crash of the process.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use trunkline_sandbox::{Options, Sandbox};
//!
//! let sandbox = Sandbox::start(Options { files: 20, ..Options::default() }).await?;
//! println!("{}", sandbox.endpoints().mediaflow.endpoint_url);
//! assert_eq!(sandbox.report().source_files, 20);
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

mod api_error;
mod asset;
mod asset_filter;
mod asset_search;
mod asset_writes;
mod blob;
mod categories;
mod check_in;
mod control;
mod downloads;
mod faults;
mod files;
mod http;
mod library;
mod login;
mod mediaflow;
mod mediaflow_rows;
mod mediavalet;
mod mediavalet_rows;
mod options;
mod report;
mod request_log;
mod signature;
mod state;
mod throttled_stream;
mod token_endpoint;
mod tokens;
mod uploads;
mod webhooks;
mod zip;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use faults::Faults;
pub use options::{
    Credentials, Endpoint, Endpoints, MediaflowCredentials, MediavaletCredentials, Options, RefreshPolicy,
};
pub use report::Report;

use http::{Call, HttpResponse};
use library::Library;
use state::{Event, StateStore};

/// The shared context of all request handlers.
#[derive(Debug)]
pub(crate) struct App {
    options: Options,
    credentials: Credentials,
    endpoints: Endpoints,
    /// The base URL `http://ADDRESS`, without a trailing slash.
    base: String,
    library: Library,
    state: StateStore,
    fault_injector: faults::FaultInjector,
    /// The number of signed blob URLs issued so far.
    signed_urls: AtomicU64,
}

impl App {
    /// Counts a credential that arrived at a host where no credential may be sent.
    pub(crate) fn count_leak(&self) {
        self.state.with(|state| state.record(Event::Fault("credential_leak".to_owned())));
    }
}

/// The services that share the listener, each below its own base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    Mediaflow,
    MediaflowLogin,
    MediaflowFiles,
    Mediavalet,
    MediavaletLogin,
    Blob,
    /// The sandbox's own pages.
    Sandbox,
    /// A path outside all services: the response is 404.
    Unknown,
}

impl Service {
    const BASES: [(&'static str, Service); 6] = [
        ("/mediaflow/1", Service::Mediaflow),
        ("/mediaflow-login", Service::MediaflowLogin),
        ("/mediaflow-files", Service::MediaflowFiles),
        ("/mediavalet", Service::Mediavalet),
        ("/mediavalet-login", Service::MediavaletLogin),
        ("/blob", Service::Blob),
    ];

    /// Returns the service that serves `path`.
    pub(crate) fn of(path: &str) -> Service {
        if path == "/" || path.starts_with("/_sandbox/") {
            return Service::Sandbox;
        }
        let under = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Service::BASES.iter().find(|(base, _)| under(base)).map_or(Service::Unknown, |(_, service)| *service)
    }

    fn base(self) -> &'static str {
        Service::BASES.iter().find(|(_, service)| *service == self).map_or("", |(base, _)| base)
    }

    pub(crate) fn is_api(self) -> bool {
        matches!(self, Service::Mediaflow | Service::Mediavalet)
    }

    pub(crate) fn is_faultable(self) -> bool {
        self.is_api() || matches!(self, Service::Blob | Service::MediaflowFiles)
    }
}

/// A running sandbox.
///
/// Dropping it is like killing the process: connections break, and a state folder keeps its content.
#[derive(Debug)]
pub struct Sandbox {
    app: Arc<App>,
    address: SocketAddr,
    listener: throttled_stream::SharedListener,
    shutdown: watch::Sender<bool>,
    closed: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts the services on `options.bind` and serves until [`stop`](Sandbox::stop) or drop.
    ///
    /// # Errors
    ///
    /// The error of the operating system if the address cannot be bound or the state folder cannot be read or written,
    /// and [`io::ErrorKind::InvalidData`] if a line of the state folder's log is not a valid event.
    pub async fn start(options: Options) -> io::Result<Sandbox> {
        let listener = TcpListener::bind(options.bind).await?;
        let address = listener.local_addr()?;
        let shown = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
        let base = format!("http://{}", SocketAddr::new(shown, address.port()));
        let library = Library::new(&options);
        let credentials = Credentials::default();
        let mut seed = asset::seed(&library, options.refusals);
        seed.push(token_endpoint::server_key(&credentials));
        let state = StateStore::open(options.state.as_deref(), seed)?;
        let app = Arc::new(App {
            fault_injector: faults::FaultInjector::new(options.seed, options.faults.clone()),
            endpoints: Endpoints::at(&base),
            options,
            credentials,
            base,
            library,
            state,
            signed_urls: AtomicU64::default(),
        });
        let closed = Arc::new(AtomicBool::new(false));
        let (shutdown, mut ended) = watch::channel(false);
        let router = Router::new()
            .fallback(dispatch)
            .layer(axum::middleware::from_fn_with_state(app.clone(), faults::inject))
            .with_state(app.clone())
            .into_make_service_with_connect_info::<throttled_stream::ByteLimit>();
        let listener = Arc::new(Mutex::new(Some(listener)));
        let throttled = throttled_stream::SandboxListener::new(listener.clone(), address, closed.clone());
        let server = tokio::spawn(async move {
            let serving = axum::serve(throttled, router).with_graceful_shutdown(async move {
                let _ = ended.wait_for(|ended| *ended).await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "sandbox: the server has stopped");
            }
        });
        Ok(Sandbox { app, address, listener, shutdown, closed, server: Some(server) })
    }

    /// Returns the address of the listener, with the port that was chosen if `bind` had port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URLs of both systems.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        self.app.endpoints.clone()
    }

    /// Returns the credentials that the systems accept.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.app.credentials.clone()
    }

    /// Returns two connection documents, first Mediaflow, then MediaValet. They are also served at `GET
    /// /_sandbox/settings`.
    #[must_use]
    pub fn settings(&self) -> Vec<serde_json::Value> {
        options::settings(&self.app.endpoints, &self.app.credentials)
    }

    /// Returns the id of the Mediaflow folder that contains all files.
    #[must_use]
    pub fn root_folder(&self) -> i64 {
        mediaflow_rows::ROOT_FOLDER
    }

    /// Returns the id of the MediaValet category that demos and tests migrate to.
    #[must_use]
    pub fn category(&self) -> String {
        asset::TARGET_CATEGORY.to_string()
    }

    /// Replaces the faults in force, and starts their counts from zero.
    pub fn set_faults(&self, faults: Faults) {
        self.app.fault_injector.set(faults);
    }

    /// Expires all access tokens of both systems: the next call that uses one gets status 401.
    pub fn expire_tokens(&self) {
        self.app.state.with(|state| state.record(Event::ExpireAccess));
    }

    /// Returns the counts so far, including what a state folder restored.
    ///
    /// The call may compute SHA-256 digests of source files: some milliseconds per megabyte, once for each file.
    #[must_use]
    pub fn report(&self) -> Report {
        report::report(&self.app)
    }

    /// Returns the SHA-256 of the current file of each MediaValet asset with this file name, in lower-case hexadecimal
    /// digits. The digest is empty for an asset that was in the library from the start.
    pub fn sha256(&self, filename: &str) -> Vec<String> {
        self.app.state.with(|state| {
            let files = state.assets.values().filter_map(|asset| asset.current.as_ref());
            let named = files.filter(|file| file.filename == filename);
            named.filter_map(|file| Some(state.blobs.get(&file.id)?.content.as_ref()?.sha256.clone())).collect()
        })
    }

    /// Stops the sandbox. Running requests have two seconds to finish, and a temporary state folder is removed.
    pub async fn stop(mut self) {
        let _ = self.shutdown.send(true);
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(Duration::from_secs(2), &mut server).await.is_err()
        {
            server.abort();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.shutdown.send(true);
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.app.state.close();
    }
}

async fn dispatch(Shared(app): Shared<Arc<App>>, request: Request) -> HttpResponse {
    let service = Service::of(request.uri().path());
    let Some(call) = Call::new(request, service.base()) else { return http::empty(400) };
    match service {
        Service::Mediaflow => mediaflow::serve(&app, call).await,
        Service::MediaflowLogin | Service::MediavaletLogin => login::serve(&app, service, call).await,
        Service::MediaflowFiles => files::serve(&app, call).await,
        Service::Mediavalet => mediavalet::serve(&app, call).await,
        Service::Blob => blob::serve(&app, call).await,
        Service::Sandbox => control::serve(&app, call).await,
        Service::Unknown => http::empty(404),
    }
}

//! Look-alikes of two digital asset management systems, MediaValet and Mediaflow, with their login servers, MediaValet's
//! blob storage and Mediaflow's download host, in one process on loopback.
//!
//! They are strict: they refuse what the real services would refuse, and notice what those might not (a bearer token sent
//! to the storage, a replayed code). Faults can be switched on, and a state folder makes everything that was answered
//! survive the death of the process.
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
mod requests;
mod signature;
mod state;
mod token_endpoint;
mod tokens;
mod uploads;
mod webhooks;
mod wire;
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

use http::{Answer, Call};
use library::Library;
use state::{Event, State};

/// What every handler can reach.
#[derive(Debug)]
pub(crate) struct App {
    options: Options,
    credentials: Credentials,
    endpoints: Endpoints,
    /// `http://address`, without a slash at the end.
    base: String,
    library: Library,
    state: State,
    guard: faults::Guard,
    /// Signed addresses of blobs that were handed out.
    addresses: AtomicU64,
}

impl App {
    /// A credential arrived where none may be sent.
    pub(crate) fn count_leak(&self) {
        self.state.with(|world| world.record(Event::Fault("credential_leak".to_owned())));
    }
}

/// The services on the listener.
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
    /// Nothing is served there.
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

/// A running sandbox. Dropping it is like killing the process: connections break, and a state folder stays as it is.
#[derive(Debug)]
pub struct Sandbox {
    app: Arc<App>,
    address: SocketAddr,
    socket: wire::Socket,
    shutdown: watch::Sender<bool>,
    closed: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Listens and serves until [`stop`](Sandbox::stop) or drop.
    ///
    /// # Errors
    /// The address cannot be bound, or the state folder cannot be read or written.
    pub async fn start(options: Options) -> io::Result<Sandbox> {
        let listener = TcpListener::bind(options.bind).await?;
        let address = listener.local_addr()?;
        let shown = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
        let base = format!("http://{}", SocketAddr::new(shown, address.port()));
        let library = Library::new(&options);
        let credentials = Credentials::default();
        let mut seed = asset::seed(&library, options.refusals);
        seed.push(token_endpoint::server_key(&credentials));
        let state = State::open(options.state.as_deref(), seed)?;
        let app = Arc::new(App {
            guard: faults::Guard::new(options.seed, options.faults.clone()),
            endpoints: Endpoints::at(&base),
            options,
            credentials,
            base,
            library,
            state,
            addresses: AtomicU64::default(),
        });
        let closed = Arc::new(AtomicBool::new(false));
        let (shutdown, mut ended) = watch::channel(false);
        let router = Router::new()
            .fallback(dispatch)
            .layer(axum::middleware::from_fn_with_state(app.clone(), faults::guard))
            .with_state(app.clone())
            .into_make_service_with_connect_info::<wire::Wire>();
        let socket = Arc::new(Mutex::new(Some(listener)));
        let door = wire::Door::new(socket.clone(), address, closed.clone());
        let server = tokio::spawn(async move {
            let serving = axum::serve(door, router).with_graceful_shutdown(async move {
                let _ = ended.wait_for(|ended| *ended).await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "sandbox: the server ended");
            }
        });
        Ok(Sandbox { app, address, socket, shutdown, closed, server: Some(server) })
    }

    /// The address listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the systems are.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        self.app.endpoints.clone()
    }

    /// What the systems accept.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.app.credentials.clone()
    }

    /// Two connection documents, first Mediaflow, then MediaValet; also at `GET /_sandbox/settings`.
    #[must_use]
    pub fn settings(&self) -> Vec<serde_json::Value> {
        options::settings(&self.app.endpoints, &self.app.credentials)
    }

    /// The Mediaflow folder that holds all files.
    #[must_use]
    pub fn root_folder(&self) -> i64 {
        mediaflow_rows::ROOT_FOLDER
    }

    /// The MediaValet category meant as target.
    #[must_use]
    pub fn category(&self) -> String {
        asset::TARGET_CATEGORY.to_string()
    }

    /// Changes the faults, and counts for them from the beginning.
    pub fn set_faults(&self, faults: Faults) {
        self.app.guard.set(faults);
    }

    /// All access tokens of both systems die now: the next call with one is answered 401.
    pub fn expire_tokens(&self) {
        self.app.state.with(|world| world.record(Event::ExpireAccess));
    }

    /// What happened so far. May have to compute digests of source files: some milliseconds a megabyte, once a file.
    #[must_use]
    pub fn report(&self) -> Report {
        report::report(&self.app)
    }

    /// SHA-256 of the files of all assets of that file name, in lower-case hexadecimal digits.
    pub fn sha256(&self, filename: &str) -> Vec<String> {
        self.app.state.with(|world| {
            let files = world.assets.values().filter_map(|asset| asset.current.as_ref());
            let named = files.filter(|file| file.filename == filename);
            named.filter_map(|file| Some(world.blobs.get(&file.id)?.content.as_ref()?.sha256.clone())).collect()
        })
    }

    /// Ends the sandbox: running requests have two seconds, a temporary folder is removed.
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
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.shutdown.send(true);
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.app.state.close();
    }
}

async fn dispatch(Shared(app): Shared<Arc<App>>, request: Request) -> Answer {
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

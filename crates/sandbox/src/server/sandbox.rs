//! The running sandbox: its listener, and the dispatch of requests to the services.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{inject, throttled_stream, unread_body};
use crate::app::App;
use crate::faults::FaultInjector;
use crate::http::{self, Call, HttpResponse, Service};
use crate::library::Library;
use crate::state::{Event, StateStore, TARGET_CATEGORY, seed};
use crate::{Credentials, Endpoints, Faults, Options, Report};
use crate::{blob, config, control, login, mediaflow, mediavalet};

/// A running sandbox.
///
/// Dropping it is like killing the process: connections break, and a state folder keeps its content.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) app: Arc<App>,
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
        let mut seed = seed(&library, options.refusals);
        seed.push(login::server_key(&credentials));
        let state = StateStore::open(options.state.as_deref(), seed)?;
        let app = Arc::new(App {
            fault_injector: FaultInjector::new(options.seed, options.faults.clone()),
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
            .layer(axum::middleware::from_fn_with_state(app.clone(), inject::inject))
            .layer(axum::middleware::from_fn(unread_body::read_rest))
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
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URLs of both systems.
    pub fn endpoints(&self) -> Endpoints {
        self.app.endpoints.clone()
    }

    /// Returns the credentials that the systems accept.
    pub fn credentials(&self) -> Credentials {
        self.app.credentials.clone()
    }

    /// Returns two connection documents, first Mediaflow, then MediaValet. They are also served at `GET
    /// /_sandbox/settings`.
    pub fn settings(&self) -> Vec<serde_json::Value> {
        config::settings(&self.app.endpoints, &self.app.credentials)
    }

    /// Returns the id of the Mediaflow folder that contains all files.
    pub fn root_folder(&self) -> i64 {
        mediaflow::ROOT_FOLDER
    }

    /// Returns the id of the MediaValet category that demos and tests migrate to.
    pub fn category(&self) -> String {
        TARGET_CATEGORY.to_string()
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
    pub fn report(&self) -> Report {
        control::report(&self.app)
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
        Service::MediaflowFiles => mediaflow::files::serve(&app, call).await,
        Service::Mediavalet => mediavalet::serve(&app, call).await,
        Service::Blob => blob::serve(&app, call).await,
        Service::Sandbox => control::serve(&app, call).await,
        Service::Unknown => http::empty(404),
    }
}

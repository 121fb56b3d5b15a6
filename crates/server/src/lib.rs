//! The server behind `trunkline serve`: the HTTP API, sign-ins in the browser, webhooks, and the triggers of saved
//! flows.
//!
//! Each kind of caller is authenticated in its own way: the API requires a token, the callback of sign-ins the `state`
//! of a sign-in that was begun here, and a webhook the token in its URL. In addition, the `Host` header of every
//! request has to name this server, so that a web page cannot reach it under another name (DNS rebinding).

mod api;
mod api_document;
mod api_example;
mod api_input;
mod api_route;
mod api_token;
mod app;
mod auth;
mod brake;
mod callback;
mod caller_stream;
mod connections;
mod delivery;
mod detached;
mod dispatcher;
mod events;
mod findings;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod health;
mod items_csv;
mod listener;
mod look;
mod loopback;
mod next_step;
mod request;
mod response;
mod resumption;
mod retention;
mod routes;
mod scheduler;
mod signature;
mod starts;
#[cfg(test)]
mod test_app;
mod unread_body;
mod webhook;
mod webhook_response;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use trunkline::Runtime;
use trunkline_core::{CancellationToken, Error, ErrorKind, NextStep, Result, Secret};
use trunkline_rest::Url;

pub use api_route::ApiRoute;
pub use api_token::ApiToken;
pub use callback::CALLBACK;
pub use loopback::LoopbackCallback;
pub use routes::{api_routes, document};

use app::App;
use brake::Brake;
use connections::{Connections, Limits};
use dispatcher::Dispatcher;
use guard::Guard;
use health::Health;
use scheduler::Scheduler;

/// Options of [`Server::start`].
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address to listen on; port 0 for any free port.
    pub listen: SocketAddr,
    /// The public URL, for sign-ins and webhooks behind a proxy; `None` if callers use the address it listens on.
    pub public_url: Option<Url>,
    /// The origins of web pages that may use the API, such as `https://builder.example.com`.
    pub origins: Vec<Url>,
    /// The token that callers of the API have to send.
    pub token: Secret,
    /// The maximum number of runs at the same time. Runs that wait for a time or a signal do not count.
    pub at_once: usize,
}

/// A running server. [`Server::stop`] ends it.
pub struct Server {
    address: SocketAddr,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    closing: CancellationToken,
    http: JoinHandle<()>,
}

impl Server {
    /// Starts the server, resumes unfinished runs, and lets triggers start runs.
    ///
    /// # Errors
    ///
    /// `config` if the address can be reached from other machines and there is no public `https` URL: tokens would
    /// cross the network in clear text. `unavailable` if the address cannot be listened on. `store` if the store cannot
    /// be written.
    pub async fn start(runtime: Runtime, options: ServeOptions) -> Result<Server> {
        let ServeOptions { listen, public_url, origins, token, at_once } = options;
        if !listen.ip().is_loopback() && public_url.as_ref().is_none_or(|url| url.scheme() != "https") {
            return Err(Error::new(ErrorKind::Config, format!("{listen} can be reached from other machines"))
                .next("listen on 127.0.0.1, or put a TLS proxy in front of the server and pass its https URL")
                .next(NextStep::SetOption { name: "public-url".to_owned() }));
        }
        let listener = TcpListener::bind(listen).await.and_then(|one| Ok((one.local_addr()?, one)));
        let (address, listener) = listener.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot listen on {listen}: {error}"))
                .next("another process may be listening there: stop it, or choose another address")
                .next(NextStep::SetOption { name: "listen".to_owned() })
        })?;
        let own_url = format!("http://{address}");
        let base_url = public_url.as_ref().map_or(own_url, |url| url.as_str().trim_end_matches('/').to_owned());
        // The server has its own engine: stopping the server drains that engine, and must not drain the one of the
        // runtime.
        let runtime = runtime.with_own_engine().with_public_url(&base_url);
        let closing = CancellationToken::new();
        let health = Health::start(runtime.ports().health.clone(), closing.clone()).await?;
        let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), at_once, closing.clone());
        dispatcher.resume_all().await?;
        runtime.redactor().add(&token);
        let guard = Guard::new(address, public_url.as_ref(), &token).with_origins(&origins)?;
        Scheduler::start(runtime.clone(), dispatcher.clone(), health.clone(), closing.clone());
        let resumption = dispatcher.resumption();
        resumption.start(runtime.clone(), dispatcher.clone(), health.clone(), closing.clone());
        retention::start(runtime.clone(), health.clone(), closing.clone());
        let streams = Arc::new(Semaphore::new(events::MAX_STREAMS));
        let connections = Connections::new(Limits::default());
        let app = App {
            runtime: runtime.with_launcher(dispatcher.clone()),
            dispatcher: dispatcher.clone(),
            health: health.clone(),
            connections: connections.clone(),
            closing: closing.clone(),
            guard,
            brake: Brake::default(),
            streams,
            base_url,
        };
        let app = Arc::new(app);
        let (router, stop) = (routes::router(app.clone()), closing.clone());
        let http = tokio::spawn(async move {
            tokio::select! {
                () = app.brake.watch() => {}
                () = listener::serve(listener, router, connections, stop) => {}
            }
        });
        Ok(Server { address, dispatcher, health, closing, http })
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the store fails in a way that only a new process can recover from, such as a failed flush, and
    /// returns that error. The server accepts nothing any more; the caller should call [`Server::stop`] and end the
    /// process.
    pub async fn lost(&self) -> Error {
        self.health.lost().await
    }

    /// Stops the server: it accepts nothing new, and waits up to `grace` for steps in flight to finish. The next server
    /// resumes the unfinished runs. Returns whether all steps finished; the others are cut off.
    pub async fn stop(self, grace: Duration) -> bool {
        self.closing.cancel();
        let all_finished = tokio::time::timeout(grace, self.dispatcher.close()).await.is_ok();
        // Connections that callers keep open are not waited for.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.http).await;
        all_finished
    }
}

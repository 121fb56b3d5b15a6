//! `trunkline serve`: sign-ins in the browser, runs and triggers over HTTP, until it is told to stop.
//!
//! Whoever may call: the API wants a token, always; the callback of sign-ins wants the `state` of one that was begun, a
//! webhook the token in its address. Every request has to name a host that is ours, so that a page in somebody's browser
//! cannot reach it under a name of its own.

mod api;
mod api_token;
mod auth;
mod dispatcher;
mod events;
mod health;
mod listener;
mod response;
mod scheduler;
mod sign_in;
mod webhook;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Secret};
use trunkline_rest::Url;

pub use api_token::ApiToken;
pub(crate) use {api_token::random, auth::hash};

use crate::Runtime;
use auth::Guard;
use dispatcher::Dispatcher;
use health::Health;
use listener::{MOST, Patient, SILENCE};
use scheduler::Clock;
use sign_in::SignIns;

/// Where browsers come back to after a sign-in; what is registered at the vendors.
pub const CALLBACK: &str = "/rest/v1/oauth2/callback";

/// How it is to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What it is called from outside, for sign-ins and webhooks; nothing if it is the address it listens at.
    pub public_url: Option<Url>,
    /// What callers of the API have to show.
    pub token: Secret,
    /// How many runs work at the same time; those that only wait do not count.
    pub at_once: usize,
}

/// Serves until it is stopped.
pub struct Server {
    address: SocketAddr,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    closing: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

pub(crate) struct App {
    runtime: Runtime,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    closing: CancellationToken,
    guard: Guard,
    sign_ins: SignIns,
    /// Places for those who watch runs.
    watchers: Arc<Semaphore>,
    /// Its own address, as others see it, without a slash at its end.
    base: String,
}

impl Server {
    /// Listens, takes up the runs that were left at work, serves, and starts what triggers start.
    ///
    /// Fails with `store` if the store cannot be written, and with `config` if it is to listen on more than this machine without an `https` address of its own: tokens would go
    /// over the network in clear text.
    pub async fn start(runtime: Runtime, options: ServeOptions) -> Result<Server> {
        let ServeOptions { listen, public_url, token, at_once } = options;
        if !listen.ip().is_loopback() && public_url.as_ref().is_none_or(|url| url.scheme() != "https") {
            return Err(Error::new(ErrorKind::Config, format!("{listen} can be reached from other machines")).hint(
                "listen on 127.0.0.1, or put a proxy that speaks TLS before it and give its address with `--public-url \
                     https://..`",
            ));
        }
        let listener = TcpListener::bind(listen).await.and_then(|one| Ok((one.local_addr()?, one)));
        let (address, listener) = listener.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{listen} cannot be listened on: {error}"))
                .hint("another one may be running there: stop it, or choose another with --listen")
        })?;
        let own = format!("http://{address}");
        let base = public_url.as_ref().map_or(own, |url| url.as_str().trim_end_matches('/').to_owned());
        // An engine of its own: when this server stops, nothing else of the runtime does.
        let engine = crate::engine(&runtime.store);
        let runtime = Runtime { engine, ..runtime };
        let closing = CancellationToken::new();
        let health = Health::start(runtime.store().clone(), closing.clone()).await?;
        let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), at_once, closing.clone());
        dispatcher.take_up().await?;
        let guard = Guard::new(address, public_url.as_ref(), &token);
        Clock::start(runtime.clone(), dispatcher.clone(), health.clone(), closing.clone());
        let sign_ins = SignIns::default();
        let watchers = Arc::new(Semaphore::new(events::WATCHERS));
        let app = App {
            runtime,
            dispatcher: dispatcher.clone(),
            health: health.clone(),
            closing: closing.clone(),
            guard,
            sign_ins,
            watchers,
            base,
        };
        let router = api::router(Arc::new(app));
        let stop = closing.clone();
        let serve = axum::serve(Patient::new(listener, MOST, SILENCE), router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        Ok(Server { address, dispatcher, health, closing, served: tokio::spawn(serve.into_future()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the store has failed in a way that only another process can go on from, such as a failed flush, and says
    /// how. Nothing is accepted any more; what is left to do is [`Server::stop`].
    pub async fn lost(&self) -> Error {
        self.health.lost().await
    }

    /// Takes nothing new, lets steps in flight end for as long as `grace`, and stops. Runs that have not ended are resumed by
    /// the next one that serves; whether all have come to a safe point is what it returns.
    pub async fn stop(self, grace: Duration) -> bool {
        self.closing.cancel();
        let safe = tokio::time::timeout(grace, self.dispatcher.close()).await.is_ok();
        // Callers who keep their connections open are not waited for.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.served).await;
        safe
    }
}

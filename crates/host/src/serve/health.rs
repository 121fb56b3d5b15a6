//! Whether the server can do what it is there for: said to anybody who asks, to those who start runs, and in the log.
//!
//! The store is tried every few seconds, also while nobody wants anything of it. While it fails, nothing is started and
//! nothing is taken up; when it works again, all goes on. After a fault that does not pass, the process has to end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{http::StatusCode, response::Response};
use serde_json::json;
use tokio::sync::Notify;
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Retry, Timestamp};
use trunkline_store::{Fault, Store};

use super::response::answer;

/// How often the store is tried.
const EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Health {
    store: Store,
    state: Mutex<Option<Failing>>,
    /// Rings when somebody has met an error of the store.
    met: Notify,
    /// The process has to end.
    lost: CancellationToken,
}

#[derive(Clone)]
struct Failing {
    error: Error,
    since: Timestamp,
}

impl Health {
    /// Tries the store from now on, until it is closed. Fails if the store does not work to begin with.
    pub(crate) async fn start(store: Store, closing: CancellationToken) -> Result<Arc<Health>> {
        store.probe().await?;
        let health = Health::of(store);
        let this = health.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                    () = this.met.notified() => {}
                }
                this.look().await;
            }
        });
        Ok(health)
    }

    pub(crate) fn of(store: Store) -> Arc<Health> {
        Arc::new(Health { store, state: Mutex::default(), met: Notify::new(), lost: CancellationToken::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) {
        let found = self.store.probe().await;
        let mut state = self.lock();
        match (found, &mut *state) {
            (Ok(()), None) => {}
            (Ok(()), failing) => {
                tracing::warn!("the store works again: runs are started and taken up");
                *failing = None;
            }
            (Err(error), failing) => {
                if self.store.failed().is_some() {
                    self.lost.cancel();
                }
                let since = failing.as_ref().map_or_else(Timestamp::now, |failing| failing.since);
                let same = failing.as_ref().is_some_and(|before| because(&before.error) == because(&error));
                if !same {
                    tracing::error!("the store fails, so no run is started or taken up: {error:?}");
                }
                *failing = Some(Failing { error, since });
            }
        }
    }

    /// Looks at once, for somebody has met this error.
    pub(crate) fn met(&self, error: &Error) {
        if error.kind() == ErrorKind::Store && self.lock().is_none() {
            self.met.notify_one();
        }
    }

    /// Whether all is well.
    pub(crate) fn is_good(&self) -> bool {
        self.lock().is_none()
    }

    /// Fails while the store does.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.lock() {
            None => Ok(()),
            Some(Failing { error, .. }) => {
                let message = format!("nothing can be started now ({}): {}", because(error), error.message());
                let told = Error::new(ErrorKind::Store, message).retry(Retry::Backoff);
                Err(told.hint(format!("try again when /health says ok; {}", advice(error))))
            }
        }
    }

    /// Resolves when nothing but another process can go on, with the reason.
    pub(crate) async fn lost(&self) -> Error {
        self.lost.cancelled().await;
        let failing = self.lock().clone();
        failing.map_or_else(|| Error::new(ErrorKind::Store, "the store failed"), |failing| failing.error)
    }

    /// What anybody may know.
    pub(crate) fn told(&self) -> Response {
        match &*self.lock() {
            None => answer(StatusCode::OK, &json!({ "status": "ok" })),
            Some(Failing { error, since }) => {
                let (because, hint) = (because(error), advice(error));
                let told = json!({ "status": "failing", "because": because, "since": since, "hint": hint });
                answer(StatusCode::SERVICE_UNAVAILABLE, &told)
            }
        }
    }
}

fn because(error: &Error) -> &'static str {
    Fault::behind(error).map_or("store: it failed", Fault::as_str)
}

fn advice(error: &Error) -> &'static str {
    Fault::behind(error).map_or("look into Trunkline's log, then start it again", Fault::advice)
}

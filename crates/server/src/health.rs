//! The health of the server, which is the health of its store: reported by `/health`, in errors of calls, and in the
//! log.
//!
//! The store is probed every few seconds, even without requests. While it fails, no run is started or resumed; when it
//! works again, the server continues by itself. After a failure that does not pass, the process has to end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::Response};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Retry, StoreFault, Timestamp};
use trunkline_store::{StoreHealth, TriggerStarts};

use crate::response::response_json;

/// The time between two probes of the store.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Health {
    store: Arc<dyn StoreHealth>,
    /// The failure of the store, as long as it lasts.
    state: Mutex<Option<Failure>>,
    /// Notified when a caller got an error of the store.
    error_reported: Notify,
    /// Cancelled when the process has to end.
    lost: CancellationToken,
    /// The number of active flows about whose trigger something was found.
    findings: AtomicUsize,
    /// The number of starts that have failed since the last one that succeeded, of all active flows, by the kind of
    /// their trigger.
    failed_starts: Mutex<BTreeMap<String, u64>>,
    /// The number of runs that were suspended after crashes.
    suspended: AtomicUsize,
    /// Whether it is not decided how long ended runs are kept.
    undecided: AtomicBool,
}

#[derive(Clone)]
struct Failure {
    error: Error,
    since: Timestamp,
}

impl Health {
    /// Probes the store from now on, until `closing` is cancelled.
    ///
    /// # Errors
    ///
    /// `store` if the first probe fails.
    pub(crate) async fn start(store: Arc<dyn StoreHealth>, closing: CancellationToken) -> Result<Arc<Health>> {
        store.probe().await?;
        let health = Health::of(store);
        let this = health.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(PROBE_INTERVAL) => {}
                    () = this.error_reported.notified() => {}
                }
                this.probe().await;
            }
        });
        Ok(health)
    }

    /// Returns the health of a store without probing it.
    pub(crate) fn of(store: Arc<dyn StoreHealth>) -> Arc<Health> {
        Arc::new(Health {
            store,
            state: Mutex::default(),
            error_reported: Notify::new(),
            lost: CancellationToken::new(),
            findings: AtomicUsize::new(0),
            failed_starts: Mutex::default(),
            suspended: AtomicUsize::new(0),
            undecided: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn probe(&self) {
        let found = self.store.probe().await;
        let mut state = self.lock();
        match (found, &mut *state) {
            (Ok(()), None) => {}
            (Ok(()), failing) => {
                tracing::warn!("the store works again: runs are started and resumed");
                *failing = None;
            }
            (Err(error), failing) => {
                if self.store.failed().is_some() {
                    self.lost.cancel();
                }
                let since = failing.as_ref().map_or_else(Timestamp::now, |failing| failing.since);
                let same = failing.as_ref().is_some_and(|previous| because(&previous.error) == because(&error));
                if !same {
                    tracing::error!("the store fails, so no run is started or resumed: {error:?}");
                }
                *failing = Some(Failure { error, since });
            }
        }
    }

    /// Probes the store at once if this is an error of the store.
    pub(crate) fn report(&self, error: &Error) {
        if error.kind() == ErrorKind::Store && self.lock().is_none() {
            self.error_reported.notify_one();
        }
    }

    /// Returns whether the store worked when it was last probed.
    pub(crate) fn is_ok(&self) -> bool {
        self.lock().is_none()
    }

    /// Fails while the store fails.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.lock() {
            None => Ok(()),
            Some(Failure { error, .. }) => {
                let message = format!("no run can be started now ({}): {error}", because(error));
                let hint = format!("try again when /health reports ok; {}", advice(error));
                Err(Error::new(ErrorKind::Store, message).retry(Retry::Backoff).hint(hint))
            }
        }
    }

    /// Waits until only a new process can continue, and returns the reason.
    pub(crate) async fn lost(&self) -> Error {
        self.lost.cancelled().await;
        let failing = self.lock().clone();
        failing.map_or_else(|| Error::new(ErrorKind::Store, "the store failed"), |failing| failing.error)
    }

    /// Sets the number of active flows about whose trigger something was found.
    pub(crate) fn set_findings(&self, count: usize) {
        self.findings.store(count, Ordering::Relaxed);
    }

    fn failed_starts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.failed_starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what the triggers of active flows could not start.
    pub(crate) fn set_failed_starts<'a>(&self, all: impl Iterator<Item = &'a TriggerStarts>) {
        let mut failed = BTreeMap::new();
        for starts in all.filter(|one| one.failures > 0) {
            if let Some(last) = starts.failed.last() {
                *failed.entry(last.trigger.clone()).or_default() += starts.failures;
            }
        }
        *self.failed_starts() = failed;
    }

    /// Sets the number of runs that were suspended after crashes.
    pub(crate) fn set_suspended(&self, count: usize) {
        self.suspended.store(count, Ordering::Relaxed);
    }

    /// Sets whether it is decided how long ended runs are kept.
    pub(crate) fn set_retention_decided(&self, decided: bool) {
        self.undecided.store(!decided, Ordering::Relaxed);
    }

    /// Returns the body of `/health` while the store works.
    fn ok(&self) -> Value {
        let (mut body, mut hints) = (json!({ "status": "ok" }), Vec::new());
        let (findings, suspended) = (self.findings.load(Ordering::Relaxed), self.suspended.load(Ordering::Relaxed));
        if findings > 0 {
            body["findings"] = findings.into();
            hints.push("the list of flows says what was found about their triggers");
        }
        let failed = self.failed_starts();
        if !failed.is_empty() {
            body["failed_starts"] = json!(*failed);
            hints.push("the list of flows says which triggers cannot start runs, and why");
        }
        if suspended > 0 {
            body["suspended_runs"] = suspended.into();
            hints.push("the failed runs say which of them were active in crashes, and what resumes them");
        }
        if self.undecided.load(Ordering::Relaxed) {
            body["retention"] = "undecided".into();
            hints.push("ended runs are kept without a limit until the retention of the store is set");
        }
        if !hints.is_empty() {
            body["hint"] = hints.join("; ").into();
        }
        body
    }

    /// Returns the response of `/health`. It needs no token, so it has no details. `closed` has the number of closed
    /// connections by cause.
    pub(crate) fn response(&self, closed: Map<String, Value>) -> Response {
        let (status, mut body) = match &*self.lock() {
            None => (StatusCode::OK, self.ok()),
            Some(Failure { error, since }) => {
                let (because, hint) = (because(error), advice(error));
                let body = json!({ "status": "failing", "because": because, "since": since, "hint": hint });
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }
        };
        if !closed.is_empty() {
            body["closed_connections"] = closed.into();
        }
        response_json(status, &body)
    }
}

fn because(error: &Error) -> &'static str {
    error.store_fault().map_or("store: it failed", StoreFault::as_str)
}

fn advice(error: &Error) -> &'static str {
    error.store_fault().map_or("see the log of Trunkline, then start it again", StoreFault::advice)
}

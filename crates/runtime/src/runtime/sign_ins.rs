//! Sign-ins in the browser. A caller begins one; the callback that has its `state` ends it.
//!
//! Sign-ins are held in memory until they expire. The first callback ends a sign-in, in a task of its own: it ends even
//! if the browser closes its connection. A repeated callback, such as a double click or a reload of the page, gets the
//! same outcome, and the login server is not called again. The outcome has an id that is not secret, so that a page can
//! show it under a URL without the code.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use data_encoding::HEXLOWER;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Authorization, Clock, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_rest::Url;

use super::Runtime;
use crate::token::hash;

/// The maximum number of open sign-ins, together with those that have ended in the last ten minutes.
const MAX_OPEN: usize = 1000;

/// The sign-ins, by the id of their outcome.
pub(super) struct SignIns {
    open: Mutex<HashMap<String, Arc<OpenSignIn>>>,
    /// Whether sign-ins end in tasks of their own. Only the sabotage twins of tests switch it off.
    is_detached: bool,
}

impl Default for SignIns {
    fn default() -> SignIns {
        SignIns { open: Mutex::default(), is_detached: true }
    }
}

struct OpenSignIn {
    connected: Connected,
    authorization: Authorization,
    /// Set by the first callback.
    ending: OnceLock<Shared<BoxFuture<'static, Ended>>>,
}

/// The result of a sign-in, and the time at which it ended.
#[derive(Clone)]
struct Ended {
    result: Result<()>,
    at: Timestamp,
}

impl OpenSignIn {
    /// Returns whether the sign-in still waits for its callback, or has ended in the last ten minutes.
    fn is_known(&self, now: Timestamp) -> bool {
        match self.ending.get().map(Shared::peek) {
            Some(Some(ended)) => now.since(ended.at).max(ended.at.since(now)) <= Authorization::LASTS,
            Some(None) => true,
            None => !self.authorization.has_expired(now),
        }
    }

    /// Ends the sign-in with a callback, unless an earlier callback has done so.
    fn end(self: &Arc<Self>, callback: String, clock: Arc<dyn Clock>, is_detached: bool) {
        self.ending.get_or_init(|| {
            let this = self.clone();
            let ending = async move {
                let result = this.connected.finish_authorization(&this.authorization, &callback).await;
                Ended { result, at: clock.now() }
            };
            if !is_detached {
                return ending.boxed().shared();
            }
            let (task, begun_at) = (tokio::spawn(ending), self.authorization.begun_at);
            let ended = async move {
                let failed = |error| Error::new(ErrorKind::Internal, "the sign-in did not end").source(error);
                task.await.unwrap_or_else(|error| Ended { result: Err(failed(error)), at: begun_at })
            };
            ended.boxed().shared()
        });
    }
}

/// A sign-in that waits for the browser. It expires after ten minutes.
#[derive(Clone, Serialize, JsonSchema)]
pub struct StartedSignIn {
    /// The URL that the user has to open in a browser. It holds the `state` of the sign-in.
    pub open: String,
    /// The URL that the browser returns to, exactly as sent to the login server.
    pub redirect_uri: String,
}

/// A sign-in that has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FinishedSignIn {
    /// The connection that is signed in.
    pub authorized: String,
}

impl SignIns {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<OpenSignIn>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, connected: Connected, redirect_uri: &str, now: Timestamp) -> Result<StartedSignIn> {
        let authorization = connected.begin_authorization(redirect_uri)?;
        let started =
            StartedSignIn { open: authorization.url.clone(), redirect_uri: authorization.redirect_uri.clone() };
        let mut all = self.open();
        all.retain(|_, one| one.is_known(now));
        if all.len() >= MAX_OPEN {
            return Err(Error::new(ErrorKind::RateLimited, format!("{MAX_OPEN} sign-ins are open already"))
                .hint("each expires after ten minutes"));
        }
        let id = outcome_id(authorization.state.expose());
        all.insert(id, Arc::new(OpenSignIn { connected, authorization, ending: OnceLock::new() }));
        Ok(started)
    }

    fn known(&self, id: &str, now: Timestamp) -> Option<Arc<OpenSignIn>> {
        self.open().get(id).filter(|one| one.is_known(now)).cloned()
    }
}

/// Returns the id of the outcome of the sign-in with this `state`. The `state` does not follow from it.
fn outcome_id(state: &str) -> String {
    HEXLOWER.encode(&hash(state))
}

impl Runtime {
    /// Begins a sign-in that ends at `redirect_uri`, unless the settings of the connection name another URL. Sends
    /// nothing.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection, `config` if it does not use a sign-in in the browser, `rate_limited`
    /// if too many sign-ins are open.
    pub async fn begin_sign_in(&self, connection: &str, redirect_uri: &str) -> Result<StartedSignIn> {
        self.sign_ins.begin(self.connect(connection).await?, redirect_uri, self.now())
    }

    /// Begins to end the sign-in that a callback belongs to, and returns the id of its outcome, see
    /// [`Runtime::sign_in_outcome`]. Returns `None` if the callback belongs to none that began here in the last ten
    /// minutes. The sign-in ends even if the caller does not wait for it. `callback` is the URL that the browser was
    /// redirected to. A host behind a proxy, which does not know that URL, passes its query with the question mark.
    ///
    /// It is not an operation: the caller is any browser, and what it may do is decided by the `state` in the URL. It
    /// has to be called within a tokio runtime.
    pub fn receive_callback(&self, callback: &str) -> Option<String> {
        let (before, query) = callback.split_once('?')?;
        let url = Url::parse(&format!("http://callback/?{query}")).ok()?;
        let id = url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| outcome_id(&state))?;
        let sign_in = self.sign_ins.known(&id, self.now())?;
        let before = if before.is_empty() { &*sign_in.authorization.redirect_uri } else { before };
        sign_in.end(format!("{before}?{query}"), self.ports().clock.clone(), self.sign_ins.is_detached);
        Some(id)
    }

    /// Waits for the outcome of a sign-in whose callback was received, and returns it. It is kept for ten minutes after
    /// the end; later, and for an unknown id, this returns `None`.
    ///
    /// # Errors
    ///
    /// Those of [`Connected::finish_authorization`], such as `auth` if the login server refuses the sign-in.
    pub async fn sign_in_outcome(&self, id: &str) -> Result<Option<FinishedSignIn>> {
        let Some(sign_in) = self.sign_ins.known(id, self.now()) else { return Ok(None) };
        let Some(ending) = sign_in.ending.get().cloned() else { return Ok(None) };
        ending.await.result?;
        Ok(Some(FinishedSignIn { authorized: sign_in.connected.name().to_owned() }))
    }

    /// Ends the sign-in that a callback belongs to, as [`Runtime::receive_callback`] does, and waits for its outcome.
    ///
    /// # Errors
    ///
    /// Those of [`Runtime::sign_in_outcome`].
    pub async fn finish_sign_in(&self, callback: &str) -> Result<Option<FinishedSignIn>> {
        match self.receive_callback(callback) {
            Some(id) => self.sign_in_outcome(&id).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;

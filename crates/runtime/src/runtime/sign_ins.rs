//! Sign-ins in the browser. A caller begins one; the callback that has its `state` ends it.
//!
//! Sign-ins are held in memory until they expire. The first callback ends a sign-in. A repeated callback, such as a
//! reload of the page, gets the same result, and the login server is not called again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::OnceCell;
use trunkline_core::{Authorization, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_rest::Url;

use super::Runtime;
use crate::token::hash;

/// The maximum number of open sign-ins.
const MAX_OPEN: usize = 1000;

/// The open sign-ins, by the hash of their `state`.
#[derive(Default)]
pub(super) struct SignIns(Mutex<HashMap<[u8; 32], Arc<OpenSignIn>>>);

struct OpenSignIn {
    connected: Connected,
    authorization: Authorization,
    result: OnceCell<Result<()>>,
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
    fn begin(&self, connected: Connected, redirect_uri: &str, now: Timestamp) -> Result<StartedSignIn> {
        let authorization = connected.begin_authorization(redirect_uri)?;
        let started =
            StartedSignIn { open: authorization.url.clone(), redirect_uri: authorization.redirect_uri.clone() };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| !one.authorization.has_expired(now));
        if all.len() >= MAX_OPEN {
            return Err(Error::new(ErrorKind::RateLimited, format!("{MAX_OPEN} sign-ins are open already"))
                .hint("each expires after ten minutes"));
        }
        all.insert(
            hash(authorization.state.expose()),
            Arc::new(OpenSignIn { connected, authorization, result: OnceCell::new() }),
        );
        Ok(started)
    }

    fn of_query(&self, query: &str, now: Timestamp) -> Option<Arc<OpenSignIn>> {
        let url = Url::parse(&format!("http://callback/?{query}")).ok()?;
        let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| hash(&value))?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&state).cloned();
        known.filter(|one| !one.authorization.has_expired(now))
    }
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

    /// Ends the sign-in that a callback belongs to. Returns `None` if it belongs to none that began here in the last ten
    /// minutes. `callback` is the URL that the browser was redirected to. A host behind a proxy, which does not know that
    /// URL, passes its query with the question mark.
    ///
    /// It is not an operation: the caller is any browser, and what it may do is decided by the `state` in the URL.
    ///
    /// # Errors
    ///
    /// Those of [`Connected::finish_authorization`], such as `auth` if the login server refuses the sign-in.
    pub async fn finish_sign_in(&self, callback: &str) -> Result<Option<FinishedSignIn>> {
        let Some((before, query)) = callback.split_once('?') else { return Ok(None) };
        let Some(sign_in) = self.sign_ins.of_query(query, self.now()) else { return Ok(None) };
        let before = if before.is_empty() { &*sign_in.authorization.redirect_uri } else { before };
        let callback = format!("{before}?{query}");
        let finish = || sign_in.connected.finish_authorization(&sign_in.authorization, &callback);
        sign_in.result.get_or_init(finish).await.clone()?;
        Ok(Some(FinishedSignIn { authorized: sign_in.connected.name().to_owned() }))
    }
}

//! Sign-ins in the browser. A caller of the API begins one; the request to the callback that has its `state` ends it.
//!
//! Sign-ins are held in memory until they expire. The first callback ends a sign-in. A repeated callback, such as a
//! reload of the page, gets the same result, and the login server is not called again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use tokio::sync::OnceCell;
use trunkline::token::hash;
use trunkline_core::{Authorization, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_rest::Url;

/// The path that browsers are redirected to after a sign-in. It is part of the redirect URI registered at the vendors.
pub const CALLBACK: &str = "/rest/v1/oauth2/callback";

/// The maximum number of open sign-ins.
const MAX_OPEN: usize = 1000;

/// The open sign-ins, by the hash of their `state`.
#[derive(Default)]
pub(crate) struct SignIns(Mutex<HashMap<[u8; 32], Arc<SignIn>>>);

struct SignIn {
    connected: Connected,
    authorization: Authorization,
    result: OnceCell<Result<()>>,
}

impl SignIns {
    /// Begins a sign-in, and returns the URL that the user has to open.
    pub(crate) fn begin(&self, connected: Connected, redirect_uri: &str, now: Timestamp) -> Result<serde_json::Value> {
        let authorization = connected.begin_authorization(redirect_uri)?;
        let open = json!({ "open": authorization.url, "redirect_uri": authorization.redirect_uri });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| !one.authorization.has_expired(now));
        if all.len() >= MAX_OPEN {
            return Err(Error::new(ErrorKind::RateLimited, format!("{MAX_OPEN} sign-ins are open already"))
                .hint("each expires after ten minutes"));
        }
        all.insert(
            hash(authorization.state.expose()),
            Arc::new(SignIn { connected, authorization, result: OnceCell::new() }),
        );
        Ok(open)
    }

    /// Ends the sign-in that the query of a callback belongs to, and returns the name of its connection.
    pub(crate) async fn end(&self, query: &str, now: Timestamp) -> Result<String> {
        let unknown = || {
            Error::new(
                ErrorKind::NotFound,
                "this does not belong to a sign-in that was started here in the last ten minutes",
            )
            .hint("start the sign-in again, and complete it in the same browser")
        };
        let state = Url::parse(&format!("http://callback/?{query}")).ok();
        let state =
            state.and_then(|url| url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| hash(&value)));
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&state?).cloned();
        let sign_in = known().filter(|one| !one.authorization.has_expired(now)).ok_or_else(unknown)?;
        let callback = format!("{}?{query}", sign_in.authorization.redirect_uri);
        let result = sign_in
            .result
            .get_or_init(|| sign_in.connected.finish_authorization(&sign_in.authorization, &callback))
            .await;
        result.clone().map(|()| sign_in.connected.name().to_owned())
    }
}

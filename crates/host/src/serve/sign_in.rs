//! Sign-ins in the browser: begun by who has the API's token, ended by whoever comes back with their `state`.
//!
//! They are kept in memory, for as long as a person has for one. The first answer ends one; who comes with it again is shown
//! the same, and nothing is sent a second time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use tokio::sync::OnceCell;
use trunkline_core::{Authorization, Connected, Error, ErrorKind, Result};
use trunkline_rest::Url;

use super::auth::hash;

/// How many may be open at once.
const MOST: usize = 1000;

#[derive(Default)]
pub(crate) struct SignIns(Mutex<HashMap<[u8; 32], Arc<SignIn>>>);

struct SignIn {
    connected: Connected,
    begun: Authorization,
    end: OnceCell<Result<()>>,
}

impl SignIns {
    /// Begins one: what a person has to open.
    pub(crate) fn begin(&self, connected: Connected, redirect_uri: &str) -> Result<serde_json::Value> {
        let begun = connected.begin_authorization(redirect_uri)?;
        let open = json!({ "open": begun.url, "redirect_uri": begun.redirect_uri });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| !one.begun.has_expired());
        if all.len() >= MOST {
            return Err(Error::new(ErrorKind::RateLimited, format!("{MOST} sign-ins are open already"))
                .hint("each ends after ten minutes"));
        }
        all.insert(hash(begun.state.expose()), Arc::new(SignIn { connected, begun, end: OnceCell::new() }));
        Ok(open)
    }

    /// Ends the one that this query belongs to: the name of its connection.
    pub(crate) async fn end(&self, query: &str) -> Result<String> {
        let unknown = || {
            Error::new(
                ErrorKind::NotFound,
                "this does not belong to a sign-in that was begun here in the last ten minutes",
            )
            .hint("begin the sign-in again, and end it in the same browser")
        };
        let state = Url::parse(&format!("http://callback/?{query}")).ok();
        let state =
            state.and_then(|url| url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| hash(&value)));
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&state?).cloned();
        let sign_in = known().filter(|one| !one.begun.has_expired()).ok_or_else(unknown)?;
        let callback = format!("{}?{query}", sign_in.begun.redirect_uri);
        let end = sign_in.end.get_or_init(|| sign_in.connected.finish_authorization(&sign_in.begun, &callback)).await;
        end.clone().map(|()| sign_in.connected.name().to_owned())
    }
}

//! The tokens of a connection: renewed ahead of time, by one task at a time, and in the vault before they are used.
//!
//! A refresh token may be good for one use only, so losing an answer loses the connection. Hence the two rules of this
//! module: whoever needs a token waits for the one refresh that is under way; and that refresh, once begun, runs to its end
//! in a task of its own, whatever becomes of those who wait. What it does is `refresh.rs`.

use std::sync::{
    Arc, LazyLock, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trunkline_core::{Error, ErrorKind, Result, Retry, Secret, VaultSlot};

use crate::{
    ClientLimits,
    id_token::Expected,
    login_server::LoginServer,
    oauth::{Ask, Endpoint, OAuth},
    refresh::Landing,
    token::{self, Record, Token},
};

/// The refreshes that are under way in this process.
static UNDER_WAY: LazyLock<TaskTracker> = LazyLock::new(|| {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
});

/// Waits until no token is being fetched in this process: to be called before it ends, for an answer that nobody stores may
/// cost a connection its sign-in. Takes no longer than a token request may take, and nothing if none is under way.
pub async fn drain_token_refreshes() {
    UNDER_WAY.wait().await;
}

/// What [`Tokens`] need of the client they belong to.
pub(crate) struct Parts {
    pub(crate) http: reqwest::Client,
    pub(crate) service: &'static str,
    pub(crate) limits: ClientLimits,
    pub(crate) issuer: Option<String>,
}

type Flight = Shared<BoxFuture<'static, Result<Token, Error>>>;

/// The tokens of one connection, shared by all clones of its client.
#[derive(Clone)]
pub(crate) struct Tokens(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) login: Box<dyn LoginServer>,
    pub(crate) slot: VaultSlot,
    /// Fingerprint of the settings that tokens come of.
    pub(crate) settings: String,
    clock: fn() -> u64,
    state: Mutex<State>,
    refreshes: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    current: Option<Token>,
    /// The one refresh that is under way.
    flight: Option<Flight>,
    forced_at: Option<Instant>,
    /// After a failure that may pass: nobody asks again before this.
    pub(crate) hold: Option<(Instant, Error)>,
    /// Tokens the vault did not take: the next refresh begins with them, for the old ones may be spent.
    pub(crate) unsaved: Option<Landing>,
}

/// Why a refresh begins.
#[derive(Clone)]
pub(crate) enum Why {
    Due,
    /// The API refused this token; whether the login server may be asked for another one.
    Refused {
        token: Token,
        ask: bool,
    },
}

impl Tokens {
    pub(crate) fn new(oauth: OAuth, slot: VaultSlot, parts: Parts) -> Tokens {
        let Parts { http, service, limits, issuer } = parts;
        let endpoint = Endpoint { oauth, http, service, limits, issuer };
        Tokens::with(endpoint.clone(), Box::new(endpoint), slot, token::now)
    }

    /// The same with another login server and another clock, in milliseconds since 1970.
    pub(crate) fn with(endpoint: Endpoint, login: Box<dyn LoginServer>, slot: VaultSlot, clock: fn() -> u64) -> Tokens {
        let settings = endpoint.oauth.fingerprint();
        let (state, refreshes) = (Mutex::default(), AtomicU64::new(0));
        Tokens(Arc::new(Inner { endpoint, login, slot, settings, clock, state, refreshes }))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    pub(crate) fn now(&self) -> u64 {
        (self.0.clock)()
    }

    /// How many tokens the login server has given out.
    pub(crate) fn refreshes(&self) -> u64 {
        self.0.refreshes.load(Ordering::Relaxed)
    }

    /// The login server has given out another one.
    pub(crate) fn count(&self) {
        self.0.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    /// The tokens in use, to be kept out of messages.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let current = self.state().current.clone();
        current.iter().flat_map(|token| [Some(token.0.access.clone()), token.0.refresh.clone()]).flatten().collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good for now. While the current one still is, a refresh goes on behind the caller's back.
    pub(crate) async fn access(&self) -> Result<Token> {
        let flight = {
            let mut state = self.state();
            let held = state.hold.as_ref().filter(|(until, _)| Instant::now() < *until).cloned();
            match state.current.clone().filter(|token| token.is_good(self.now())) {
                Some(token) if self.now() < token.0.renew_at || held.is_some() => return Ok(token),
                Some(token) => {
                    drop(self.begin(&mut state, Why::Due));
                    return Ok(token);
                }
                None => match held {
                    Some((until, error)) => {
                        let rest = until.saturating_duration_since(Instant::now());
                        return Err(error.retry(Retry::After(rest)));
                    }
                    None => self.begin(&mut state, Why::Due),
                },
            }
        };
        flight.await
    }

    /// Another token after the API refused this one with a 401, or `None` if no other one would help.
    pub(crate) async fn renew(&self, refused: &Token) -> Result<Option<Token>> {
        let flight = {
            let mut state = self.state();
            let newer = state.current.clone().filter(|token| !token.is_same(refused) && token.is_good(self.now()));
            if let Some(newer) = newer {
                return Ok(Some(newer));
            }
            match state.flight.clone() {
                Some(under_way) => under_way,
                None => {
                    let rested = state.forced_at.is_none_or(|at| at.elapsed() >= self.0.endpoint.limits.between_forced);
                    let ask = !refused.is_good(self.now()) || (rested && refused.may_have_run_out(self.now()));
                    if ask {
                        state.forced_at = Some(Instant::now());
                    }
                    self.begin(&mut state, Why::Refused { token: refused.clone(), ask })
                }
            }
        };
        let token = flight.await?;
        Ok(if token.is_same(refused) { None } else { Some(token) })
    }

    /// Joins the refresh that is under way, or begins one.
    fn begin(&self, state: &mut State, why: Why) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let tokens = self.clone();
        let flight = detached("the token refresh", async move {
            let outcome = tokens.refresh(why).await;
            tokens.landed(&outcome);
            outcome
        });
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    fn landed(&self, outcome: &Result<Token, Error>) {
        let mut state = self.state();
        state.flight = None;
        match outcome {
            Ok(token) => {
                state.current = Some(token.clone());
                state.hold = None;
            }
            Err(error) => {
                let wait = match error.retryable() {
                    Retry::Never => return,
                    Retry::Backoff => self.0.endpoint.limits.first_wait,
                    Retry::After(wait) => wait,
                };
                state.hold = Some((Instant::now() + wait, error.clone()));
            }
        }
    }

    /// Redeems what a person's sign-in gave. Runs to its end on its own.
    pub(crate) async fn sign_in(&self, ask: Ask, expected: Expected) -> Result<()> {
        let tokens = self.clone();
        let redeemed = detached("the sign-in", async move {
            let endpoint = &tokens.0.endpoint;
            let obtained_at = tokens.now();
            let granted = tokens.0.login.ask(ask).await?;
            // An API may do without: only what is there is checked.
            let issuer = match granted.id_token().filter(|_| endpoint.oauth.asks_for("openid")) {
                Some(token) => Some(expected.issuer_of(token, tokens.now()).map_err(|error| endpoint.name(error))?),
                None => expected.issuer,
            };
            let token = tokens.land_sign_in(&granted, obtained_at, issuer).await?;
            let mut state = tokens.state();
            (state.current, state.hold) = (Some(token), None);
            Ok(())
        });
        redeemed.await
    }

    /// Takes back at the login server what the vault held for this connection.
    pub(crate) async fn sign_out(&self, content: &Secret) -> Result<()> {
        match serde_json::from_str::<Record>(content.expose()) {
            Ok(record) if record.settings == self.0.settings => self.revoke(&record).await,
            _ => Ok(()),
        }
    }
}

/// Does this in a task of its own, which [`drain_token_refreshes`] waits for: a dropped caller must not lose the answer of a login server
/// that has spent the old token.
fn detached<T: Send + 'static>(
    what: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> {
    let task = UNDER_WAY.spawn(work);
    async move {
        let lost = |error| Error::new(ErrorKind::Internal, format!("{what} ended without a result")).source(error);
        task.await.map_err(lost)?
    }
}

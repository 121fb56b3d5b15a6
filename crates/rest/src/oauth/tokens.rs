//! The tokens of a connection: renewed before they expire, by one task at a time, and stored in the vault before use.
//!
//! The idea: a refresh token may be valid for one use only, so a lost response loses the sign-in. Hence two rules. All
//! callers that need a token wait for the same refresh (single flight). A refresh runs to its end in its own task, even
//! if all callers that wait for it are dropped. `refresh.rs` has the refresh itself.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trunkline_core::{ConnectionContext, Error, ErrorKind, Redactor, Result, Retry, Secret, Timestamp};

use super::{
    id_token::ExpectedClaims,
    login_server::LoginServer,
    settings::OAuth,
    token::{NewTokens, Token, TokenRecord},
    token_endpoint::{Endpoint, TokenRequest},
};
use crate::transport::{ClientLimits, HttpChannel};

/// What [`Tokens`] share with the client that they belong to.
pub(crate) struct ClientParts {
    pub(crate) http: HttpChannel,
    pub(crate) service: Arc<str>,
    pub(crate) limits: ClientLimits,
    pub(crate) issuer: Option<String>,
    /// The running token requests of the host.
    pub(crate) token_requests: TaskTracker,
}

type RefreshTask = Shared<BoxFuture<'static, Result<Token, Error>>>;

/// The tokens of one connection, shared by all clones of its client.
#[derive(Clone)]
pub(crate) struct Tokens(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) login: Box<dyn LoginServer>,
    pub(crate) context: ConnectionContext,
    token_requests: TaskTracker,
    /// The fingerprint of the settings that the tokens belong to.
    pub(crate) settings_fingerprint: String,
    state: Mutex<State>,
    refreshes: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    current: Option<Token>,
    /// The running refresh.
    running: Option<RefreshTask>,
    /// The time of the last refresh because of a 401.
    forced_at: Option<Instant>,
    /// The end of the backoff after a temporary failure, and that failure.
    pub(crate) backoff: Option<(Instant, Error)>,
    /// Tokens that could not be stored. The next refresh begins with them, because the old ones may be used up.
    pub(crate) unstored: Option<NewTokens>,
}

/// The reason for a refresh.
#[derive(Clone)]
pub(crate) enum RefreshReason {
    /// The token has expired or expires soon.
    Due,
    /// The API rejected this token. `may_ask` is whether the login server may be asked for another one.
    Rejected { token: Token, may_ask: bool },
}

impl Tokens {
    pub(crate) fn new(oauth: OAuth, context: ConnectionContext, parts: ClientParts) -> Tokens {
        let ClientParts { http, service, limits, issuer, token_requests } = parts;
        let redactor = context.redactor().clone();
        let endpoint = Endpoint { oauth, http, service, limits, issuer, redactor };
        Tokens::with(endpoint.clone(), Box::new(endpoint), context, token_requests)
    }

    /// Returns tokens with this login server.
    pub(crate) fn with(
        endpoint: Endpoint,
        login: Box<dyn LoginServer>,
        context: ConnectionContext,
        token_requests: TaskTracker,
    ) -> Tokens {
        let settings_fingerprint = endpoint.oauth.settings_fingerprint();
        let (state, refreshes) = (Mutex::default(), AtomicU64::new(0));
        Tokens(Arc::new(Inner { endpoint, login, context, token_requests, settings_fingerprint, state, refreshes }))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Returns the current time by the clock of the host.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.context.clock().now()
    }

    /// Returns the redactor of the host.
    pub(crate) fn redactor(&self) -> &Redactor {
        self.0.context.redactor()
    }

    /// Returns how often the login server has issued tokens.
    pub(crate) fn refreshes(&self) -> u64 {
        self.0.refreshes.load(Ordering::Relaxed)
    }

    /// Counts tokens that the login server has issued.
    pub(crate) fn count_refresh(&self) {
        self.0.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the current tokens; messages must not contain them.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let current = self.state().current.clone();
        current.iter().flat_map(Token::secrets).cloned().collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a valid token. If the current one expires soon, it is returned while a refresh runs in the background.
    ///
    /// # Errors
    ///
    /// The error of the refresh that the caller had to wait for, or that of a previous refresh during its backoff.
    pub(crate) async fn access(&self) -> Result<Token> {
        let refresh = {
            let mut state = self.state();
            let backoff = state.backoff.as_ref().filter(|(until, _)| Instant::now() < *until).cloned();
            match state.current.clone().filter(|token| token.is_valid(self.now())) {
                Some(token) if self.now() < token.0.renew_at || backoff.is_some() => return Ok(token),
                Some(token) => {
                    drop(self.begin(&mut state, RefreshReason::Due));
                    return Ok(token);
                }
                None => match backoff {
                    Some((until, error)) => {
                        let rest = until.saturating_duration_since(Instant::now());
                        return Err(error.retry(Retry::After(rest)));
                    }
                    None => self.begin(&mut state, RefreshReason::Due),
                },
            }
        };
        refresh.await
    }

    /// Returns another token after the API rejected this one with a 401, or `None` if another one would not help.
    ///
    /// # Errors
    ///
    /// The error of the refresh.
    pub(crate) async fn renew(&self, rejected: &Token, is_invalid: bool) -> Result<Option<Token>> {
        let refresh = {
            let mut state = self.state();
            let newer = state.current.clone().filter(|token| !token.is_same(rejected) && token.is_valid(self.now()));
            if let Some(newer) = newer {
                return Ok(Some(newer));
            }
            match state.running.clone() {
                Some(running) => running,
                None => {
                    let rested = state.forced_at.is_none_or(|at| at.elapsed() >= self.0.endpoint.limits.between_forced);
                    let may_ask = !rejected.is_valid(self.now())
                        || (rested && (is_invalid || rejected.may_have_expired(self.now())));
                    if may_ask {
                        state.forced_at = Some(Instant::now());
                    }
                    self.begin(&mut state, RefreshReason::Rejected { token: rejected.clone(), may_ask })
                }
            }
        };
        let token = refresh.await?;
        Ok(if token.is_same(rejected) { None } else { Some(token) })
    }

    /// Returns the running refresh, or begins one.
    fn begin(&self, state: &mut State, reason: RefreshReason) -> RefreshTask {
        if let Some(running) = &state.running {
            return running.clone();
        }
        let tokens = self.clone();
        let task = self.detached("the token refresh", async move {
            let outcome = tokens.refresh(reason).await;
            tokens.finish(&outcome);
            outcome
        });
        let task = task.shared();
        state.running = Some(task.clone());
        task
    }

    /// Records the outcome of a refresh.
    fn finish(&self, outcome: &Result<Token, Error>) {
        let mut state = self.state();
        state.running = None;
        match outcome {
            Ok(token) => {
                state.current = Some(token.clone());
                state.backoff = None;
            }
            Err(error) => {
                let wait = match error.retryable() {
                    Retry::Never => return,
                    Retry::Backoff => self.0.endpoint.limits.first_wait,
                    Retry::After(wait) => wait,
                };
                state.backoff = Some((Instant::now() + wait, error.clone()));
            }
        }
    }

    /// Redeems the authorization code of a sign-in and stores the tokens. It runs to its end even if the caller is
    /// dropped.
    ///
    /// # Errors
    ///
    /// `auth` if the ID token does not have the expected claims, and otherwise the error of the login server or of the
    /// vault.
    pub(crate) async fn sign_in(&self, request: TokenRequest, expected: ExpectedClaims) -> Result<()> {
        let tokens = self.clone();
        let redeemed = self.detached("the sign-in", async move {
            let endpoint = &tokens.0.endpoint;
            let obtained_at = tokens.now();
            let granted = tokens.0.login.request_tokens(request).await?;
            // The ID token is optional: some login servers leave it out.
            let (issuer, account) = match granted.id_token().filter(|_| endpoint.oauth.requests_scope("openid")) {
                Some(token) => {
                    let claims = expected.claims_of(token, tokens.now());
                    let claims = claims.map_err(|error| endpoint.with_login_server(error))?;
                    (Some(claims.iss), claims.sub)
                }
                None => (expected.issuer, None),
            };
            let token = tokens.store_sign_in(&granted, obtained_at, issuer, account).await?;
            let mut state = tokens.state();
            (state.current, state.backoff) = (Some(token), None);
            Ok(())
        });
        redeemed.await
    }

    /// Revokes the tokens of this connection at the login server; `content` is the content of the vault entry.
    ///
    /// # Errors
    ///
    /// `unavailable` if the login server did not revoke them.
    pub(crate) async fn sign_out(&self, content: &Secret) -> Result<()> {
        match serde_json::from_str::<TokenRecord>(content.expose()) {
            Ok(record) if record.settings_fingerprint == self.0.settings_fingerprint => {
                record.add_to(self.redactor());
                self.revoke(&record).await
            }
            _ => Ok(()),
        }
    }

    /// Runs work in its own task, which [`HttpEnvironment::drain_token_requests`] waits for. The response of a login
    /// server that has invalidated the old token must not be lost because the caller was dropped.
    ///
    /// [`HttpEnvironment::drain_token_requests`]: crate::HttpEnvironment::drain_token_requests
    fn detached<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let task = self.0.token_requests.spawn(work);
        Box::pin(async move {
            let lost = |error| Error::new(ErrorKind::Internal, format!("{what} ended without a result")).source(error);
            task.await.map_err(lost)?
        })
    }
}

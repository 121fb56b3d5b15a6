//! The tokens of a connection: renewed ahead of time, by one task at a time, and in the vault before they are used.
//!
//! A refresh token may be good for one use only, so losing an answer loses the connection. Hence the two rules of this
//! module: whoever needs a token waits for the one refresh that is under way; and that refresh, once begun, runs to its end
//! in a task of its own, whatever becomes of those who wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use oauth2::TokenResponse;
use tokio::time::Instant;
use trunkline_core::{Error, ErrorKind, Result, Retry, Secret, VaultSlot};

use crate::{
    Limits,
    granted::Granted,
    id_token::Expected,
    lease::Lease,
    oauth::{Ask, Endpoint, Grant, OAuth, fingerprint},
    token::{Record, Token, now},
};

/// How long a refused grant is not offered again: login servers lock accounts.
const REFUSED: Duration = Duration::from_secs(60);

/// How often somebody who waits for another process's refresh looks for what became of it.
const LEASE_POLL: Duration = Duration::from_millis(50);

/// Tries to put new tokens into a vault that fails.
const STORE_TRIES: u32 = 5;

/// What [`Tokens`] need of the client they belong to.
pub(crate) struct Parts {
    pub(crate) http: reqwest::Client,
    pub(crate) service: &'static str,
    pub(crate) limits: Limits,
    pub(crate) issuer: Option<String>,
}

type Flight = Shared<BoxFuture<'static, Result<Token, Error>>>;

/// The tokens of one connection, shared by all clones of its client.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    slot: VaultSlot,
    settings: String,
    state: Mutex<State>,
    refreshes: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Token>,
    /// The one refresh that is under way.
    flight: Option<Flight>,
    forced_at: Option<Instant>,
    /// After a failure that may pass: nobody asks again before this.
    hold: Option<(Instant, Error)>,
    failures: u32,
    /// A grant that was refused: its fingerprint, the refusal, when.
    refused: Option<(String, Error, Instant)>,
    /// Tokens the vault did not take: the next refresh begins with them, for the old ones may be spent.
    unsaved: Option<Record>,
}

/// Why a refresh begins.
#[derive(Clone)]
enum Why {
    Due,
    /// The API refused this token; whether the login server may be asked for another one.
    Refused {
        token: Token,
        ask: bool,
    },
}

impl Tokens {
    pub(crate) fn new(oauth: OAuth, slot: VaultSlot, parts: Parts) -> Tokens {
        let settings = oauth.fingerprint();
        let Parts { http, service, limits, issuer } = parts;
        let endpoint = Endpoint { oauth, http, service, limits, issuer };
        let (state, refreshes) = (Mutex::default(), AtomicU64::new(0));
        Tokens(Arc::new(Inner { endpoint, slot, settings, state, refreshes }))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// How many tokens the login server has given out.
    pub(crate) fn refreshes(&self) -> u64 {
        self.0.refreshes.load(Ordering::Relaxed)
    }

    /// The tokens in use, to be kept out of messages.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let current = self.state().current.clone();
        current.iter().flat_map(|token| [Some(token.0.access.clone()), token.0.refresh.clone()]).flatten().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good for now. While the current one still is, a refresh goes on behind the caller's back.
    pub(crate) async fn access(&self) -> Result<Token> {
        let flight = {
            let mut state = self.state();
            let held = state.hold.as_ref().filter(|(until, _)| Instant::now() < *until).cloned();
            match state.current.clone().filter(|token| !token.has_expired()) {
                Some(token) if now() < token.0.renew_at || held.is_some() => return Ok(token),
                Some(token) => {
                    drop(self.begin(&mut state, Why::Due));
                    return Ok(token);
                }
                None => match held {
                    Some((until, error)) => {
                        let rest = until.saturating_duration_since(Instant::now());
                        return Err(error.clone().retry(Retry::After(rest)));
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
            if let Some(newer) = state.current.clone().filter(|token| !token.is_same(refused) && !token.has_expired()) {
                return Ok(Some(newer));
            }
            match state.flight.clone() {
                Some(under_way) => under_way,
                None => {
                    let rested = state.forced_at.is_none_or(|at| at.elapsed() >= self.0.endpoint.limits.between_forced);
                    let ask = refused.has_expired() || (rested && refused.may_have_run_out());
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
        // A task of its own: a dropped caller must not lose the answer of a login server that has spent the old token.
        let task = tokio::spawn(async move {
            let outcome = tokens.refresh(why).await;
            tokens.landed(&outcome);
            outcome
        });
        let flight = async {
            task.await.unwrap_or_else(|error| {
                Err(Error::new(ErrorKind::Internal, "the token refresh ended without a result").source(error))
            })
        };
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
                state.failures = 0;
            }
            Err(error) => {
                let limits = &self.0.endpoint.limits;
                let own = limits.first_wait.saturating_mul(1 << state.failures.min(8)).min(limits.own_wait);
                state.failures += 1;
                let wait = match error.retryable() {
                    Retry::Never => return,
                    Retry::Backoff => own,
                    Retry::After(asked) => asked.min(limits.longest_wait).max(own),
                };
                state.hold = Some((Instant::now() + wait, error.clone()));
            }
        }
    }

    async fn refresh(&self, why: Why) -> Result<Token> {
        // Other clients of the same connection in this process, as a host may make one a run.
        let lock = lock_of(&self.0.slot, &self.0.endpoint.oauth);
        let _alone = lock.lock().await;
        let mut known_dead = None;
        loop {
            let unsaved = self.state().unsaved.clone();
            let (mut version, record) = self.load().await?;
            if let Some(unsaved) = unsaved {
                let newer = record.filter(|record| record.obtained_at >= unsaved.obtained_at);
                return self.store_over(newer.unwrap_or(unsaved), version).await;
            }
            if let Some(token) = record.as_ref().map(Token::of).filter(|token| !token.has_expired()) {
                match &why {
                    Why::Due if now() < token.0.renew_at => return Ok(token),
                    Why::Refused { token: refused, .. } if !token.is_same(refused) => return Ok(token),
                    _ => {}
                }
            }
            if let Why::Refused { token, ask: false } = why {
                return Ok(token);
            }
            let refresh_token = match &self.0.endpoint.oauth.grant {
                Grant::Password { .. } | Grant::ClientCredentials => None,
                Grant::RefreshToken { refresh_token } => Some(
                    record
                        .as_ref()
                        .and_then(|record| record.refresh_token.clone())
                        .unwrap_or_else(|| refresh_token.expose().to_owned()),
                ),
                Grant::AuthorizationCode => match record.as_ref().and_then(|record| record.refresh_token.clone()) {
                    Some(token) => Some(token),
                    None => return Err(self.sign_in_first()),
                },
            };
            let offered = fingerprint(refresh_token.as_deref().unwrap_or(&self.0.settings));
            if known_dead.as_ref() == Some(&offered) {
                return Err(self.sign_in_first());
            }
            if let Some((dead, error, at)) = &self.state().refused
                && *dead == offered
                && at.elapsed() < REFUSED
            {
                return Err(error.clone());
            }
            if refresh_token.is_some() {
                match self.lease(version, record.as_ref()).await? {
                    Some(leased) => version = leased,
                    // Another process is at it. While the token there is good, nobody has to wait.
                    None => match (&why, record.as_ref().map(Token::of).filter(|token| !token.has_expired())) {
                        (Why::Due, Some(token)) => return Ok(token),
                        _ => {
                            tokio::time::sleep(LEASE_POLL).await;
                            continue;
                        }
                    },
                }
            }
            let obtained_at = now();
            let ask = refresh_token.as_deref().map_or(Ask::Settings, |token| Ask::Refresh(token.into()));
            match self.0.endpoint.ask(&ask).await {
                Ok(granted) => {
                    let issuer = record.and_then(|record| record.issuer);
                    let record = self.record(&granted, obtained_at, refresh_token, issuer);
                    return self.store_over(record, version).await;
                }
                Err(error) if error.retryable() != Retry::Never => {
                    self.release(version).await;
                    return Err(error);
                }
                Err(error) => {
                    // Somebody else may have spent the token and stored its successor while we asked.
                    let (now_there, _) = self.load().await?;
                    if error.kind() == ErrorKind::Auth && now_there != version && known_dead.is_none() {
                        known_dead = Some(offered);
                        continue;
                    }
                    self.release(version).await;
                    self.state().refused = Some((offered, error.clone(), Instant::now()));
                    return Err(error);
                }
            }
        }
    }

    /// Writes down that the refresh token is about to be spent: the entry's new version, or `None` if somebody else has
    /// written that, or anything, before.
    async fn lease(&self, version: u64, record: Option<&Record>) -> Result<Option<u64>> {
        let call = self.0.endpoint.limits.attempt;
        if record.and_then(|record| record.lease.as_ref()).is_some_and(|lease| lease.holds(now(), call)) {
            return Ok(None);
        }
        let lease = Some(Lease::new(now(), call));
        let leased = match record {
            Some(record) => Record { lease, ..record.clone() },
            None => Record {
                access_token: String::new(),
                refresh_token: None,
                obtained_at: 0,
                expires_at: 0,
                settings: self.0.settings.clone(),
                issuer: None,
                scope: None,
                lease,
            },
        };
        let taken = self.0.slot.replace(version, &leased.content()?).await?;
        Ok(taken.then_some(version + 1))
    }

    /// Gives the lease back, if the entry still is the one it was taken with. Where that fails, it ends by itself.
    async fn release(&self, version: u64) {
        if let Ok((found, Some(record))) = self.load().await
            && found == version
            && record.lease.is_some()
            && let Ok(content) = (Record { lease: None, ..record }).content()
        {
            let _ = self.0.slot.replace(version, &content).await;
        }
    }

    /// The entry's version (0 = none) and what it holds for the settings as they are now.
    async fn load(&self) -> Result<(u64, Option<Record>)> {
        let Some(entry) = self.0.slot.load().await? else { return Ok((0, None)) };
        // What cannot be read, or came of other settings, is replaced by the next sign-in.
        let record = serde_json::from_str::<Record>(entry.content.expose()).ok();
        Ok((entry.version, record.filter(|record| record.settings == self.0.settings)))
    }

    pub(crate) fn record(
        &self,
        granted: &Granted,
        obtained_at: u64,
        refresh_token: Option<String>,
        issuer: Option<String>,
    ) -> Record {
        let lifetime = granted.expires_in().unwrap_or_default();
        Record {
            access_token: granted.access_token().secret().clone(),
            // An answer without a refresh token leaves the one there is in force.
            refresh_token: granted.refresh_token().map(|token| token.secret().clone()).or(refresh_token),
            obtained_at,
            expires_at: obtained_at.saturating_add(lifetime.as_millis() as u64),
            settings: self.0.settings.clone(),
            issuer,
            scope: granted.scope(),
            lease: None,
        }
    }

    /// Puts new tokens into the vault, then lets them be used. Whoever was faster goes first: a lost race means that there
    /// are tokens at least as new.
    async fn store_over(&self, record: Record, mut version: u64) -> Result<Token> {
        self.0.refreshes.fetch_add(u64::from(self.state().unsaved.is_none()), Ordering::Relaxed);
        self.state().unsaved = Some(record.clone());
        let content = record.content()?;
        let mut last = None;
        for attempt in 0..STORE_TRIES {
            match self.0.slot.replace(version, &content).await {
                Ok(true) => {
                    self.state().unsaved = None;
                    return Ok(Token::of(&record));
                }
                Ok(false) => {
                    let (found, theirs) = self.load().await?;
                    version = found;
                    if let Some(theirs) = theirs.filter(|theirs| theirs.obtained_at >= record.obtained_at) {
                        self.state().unsaved = None;
                        return Ok(Token::of(&theirs));
                    }
                }
                Err(error) => {
                    last = Some(error);
                    tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                }
            }
        }
        let error =
            Error::new(ErrorKind::Store, "the new tokens could not be put into the vault, so they are not used");
        let error = error
            .retry(Retry::Backoff)
            .hint("they are kept in memory; make room for the store before stopping the host");
        Err(match last {
            Some(last) => error.source(last),
            None => error,
        })
    }

    /// Stores what a person's sign-in gave: it goes before whatever is there. Runs to its end on its own.
    pub(crate) async fn sign_in(&self, ask: Ask, expected: Expected) -> Result<()> {
        let tokens = self.clone();
        let task = tokio::spawn(async move {
            let endpoint = &tokens.0.endpoint;
            let lock = lock_of(&tokens.0.slot, &endpoint.oauth);
            let _alone = lock.lock().await;
            let obtained_at = now();
            let granted = endpoint.ask(&ask).await?;
            // An API may do without: only what is there is checked.
            let issuer = match granted.id_token().filter(|_| endpoint.oauth.asks_for("openid")) {
                Some(token) => Some(expected.issuer_of(token, now()).map_err(|error| endpoint.name(error))?),
                None => expected.issuer,
            };
            let record = tokens.record(&granted, obtained_at, None, issuer);
            let (version, _) = tokens.load().await?;
            let token = tokens.store_over(record, version).await?;
            let mut state = tokens.state();
            (state.current, state.hold, state.refused) = (Some(token), None, None);
            Ok(())
        });
        let lost = |error| Error::new(ErrorKind::Internal, "the sign-in ended without a result").source(error);
        task.await.map_err(lost)?
    }

    fn sign_in_first(&self) -> Error {
        let message =
            format!("nobody has signed in to {} for this connection, or the sign-in ran out", self.0.endpoint.service);
        Error::new(ErrorKind::Auth, message)
            .setting(self.0.endpoint.oauth.grant_setting())
            .hint("sign in to this connection in the browser")
    }
}

type Locks = HashMap<String, Weak<tokio::sync::Mutex<()>>>;

/// One lock a connection and login, process-wide.
fn lock_of(slot: &VaultSlot, oauth: &OAuth) -> Arc<tokio::sync::Mutex<()>> {
    static LOCKS: LazyLock<Mutex<Locks>> = LazyLock::new(Mutex::default);
    let key = [slot.connection(), oauth.token_url.as_str(), &oauth.client_id].join("\0");
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
        return lock;
    }
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    locks.insert(key, Arc::downgrade(&lock));
    lock
}

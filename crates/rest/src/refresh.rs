//! One refresh: from the look into the vault to new tokens in it.
//!
//! The idea: an attempt has a name, and the vault's entry lists the attempts that set out to replace the tokens in it. The
//! name goes in, with the lease, before the login server is asked; new tokens go in only while it still stands there, and
//! clear the list. So whoever comes late, woken up or slow, cannot overwrite what others did meanwhile; an answer that was
//! only slow is kept; and a name that is left over when a refresh token turns out to be spent says that an answer was lost.

use std::time::Duration;

use oauth2::TokenResponse;
use tokio::time::Instant;
use trunkline_core::{Error, ErrorKind, ReauthCause, Result, Retry, Secret};

use crate::{
    oauth::{Ask, Grant},
    refresh_lease::{self, Lease},
    token::{Failed, Record, Token},
    token_response::GrantedTokens,
    tokens::{Tokens, Why},
};

/// How often somebody who waits for another one's refresh looks for what became of it.
const LOOK: Duration = Duration::from_millis(50);

/// Tries to put new tokens into a vault that fails.
const STORE_TRIES: u32 = 5;

/// How long what the login server refused is not offered again, at first: it locks accounts. Doubles each time.
const REFUSED: Duration = Duration::from_secs(60);

/// Longest such time.
const REFUSED_LONGEST: Duration = Duration::from_secs(60 * 60);

/// New tokens on their way into the vault, and the attempt that they came of; none for a sign-in, which goes before all.
#[derive(Clone)]
pub(crate) struct Landing {
    record: Record,
    attempt: Option<String>,
}

impl Tokens {
    /// Gets a token that is good, from the vault or from the login server.
    pub(crate) async fn refresh(&self, why: Why) -> Result<Token> {
        let limits = &self.0.endpoint.limits;
        let give_up = Instant::now() + refresh_lease::length(limits.attempt) + limits.attempt;
        loop {
            // Tokens the vault did not take: the old ones may be spent, so nothing goes on without them.
            let unsaved = self.state().unsaved.clone();
            if let Some(landing) = unsaved
                && let Some(token) = self.land(landing).await?
            {
                return Ok(token);
            }
            let (version, record) = self.load().await?;
            let good = record.as_ref().map(Token::of).filter(|token| token.is_good(self.now()));
            let sent = self.0.endpoint.oauth.everything();
            let changed = record.as_ref().is_some_and(|one| one.sent.as_ref().is_some_and(|before| *before != sent));
            match (&why, &good) {
                (Why::Due, Some(token)) if self.now() < token.0.renew_at && !changed => return Ok(token.clone()),
                (Why::Refused { token: refused, .. }, Some(token)) if !token.is_same(refused) => {
                    return Ok(token.clone());
                }
                (Why::Refused { token, ask: false }, _) if record.as_ref().is_none_or(|record| !record.doubted) => {
                    return Ok(token.clone());
                }
                _ => {}
            }
            let failed = record.as_ref().and_then(|record| record.failed.as_ref());
            if let Some(error) = failed.and_then(|failed| failed.holds(self.now(), &sent)) {
                return Err(error);
            }
            let ask = self.offer(record.as_ref())?;
            let attempt = refresh_lease::attempt();
            let begun = self.now();
            if !self.lease(version, record.as_ref(), &attempt).await? {
                // Somebody else is at it. While the token there is good, nobody has to wait.
                if let (Why::Due, Some(token)) = (&why, good) {
                    return Ok(token);
                }
                if Instant::now() >= give_up {
                    return Err(self.takes_long());
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let asked_at = self.now();
            if asked_at.saturating_sub(begun) > refresh_lease::millis(limits.attempt) {
                // Frozen, or with a slow disk: the answer could come after the lease, and another one be at it by then.
                self.withdraw(&attempt).await?;
                if Instant::now() >= give_up {
                    return Err(self.held_up());
                }
                continue;
            }
            let landed = match self.ask(&ask, &attempt).await {
                Ok(granted) => {
                    let record = self.record(&granted, asked_at, &ask, record);
                    self.count();
                    self.land(Landing { record, attempt: Some(attempt) }).await?
                }
                Err(error) => match self.fail(&error, &attempt, sent).await {
                    Some(error) => return Err(error),
                    None => None,
                },
            };
            // None: somebody else has put other tokens there meanwhile, and those go before.
            if let Some(token) = landed {
                return Ok(token);
            }
            if Instant::now() >= give_up {
                return Err(self.takes_long());
            }
        }
    }

    /// What is handed in for new tokens.
    fn offer(&self, record: Option<&Record>) -> Result<Ask> {
        let stored = record.and_then(|record| record.refresh_token.as_deref());
        match (&self.0.endpoint.oauth.grant, stored) {
            (Grant::Password { .. } | Grant::ClientCredentials, _) => Ok(Ask::Settings),
            (Grant::AuthorizationCode | Grant::RefreshToken { .. }, Some(stored)) => Ok(Ask::Refresh(stored.into())),
            (Grant::RefreshToken { refresh_token }, None) => Ok(Ask::Refresh(refresh_token.clone())),
            (Grant::AuthorizationCode, None) => Err(self.sign_in_first()),
        }
    }

    /// Asks the login server, and renews the lease while its answer is awaited.
    async fn ask(&self, ask: &Ask, attempt: &str) -> Result<GrantedTokens> {
        let call = self.0.endpoint.limits.attempt;
        let mut answer = self.0.login.ask(ask.clone());
        loop {
            if let Ok(answer) = tokio::time::timeout(refresh_lease::length(call) / 3, &mut answer).await {
                return answer;
            }
            let renewed = self.write(|record| {
                let mut record = record.filter(|one| one.lease.as_ref().is_some_and(|held| held.owner == attempt))?;
                record.lease = Some(Lease::new(attempt, self.now(), call));
                Some(record)
            });
            // Where that fails, the answer is awaited all the same: it may hold the only good token.
            renewed.await.ok();
        }
    }

    /// Writes down that an attempt begins, with its lease: before anything is sent. False if somebody else has the lease, or
    /// has written anything since.
    async fn lease(&self, version: u64, record: Option<&Record>, attempt: &str) -> Result<bool> {
        let call = self.0.endpoint.limits.attempt;
        if record.and_then(|record| record.lease.as_ref()).is_some_and(|lease| lease.holds(self.now(), call)) {
            return Ok(false);
        }
        let fresh = || Record { settings: self.0.settings.clone(), ..Record::default() };
        let leased = record.cloned().unwrap_or_else(fresh).begun(Lease::new(attempt, self.now(), call));
        self.replace(version, &leased).await
    }

    /// Takes back what an attempt wrote down that has sent nothing.
    async fn withdraw(&self, attempt: &str) -> Result<()> {
        let without = |record: Option<Record>| {
            let mut record = record.filter(|record| record.awaits(attempt))?.released(attempt);
            record.attempts.retain(|one| one != attempt);
            Some(record)
        };
        self.write(without).await.map(drop)
    }

    /// The entry's version (0 = none) and what it holds for the settings as they are now.
    async fn load(&self) -> Result<(u64, Option<Record>)> {
        let Some(entry) = self.0.slot.load().await? else { return Ok((0, None)) };
        // What cannot be read, or came of other settings, is replaced by the next sign-in.
        let record = serde_json::from_str::<Record>(entry.content.expose()).ok();
        Ok((entry.version, record.filter(|record| record.settings == self.0.settings)))
    }

    async fn replace(&self, version: u64, record: &Record) -> Result<bool> {
        let person = matches!(self.0.endpoint.oauth.grant, Grant::AuthorizationCode);
        self.0.slot.replace(version, &record.content()?, &record.sign_in(person)).await
    }

    /// Changes the entry to what `next` makes of it, however many others do; nothing if it makes nothing of it.
    async fn write(&self, next: impl Fn(Option<Record>) -> Option<Record>) -> Result<Option<Record>> {
        loop {
            let (version, record) = self.load().await?;
            let Some(next) = next(record) else { return Ok(None) };
            if self.replace(version, &next).await? {
                return Ok(Some(next));
            }
        }
    }

    fn record(&self, granted: &GrantedTokens, obtained_at: u64, ask: &Ask, old: Option<Record>) -> Record {
        let lifetime = granted.expires_in().unwrap_or_default();
        let offered = match ask {
            Ask::Refresh(token) => Some(token.expose().to_owned()),
            Ask::Settings | Ask::Code { .. } => None,
        };
        Record {
            access_token: granted.access_token().secret().clone(),
            // An answer without a refresh token leaves the one there is in force.
            refresh_token: granted.refresh_token().map(|token| token.secret().clone()).or(offered),
            obtained_at,
            expires_at: obtained_at.saturating_add(refresh_lease::millis(lifetime)),
            settings: self.0.settings.clone(),
            sent: Some(self.0.endpoint.oauth.everything()),
            issuer: old.and_then(|old| old.issuer),
            scope: granted.scope(),
            ..Record::default()
        }
    }

    /// Puts new tokens into the vault; only then may they be used. Nothing if the entry does not wait for them any more.
    async fn land(&self, landing: Landing) -> Result<Option<Token>> {
        self.state().unsaved = Some(landing.clone());
        let mut last = None;
        for number in 0..STORE_TRIES {
            let stored = self.write(|record| match &landing.attempt {
                Some(attempt) => record
                    .filter(|record| record.awaits(attempt))
                    .map(|old| Record { doubted: old.is_contested(attempt), ..landing.record.clone() }),
                None => Some(landing.record.clone()),
            });
            match stored.await {
                Ok(None) if landing.attempt.is_some() && matches!(self.load().await, Ok((0, _))) => {
                    return Err(self.removed(&landing.record).await);
                }
                Ok(stored) => {
                    self.state().unsaved = None;
                    return Ok(stored.as_ref().map(Token::of));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.removed(&landing.record).await),
                Err(error) => {
                    last = Some(error);
                    tokio::time::sleep(Duration::from_millis(100 << number)).await;
                }
            }
        }
        let error =
            Error::new(ErrorKind::Store, "the new tokens could not be put into the vault, so they are not used")
                .retry(Retry::Backoff)
                .hint("they are kept in memory; make room for the store before stopping the host");
        Err(match last {
            Some(last) => error.source(last),
            None => error,
        })
    }

    /// The connection was removed while it was signed in anew: nobody would ever take these tokens back.
    async fn removed(&self, record: &Record) -> Error {
        self.state().unsaved = None;
        self.revoke(record).await.ok();
        let message = format!("the connection {} was removed meanwhile", self.0.slot.connection());
        Error::new(ErrorKind::NotFound, message).hint("its new tokens were taken back; add it again to go on")
    }

    /// Writes down how an attempt failed, and until when nobody tries again. Nothing if the entry holds other tokens
    /// meanwhile: then the failure is no matter any more.
    async fn fail(&self, error: &Error, attempt: &str, sent: String) -> Option<Error> {
        let limits = &self.0.endpoint.limits;
        // Whether the login server cannot have spent anything: it was not reached, or said so in OAuth's own words.
        let known = error.context("sent") == Some("no") || error.context("oauth").is_some();
        let spendable = !matches!(self.0.endpoint.oauth.grant, Grant::Password { .. } | Grant::ClientCredentials);
        let doubled = |first: Duration, times: u32, longest| first.saturating_mul(1 << times.min(16)).min(longest);
        let written = self.write(|record| {
            let mut record = record.filter(|record| record.awaits(attempt))?.released(attempt);
            let interrupted = spendable && (record.doubted || record.is_contested(attempt));
            if known {
                record.attempts.retain(|one| one != attempt);
            }
            // What somebody else was told meanwhile goes before an answer that did not come.
            let told = |failed: &Failed| failed.cause.is_some() && failed.holds(self.now(), &sent).is_some();
            if error.kind() != ErrorKind::Auth && record.failed.as_ref().is_some_and(told) {
                return Some(record);
            }
            let times = record.failed.take().map_or(0, |failed| failed.times);
            let own = doubled(limits.first_wait, times, limits.own_wait);
            let wait = match error.retryable() {
                Retry::Never => doubled(REFUSED, times, REFUSED_LONGEST),
                Retry::Backoff => own,
                Retry::After(asked) => asked.min(limits.longest_wait).max(own),
            };
            let cause = match (error.kind(), interrupted) {
                (ErrorKind::Auth, false) => Some(ReauthCause::Revoked),
                (ErrorKind::Auth, true) => Some(ReauthCause::Interrupted),
                _ => None,
            };
            let error = match cause {
                Some(ReauthCause::Interrupted) => error.clone().with("cause", "interrupted").hint(format!(
                    "the answer to an earlier refresh was lost, and the login server takes its token as used; {}",
                    self.0.endpoint.grant_hint()
                )),
                _ => error.clone(),
            };
            let until = self.now().saturating_add(refresh_lease::millis(wait));
            record.failed = Some(Failed { until, times: times + 1, error, cause, sent: sent.clone() });
            Some(record)
        });
        match written.await {
            Ok(Some(record)) => {
                record.failed.map(|failed| failed.holds(self.now(), &failed.sent).unwrap_or(failed.error))
            }
            Ok(None) => None,
            // It cannot be written down; what the login server said is worth more than that.
            Err(_) => Some(error.clone()),
        }
    }

    /// Lets the next refresh ask at once, whatever the last one was told: a person is there, who may have put it right.
    pub(crate) async fn try_again(&self) -> Result<()> {
        self.state().hold = None;
        let asked_again = self.write(|record| {
            let mut record =
                record.filter(|one| one.failed.as_ref().is_some_and(|failed| failed.until > self.now()))?;
            record.failed.as_mut()?.until = self.now();
            Some(record)
        });
        asked_again.await.map(drop)
    }

    /// Stores what a person's sign-in gave: it goes before whatever is there.
    pub(crate) async fn land_sign_in(
        &self,
        granted: &GrantedTokens,
        obtained_at: u64,
        issuer: Option<String>,
    ) -> Result<Token> {
        let record = Record { issuer, ..self.record(granted, obtained_at, &Ask::Settings, None) };
        self.count();
        let landed = self.land(Landing { record, attempt: None }).await?;
        landed.ok_or_else(|| Error::new(ErrorKind::Internal, "the tokens of the sign-in were not stored"))
    }

    /// Takes these tokens back at the login server (RFC 7009), where it can: the one that others come of first.
    pub(crate) async fn revoke(&self, record: &Record) -> Result<()> {
        for (token, kind) in
            [(record.refresh_token.as_deref(), "refresh_token"), (Some(&*record.access_token), "access_token")]
        {
            if let Some(token) = token.filter(|token| !token.is_empty()) {
                self.0.login.revoke(Secret::from(token), kind).await?;
            }
        }
        Ok(())
    }

    fn held_up(&self) -> Error {
        let service = self.0.endpoint.service;
        let message = format!("this process was held up each time it was about to ask the login server of {service}");
        Error::new(ErrorKind::Unavailable, message)
            .retry(Retry::Backoff)
            .hint("look at the load of the machine and at its disk; the sign-in is kept")
    }

    fn takes_long(&self) -> Error {
        let message =
            format!("others have been asking the login server of {} for this connection", self.0.endpoint.service);
        Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff).hint("try again later; the sign-in is kept")
    }

    fn sign_in_first(&self) -> Error {
        let message =
            format!("nobody has signed in to {} for this connection, or the sign-in ran out", self.0.endpoint.service);
        Error::new(ErrorKind::Auth, message)
            .setting(self.0.endpoint.oauth.grant_setting())
            .hint("sign in to this connection in the browser")
    }
}

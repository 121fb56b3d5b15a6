//! One token refresh, from reading the vault to storing new tokens in it.
//!
//! The idea: an attempt has an id, and the vault entry lists the attempts to replace its tokens. The id is stored, with
//! the lease, before the login server is asked. New tokens are stored only if the entry still lists the id, and they
//! clear the list. So an attempt that resumes late cannot overwrite what others have stored meanwhile, and a response
//! that was only slow is still used. If the login server takes a refresh token as used and the list has another id, a
//! response was lost.

use std::time::Duration;

use oauth2::TokenResponse;
use tokio::time::Instant;
use trunkline_core::{
    Error, ErrorDetail, ErrorKind, NextStep, OAuthErrorCode, ReauthCause, Result, Retry, Secret, Timestamp,
};

use super::{
    refresh_lease::{self, Lease},
    settings::Grant,
    token::{FailedAttempt, NewTokens, Token, TokenRecord},
    token_endpoint::TokenRequest,
    token_response::GrantedTokens,
    tokens::{RefreshReason, Tokens},
};

/// The interval in which a process checks the outcome of a refresh by another process.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The number of tries to store new tokens in a vault that fails.
const STORE_TRIES: u32 = 5;

/// The first backoff after the login server refused a request, because login servers lock accounts. It doubles each
/// time.
const REFUSED_BACKOFF: Duration = Duration::from_secs(60);

/// The longest backoff after the login server refused a request.
const LONGEST_REFUSED_BACKOFF: Duration = Duration::from_secs(60 * 60);

impl Tokens {
    /// Returns a valid token, from the vault or from the login server.
    ///
    /// # Errors
    ///
    /// - the error of the login server, also if another process got it and its backoff has not ended
    /// - `auth` if the user has to sign in first
    /// - `unavailable` if other processes, or delays of this one, left no time
    /// - the error of the vault
    pub(crate) async fn refresh(&self, reason: RefreshReason) -> Result<Token> {
        let limits = &self.0.endpoint.limits;
        let give_up = Instant::now() + refresh_lease::duration(limits.attempt) + limits.attempt;
        loop {
            // Tokens that could not be stored come first, because the old ones may be used up.
            let unstored = self.state().unstored.clone();
            if let Some(tokens) = unstored
                && let Some(token) = self.store(tokens).await?
            {
                return Ok(token);
            }
            let (version, record) = self.load().await?;
            let fingerprint = self.0.endpoint.oauth.request_fingerprint();
            let valid = record.as_ref().map(|record| self.token(record)).filter(|token| token.is_valid(self.now()));
            if let Some(token) = self.usable(&reason, record.as_ref(), valid.as_ref(), &fingerprint) {
                return Ok(token);
            }
            let failed = record.as_ref().and_then(|record| record.failed.as_ref());
            if let Some(error) = failed.and_then(|failed| failed.blocking_error(self.now(), &fingerprint)) {
                return Err(error);
            }
            let request = self.token_request(record.as_ref())?;
            let attempt = refresh_lease::new_attempt();
            let started_at = self.now();
            if !self.acquire_lease(version, record.as_ref(), &attempt).await? {
                // Another process is refreshing. A caller with a valid token does not have to wait.
                if let (RefreshReason::Due, Some(token)) = (&reason, valid) {
                    return Ok(token);
                }
                if Instant::now() >= give_up {
                    return Err(self.busy());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            let asked_at = self.now();
            if asked_at.since(started_at) > limits.attempt {
                // The process was suspended or the disk is slow. The response could arrive after the lease has expired
                // and another process has begun.
                self.withdraw(&attempt).await?;
                if Instant::now() >= give_up {
                    return Err(self.delayed());
                }
                continue;
            }
            let stored = match self.ask(&request, &attempt).await {
                Ok(granted) => {
                    let record = self.record(&granted, asked_at, &request, record);
                    self.count_refresh();
                    self.store(NewTokens { record, attempt: Some(attempt) }).await?
                }
                Err(error) => match self.record_failure(&error, &attempt, fingerprint).await {
                    Some(error) => return Err(error),
                    None => None,
                },
            };
            // Without a token, another process has stored other tokens meanwhile, and those take precedence.
            if let Some(token) = stored {
                return Ok(token);
            }
            if Instant::now() >= give_up {
                return Err(self.busy());
            }
        }
    }

    /// Returns a token that can be used without asking the login server. `valid` is the token of the record if it has
    /// not expired.
    fn usable(
        &self,
        reason: &RefreshReason,
        record: Option<&TokenRecord>,
        valid: Option<&Token>,
        fingerprint: &str,
    ) -> Option<Token> {
        let used = record.and_then(|record| record.request_fingerprint.as_deref());
        let changed = used.is_some_and(|used| used != fingerprint);
        match (reason, valid) {
            (RefreshReason::Due, Some(token)) if self.now() < token.0.renew_at && !changed => Some(token.clone()),
            (RefreshReason::Rejected { token: rejected, .. }, Some(token)) if !token.is_same(rejected) => {
                Some(token.clone())
            }
            (RefreshReason::Rejected { token, may_ask: false }, _)
                if record.is_none_or(|record| !record.maybe_revoked) =>
            {
                Some(token.clone())
            }
            _ => None,
        }
    }

    /// Returns the request for new tokens.
    fn token_request(&self, record: Option<&TokenRecord>) -> Result<TokenRequest> {
        let stored = record.and_then(|record| record.refresh_token.as_deref());
        match (&self.0.endpoint.oauth.grant, stored) {
            (Grant::Password { .. } | Grant::ClientCredentials, _) => Ok(TokenRequest::Settings),
            (Grant::AuthorizationCode | Grant::RefreshToken { .. }, Some(stored)) => {
                Ok(TokenRequest::Refresh(stored.into()))
            }
            (Grant::RefreshToken { refresh_token }, None) => Ok(TokenRequest::Refresh(refresh_token.clone())),
            (Grant::AuthorizationCode, None) => Err(self.sign_in_required()),
        }
    }

    /// Sends a token request, and renews the lease while it waits for the response.
    async fn ask(&self, request: &TokenRequest, attempt: &str) -> Result<GrantedTokens> {
        let timeout = self.0.endpoint.limits.attempt;
        let mut response = self.0.login.request_tokens(request.clone());
        loop {
            if let Ok(response) = tokio::time::timeout(refresh_lease::duration(timeout) / 3, &mut response).await {
                return response;
            }
            let renewed = self.write(|record| {
                let mut record = record.filter(|one| one.lease.as_ref().is_some_and(|lease| lease.owner == attempt))?;
                record.lease = Some(Lease::new(attempt, self.now(), timeout));
                Some(record)
            });
            // If the lease cannot be renewed, the response is still awaited: it may hold the only valid token.
            renewed.await.ok();
        }
    }

    /// Stores an attempt with its lease, before anything is sent. Returns `false` if another process holds the lease or
    /// has changed the entry.
    async fn acquire_lease(&self, version: u64, record: Option<&TokenRecord>, attempt: &str) -> Result<bool> {
        let timeout = self.0.endpoint.limits.attempt;
        if record.and_then(|record| record.lease.as_ref()).is_some_and(|lease| lease.is_held(self.now(), timeout)) {
            return Ok(false);
        }
        let fresh =
            || TokenRecord { settings_fingerprint: self.0.settings_fingerprint.clone(), ..TokenRecord::default() };
        let leased = record.cloned().unwrap_or_else(fresh).with_attempt(Lease::new(attempt, self.now(), timeout));
        self.replace(version, &leased).await
    }

    /// Removes an attempt that has sent nothing.
    async fn withdraw(&self, attempt: &str) -> Result<()> {
        let without = |record: Option<TokenRecord>| {
            let mut record = record.filter(|record| record.awaits(attempt))?.without_lease(attempt);
            record.attempts.retain(|one| one != attempt);
            Some(record)
        };
        self.write(without).await.map(drop)
    }

    /// Returns the token of a record. The redactor looks for it as long as it is used.
    fn token(&self, record: &TokenRecord) -> Token {
        let token = Token::of(record);
        token.secrets().for_each(|secret| self.redactor().add(secret));
        token
    }

    /// Returns the version of the vault entry (0 = none) and its record. There is no record if it cannot be read or
    /// belongs to other settings.
    async fn load(&self) -> Result<(u64, Option<TokenRecord>)> {
        let Some(entry) = self.0.context.vault_entry().await? else { return Ok((0, None)) };
        // The next sign-in or refresh replaces such a record.
        let record = serde_json::from_str::<TokenRecord>(entry.content.expose()).ok();
        record.iter().for_each(|record| record.add_to(self.redactor()));
        Ok((entry.version, record.filter(|record| record.settings_fingerprint == self.0.settings_fingerprint)))
    }

    /// Replaces the entry. Returns `false` if its version is another one.
    async fn replace(&self, version: u64, record: &TokenRecord) -> Result<bool> {
        let interactive = matches!(self.0.endpoint.oauth.grant, Grant::AuthorizationCode);
        let sign_in = record.sign_in(interactive, self.redactor());
        self.0.context.replace_vault_entry(version, &record.content()?, &sign_in).await
    }

    /// Changes the record to the one that `next` returns, and repeats that if another process changed the entry
    /// meanwhile. Returns the new record, or `None` if `next` returned none.
    async fn write(&self, next: impl Fn(Option<TokenRecord>) -> Option<TokenRecord>) -> Result<Option<TokenRecord>> {
        loop {
            let (version, record) = self.load().await?;
            let Some(next) = next(record) else { return Ok(None) };
            if self.replace(version, &next).await? {
                return Ok(Some(next));
            }
        }
    }

    /// Returns the record of new tokens.
    fn record(
        &self,
        granted: &GrantedTokens,
        obtained_at: Timestamp,
        request: &TokenRequest,
        old: Option<TokenRecord>,
    ) -> TokenRecord {
        let lifetime = granted.expires_in().unwrap_or_default();
        let (issuer, account) = old.map(|old| (old.issuer, old.account)).unwrap_or_default();
        let used = match request {
            TokenRequest::Refresh(token) => Some(token.expose().to_owned()),
            TokenRequest::Settings | TokenRequest::Code { .. } => None,
        };
        TokenRecord {
            access_token: granted.access_token().secret().clone(),
            // Without a new refresh token in the response, the old one stays valid.
            refresh_token: granted.refresh_token().map(|token| token.secret().clone()).or(used),
            obtained_at,
            expires_at: obtained_at + lifetime,
            settings_fingerprint: self.0.settings_fingerprint.clone(),
            request_fingerprint: Some(self.0.endpoint.oauth.request_fingerprint()),
            issuer,
            account,
            scope: granted.scope(),
            ..TokenRecord::default()
        }
    }

    /// Stores new tokens in the vault; only then may they be used. Returns `None` if the entry no longer lists their
    /// attempt.
    async fn store(&self, tokens: NewTokens) -> Result<Option<Token>> {
        self.state().unstored = Some(tokens.clone());
        let mut last = None;
        for number in 0..STORE_TRIES {
            let stored = self.write(|record| match &tokens.attempt {
                Some(attempt) => record
                    .filter(|record| record.awaits(attempt))
                    .map(|old| TokenRecord { maybe_revoked: old.is_contested(attempt), ..tokens.record.clone() }),
                None => Some(tokens.record.clone()),
            });
            match stored.await {
                Ok(None) if tokens.attempt.is_some() && matches!(self.load().await, Ok((0, _))) => {
                    return Err(self.removed(&tokens.record).await);
                }
                Ok(stored) => {
                    self.state().unstored = None;
                    return Ok(stored.as_ref().map(|record| self.token(record)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.removed(&tokens.record).await),
                Err(error) => {
                    last = Some(error);
                    tokio::time::sleep(Duration::from_millis(100 << number)).await;
                }
            }
        }
        let error =
            Error::new(ErrorKind::Store, "the new tokens could not be stored in the vault, so they are not used")
                .retry(Retry::Backoff)
                .hint("they are kept in memory; repair or free space in the store before you stop the host");
        Err(match last {
            Some(last) => error.source(last),
            None => error,
        })
    }

    /// Revokes the tokens of a connection that was removed during the refresh, because nothing else ever would, and
    /// returns the error.
    async fn removed(&self, record: &TokenRecord) -> Error {
        self.state().unstored = None;
        self.revoke(record).await.ok();
        let message = format!("the connection {} was removed meanwhile", self.0.context.connection());
        Error::new(ErrorKind::NotFound, message)
            .hint("its new tokens were revoked; add the connection again to continue")
    }

    /// Stores the failure of an attempt and the backoff after it, and returns the error for the callers. Returns `None`
    /// if the entry has other tokens meanwhile, so that the failure no longer matters.
    async fn record_failure(&self, error: &Error, attempt: &str, fingerprint: String) -> Option<Error> {
        let limits = &self.0.endpoint.limits;
        let outcome_known = is_outcome_known(error);
        let grant = &self.0.endpoint.oauth.grant;
        let single_use = !matches!(grant, Grant::Password { .. } | Grant::ClientCredentials);
        // The login server may still be working on a request without a response, and a second one would look like the
        // replay of a stolen token.
        let unclear = grant.spends() && error.has(&ErrorDetail::MaybeSent);
        let pause = if unclear { refresh_lease::duration(limits.attempt) } else { Duration::ZERO };
        let doubled = |first: Duration, times: u32, longest| first.saturating_mul(1 << times.min(16)).min(longest);
        let written = self.write(|record| {
            let mut record = record.filter(|record| record.awaits(attempt))?.without_lease(attempt);
            let is_used_up = single_use && is_invalid_grant(error);
            // An attempt without a known outcome has spent this very token, so another question would not help.
            let is_certain = is_used_up && record.is_contested(attempt);
            let interrupted = is_certain || (is_used_up && record.maybe_revoked);
            if outcome_known {
                record.attempts.retain(|one| one != attempt);
            }
            // A refusal that another process received meanwhile takes precedence over a missing response.
            let refused = |failed: &FailedAttempt| {
                failed.cause.is_some() && failed.blocking_error(self.now(), &fingerprint).is_some()
            };
            if error.kind() != ErrorKind::Auth && record.failed.as_ref().is_some_and(refused) {
                return Some(record);
            }
            if !is_certain && record.is_unconfirmed(error, &fingerprint) {
                record.failed = Some(FailedAttempt::unconfirmed(error, self.now(), limits.confirm, &fingerprint));
                return Some(record);
            }
            let times = record.failed.take().map_or(0, |failed| failed.times);
            let own = doubled(limits.first_wait, times, limits.own_wait).max(pause);
            let wait = match error.retryable() {
                Retry::Never => doubled(REFUSED_BACKOFF, times, LONGEST_REFUSED_BACKOFF),
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
                    "the response to an earlier refresh was lost, and the login server regards its token as used; {}",
                    self.0.endpoint.grant_hint()
                )),
                Some(ReauthCause::Revoked) if single_use && is_invalid_grant(error) => error.clone().hint(format!(
                    "{}; another program, or another copy of this data directory, may have used the refresh token",
                    self.0.endpoint.grant_hint()
                )),
                _ => error.clone(),
            };
            let until = self.now() + wait;
            record.failed =
                Some(FailedAttempt { until, times: times + 1, error, cause, request_fingerprint: fingerprint.clone() });
            Some(record)
        });
        match written.await {
            Ok(Some(record)) => record
                .failed
                .map(|failed| failed.blocking_error(self.now(), &failed.request_fingerprint).unwrap_or(failed.error)),
            Ok(None) => None,
            // The failure cannot be stored. The error of the login server is more useful to the caller than that of the
            // vault.
            Err(_) => Some(error.clone()),
        }
    }

    /// Ends the backoff after a failure, so that the next refresh asks the login server immediately. A check of the
    /// connection does this, because the user may have corrected the cause.
    ///
    /// # Errors
    ///
    /// The error of the vault.
    pub(crate) async fn end_backoff(&self) -> Result<()> {
        self.state().backoff = None;
        let changed = self.write(|record| {
            let mut record =
                record.filter(|one| one.failed.as_ref().is_some_and(|failed| failed.until > self.now()))?;
            record.failed.as_mut()?.until = self.now();
            Some(record)
        });
        changed.await.map(drop)
    }

    /// Stores the tokens of a sign-in, which take precedence over those in the vault.
    ///
    /// # Errors
    ///
    /// The error of the vault, or `not_found` if the connection was removed meanwhile.
    pub(crate) async fn store_sign_in(
        &self,
        granted: &GrantedTokens,
        obtained_at: Timestamp,
        issuer: Option<String>,
        account: Option<String>,
    ) -> Result<Token> {
        let record =
            TokenRecord { issuer, account, ..self.record(granted, obtained_at, &TokenRequest::Settings, None) };
        self.count_refresh();
        let stored = self.store(NewTokens { record, attempt: None }).await?;
        stored.ok_or_else(|| Error::new(ErrorKind::Internal, "the tokens of the sign-in were not stored"))
    }

    /// Revokes these tokens at the login server (RFC 7009), the refresh token first. Does nothing without a revocation
    /// URL.
    ///
    /// # Errors
    ///
    /// `unavailable` if the login server did not revoke them.
    pub(crate) async fn revoke(&self, record: &TokenRecord) -> Result<()> {
        for (token, type_hint) in
            [(record.refresh_token.as_deref(), "refresh_token"), (Some(&*record.access_token), "access_token")]
        {
            if let Some(token) = token.filter(|token| !token.is_empty()) {
                self.0.login.revoke(Secret::from(token), type_hint).await?;
            }
        }
        Ok(())
    }

    fn delayed(&self) -> Error {
        let service = &self.0.endpoint.service;
        let message = format!("this process was delayed each time before it could ask the login server of {service}");
        Error::new(ErrorKind::Unavailable, message)
            .retry(Retry::Backoff)
            .hint("check the load of the machine and its disk; the sign-in is kept")
    }

    fn busy(&self) -> Error {
        let message = format!(
            "other processes are still asking the login server of {} for this connection",
            self.0.endpoint.service
        );
        Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff).hint("try again later; the sign-in is kept")
    }

    fn sign_in_required(&self) -> Error {
        let message =
            format!("no user has signed in to {} for this connection, or the sign-in expired", self.0.endpoint.service);
        Error::new(ErrorKind::Auth, message)
            .setting(self.0.endpoint.oauth.grant_setting())
            .next(NextStep::SignIn { connection: self.0.context.connection().to_owned() })
    }
}

/// Returns whether it is known that a failed request used up nothing: it did not arrive, or the login server sent an
/// OAuth error.
fn is_outcome_known(error: &Error) -> bool {
    error.details().iter().any(|detail| matches!(detail, ErrorDetail::NotSent | ErrorDetail::TokenRefused { .. }))
}

fn is_invalid_grant(error: &Error) -> bool {
    error.has(&ErrorDetail::TokenRefused { code: OAuthErrorCode::InvalidGrant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_refresh_is_known_by_details_and_not_by_texts() {
        let failed = |text: &str| Error::new(ErrorKind::Unavailable, text).retry(Retry::Backoff);
        let code = OAuthErrorCode::from("a_new_code".to_owned());
        for detail in [ErrorDetail::NotSent, ErrorDetail::TokenRefused { code }] {
            for text in ["no connection", "the response was cut off", ""] {
                assert!(is_outcome_known(&failed(text).with_detail(detail.clone())), "{detail:?} {text}");
                let reworded = failed(text).with("sent", "maybe").with("oauth", "").with_detail(detail.clone());
                assert!(is_outcome_known(&reworded), "facts of the same key change nothing: {detail:?}");
            }
        }
        // What earlier versions decided on.
        for (key, value) in [("sent", "no"), ("oauth", "invalid_grant")] {
            assert!(!is_outcome_known(&failed("refused: invalid_grant").with(key, value)), "{key}");
        }
        assert!(!is_outcome_known(&failed("no connection").with_detail(ErrorDetail::MaybeSent)));
    }
}

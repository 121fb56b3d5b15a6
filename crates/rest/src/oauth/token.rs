//! The tokens of a connection, as stored in the vault ([`TokenRecord`]) and as used by calls ([`Token`]).
//!
//! The idea: the record holds more than the tokens. It also holds the lease and the unfinished attempts to replace the
//! tokens, so that all processes that share the vault see the same state and change it by compare-and-set.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use trunkline_core::{
    Error, ErrorDetail, ErrorKind, ReauthCause, Redactor, Result, Retry, Secret, SignIn, SignInState, Timestamp,
};

use super::refresh_lease::Lease;

/// A token younger than this is not renewed because of a 401, unless this is a large part of its lifetime.
const YOUNG: Duration = Duration::from_secs(60);

/// The number of attempts without a known outcome that a record lists.
const MAX_ATTEMPTS: usize = 8;

/// A token is renewed at most this long before it expires.
const MAX_MARGIN: Duration = Duration::from_secs(5 * 60);
/// The longest backoff in milliseconds that is believed. One that seems to last longer was written with another clock.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2 * 60 * 60);

/// The content of the vault entry of a connection that uses OAuth 2, as JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRecord {
    /// Empty if there is no token yet.
    pub(crate) access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// The time just before the token was requested, in milliseconds since 1970; 0 if there is no token yet.
    pub(crate) obtained_at: Timestamp,
    /// In milliseconds since 1970.
    pub(crate) expires_at: Timestamp,
    /// The fingerprint of the settings that the tokens belong to.
    #[serde(rename = "settings", default)]
    pub(crate) settings_fingerprint: String,
    /// The fingerprint of all settings that were sent to the login server. Changed settings are tried immediately, not
    /// when the token expires.
    #[serde(rename = "sent", default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_fingerprint: Option<String>,
    /// The issuer that signed the user in, if the callback or the ID token named it (RFC 9207).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The user that signed in, as the ID token names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// The granted scopes, if the login server named them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// The lease of the process that is about to use the refresh token, or has used it and waits for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
    /// The attempts to replace these tokens whose outcome is not recorded: they are running, died, or got no response.
    /// Only they may replace these tokens. Once one has, the others are too late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<String>,
    /// The failure of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<FailedAttempt>,
    /// Whether another attempt may have used the same refresh token. The login server may then have ended the whole
    /// sign-in, including these tokens, so a 401 causes a refresh immediately.
    #[serde(rename = "doubted", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) maybe_revoked: bool,
}

/// A failed attempt, and the backoff after it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedAttempt {
    /// No attempt starts before this time.
    pub(crate) until: Timestamp,
    /// The number of failures in a row.
    pub(crate) times: u32,
    pub(crate) error: Error,
    /// The reason, if the user has to sign in again.
    pub(crate) cause: Option<ReauthCause>,
    /// The fingerprint of all settings that were sent. Settings that have changed since are tried immediately.
    #[serde(rename = "sent")]
    pub(crate) request_fingerprint: String,
}

impl FailedAttempt {
    /// Returns a refusal that is checked once more after this pause, before it counts. Until then, calls see a login
    /// server that is unavailable.
    pub(crate) fn unconfirmed(error: &Error, now: Timestamp, pause: Duration, fingerprint: &str) -> FailedAttempt {
        let error = error.clone().into_kind(ErrorKind::Unavailable).retry(Retry::After(pause)).hint(format!(
            "the login server accepted the same before, so it is asked once more after {pause:.0?}: nothing to do yet"
        ));
        FailedAttempt { until: now + pause, times: 0, error, cause: None, request_fingerprint: fingerprint.to_owned() }
    }

    /// Returns the error if another attempt with this request fingerprint must still wait.
    pub(crate) fn blocking_error(&self, now: Timestamp, request_fingerprint: &str) -> Option<Error> {
        let rest = Some(self.until.since(now)).filter(|rest| !rest.is_zero() && *rest <= LONGEST_BACKOFF)?;
        let error = self.error.clone();
        (self.request_fingerprint == request_fingerprint).then(|| match error.retryable() {
            Retry::Never => error,
            _ => error.retry(Retry::After(rest)),
        })
    }
}

impl TokenRecord {
    /// Adds an attempt that holds this lease.
    pub(crate) fn with_attempt(mut self, lease: Lease) -> TokenRecord {
        self.attempts.push(lease.owner.clone());
        let old = self.attempts.len().saturating_sub(MAX_ATTEMPTS);
        self.attempts.drain(..old);
        self.lease = Some(lease);
        self
    }

    /// Returns whether these are still the tokens that the attempt is to replace.
    pub(crate) fn awaits(&self, attempt: &str) -> bool {
        self.attempts.iter().any(|one| one == attempt)
    }

    /// Returns whether another attempt may have used the same refresh token: its outcome is unknown, or the login
    /// server refused the token as used.
    pub(crate) fn is_contested(&self, attempt: &str) -> bool {
        let refused = self.failed.as_ref().is_some_and(|failed| failed.cause == Some(ReauthCause::Interrupted));
        refused || self.attempts.iter().any(|one| one != attempt)
    }

    /// Returns whether this error is a refusal that may be a hiccup of the login server: it has accepted the same
    /// settings before, and this is its first such refusal since.
    ///
    /// That holds also for tokens that replaced those of a refresh without a clear response. A late replay of the old
    /// refresh token may have ended the sign-in (RFC 9700 section 4.14), so `invalid_grant` is plausible; but a token
    /// that has ended stays refused, and asking once more costs a pause, while an alert for a hiccup makes a user sign
    /// in without need. No other refusal has that cause.
    pub(crate) fn is_unconfirmed(&self, error: &Error, fingerprint: &str) -> bool {
        let refusal =
            |error: &Error| error.details().iter().find(|one| matches!(one, ErrorDetail::TokenRefused { .. })).cloned();
        let found = refusal(error).filter(|_| matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config));
        let worked = self.obtained_at > Timestamp::EPOCH && self.request_fingerprint.as_deref() == Some(fingerprint);
        let known = self.failed.as_ref().filter(|failed| failed.request_fingerprint == fingerprint);
        found.is_some() && worked && known.and_then(|failed| refusal(&failed.error)) != found
    }

    /// Removes the lease of the attempt.
    pub(crate) fn without_lease(mut self, attempt: &str) -> TokenRecord {
        self.lease = self.lease.filter(|lease| lease.owner != attempt);
        self
    }

    /// Returns the status that a host may show. `interactive` is whether the connection needs a sign-in in the browser
    /// when its refresh token is gone.
    pub(crate) fn sign_in(&self, interactive: bool, redactor: &Redactor) -> SignIn {
        let reason = |error: &Error| redactor.redact(error.message()).into_owned();
        let state = match (&self.failed, &self.lease) {
            (Some(FailedAttempt { cause: Some(cause), error, .. }), _) => {
                SignInState::ReauthRequired { cause: *cause, reason: reason(error) }
            }
            (_, Some(lease)) => SignInState::Refreshing { until: lease.until },
            (Some(failed), None) => SignInState::Backoff { until: failed.until, reason: reason(&failed.error) },
            (None, None) => SignInState::Ok,
        };
        let has_token = self.obtained_at > Timestamp::EPOCH;
        SignIn {
            state,
            last_success: has_token.then_some(self.obtained_at),
            expires_at: has_token.then_some(self.expires_at),
            renewable: !interactive || self.refresh_token.is_some(),
            account: self.account.clone(),
            scopes: self.scope.as_ref().map(|scope| scope.split_whitespace().map(str::to_owned).collect()),
        }
    }

    /// Adds the tokens to the redactor.
    pub(crate) fn add_to(&self, redactor: &Redactor) {
        let tokens = [Some(&self.access_token), self.refresh_token.as_ref()];
        tokens.into_iter().flatten().for_each(|token| redactor.add(&token.as_str().into()));
    }

    /// Returns the record as JSON.
    ///
    /// # Errors
    ///
    /// `internal` if it cannot be serialized.
    pub(crate) fn content(&self) -> Result<Secret> {
        serde_json::to_string(self)
            .map(Secret::from)
            .map_err(|error| Error::new(ErrorKind::Internal, "the tokens cannot be serialized").source(error))
    }
}

/// New tokens that are not stored yet.
#[derive(Clone)]
pub(crate) struct NewTokens {
    pub(crate) record: TokenRecord,
    /// The attempt that obtained them; `None` for a sign-in, which takes precedence over all attempts.
    pub(crate) attempt: Option<String>,
}

/// An access token in use.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) Arc<TokenData>);

/// The data of a [`Token`].
pub(crate) struct TokenData {
    pub(crate) access: Secret,
    pub(crate) refresh: Option<Secret>,
    pub(crate) obtained_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) scope: Option<String>,
    /// The time from which the token is renewed.
    pub(crate) renew_at: Timestamp,
}

impl Token {
    /// Returns the token of a record, with the time of its renewal: a fifth of its lifetime before it expires, and at
    /// most five minutes.
    pub(crate) fn of(record: &TokenRecord) -> Token {
        let lifetime = record.expires_at.since(record.obtained_at);
        // The jitter keeps connections that were made together from being renewed together.
        let margin = (lifetime / 5).min(MAX_MARGIN).mul_f64(0.9 + 0.2 * rand::random::<f64>());
        Token(Arc::new(TokenData {
            access: record.access_token.as_str().into(),
            refresh: record.refresh_token.as_deref().map(Secret::from),
            scope: record.scope.clone(),
            obtained_at: record.obtained_at,
            expires_at: record.expires_at,
            renew_at: record.expires_at - margin,
        }))
    }

    /// Returns the access token, and the refresh token if there is one.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.0.access).chain(&self.0.refresh)
    }

    pub(crate) fn access(&self) -> &Secret {
        &self.0.access
    }

    pub(crate) fn is_same(&self, other: &Token) -> bool {
        self.0.access.expose() == other.0.access.expose()
    }

    /// Returns whether the token has not expired.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.0.expires_at
    }

    /// Returns whether a 401 could mean that the token has expired. It could also mean a missing permission or key, and
    /// then a new token does not help.
    pub(crate) fn may_have_expired(&self, now: Timestamp) -> bool {
        let lifetime = self.0.expires_at.since(self.0.obtained_at);
        // The token is from the future: the clock was set back, so the age is not known.
        if now < self.0.obtained_at {
            return true;
        }
        let age = now.since(self.0.obtained_at);
        age >= YOUNG || age > lifetime / 5
    }

    /// Returns the requested scopes that the login server did not grant; none if it did not name the granted ones. A
    /// refresh token shows that `offline_access` was granted, which not all login servers name.
    pub(crate) fn missing_scopes<'a>(&self, requested: &'a [String]) -> Vec<&'a str> {
        let Some(granted) = &self.0.scope else { return Vec::new() };
        let granted: Vec<_> = granted.split_whitespace().collect();
        let is_granted =
            |scope: &str| granted.contains(&scope) || (scope == "offline_access" && self.0.refresh.is_some());
        requested.iter().map(String::as_str).filter(|scope| !is_granted(scope)).collect()
    }
}

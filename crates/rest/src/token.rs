//! A connection's tokens as the vault keeps them, and as they are used.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use trunkline_core::{Error, ErrorKind, ReauthCause, Result, Retry, Secret, SignIn, SignInState, Timestamp, redact};

use crate::refresh_lease::Lease;

/// A token younger than this is not renewed because of a 401, unless that is much of its lifetime.
const YOUNG: Duration = Duration::from_secs(60);

/// How many attempts without a known end are remembered.
const ATTEMPTS: usize = 8;

/// Longest hold that is believed: one that seems to last longer was written under another clock.
const LONGEST_HOLD: u64 = 2 * 60 * 60 * 1000;

/// What the vault holds for a connection that uses OAuth 2, as JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// Milliseconds since 1970, from before the token was asked for; 0 if there is none yet.
    pub(crate) obtained_at: u64,
    /// Milliseconds since 1970.
    pub(crate) expires_at: u64,
    /// Fingerprint of the settings the tokens came of.
    #[serde(default)]
    pub(crate) settings: String,
    /// Fingerprint of all that was sent for them: other settings are tried at once, not when the token runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<String>,
    /// Who signed the person in, as far as the callback says (RFC 9207).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// What was granted, if the login server said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// Somebody is about to spend the refresh token, or has and does not know yet what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
    /// Attempts to get newer tokens than these whose end nobody has written down: under way, dead, or without an answer.
    /// Only they may replace these tokens; once one has, the others are too late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<String>,
    /// How the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<Failed>,
    /// Another attempt may have spent the same refresh token, and the login server may have ended the whole sign-in for it,
    /// these tokens included: a 401 is worth a question at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) doubted: bool,
}

/// An attempt that got no tokens: until when nobody tries again, and why.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failed {
    pub(crate) until: u64,
    /// How many in a row.
    pub(crate) times: u32,
    pub(crate) error: Error,
    /// If a person has to sign in again.
    pub(crate) cause: Option<ReauthCause>,
    /// Fingerprint of all that was sent with it: what has been changed since is worth another try.
    pub(crate) sent: String,
}

impl Failed {
    /// The failure, if nobody may try again yet with what would be sent.
    pub(crate) fn holds(&self, now: u64, sent: &str) -> Option<Error> {
        let rest = self.until.checked_sub(now).filter(|rest| (1..=LONGEST_HOLD).contains(rest))?;
        let error = self.error.clone();
        (self.sent == sent).then(|| match error.retryable() {
            Retry::Never => error,
            _ => error.retry(Retry::After(Duration::from_millis(rest))),
        })
    }
}

impl Record {
    /// With this attempt begun and leased.
    pub(crate) fn begun(mut self, lease: Lease) -> Record {
        self.attempts.push(lease.owner.clone());
        let old = self.attempts.len().saturating_sub(ATTEMPTS);
        self.attempts.drain(..old);
        self.lease = Some(lease);
        self
    }

    /// Whether these still are the tokens that the attempt set out to replace.
    pub(crate) fn awaits(&self, attempt: &str) -> bool {
        self.attempts.iter().any(|one| one == attempt)
    }

    /// Whether another attempt may have spent the same refresh token: it has no known end, or was refused as the second.
    pub(crate) fn is_contested(&self, attempt: &str) -> bool {
        let refused = self.failed.as_ref().is_some_and(|failed| failed.cause == Some(ReauthCause::Interrupted));
        refused || self.attempts.iter().any(|one| one != attempt)
    }

    /// With the attempt's lease given back.
    pub(crate) fn released(mut self, attempt: &str) -> Record {
        self.lease = self.lease.filter(|lease| lease.owner != attempt);
        self
    }

    /// What a host may show. `person` says whether it takes a person to begin anew.
    pub(crate) fn sign_in(&self, person: bool) -> SignIn {
        let state = match (&self.failed, &self.lease) {
            (Some(Failed { cause: Some(cause), error, .. }), _) => {
                SignInState::ReauthRequired { cause: *cause, reason: redact(error.message()).into_owned() }
            }
            (_, Some(lease)) => SignInState::Refreshing { until: Timestamp::from_millis(lease.until) },
            (Some(failed), None) => SignInState::Backoff {
                until: Timestamp::from_millis(failed.until),
                reason: redact(failed.error.message()).into_owned(),
            },
            (None, None) => SignInState::Ok,
        };
        let had = self.obtained_at > 0;
        SignIn {
            state,
            last_success: had.then_some(Timestamp::from_millis(self.obtained_at)),
            expires_at: had.then_some(Timestamp::from_millis(self.expires_at)),
            renewable: !person || self.refresh_token.is_some(),
            scopes: self.scope.as_ref().map(|scope| scope.split_whitespace().map(str::to_owned).collect()),
        }
    }

    pub(crate) fn content(&self) -> Result<Secret> {
        serde_json::to_string(self)
            .map(Secret::from)
            .map_err(|error| Error::new(ErrorKind::Internal, "the tokens cannot be written down").source(error))
    }
}

/// An access token in use.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) Arc<Held>);

pub(crate) struct Held {
    pub(crate) access: Secret,
    pub(crate) refresh: Option<Secret>,
    pub(crate) obtained_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) scope: Option<String>,
    /// When to begin to renew it.
    pub(crate) renew_at: u64,
}

impl Token {
    pub(crate) fn of(record: &Record) -> Token {
        let lifetime = record.expires_at.saturating_sub(record.obtained_at);
        // Jitter, so that connections made together are not renewed together for ever.
        let margin = (lifetime / 5).min(300_000) as f64 * (0.9 + 0.2 * rand::random::<f64>());
        Token(Arc::new(Held {
            access: record.access_token.as_str().into(),
            refresh: record.refresh_token.as_deref().map(Secret::from),
            scope: record.scope.clone(),
            obtained_at: record.obtained_at,
            expires_at: record.expires_at,
            renew_at: record.expires_at.saturating_sub(margin as u64),
        }))
    }

    pub(crate) fn access(&self) -> &Secret {
        &self.0.access
    }

    pub(crate) fn is_same(&self, other: &Token) -> bool {
        self.0.access.expose() == other.0.access.expose()
    }

    pub(crate) fn is_good(&self, now: u64) -> bool {
        now < self.0.expires_at
    }

    /// Whether a 401 could mean that it ran out. Permissions and keys can be missing too, and no new token helps there.
    pub(crate) fn may_have_run_out(&self, now: u64) -> bool {
        let lifetime = self.0.expires_at.saturating_sub(self.0.obtained_at);
        // A token from the future: our clock was set back and says nothing about its age.
        let Some(age) = now.checked_sub(self.0.obtained_at) else { return true };
        age >= YOUNG.as_millis() as u64 || age > lifetime / 5
    }

    /// Those of the scopes asked for that were not granted, as far as the login server said. That `offline_access` was shows
    /// in a refresh token, and not all name it.
    pub(crate) fn missing<'a>(&self, asked: &'a [String]) -> Vec<&'a str> {
        let Some(granted) = &self.0.scope else { return Vec::new() };
        let granted: Vec<_> = granted.split_whitespace().collect();
        let is_there =
            |scope: &str| granted.contains(&scope) || (scope == "offline_access" && self.0.refresh.is_some());
        asked.iter().map(String::as_str).filter(|scope| !is_there(scope)).collect()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

//! How the sign-in of a connection stands: what a host shows beside a connection, and tells when it changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How the sign-in of a connection stands, for a host to show. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignIn {
    /// How it stood when this was written down; [`SignIn::at`] knows how it stands now.
    #[serde(flatten)]
    pub state: SignInState,
    /// When the login server gave the token that is there, by our clock: its age counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// When that token runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether another one can be had then without a person.
    #[serde(default)]
    pub renewable: bool,
    /// The scopes of that token, if the login server said; else those asked for (RFC 6749 section 5.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// What [`SignIn`] can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SignInState {
    /// Tokens are there, or can be had.
    #[default]
    Ok,
    /// The login server is being asked.
    Refreshing {
        /// When others may take over, should whoever asks be dead.
        until: Timestamp,
    },
    /// The login server did not give a token; the sign-in is kept.
    Backoff {
        /// Nobody asks again before this.
        until: Timestamp,
        /// What was wrong.
        reason: String,
    },
    /// A person has to sign in again, or to change the settings.
    ReauthRequired {
        /// Why.
        cause: ReauthCause,
        /// What the login server said.
        reason: String,
    },
}

/// Why a person has to sign in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReauthCause {
    /// The login server refuses what it gave or was given: withdrawn, run out at its side, or a wrong password.
    Revoked,
    /// The answer to an earlier refresh was lost, with a process or on the way, and the login server takes the old token as
    /// spent.
    Interrupted,
    /// The token ran out, and there is nothing to renew it with.
    Expired,
}

impl SignIn {
    /// The state at this time: a token that could not be renewed has run out meanwhile, a refresh has been left alone.
    pub fn at(&self, now: Timestamp) -> SignInState {
        match &self.state {
            SignInState::Ok if !self.renewable && self.expires_at.is_some_and(|at| at <= now) => {
                let reason = "the token ran out, and the login server gave nothing to renew it with".to_owned();
                SignInState::ReauthRequired { cause: ReauthCause::Expired, reason }
            }
            SignInState::Refreshing { until } if *until <= now => {
                let reason = "a refresh was interrupted: the next call asks again".to_owned();
                SignInState::Backoff { until: *until, reason }
            }
            state => state.clone(),
        }
    }
}

impl SignInState {
    /// The word for it: `ok`, `refreshing`, `backoff` or `reauth_required`.
    pub fn as_str(&self) -> &'static str {
        match self {
            SignInState::Ok => "ok",
            SignInState::Refreshing { .. } => "refreshing",
            SignInState::Backoff { .. } => "backoff",
            SignInState::ReauthRequired { .. } => "reauth_required",
        }
    }

    /// Whether a person who watches would call these two different: by word and cause, not by times.
    pub fn differs(&self, other: &SignInState) -> bool {
        let cause = |state: &SignInState| match state {
            SignInState::ReauthRequired { cause, .. } => Some(*cause),
            _ => None,
        };
        (self.as_str(), cause(self)) != (other.as_str(), cause(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_changes_the_state_without_anybody_writing() {
        let at = Timestamp::from_millis;
        let signed_in = SignIn { expires_at: Some(at(100)), ..SignIn::default() };
        assert_eq!(signed_in.at(at(99)), SignInState::Ok);
        assert_eq!(signed_in.at(at(100)).as_str(), "reauth_required");
        assert_eq!(SignIn { renewable: true, ..signed_in }.at(at(100)), SignInState::Ok);
        let refreshing = SignIn { state: SignInState::Refreshing { until: at(50) }, ..SignIn::default() };
        assert_eq!((refreshing.at(at(49)).as_str(), refreshing.at(at(50)).as_str()), ("refreshing", "backoff"));
    }
}

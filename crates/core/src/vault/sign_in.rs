//! The state of a connection's sign-in, for a host to show beside the connection and to report when it changes.
//!
//! The state is stored when a token is requested or received. Time changes it as well: [`SignIn::at`] computes the
//! state at a given time from the stored one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::Timestamp;

/// The sign-in of a connection, for a host to show. It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignIn {
    /// The state when this was stored; [`SignIn::at`] returns the present state.
    #[serde(flatten)]
    pub state: SignInState,
    /// The time at which the login server issued the current token, by the host's clock. The token's age counts from
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// The time at which that token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the token can then be renewed without a user.
    #[serde(default)]
    pub renewable: bool,
    /// The scopes of that token as the login server returned them, else those requested (RFC 6749 section 5.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The user that signed in, as the login server names it in the `sub` of its ID token; nothing if it named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// The states of a sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(tag = "state", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SignInState {
    /// There is a token, or one can be requested.
    #[default]
    Ok,
    /// A process is requesting a token from the login server.
    Refreshing {
        /// The time from which another process may request one, in case the requesting process has died.
        until: Timestamp,
    },
    /// The login server did not issue a token. The sign-in is kept.
    Backoff {
        /// The time before which no process requests a token again.
        until: Timestamp,
        /// The reason for the failure.
        reason: String,
    },
    /// A user has to sign in again or to change the settings.
    ReauthRequired {
        /// The cause.
        cause: ReauthCause,
        /// The reason, such as the message of the login server.
        reason: String,
    },
}

/// The cause for which a user has to sign in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReauthCause {
    /// The login server rejects the token or the password: revoked, expired on its side, or wrong.
    Revoked,
    /// The response to an earlier refresh was lost, in a process or on the network, and the login server treats the
    /// previous token as used.
    Interrupted,
    /// The token expired and cannot be renewed.
    Expired,
}

impl SignIn {
    /// Returns the state at the time `now`. Since the state was stored, a token that cannot be renewed may have
    /// expired, or the process that was refreshing a token may have exceeded its time.
    pub fn at(&self, now: Timestamp) -> SignInState {
        match &self.state {
            SignInState::Ok if !self.renewable && self.expires_at.is_some_and(|at| at <= now) => {
                let reason = "the token expired, and the login server gave no means to renew it".to_owned();
                SignInState::ReauthRequired { cause: ReauthCause::Expired, reason }
            }
            SignInState::Refreshing { until } if *until <= now => {
                let reason = "a refresh was interrupted: the next call requests a token again".to_owned();
                SignInState::Backoff { until: *until, reason }
            }
            state => state.clone(),
        }
    }
}

impl SignInState {
    /// Returns the state as it is written in JSON: `ok`, `refreshing`, `backoff` or `reauth_required`.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Returns whether two states differ for a user: in state or cause. Times and reasons are not compared.
    pub fn differs(&self, other: &SignInState) -> bool {
        let cause = |state: &SignInState| match state {
            SignInState::ReauthRequired { cause, .. } => Some(*cause),
            _ => None,
        };
        (self.as_str(), cause(self)) != (other.as_str(), cause(other))
    }
}

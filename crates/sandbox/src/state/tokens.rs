//! Access tokens, refresh tokens and authorization codes: how they are issued, checked, rotated and revoked.
//!
//! All tokens of one sign-in form one family. Using an authorization code or a one-time refresh token twice revokes the
//! whole family.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, State, now};
use crate::RefreshPolicy;

/// The lifetime of an authorization code, in milliseconds.
pub(crate) const CODE_LIFETIME: i64 = 60_000;

/// The login server that issued a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoginServer {
    Mediaflow,
    Mediavalet,
}

/// The server, user, scope and family that a set of tokens is issued for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub server: LoginServer,
    pub user: String,
    pub scope: String,
    pub family: String,
}

/// An access token. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccessToken {
    pub token: String,
    #[serde(flatten)]
    pub grant: Grant,
    pub expires: i64,
}

/// A refresh token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefreshToken {
    pub token: String,
    #[serde(flatten)]
    pub grant: Grant,
    /// When it was first used, in milliseconds since 1970. Only set if it must not be used again.
    pub used: Option<i64>,
}

/// An authorization code. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AuthorizationCode {
    pub code: String,
    #[serde(flatten)]
    pub grant: Grant,
    pub redirect_uri: String,
    /// The PKCE challenge and its method (RFC 7636).
    pub challenge: Option<(String, String)>,
    /// The nonce that the ID token has to repeat.
    pub nonce: Option<String>,
    pub expires: i64,
    pub used: bool,
}

/// Returns 64 random hexadecimal digits.
pub(crate) fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl State {
    /// Issues an access token that expires after `lifetime` milliseconds.
    pub(crate) fn issue_access_token(&mut self, grant: &Grant, lifetime: i64) -> String {
        let token = format!("at-{}", random());
        self.record(Event::Access(AccessToken {
            token: token.clone(),
            grant: grant.clone(),
            expires: now().saturating_add(lifetime),
        }));
        token
    }

    /// Issues a refresh token.
    pub(crate) fn issue_refresh_token(&mut self, grant: &Grant) -> String {
        let token = format!("rt-{}", random());
        self.record(Event::Refresh(RefreshToken { token: token.clone(), grant: grant.clone(), used: None }));
        token
    }

    /// Returns what an access token was issued for, if `server` issued it and it is neither expired nor revoked.
    pub(crate) fn valid_access_token(&self, server: LoginServer, token: &str) -> Option<Grant> {
        let access = self.access.get(token)?;
        let valid =
            access.grant.server == server && access.expires > now() && !self.revoked.contains(&access.grant.family);
        valid.then(|| access.grant.clone())
    }

    /// Uses a refresh token. The error says why it is not accepted. A replay also revokes its family.
    pub(crate) fn use_refresh_token(
        &mut self,
        server: LoginServer,
        token: &str,
        policy: RefreshPolicy,
    ) -> Result<Grant, &'static str> {
        let known = self.refresh.get(token).filter(|refresh| refresh.grant.server == server).cloned();
        let mut refresh = known.ok_or("unknown refresh token")?;
        if self.revoked.contains(&refresh.grant.family) {
            return Err("the refresh token was revoked");
        }
        match (policy, refresh.used) {
            (RefreshPolicy::Reuse, _) => {}
            (RefreshPolicy::OneTime | RefreshPolicy::OneTimeGrace(_), None) => {
                refresh.used = Some(now());
                self.record(Event::Refresh(refresh.clone()));
            }
            (RefreshPolicy::OneTimeGrace(grace), Some(used))
                if i128::from(now() - used) <= i128::try_from(grace.as_millis()).unwrap_or(i128::MAX) => {}
            _ => {
                self.record(Event::RevokeFamily(refresh.grant.family));
                return Err("the refresh token was used before; all tokens of its sign-in are revoked");
            }
        }
        Ok(refresh.grant)
    }

    /// Redeems an authorization code. The error says why it is not accepted. A replay also revokes its family.
    pub(crate) fn redeem_code(&mut self, server: LoginServer, code: &str) -> Result<AuthorizationCode, &'static str> {
        let known = self.codes.get(code).filter(|code| code.grant.server == server).cloned();
        let mut code = known.ok_or("unknown authorization code")?;
        if code.used {
            self.record(Event::RevokeFamily(code.grant.family));
            return Err("the code was used before; the tokens made from it are revoked");
        }
        code.used = true;
        self.record(Event::Code(code.clone()));
        if code.expires <= now() { Err("the code has expired") } else { Ok(code) }
    }
}

//! Tokens and codes: how they are made, checked, rotated and revoked. Everything that comes from one sign-in is one
//! family; replaying a code, or a one-time refresh token, kills the family.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::options::RefreshPolicy;
use crate::state::{Event, World, now};

/// Lifetime of an authorization code, in milliseconds.
pub(crate) const CODE_LIFETIME: i64 = 60_000;

/// Whose tokens they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Server {
    Mediaflow,
    Mediavalet,
}

/// An access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    pub token: String,
    pub server: Server,
    pub user: String,
    pub scope: String,
    pub family: String,
    pub expires: i64,
}

/// A refresh token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refresh {
    pub token: String,
    pub server: Server,
    pub user: String,
    pub scope: String,
    pub family: String,
    /// When it was used first, if it may not be used again.
    pub used: Option<i64>,
}

/// An authorization code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Code {
    pub code: String,
    pub server: Server,
    pub user: String,
    pub scope: String,
    pub redirect_uri: String,
    /// PKCE challenge and its method.
    pub challenge: Option<(String, String)>,
    /// What the ID token has to repeat.
    pub nonce: Option<String>,
    pub family: String,
    pub expires: i64,
    pub used: bool,
}

/// Who a set of tokens is for.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub server: Server,
    pub user: String,
    pub scope: String,
    pub family: String,
}

/// A random text nobody can guess.
pub(crate) fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl World {
    pub(crate) fn issue_access(&mut self, grant: &Grant, lifetime: i64) -> String {
        let token = format!("at-{}", random());
        self.record(Event::Access(Access {
            token: token.clone(),
            server: grant.server,
            user: grant.user.clone(),
            scope: grant.scope.clone(),
            family: grant.family.clone(),
            expires: now().saturating_add(lifetime),
        }));
        token
    }

    pub(crate) fn issue_refresh(&mut self, grant: &Grant) -> String {
        let token = format!("rt-{}", random());
        self.record(Event::Refresh(Refresh {
            token: token.clone(),
            server: grant.server,
            user: grant.user.clone(),
            scope: grant.scope.clone(),
            family: grant.family.clone(),
            used: None,
        }));
        token
    }

    /// The owner of an access token that is valid now.
    pub(crate) fn owner(&self, server: Server, token: &str) -> Option<Access> {
        let access = self.access.get(token)?;
        let valid = access.server == server && access.expires > now() && !self.revoked.contains(&access.family);
        valid.then(|| access.clone())
    }

    /// Uses a refresh token. `Err` says why it is not accepted; a replay has revoked its family by then.
    pub(crate) fn use_refresh(
        &mut self,
        server: Server,
        token: &str,
        policy: RefreshPolicy,
    ) -> Result<Grant, &'static str> {
        let known = self.refresh.get(token).filter(|refresh| refresh.server == server).cloned();
        let mut refresh = known.ok_or("the refresh token is not known")?;
        if self.revoked.contains(&refresh.family) {
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
                self.record(Event::RevokeFamily(refresh.family));
                return Err("the refresh token was used before; its whole sign-in is revoked");
            }
        }
        Ok(Grant { server, user: refresh.user, scope: refresh.scope, family: refresh.family })
    }

    /// Redeems a code. A replay revokes what came from it.
    pub(crate) fn use_code(&mut self, server: Server, code: &str) -> Result<Code, &'static str> {
        let known = self.codes.get(code).filter(|code| code.server == server).cloned();
        let mut code = known.ok_or("the code is not known")?;
        if code.used {
            self.record(Event::RevokeFamily(code.family));
            return Err("the code was used before; the tokens made from it are revoked");
        }
        code.used = true;
        self.record(Event::Code(code.clone()));
        if code.expires <= now() { Err("the code has expired") } else { Ok(code) }
    }
}

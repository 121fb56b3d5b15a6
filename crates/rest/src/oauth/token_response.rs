//! The response of a token endpoint (RFC 6749 section 5.1).
//!
//! The idea: the parser is strict about the tokens and lenient about the other members, which servers often get wrong.

use std::{fmt, time::Duration};

use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse, basic::BasicTokenType};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny},
};
use serde_json::Value;
use trunkline_core::{Result, Secret};

/// The lifetime in seconds that is assumed if the response has none.
const UNKNOWN_LIFETIME: u64 = 300;

/// The tokens that the login server granted.
#[derive(Deserialize, Serialize)]
pub(crate) struct GrantedTokens {
    #[serde(deserialize_with = "visible")]
    access_token: AccessToken,
    #[serde(default = "bearer", deserialize_with = "kind")]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "not_empty")]
    refresh_token: Option<RefreshToken>,
    /// Of any type: a malformed ID token must not fail a refresh, which does not use it.
    #[serde(default, skip_serializing)]
    id_token: Value,
    #[serde(default, skip_serializing)]
    scope: Value,
    /// Makes serde refuse a list, which it else reads by the order of the members.
    #[serde(flatten, skip_serializing)]
    _others: IgnoredAny,
}

impl GrantedTokens {
    /// Returns the granted scopes, if the response has them.
    pub(crate) fn scope(&self) -> Option<String> {
        self.scope.as_str().filter(|scope| !scope.trim().is_empty()).map(str::to_owned)
    }

    /// Returns all tokens.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Secret> {
        let refresh = self.refresh_token.as_ref().map(|token| token.secret().as_str());
        let all = [Some(self.access_token.secret().as_str()), refresh, self.id_token.as_str()];
        all.into_iter().flatten().map(Secret::from)
    }

    /// Returns the ID token, if there is one.
    pub(crate) fn id_token(&self) -> Option<&Value> {
        Some(&self.id_token).filter(|token| !token.is_null() && *token != "")
    }
}

impl fmt::Debug for GrantedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedTokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl TokenResponse for GrantedTokens {
    type TokenType = BasicTokenType;
    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }
    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }
    /// Returns the lifetime. Five minutes are assumed for an absent, zero, negative or unreadable lifetime; a 401 then
    /// corrects a wrong assumption.
    fn expires_in(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.expires_in.unwrap_or(UNKNOWN_LIFETIME)))
    }
    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }
    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Reads a token that a header can carry.
fn visible<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccessToken, D::Error> {
    let token = String::deserialize(deserializer)?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(D::Error::custom("the access token is empty or contains characters that a header cannot carry"));
    }
    Ok(AccessToken::new(token))
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

/// Reads the type of the token. It is bearer if the response does not say so.
fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BasicTokenType, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(kind) if !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer") => Ok(BasicTokenType::Extension(kind)),
        _ => Ok(bearer()),
    }
}

fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let seconds = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // Ten years are long enough.
    Ok(seconds.filter(|seconds| *seconds >= 1.0).map(|seconds| seconds.min(315_360_000.0) as u64))
}

/// Reads a refresh token. Some servers send an empty one instead of none, which must never replace a real one.
fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RefreshToken>, D::Error> {
    let token = Option::<String>::deserialize(deserializer)?;
    Ok(token.filter(|token| !token.trim().is_empty()).map(RefreshToken::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_responses() {
        let parse = |text: &str| serde_json::from_str::<GrantedTokens>(text);
        let seconds = |lifetime: &str| {
            let text = format!(r#"{{"access_token":"a","token_type":"BEARER","expires_in":{lifetime}}}"#);
            parse(&text).unwrap().expires_in().unwrap().as_secs()
        };
        assert_eq!(seconds("3600"), 3600);
        assert_eq!(seconds("\"1055\""), 1055);
        assert_eq!(seconds("59.9"), 59);
        for unusable in ["0", "-1", "null", "\"soon\"", "\"\"", "{}"] {
            assert_eq!(seconds(unusable), UNKNOWN_LIFETIME, "{unusable}");
        }
        assert_eq!(seconds("1e300"), 315_360_000);
        let empty = parse(r#"{"access_token":"a","token_type":"Bearer","refresh_token":""}"#).unwrap();
        assert!(empty.refresh_token().is_none());
        let blank = r#"{"access_token":"a","refresh_token":" ","id_token":"","scope":" ","token_type":""}"#;
        let blank = parse(blank).unwrap();
        assert!(blank.refresh_token().is_none() && blank.id_token().is_none() && blank.scope().is_none());
        for (kind, expected) in [
            ("", BasicTokenType::Bearer),
            (r#","token_type":null"#, BasicTokenType::Bearer),
            (r#","token_type":"""#, BasicTokenType::Bearer),
            (r#","token_type":"bEARER""#, BasicTokenType::Bearer),
            (r#","token_type":"mac""#, BasicTokenType::Extension("mac".into())),
        ] {
            assert_eq!(*parse(&format!(r#"{{"access_token":"a"{kind}}}"#)).unwrap().token_type(), expected, "{kind}");
        }
        for bad in [
            r#"{"access_token":"a","token_type":7}"#,
            r#"{"token_type":"bearer"}"#,
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":" ","token_type":"bearer"}"#,
            r#"{"access_token":null,"token_type":"bearer"}"#,
            r#"{"access_token":"a\nb","token_type":"bearer"}"#,
            r#"{"access_token":7,"token_type":"bearer"}"#,
            r#"[]"#,
            r#"["a"]"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

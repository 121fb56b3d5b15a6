//! Validation of the ID token that a login server returns for an authorization code (OpenID Connect Core 1.0 section
//! 3.1.3.7).
//!
//! The idea: a connection does not use the ID token, but its claims name the issuer, the client and the sign-in that
//! the tokens were issued for. If one of them is not as expected, the tokens beside it are not used. The signature is
//! not verified: the token comes directly from the token endpoint, and item 6 of that section then accepts TLS instead
//! of the signature.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;
use trunkline_core::{Error, ErrorKind, Secret, Timestamp};

/// The permitted difference between the clock of the login server and that of this machine, in seconds.
const SKEW: f64 = 300.0;

/// The expected claims of an ID token.
pub(crate) struct ExpectedClaims {
    pub(crate) client_id: String,
    /// From the settings, or else from the callback. If neither has one, any issuer is accepted.
    pub(crate) issuer: Option<String>,
    pub(crate) nonce: Option<Secret>,
}

/// The claims of an ID token that are read.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    /// The user, as the issuer names it.
    #[serde(default)]
    pub(crate) sub: Option<String>,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    /// Seconds since 1970, with or without a fraction.
    exp: f64,
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl ExpectedClaims {
    /// Validates an ID token and returns its claims.
    ///
    /// # Errors
    ///
    /// `auth` if the token cannot be read or was not issued for this sign-in. The caller adds the login server to the
    /// error.
    pub(crate) fn claims_of(&self, token: &Value, now: Timestamp) -> Result<Claims, Error> {
        let Some(claims) = token.as_str().and_then(read) else {
            return Err(rejected("it cannot be read").hint(
                "remove openid from the scopes if the API does not need it, or ask the vendor for a plain ID token",
            ));
        };
        if self.issuer.as_ref().is_some_and(|issuer| *issuer != claims.iss) {
            let hint = "check that token URL and authorization URL belong to the same login server, then sign in again";
            return Err(rejected("its issuer is another login server").hint(hint).setting("/tokenUrl"));
        }
        let ours = |id: &String| *id == self.client_id;
        let audience = match &claims.aud {
            Audience::One(one) => ours(one),
            Audience::Many(many) => many.iter().any(ours),
        };
        if !audience || claims.azp.as_ref().is_some_and(|party| !ours(party)) {
            return Err(rejected("it was issued for another client").hint("check the client ID").setting("/clientId"));
        }
        if claims.exp + SKEW <= now.as_millis() as f64 / 1000.0 {
            return Err(rejected("it has expired").hint("check the clock of this machine, then sign in again"));
        }
        let answers = |sent: &Secret| {
            let found = claims.nonce.as_ref().map(|found| found.as_bytes().ct_eq(sent.expose().as_bytes()));
            found.is_some_and(bool::from)
        };
        if !self.nonce.as_ref().is_none_or(answers) {
            return Err(rejected("it belongs to another sign-in")
                .hint("sign in again, and use the same browser for the whole sign-in"));
        }
        Ok(claims)
    }
}

fn read(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    // An encrypted token has five parts.
    if parts.next().is_some() {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn rejected(why: &str) -> Error {
    Error::new(
        ErrorKind::Auth,
        format!("the ID token does not belong to this sign-in, so no tokens were stored: {why}"),
    )
}

#[cfg(test)]
mod tests {
    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_millis(milliseconds)
    }

    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> Value {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())).into()
    }

    fn expected() -> ExpectedClaims {
        let issuer = Some("https://login.example.com".to_owned());
        ExpectedClaims { client_id: "me".into(), issuer, nonce: Some("n0nce".into()) }
    }

    fn good() -> Value {
        json!({ "iss": "https://login.example.com", "aud": "me", "exp": 2_000, "nonce": "n0nce", "sub": "ada" })
    }

    #[test]
    fn tokens_of_this_sign_in_are_accepted() {
        let mut several = good();
        (several["aud"], several["azp"], several["exp"]) = (json!(["other", "me"]), json!("me"), json!(2_000.5));
        for claims in [good(), several] {
            let Claims { iss: issuer, .. } = expected().claims_of(&token(&claims), at(1_999_000)).unwrap();
            assert_eq!(issuer, "https://login.example.com");
        }
        let any_issuer = ExpectedClaims { issuer: None, ..expected() };
        assert!(any_issuer.claims_of(&token(&good()), at(1_999_000)).is_ok());
        // The clocks may differ by up to five minutes.
        assert!(expected().claims_of(&token(&good()), at(2_299_000)).is_ok());
        assert!(expected().claims_of(&token(&good()), at(2_300_000)).is_err());
    }

    #[test]
    fn other_tokens_are_refused() {
        for (claim, value, why) in [
            ("iss", json!("https://login.example.com/"), "another login server"),
            ("iss", json!(7), "cannot be read"),
            ("aud", json!("you"), "another client"),
            ("aud", json!(["you"]), "another client"),
            ("aud", json!([]), "another client"),
            ("azp", json!("you"), "another client"),
            ("exp", json!(1), "has expired"),
            ("exp", json!("2000"), "cannot be read"),
            ("exp", json!(null), "cannot be read"),
            ("nonce", json!("another"), "another sign-in"),
            ("nonce", json!(""), "another sign-in"),
            ("nonce", json!(null), "another sign-in"),
        ] {
            let mut claims = good();
            claims[claim] = value.clone();
            let error = expected().claims_of(&token(&claims), at(1_999_000)).err().unwrap();
            assert!(error.message().contains(why), "{claim} {value}: {error:?}");
            assert_eq!(error.kind(), ErrorKind::Auth);
            assert!(error.advice().is_some());
        }
        let encrypted = format!("{}.a.b", token(&good()).as_str().unwrap());
        for text in [json!("junk"), json!("a.b.c"), json!(".."), json!(encrypted), json!(7), json!({})] {
            assert!(expected().claims_of(&text, at(0)).is_err(), "{text}");
        }
    }
}

//! The ID token that comes with a code's redemption: whether it was made for this sign-in (OpenID Connect Core 1.0 section
//! 3.1.3.7).
//!
//! The idea: it is not what a connection works with, but it says who gave the tokens, to which client and in answer to which
//! attempt. If any of that is not what was asked for, the tokens beside it are not ours. Its signature is not looked at: it
//! comes straight from the token endpoint over TLS, and then item 6 of that section lets TLS stand for the signature.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Secret};

/// How far the login server's clock and ours may be apart, in seconds.
const SKEW: f64 = 300.0;

/// What an ID token is held against.
pub(crate) struct Expected {
    pub(crate) client_id: String,
    /// From the settings, or else from the callback; where neither has one, any will do.
    pub(crate) issuer: Option<String>,
    pub(crate) nonce: Option<Secret>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
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

impl Expected {
    /// The issuer of a token that was made for this sign-in; else an error that lacks who gave it. `now` is in
    /// milliseconds since 1970.
    pub(crate) fn issuer_of(&self, token: &Value, now: u64) -> Result<String, Error> {
        let Some(claims) = token.as_str().and_then(read) else {
            return Err(odd("it cannot be read").hint(
                "leave openid out of the scopes if the API does without it, or ask the vendor for a plain ID token",
            ));
        };
        if self.issuer.as_ref().is_some_and(|issuer| *issuer != claims.iss) {
            let hint = "check that token URL and authorization URL belong to the same login server; begin again";
            return Err(odd("its issuer is another login server").hint(hint).setting("/tokenUrl"));
        }
        let ours = |id: &String| *id == self.client_id;
        let audience = match &claims.aud {
            Audience::One(one) => ours(one),
            Audience::Many(many) => many.iter().any(ours),
        };
        if !audience || claims.azp.as_ref().is_some_and(|party| !ours(party)) {
            return Err(odd("it was made for another client").hint("check the client ID").setting("/clientId"));
        }
        if claims.exp + SKEW <= now as f64 / 1000.0 {
            return Err(odd("it has run out").hint("check the clock of this machine, then begin the sign-in again"));
        }
        let answers = |sent: &Secret| {
            claims.nonce.as_ref().is_some_and(|found| Sha256::digest(found) == Sha256::digest(sent.expose()))
        };
        if !self.nonce.as_ref().is_none_or(answers) {
            return Err(
                odd("it answers another sign-in").hint("begin the sign-in again, and end it in the same browser")
            );
        }
        Ok(claims.iss)
    }
}

fn read(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    // Five parts are an encrypted one.
    if parts.next().is_some() {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn odd(why: &str) -> Error {
    Error::new(ErrorKind::Auth, format!("the ID token is not one of this sign-in, so nothing is kept: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> Value {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())).into()
    }

    fn expected() -> Expected {
        let issuer = Some("https://login.example.com".to_owned());
        Expected { client_id: "me".into(), issuer, nonce: Some("n0nce".into()) }
    }

    fn good() -> Value {
        json!({ "iss": "https://login.example.com", "aud": "me", "exp": 2_000, "nonce": "n0nce", "sub": "ada" })
    }

    #[test]
    fn takes_what_was_asked_for() {
        let mut several = good();
        (several["aud"], several["azp"], several["exp"]) = (json!(["other", "me"]), json!("me"), json!(2_000.5));
        for claims in [good(), several] {
            let issuer = expected().issuer_of(&token(&claims), 1_999_000).unwrap();
            assert_eq!(issuer, "https://login.example.com");
        }
        let anybody = Expected { issuer: None, ..expected() };
        assert!(anybody.issuer_of(&token(&good()), 1_999_000).is_ok());
        // The clocks may be five minutes apart, and no more.
        assert!(expected().issuer_of(&token(&good()), 2_299_000).is_ok());
        assert!(expected().issuer_of(&token(&good()), 2_300_000).is_err());
    }

    #[test]
    fn refuses_everything_else() {
        for (claim, value, why) in [
            ("iss", json!("https://login.example.com/"), "another login server"),
            ("iss", json!(7), "cannot be read"),
            ("aud", json!("you"), "another client"),
            ("aud", json!(["you"]), "another client"),
            ("aud", json!([]), "another client"),
            ("azp", json!("you"), "another client"),
            ("exp", json!(1), "has run out"),
            ("exp", json!("2000"), "cannot be read"),
            ("exp", json!(null), "cannot be read"),
            ("nonce", json!("another"), "another sign-in"),
            ("nonce", json!(""), "another sign-in"),
            ("nonce", json!(null), "another sign-in"),
        ] {
            let mut claims = good();
            claims[claim] = value.clone();
            let error = expected().issuer_of(&token(&claims), 1_999_000).unwrap_err();
            assert!(error.message().contains(why), "{claim} {value}: {error:?}");
            assert_eq!(error.kind(), ErrorKind::Auth);
            assert!(error.advice().is_some());
        }
        let encrypted = format!("{}.a.b", token(&good()).as_str().unwrap());
        for text in [json!("junk"), json!("a.b.c"), json!(".."), json!(encrypted), json!(7), json!({})] {
            assert!(expected().issuer_of(&text, 0).is_err(), "{text}");
        }
    }
}

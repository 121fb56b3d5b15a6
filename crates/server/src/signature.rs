//! Signatures of webhook calls: an HMAC over the bytes of the body, and over what else the sender signs.

use axum::http::HeaderMap;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use trunkline_flow::{Encoding, Signature};

use crate::request::header;

/// The maximum difference between the time of sending and the time of receipt, in seconds.
const TIMESTAMP_TOLERANCE: u64 = 300;

/// The parts of a call that its signature covers, and the time of receipt.
pub(crate) struct SignedCall<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) delivery: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// In seconds since 1970.
    pub(crate) now: u64,
}

impl SignedCall<'_> {
    /// Checks the signature, and returns the reason if it is not valid.
    pub(crate) fn check(&self, signature: &Signature, secret: Option<&[u8]>) -> Result<(), &'static str> {
        let secret = secret.filter(|secret| !secret.is_empty()).ok_or("no secret is saved for this flow")?;
        let one = |name: &str| header(self.headers, name).ok().flatten();
        let timestamp = match &signature.timestamp {
            None => "",
            Some(name) => {
                let sent = one(name).ok_or("the timestamp is missing")?;
                let seconds: u64 = sent.parse().map_err(|_| "the timestamp is not in seconds since 1970")?;
                if seconds.abs_diff(self.now) > TIMESTAMP_TOLERANCE {
                    return Err("the timestamp differs from the time of receipt by more than five minutes");
                }
                sent
            }
        };
        let given = one(&signature.header).ok_or("the signature is missing")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| "the secret cannot be used")?;
        self.message(&signature.signed, timestamp, &mut |part| mac.update(part));
        let is_valid = |text: &str| {
            let bytes = match signature.encoding {
                Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
                Encoding::Base64 => BASE64_STANDARD.decode(text).ok(),
            };
            // `verify_slice` compares in constant time.
            bytes.is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
        };
        let signatures = given.split_ascii_whitespace().filter_map(|one| one.strip_prefix(&*signature.prefix));
        // A sender that is changing its secret sends a signature with each of the two.
        if signatures.take(4).any(is_valid) { Ok(()) } else { Err("the signature does not match") }
    }

    /// Passes the signed bytes to `take`, part by part.
    fn message(&self, signed: &str, timestamp: &str, take: &mut dyn FnMut(&[u8])) {
        let mut rest = signed;
        while let Some((before, after)) = rest.split_once('{') {
            take(before.as_bytes());
            rest = match after.split_once('}') {
                Some(("body", after)) => {
                    take(self.body);
                    after
                }
                Some(("timestamp", after)) => {
                    take(timestamp.as_bytes());
                    after
                }
                Some(("delivery", after)) => {
                    take(self.delivery.unwrap_or_default().as_bytes());
                    after
                }
                _ => {
                    take(b"{");
                    after
                }
            };
        }
        take(rest.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use serde_json::{Value, json};

    use super::*;

    fn signature(value: Value) -> Signature {
        serde_json::from_value(value).unwrap()
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn check(
        signature: &Signature,
        headers: &HeaderMap,
        body: &str,
        now: u64,
        secret: &str,
    ) -> Result<(), &'static str> {
        let delivery = header(headers, "webhook-id").unwrap();
        SignedCall { headers, delivery, body: body.as_bytes(), now }.check(signature, Some(secret.as_bytes()))
    }

    /// Examples that the vendors have published.
    #[test]
    fn published_signatures_are_accepted() {
        // docs.github.com, "Validating webhook deliveries".
        let github = signature(json!({ "header": "X-Hub-Signature-256", "prefix": "sha256=" }));
        let sent = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let sent = headers(&[("x-hub-signature-256", sent)]);
        let secret = "It's a Secret to Everybody";
        assert_eq!(check(&github, &sent, "Hello, World!", 0, secret), Ok(()));
        assert!(check(&github, &sent, "Hello, World?", 0, secret).is_err());
        assert!(check(&github, &sent, "Hello, World!", 0, "another secret").is_err());
        // api.slack.com, "Verifying requests from Slack".
        let slack = signature(json!({
            "header": "X-Slack-Signature", "prefix": "v0=", "timestamp": "X-Slack-Request-Timestamp",
            "signed": "v0:{timestamp}:{body}"
        }));
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=\
                    foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
                    hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.\
                    47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let sent = [
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ("x-slack-request-timestamp", "1531420618"),
        ];
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        for (now, expected) in
            [(1531420618, true), (1531420918, true), (1531420318, true), (1531420919, false), (1531420317, false)]
        {
            assert_eq!(check(&slack, &headers(&sent), body, now, secret).is_ok(), expected, "{now}");
        }
        // A later timestamp does not help: it is part of what is signed.
        let again = headers(&[sent[0], ("x-slack-request-timestamp", "1531430618")]);
        assert_eq!(check(&slack, &again, body, 1531430618, secret), Err("the signature does not match"));
    }

    #[test]
    fn a_call_without_a_secret_or_a_signature_is_rejected() {
        let plain = signature(json!({ "header": "X-Signature" }));
        let body = "{}";
        let of = |secret: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            mac.update(body.as_bytes());
            HEXLOWER_PERMISSIVE.encode(&mac.finalize().into_bytes())
        };
        let with = |value: &str, secret: Option<&[u8]>| {
            let headers = headers(&[("x-signature", value)]);
            SignedCall { headers: &headers, delivery: None, body: body.as_bytes(), now: 0 }.check(&plain, secret)
        };
        assert_eq!(with(&of(b"s"), Some(b"s")), Ok(()));
        assert_eq!(with(&format!("{} {}", of(b"old"), of(b"s")), Some(b"s")), Ok(()), "one of several");
        assert!(with(&of(b""), Some(b"")).is_err(), "an empty secret counts as missing");
        assert!(with(&of(b""), None).is_err());
        let valid = of(b"s");
        for wrong in
            ["", "00", "zz", &valid[2..], &valid[..62], &format!("{valid}00"), &valid.replace(&valid[..1], "g")]
        {
            assert!(with(wrong, Some(b"s")).is_err(), "{wrong}");
        }
        let none = HeaderMap::new();
        let unsigned = SignedCall { headers: &none, delivery: None, body: body.as_bytes(), now: 0 };
        assert_eq!(unsigned.check(&plain, Some(b"s")), Err("the signature is missing"));
        let mut twice = headers(&[("x-signature", &valid)]);
        twice.append("x-signature", valid.parse().unwrap());
        let twice = SignedCall { headers: &twice, delivery: None, body: body.as_bytes(), now: 0 };
        assert!(twice.check(&plain, Some(b"s")).is_err(), "two headers of that name");
    }
}

//! Signatures of webhook calls: an HMAC over the bytes of the body, and over what else the sender signs.

use std::{borrow::Cow, time::Duration};

use axum::http::{HeaderMap, Method};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use trunkline_core::{RepeatedMember, Timestamp, read_json};
use trunkline_flow::{Encoding, Signature, SignatureAlgorithm, SigningKeyForm, TimestampPlace};

use crate::request::header;

/// The maximum number of signatures in one header that are compared.
const MAX_SIGNATURES: usize = 8;
/// The least number of milliseconds since 1970 that is not read as seconds: in the year 1973, or 5138.
const LEAST_MILLISECONDS: u64 = 100_000_000_000;
/// Base64 with or without padding: senders and secrets have both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parts of a call that its signature covers, and the time of receipt.
pub(crate) struct SignedCall<'a> {
    pub(crate) method: &'a Method,
    /// The URL that the sender calls.
    pub(crate) url: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) delivery: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) now: Timestamp,
}

impl SignedCall<'_> {
    /// Checks the signature, and returns the reason if it is not valid.
    pub(crate) fn check(&self, signature: &Signature, secret: Option<&str>) -> Result<(), &'static str> {
        let secret = secret.filter(|secret| !secret.is_empty()).ok_or("no secret is saved for this flow")?;
        let key = key(signature.key, secret).filter(|key| !key.is_empty());
        let key = key.ok_or("the saved secret is not in the form that `key` of the signature says")?;
        let given: Vec<_> = signature.headers.iter().filter_map(|name| self.one(name)).collect();
        if given.is_empty() {
            return Err("the signature is missing");
        }
        let parts: Vec<_> = given.iter().flat_map(|value| parts(value, signature.separator)).collect();
        let timestamp = self.timestamp(signature, &parts)?;
        let signed = self.signed(&signature.signed, timestamp.as_deref().unwrap_or_default())?;
        let verify = match signature.algorithm {
            SignatureAlgorithm::Sha256 => is_valid::<Hmac<Sha256>>,
            SignatureAlgorithm::Sha1 => is_valid::<Hmac<Sha1>>,
            SignatureAlgorithm::Sha512 => is_valid::<Hmac<Sha512>>,
        };
        let signatures = parts.iter().filter_map(|part| part.strip_prefix(&*signature.prefix));
        // A sender that is changing its secret sends a signature with each of the two.
        let mut signatures = signatures.take(MAX_SIGNATURES).filter_map(|text| match signature.encoding {
            Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
            Encoding::Base64 => BASE64.decode(text).ok(),
        });
        if signatures.any(|one| verify(&key, &signed, &one)) { Ok(()) } else { Err("the signature does not match") }
    }

    /// Returns the value of a header that occurs once.
    fn one(&self, name: &str) -> Option<&str> {
        header(self.headers, name).ok().flatten()
    }

    /// Returns the time of sending as the sender writes it, `None` if it is not checked. It is not too far from the time
    /// of receipt.
    fn timestamp(&self, signature: &Signature, parts: &[&str]) -> Result<Option<String>, &'static str> {
        let Some(place) = &signature.timestamp else { return Ok(None) };
        let sent = match place {
            TimestampPlace::Header(name) => self.one(name).map(str::to_owned),
            TimestampPlace::Part(prefix) => {
                let mut times = parts.iter().filter_map(|part| part.strip_prefix(&**prefix));
                times.next().filter(|_| times.next().is_none()).map(str::to_owned)
            }
            TimestampPlace::Body(pointer) => {
                let body = read_json(self.body, RepeatedMember::Refused).ok();
                body.and_then(|body| match body.pointer(pointer)? {
                    serde_json::Value::String(text) => Some(text.clone()),
                    serde_json::Value::Number(number) => Some(number.to_string()),
                    _ => None,
                })
            }
        };
        let sent = sent.ok_or("the timestamp is missing")?;
        let time = milliseconds(&sent).ok_or("the timestamp is neither a time nor a number of seconds since 1970")?;
        if Duration::from_millis(time.abs_diff(self.now.as_millis())) > signature.tolerance {
            return Err("the timestamp differs too much from the time of receipt");
        }
        Ok(Some(sent))
    }

    /// Returns the signed bytes.
    fn signed(&self, template: &str, timestamp: &str) -> Result<Vec<u8>, &'static str> {
        let (mut signed, mut rest) = (Vec::new(), template);
        while let Some((before, after)) = rest.split_once('{') {
            signed.extend(before.as_bytes());
            let place = after.split_once('}').and_then(|(name, after)| Some((self.part(name, timestamp)?, after)));
            match place {
                Some((part, after)) => {
                    signed.extend(&*part.ok_or("a signed header is missing")?);
                    rest = after;
                }
                // Not a place, so the brace is part of the signed text.
                None => {
                    signed.push(b'{');
                    rest = after;
                }
            }
        }
        signed.extend(rest.as_bytes());
        Ok(signed)
    }

    /// Returns what a place in braces stands for: `None` if there is no such place, `Some(None)` for a missing header.
    fn part<'b>(&'b self, place: &str, timestamp: &'b str) -> Option<Option<Cow<'b, [u8]>>> {
        let text = match place {
            "body" => return Some(Some(self.body.into())),
            "timestamp" => timestamp,
            "delivery" => self.delivery.unwrap_or_default(),
            "method" => self.method.as_str(),
            "url" => return Some(Some(written_out(self.url).into_bytes().into())),
            _ => return Some(self.one(place.strip_prefix("header:")?).map(|value| value.as_bytes().into())),
        };
        Some(Some(text.as_bytes().into()))
    }
}

/// Returns whether a signature is valid. The comparison takes constant time.
fn is_valid<M: Mac + KeyInit>(key: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let mac = <M as KeyInit>::new_from_slice(key).ok();
    mac.is_some_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}

/// Returns the key of the HMAC, or `None` if the secret is not in this form.
fn key(form: SigningKeyForm, secret: &str) -> Option<Vec<u8>> {
    match form {
        SigningKeyForm::Text => Some(secret.as_bytes().to_vec()),
        SigningKeyForm::Base64 => BASE64.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok(),
        SigningKeyForm::Hex => HEXLOWER_PERMISSIVE.decode(secret.as_bytes()).ok(),
    }
}

/// Returns the parts of a header.
fn parts(value: &str, separator: Option<char>) -> Vec<&str> {
    match separator {
        Some(separator) => value.split(separator).map(str::trim).collect(),
        None => value.split_ascii_whitespace().collect(),
    }
}

/// Returns a time in milliseconds since 1970. It is a number of seconds or milliseconds, or as in RFC 3339.
fn milliseconds(text: &str) -> Option<u64> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds < LEAST_MILLISECONDS => seconds.checked_mul(1000),
        Ok(milliseconds) => Some(milliseconds),
        Err(_) => u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok(),
    }
}

/// Returns a URL with the characters written out that HubSpot signs as such: `:/?@!$'()*,;`.
fn written_out(url: &str) -> String {
    let (mut out, mut rest) = (String::new(), url);
    while let Some((before, after)) = rest.split_once('%') {
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push_str(before);
        match code.map(char::from).filter(|c| ":/?@!$'()*,;".contains(*c)) {
            Some(c) => {
                out.push(c);
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests;

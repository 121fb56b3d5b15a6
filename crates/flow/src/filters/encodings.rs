//! Filters that encode texts, and compute digests of them.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use minijinja::{Error, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::filters::call::{FilterCall, brief};

/// All characters but the unreserved ones (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Fails if a digest cannot have this form.
pub(super) fn check_form(form: &str) -> Result<(), String> {
    match form {
        "hex" | "base64" => Ok(()),
        other => Err(format!("the form of a digest is 'hex' or 'base64', not {:?}", brief(other))),
    }
}

/// Fails if there is no such hash function. `keyed` says whether it is for an HMAC.
pub(super) fn check_function(function: &str, keyed: bool) -> Result<(), String> {
    match function {
        "sha256" | "sha512" | "sha1" => Ok(()),
        "md5" if !keyed => Ok(()),
        other => {
            let md5 = if keyed { "" } else { ", md5" };
            Err(format!("the hash functions are sha256, sha512, sha1{md5}; there is no {:?}", brief(other)))
        }
    }
}

/// Fails if Base64 has no such alphabet.
pub(super) fn check_alphabet(alphabet: &str) -> Result<(), String> {
    match alphabet {
        "standard" | "url" => Ok(()),
        other => Err(format!("the alphabet of Base64 is 'standard' or 'url', not {:?}", brief(other))),
    }
}

pub(super) fn base64(call: &FilterCall<'_>) -> Result<Value, Error> {
    let alphabet = call.text_at(0).unwrap_or("standard");
    check_alphabet(alphabet).map_err(|reason| call.error(reason))?;
    let engine = if alphabet == "url" { URL_SAFE_NO_PAD } else { STANDARD };
    Ok(engine.encode(call.text()?).into())
}

pub(super) fn hash(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (function, text) = (call.text_at(0).unwrap_or("sha256"), call.text()?);
    check_function(function, false).map_err(|reason| call.error(reason))?;
    let digest = match function {
        "sha512" => Sha512::digest(text).to_vec(),
        "sha1" => Sha1::digest(text).to_vec(),
        "md5" => Md5::digest(text).to_vec(),
        _ => Sha256::digest(text).to_vec(),
    };
    written(call, 1, &digest)
}

pub(super) fn hmac(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (key, function) = (call.text_at(0).unwrap_or_default(), call.text_at(1).unwrap_or("sha256"));
    check_function(function, true).map_err(|reason| call.error(reason))?;
    if key.is_empty() {
        return Err(call.error("the key is empty"));
    }
    let text = call.text()?;
    let digest = match function {
        "sha512" => code::<Hmac<Sha512>>(key, text),
        "sha1" => code::<Hmac<Sha1>>(key, text),
        _ => code::<Hmac<Sha256>>(key, text),
    };
    written(call, 2, &digest.ok_or_else(|| call.error("the key cannot be used"))?)
}

fn code<M: Mac + KeyInit>(key: &str, text: &str) -> Option<Vec<u8>> {
    let mut code = <M as KeyInit>::new_from_slice(key.as_bytes()).ok()?;
    code.update(text.as_bytes());
    Some(code.finalize().into_bytes().to_vec())
}

/// Returns a digest in the form that the argument at this position names.
fn written(call: &FilterCall<'_>, index: usize, digest: &[u8]) -> Result<Value, Error> {
    let form = call.text_at(index).unwrap_or("hex");
    check_form(form).map_err(|reason| call.error(reason))?;
    Ok(if form == "base64" { STANDARD.encode(digest) } else { HEXLOWER.encode(digest) }.into())
}

pub(super) fn url_encode(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(utf8_percent_encode(call.text()?, RESERVED).to_string().into())
}

//! Secrets at rest: each is sealed for itself with XChaCha20-Poly1305, and bound to its place.
//!
//! The place (store, table, row, field, key) goes into the seal as associated data. Somebody who can write to the file,
//! but has no key, can thus neither read a secret nor put one where another belongs.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use crate::key::{Key, random};

const NONCE: usize = 24;

/// Where a sealed value belongs.
pub(crate) struct Place<'a> {
    pub(crate) table: &'a str,
    pub(crate) row: &'a [&'a str],
    pub(crate) field: &'a str,
}

/// A sealed value as it is kept: the key's id beside nonce and ciphertext.
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) bytes: Vec<u8>,
}

/// Seals and opens with one key for one store.
pub(crate) struct Seal {
    cipher: XChaCha20Poly1305,
    key_id: String,
    instance: String,
}

impl Seal {
    pub(crate) fn new(key: &Key, instance: &str) -> Self {
        let cipher = XChaCha20Poly1305::new((&*key.bytes).into());
        Seal { cipher, key_id: key.id.clone(), instance: instance.to_owned() }
    }

    pub(crate) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Sealed> {
        let nonce = random::<NONCE>()?;
        let payload = Payload { msg: plain, aad: &self.bound_to(place) };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::new(ErrorKind::Limit, "a secret is too long to be sealed"))?;
        Ok(Sealed { key_id: self.key_id.clone(), bytes: [&nonce[..], &sealed].concat() })
    }

    /// Opens what was sealed for this place. Anything else is refused: an unknown key as `config`, all else as `store`.
    pub(crate) fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        let named = |error: Error| error.with("table", place.table).with("row", place.row.join(" "));
        if sealed.key_id != self.key_id {
            return Err(named(
                Error::new(
                    ErrorKind::Config,
                    format!("a secret was sealed with the key {}, but the key here is {}", sealed.key_id, self.key_id),
                )
                .hint("start with the key that this store was made with"),
            ));
        }
        let damaged = || {
            named(Error::new(ErrorKind::Store, "a sealed value was changed, or moved from where it belongs").hint(
                "somebody or something wrote to the store: find out who, then put back the last backup of the data \
                 directory, or save the connection anew",
            ))
        };
        let (nonce, bytes) = sealed.bytes.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let payload = Payload { msg: bytes, aad: &self.bound_to(place) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| damaged())
    }

    /// The same for a text.
    pub(crate) fn open_text(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret> {
        let plain = self.open(place, sealed)?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| Error::new(ErrorKind::Store, "a sealed text is not UTF-8").with("table", place.table))?;
        Ok(Secret::from(text))
    }

    /// Every part with its length before it, so that no two places ever look the same.
    fn bound_to(&self, place: &Place<'_>) -> Vec<u8> {
        let mut bytes = b"trunkline 1".to_vec();
        let parts = [self.instance.as_str(), place.table].into_iter();
        let parts = parts.chain(place.row.iter().copied()).chain([place.field, self.key_id.as_str()]);
        for part in parts {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

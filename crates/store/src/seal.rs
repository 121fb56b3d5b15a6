//! Secrets at rest: each is sealed for itself with XChaCha20-Poly1305, and bound to its place.
//!
//! The place (store, table, row, field, key) goes into the seal as associated data. Somebody who can write to the file,
//! but has no key, can thus neither read a secret nor put one where another belongs. The id of the key is part of the seal,
//! too, and lies beside it.

use std::sync::Arc;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rusqlite::Connection;
use trunkline_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use crate::{
    key::{Key, Ring, random},
    schema,
};

const NONCE: usize = 24;

/// Where a sealed value belongs.
pub(crate) struct AssociatedData<'a> {
    pub(crate) table: &'a str,
    pub(crate) row: &'a [&'a str],
    pub(crate) field: &'a str,
}

/// A sealed value as it is kept: the key's id beside nonce and ciphertext.
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) bytes: Vec<u8>,
}

/// Seals and opens for one store, with whatever key the store or the value names.
pub(crate) struct Seal {
    ring: Ring,
    instance: String,
}

impl Seal {
    pub(crate) fn new(ring: Ring, instance: &str) -> Self {
        Seal { ring, instance: instance.to_owned() }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Seals with the key that the store names in this transaction. Once a transaction has named another key, nothing is
    /// ever sealed with the one before, by whatever process: that is why an old key can be dropped in the end.
    pub(crate) fn seal(
        &self,
        store: &Connection,
        place: &AssociatedData<'_>,
        plain: &[u8],
    ) -> rusqlite::Result<Result<Sealed>> {
        Ok(self.seal_with(&schema::key_id(store)?, place, plain))
    }

    /// The same for several in one transaction, with the key that the store has named in it.
    pub(crate) fn seal_with(&self, key_id: &str, place: &AssociatedData<'_>, plain: &[u8]) -> Result<Sealed> {
        seal(&*self.key(key_id, place)?, &self.instance, place, plain)
    }

    /// Opens what was sealed for this place. Anything else is refused: an unknown key as `config`, all else as `store`.
    pub(crate) fn open(&self, place: &AssociatedData<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        open(&*self.key(&sealed.key_id, place)?, &self.instance, place, sealed)
    }

    fn key(&self, id: &str, place: &AssociatedData<'_>) -> Result<Arc<Key>> {
        self.ring.find(id)?.ok_or_else(|| {
            let message = format!("the store needs the key {id} for a secret, but here is {}", self.ring.ids());
            place.named(Error::new(ErrorKind::Config, message).hint(
                "start with the key that this store was made with; if its key has been changed since this process was \
                 started, start again with the new one",
            ))
        })
    }

    /// The same for a text.
    pub(crate) fn open_text(&self, place: &AssociatedData<'_>, sealed: &Sealed) -> Result<Secret> {
        let plain = self.open(place, sealed)?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| Error::new(ErrorKind::Store, "a sealed text is not UTF-8").with("table", place.table))?;
        Ok(Secret::from(text))
    }
}

impl AssociatedData<'_> {
    fn named(&self, error: Error) -> Error {
        error.with("table", self.table).with("row", self.row.join(" "))
    }

    /// Every part with its length before it, so that no two places ever look the same.
    fn bound_to(&self, instance: &str, key_id: &str) -> Vec<u8> {
        let mut bytes = b"trunkline 1".to_vec();
        let parts = [instance, self.table].into_iter();
        for part in parts.chain(self.row.iter().copied()).chain([self.field, key_id]) {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

/// Seals with this key.
pub(crate) fn seal(key: &Key, instance: &str, place: &AssociatedData<'_>, plain: &[u8]) -> Result<Sealed> {
    let nonce = random::<NONCE>()?;
    let payload = Payload { msg: plain, aad: &place.bound_to(instance, &key.id) };
    let sealed = XChaCha20Poly1305::new((&*key.bytes).into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Error::new(ErrorKind::Limit, "a secret is too long to be sealed"))?;
    Ok(Sealed { key_id: key.id.clone(), bytes: [&nonce[..], &sealed].concat() })
}

fn open(key: &Key, instance: &str, place: &AssociatedData<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || {
        place.named(Error::new(ErrorKind::Store, "a sealed value was changed, or moved from where it belongs").hint(
            "somebody or something wrote to the store: find out who, then put back the last backup of the data \
             directory, or save the connection anew",
        ))
    };
    let (nonce, bytes) = sealed.bytes.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
    let payload = Payload { msg: bytes, aad: &place.bound_to(instance, &key.id) };
    let opened = XChaCha20Poly1305::new((&*key.bytes).into()).decrypt(&XNonce::from(*nonce), payload);
    opened.map(Zeroizing::new).map_err(|_| damaged())
}

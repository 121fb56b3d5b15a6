//! Encryption of secrets at rest. Each value is sealed (encrypted and authenticated) by itself with XChaCha20-Poly1305,
//! and bound to its place.
//!
//! The place (store, table, row, field, key) is the associated data. An attacker who can write to the file but has no
//! key can neither read a secret nor move one to another place. The id of the key is stored beside the value and is
//! authenticated too.

use std::sync::Arc;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use crate::encryption::{Key, Ring, random};

const NONCE: usize = 24;

/// The place of a sealed value, which its seal is bound to.
pub(crate) struct AssociatedData<'a> {
    pub(crate) table: &'a str,
    pub(crate) row: &'a [&'a str],
    pub(crate) field: &'a str,
}

/// A sealed value as it is stored: the id of its key, and nonce and ciphertext.
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) bytes: Vec<u8>,
}

/// Seals and opens values of one store.
pub(crate) struct Seal {
    ring: Ring,
    instance: String,
    records: RecordKey,
}

/// The key of the MACs of rows. It is sealed in the store, and stays when the key of the store is changed.
pub(crate) type RecordKey = Zeroizing<[u8; 32]>;

impl Seal {
    pub(crate) fn new(ring: Ring, instance: &str, records: RecordKey) -> Self {
        Seal { ring, instance: instance.to_owned(), records }
    }

    pub(crate) fn records(&self) -> &RecordKey {
        &self.records
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Seals with the key of this id, which must be the current one of the transaction that stores the value.
    pub(crate) fn seal_with(&self, key_id: &str, place: &AssociatedData<'_>, plain: &[u8]) -> Result<Sealed> {
        seal(&*self.key(key_id, place)?, &self.instance, place, plain)
    }

    /// Opens what was sealed for this place, see [`open`].
    pub(crate) fn open(&self, place: &AssociatedData<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        open(&self.ring, &self.instance, place, sealed)
    }

    fn key(&self, id: &str, place: &AssociatedData<'_>) -> Result<Arc<Key>> {
        key(&self.ring, id, place)
    }

    /// Opens a sealed text.
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

    /// Each part is preceded by its length, so that no two places have the same bytes.
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

/// Seals a value with this key.
pub(crate) fn seal(key: &Key, instance: &str, place: &AssociatedData<'_>, plain: &[u8]) -> Result<Sealed> {
    let nonce = random::<NONCE>()?;
    let payload = Payload { msg: plain, aad: &place.bound_to(instance, &key.id) };
    let sealed = XChaCha20Poly1305::new((&*key.bytes).into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Error::new(ErrorKind::Limit, "a secret is too long to be encrypted"))?;
    Ok(Sealed { key_id: key.id.clone(), bytes: [&nonce[..], &sealed].concat() })
}

fn key(ring: &Ring, id: &str, place: &AssociatedData<'_>) -> Result<Arc<Key>> {
    ring.find(id)?.ok_or_else(|| {
        let message = format!("the store needs the key {id} for a secret, but here is {}", ring.ids());
        place.named(Error::new(ErrorKind::Config, message).hint(
            "start with the key that this store was made with; if its key has been changed since this process was \
             started, start again with the new one",
        ))
    })
}

/// Opens what was sealed for this place. Anything else is refused: an unknown key as `config`, all else as `store`.
pub(crate) fn open(
    ring: &Ring,
    instance: &str,
    place: &AssociatedData<'_>,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>> {
    let key = key(ring, &sealed.key_id, place)?;
    let damaged = || {
        place.named(Error::new(ErrorKind::Store, "an encrypted value was changed, or moved from its place").hint(
            "something other than Trunkline wrote to the store: find the cause, then restore the last backup of the data \
             directory, or save the connection again",
        ))
    };
    let (nonce, bytes) = sealed.bytes.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
    let payload = Payload { msg: bytes, aad: &place.bound_to(instance, &key.id) };
    let opened = XChaCha20Poly1305::new((&*key.bytes).into()).decrypt(&XNonce::from(*nonce), payload);
    opened.map(Zeroizing::new).map_err(|_| damaged())
}

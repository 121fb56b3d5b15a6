//! Digests of a file, computed while its bytes pass: SHA-256 of every file, MD5 where the source declares one.
//!
//! A service declares the digests of a file in the headers of its response. They are read here and compared at the end
//! with those of the bytes that arrived.

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use http::{HeaderMap, StatusCode};
use md5::Md5;
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use trunkline_core::{Algorithm, Digest, Error, ErrorKind, FileRef, FileStream, Result};

use super::headers::single;

/// The number of bytes that have passed, and their digests.
#[derive(Clone, Default)]
pub(crate) struct Digests {
    pub(crate) bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
}

/// The states of the hash functions, in base64. That of MD5 is empty if it is not computed.
pub(crate) struct DigestState<T> {
    pub(crate) sha256: T,
    pub(crate) md5: T,
}

impl Digests {
    /// Returns empty digests of the algorithms that a check against the declared ones needs.
    pub(crate) fn for_checking(declared: &[Digest]) -> Digests {
        let md5 = declared.iter().any(|digest| digest.algorithm() == Algorithm::Md5);
        Digests { md5: md5.then(Md5::default), ..Digests::default() }
    }

    /// Adds MD5 if it is not computed yet.
    pub(crate) fn with_md5(mut self) -> Digests {
        self.md5.get_or_insert_default();
        self
    }

    /// Restores digests from their saved state. Returns `None` if the state is invalid or has no MD5 although one is
    /// declared.
    pub(crate) fn restored(bytes: u64, state: DigestState<&str>, declared: &[Digest]) -> Option<Digests> {
        let fresh = Digests::for_checking(declared);
        if bytes == 0 && state.sha256.is_empty() {
            return Some(fresh);
        }
        let sha256 = restored(state.sha256)?;
        let md5 = match fresh.md5 {
            Some(_) => Some(restored(state.md5)?),
            None => None,
        };
        Some(Digests { bytes, sha256, md5 })
    }

    pub(crate) fn state(&self) -> DigestState<String> {
        let md5 = self.md5.as_ref().map(|md5| BASE64_STANDARD.encode(md5.serialize()));
        DigestState { sha256: BASE64_STANDARD.encode(self.sha256.serialize()), md5: md5.unwrap_or_default() }
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.sha256.update(piece);
        if let Some(md5) = &mut self.md5 {
            md5.update(piece);
        }
    }

    /// Returns the SHA-256 in lower-case hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        HEXLOWER.encode(&self.sha256.clone().finalize())
    }

    /// Returns the MD5 in base64, as HTTP headers have it, if it is computed.
    pub(crate) fn md5(&self) -> Option<String> {
        Some(BASE64_STANDARD.encode(self.md5.clone()?.finalize()))
    }

    /// Compares the bytes that have passed with the declared digests.
    ///
    /// # Errors
    ///
    /// `conflict` for a digest that differs.
    pub(crate) fn check(&self, file: &str, declared: &[Digest]) -> Result<()> {
        for expected in declared {
            let value = match expected.algorithm() {
                Algorithm::Sha256 => Some(self.sha256.clone().finalize().to_vec()),
                Algorithm::Md5 => self.md5.clone().map(|md5| md5.finalize().to_vec()),
            };
            let found = value.and_then(|value| Digest::new(expected.algorithm(), value));
            match found {
                Some(found) if found == *expected => {}
                Some(found) => return Err(mismatch(file, expected, &found)),
                None => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("{file} was not hashed for a check against {expected}"),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn restored<H: SerializableState>(state: &str) -> Option<H> {
    let bytes = BASE64_STANDARD.decode(state).ok()?;
    H::deserialize(&SerializedState::<H>::try_from(bytes.as_slice()).ok()?).ok()
}

/// The error for bytes that do not have the digest their source declares.
fn mismatch(file: &str, expected: &Digest, found: &Digest) -> Error {
    let message = format!("{file} has the digest {found}, but its source declares {expected}; nothing of it was saved");
    Error::new(ErrorKind::Conflict, message).with("expected", expected).with("found", found).hint(
        "the file was damaged on the way or has changed in the meantime: run the item again; if that does not help, \
         the file is damaged at its source: compare it there with its digest",
    )
}

/// Returns the digest of the whole file that a response declares: `Repr-Digest` (RFC 9530), Azure's
/// `x-ms-blob-content-md5` ("Get Blob"), or the `Content-MD5` of a response with the whole file (RFC 1864). An ETag
/// does not count: the services that we call do not document how they compute it.
pub(crate) fn declared(status: StatusCode, headers: &HeaderMap) -> Option<Digest> {
    let text = |name: &str| single(headers, name)?.to_str().ok();
    let of = |algorithm, base64: &str| Digest::new(algorithm, BASE64_STANDARD.decode(base64.trim()).ok()?);
    let listed = |algorithm: Algorithm| {
        // A list, which may be spread over several headers.
        let lists = headers.get_all("repr-digest").into_iter().filter_map(|value| value.to_str().ok());
        let mut members = lists.flat_map(|list| list.split(',')).filter_map(|member| member.trim().split_once('='));
        let (_, value) = members.find(|(name, _)| *name == algorithm.name())?;
        of(algorithm, value.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?)
    };
    let whole = || text("content-md5").filter(|_| status != StatusCode::PARTIAL_CONTENT);
    listed(Algorithm::Sha256)
        .or_else(|| listed(Algorithm::Md5))
        .or_else(|| of(Algorithm::Md5, text("x-ms-blob-content-md5").or_else(whole)?))
}

/// Returns the digests of a file that its reference and the service that has it declare.
pub(crate) fn declared_digests(file: &FileRef, stream: &FileStream) -> Vec<Digest> {
    let mut declared: Vec<_> = file.digest.iter().chain(&stream.digest).cloned().collect();
    declared.dedup();
    declared
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256_OF_ABC: &str = "sha-256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const MD5_OF_ABC: &str = "md5:900150983cd24fb0d6963f7d28e17f72";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn digests_continue_after_a_restart() {
        for declared in [vec![], vec![SHA256_OF_ABC], vec![MD5_OF_ABC], vec![SHA256_OF_ABC, MD5_OF_ABC]] {
            let declared: Vec<Digest> = declared.into_iter().map(|text| text.parse().unwrap()).collect();
            let mut digests = Digests::for_checking(&declared);
            digests.update(b"ab");
            let DigestState { sha256, md5 } = digests.state();
            let restored = |md5| Digests::restored(2, DigestState { sha256: &sha256, md5 }, &declared);
            let mut continued = restored(&md5).unwrap();
            assert_eq!(continued.check("a", &declared).is_err(), !declared.is_empty());
            continued.update(b"c");
            continued.check("a", &declared).unwrap();
            assert_eq!((continued.bytes, format!("sha-256:{}", continued.sha256())), (3, SHA256_OF_ABC.to_owned()));
            // A state that was saved without MD5 cannot be checked against one.
            assert!(md5.is_empty() || restored("").is_none());
        }
        let restored = |bytes, sha256| Digests::restored(bytes, DigestState { sha256, md5: "" }, &[]);
        assert!(restored(3, "").is_none() && restored(3, "AAAA").is_none());
        assert!(restored(0, "").is_some());
    }

    #[test]
    fn a_mismatch_names_both_digests() {
        let declared = [SHA256_OF_ABC.parse().unwrap()];
        let error = Digests::for_checking(&declared).check("film.mp4", &declared).unwrap_err();
        for part in ["film.mp4", "sha-256:ba78", "sha-256:e3b0"] {
            assert!(error.message().contains(part), "{error:?}");
        }
    }

    #[test]
    fn the_digest_is_read_from_the_headers() {
        let (ok, part) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        let sha = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let md5 = "kAFQmDzST7DWlj99KOF/cg==";
        let both = format!("md5=:{md5}:, sha-256=:{sha}:");
        for (status, given, expected) in [
            (part, &[("repr-digest", both.as_str())][..], Some(SHA256_OF_ABC)),
            (part, &[("repr-digest", &format!("md5=:{md5}:;q=1"))], Some(MD5_OF_ABC)),
            (part, &[("repr-digest", "sha-512=:AAAA:"), ("x-ms-blob-content-md5", md5)], Some(MD5_OF_ABC)),
            (ok, &[("content-md5", md5)], Some(MD5_OF_ABC)),
            // The digest of the part, not of the file.
            (part, &[("content-md5", md5)], None),
            (ok, &[("content-md5", "junk"), ("etag", "\"900150983cd24fb0d6963f7d28e17f72\"")], None),
        ] {
            assert_eq!(declared(status, &headers(given)), expected.map(|text| text.parse().unwrap()), "{given:?}");
        }
    }
}

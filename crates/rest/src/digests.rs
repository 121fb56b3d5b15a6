//! Digests of a file while its bytes pass: SHA-256 of every file, MD5 where the source tells one.
//!
//! What a service declares on opening a file stands in its headers; here they are read, and in the end held against what
//! passed.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode};
use md5::Md5;
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use trunkline_core::{Algorithm, Digest, Error, ErrorKind, Result};

/// The digests of what has passed.
#[derive(Clone, Default)]
pub(crate) struct Digests {
    pub(crate) bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
}

impl Digests {
    /// Of nothing yet; what is needed to check the declared ones.
    pub(crate) fn for_checking(declared: &[Digest]) -> Digests {
        let md5 = declared.iter().any(|digest| digest.algorithm() == Algorithm::Md5);
        Digests { md5: md5.then(Md5::default), ..Digests::default() }
    }

    /// The same, with MD5 in any case.
    pub(crate) fn with_md5(mut self) -> Digests {
        self.md5.get_or_insert_default();
        self
    }

    /// Goes on from a state that was written down; `None` if it is none, or lacks what checking the declared ones needs.
    pub(crate) fn restored(bytes: u64, [sha256, md5]: [&str; 2], declared: &[Digest]) -> Option<Digests> {
        let fresh = Digests::for_checking(declared);
        if bytes == 0 && sha256.is_empty() {
            return Some(fresh);
        }
        let (sha256, md5) = (restored(sha256)?, fresh.md5.map_or(Some(None), |_| restored(md5).map(Some))?);
        Some(Digests { bytes, sha256, md5 })
    }

    /// The state as texts: of SHA-256, and of MD5 if it is reckoned.
    pub(crate) fn state(&self) -> [String; 2] {
        let md5 = self.md5.as_ref().map(|md5| BASE64_STANDARD.encode(md5.serialize()));
        [BASE64_STANDARD.encode(self.sha256.serialize()), md5.unwrap_or_default()]
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.sha256.update(piece);
        if let Some(md5) = &mut self.md5 {
            md5.update(piece);
        }
    }

    /// SHA-256 in lower-case hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    /// MD5 as HTTP headers have it, if it is reckoned.
    pub(crate) fn md5(&self) -> Option<String> {
        Some(BASE64_STANDARD.encode(self.md5.clone()?.finalize()))
    }

    /// Holds what passed against what was declared of it.
    pub(crate) fn check(&self, file: &str, declared: &[Digest]) -> Result<()> {
        for expected in declared {
            let value = match expected.algorithm() {
                Algorithm::Sha256 => Some(self.sha256.clone().finalize().to_vec()),
                Algorithm::Md5 => self.md5.clone().map(|md5| md5.finalize().to_vec()),
            };
            let found = value.and_then(|value| Digest::new(expected.algorithm(), value));
            match found {
                Some(found) if found == *expected => {}
                Some(found) => return Err(other_digest(file, expected, &found)),
                None => return Err(Error::new(ErrorKind::Internal, format!("no {expected} was reckoned of {file}"))),
            }
        }
        Ok(())
    }
}

fn restored<H: SerializableState>(state: &str) -> Option<H> {
    let bytes = BASE64_STANDARD.decode(state).ok()?;
    H::deserialize(&SerializedState::<H>::try_from(bytes.as_slice()).ok()?).ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is said of bytes that are not the ones their source has told of.
fn other_digest(file: &str, expected: &Digest, found: &Digest) -> Error {
    let message =
        format!("{file} was read with the digest {found}, but its source says {expected}; nothing was kept of it");
    Error::new(ErrorKind::Conflict, message).with("expected", expected).with("found", found).hint(
        "it was damaged on the way or changed meanwhile: run the item again; if that does not help, the file is damaged \
         where it lies: compare it there with its digest",
    )
}

/// The digest of the whole file that an answer declares: `Repr-Digest` (RFC 9530), Azure's `x-ms-blob-content-md5` ("Get
/// Blob"), or the `Content-MD5` of an answer that is the whole file (RFC 1864). An ETag is none: no service we talk to
/// documents what it is made of.
pub(crate) fn declared(status: StatusCode, headers: &HeaderMap) -> Option<Digest> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let of = |algorithm, base64: &str| Digest::new(algorithm, BASE64_STANDARD.decode(base64.trim()).ok()?);
    let listed = |algorithm: Algorithm| {
        let members = text("repr-digest")?.split(',').filter_map(|member| member.trim().split_once('='));
        let (_, value) = members.into_iter().find(|(name, _)| *name == algorithm.name())?;
        of(algorithm, value.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?)
    };
    let whole = || text("content-md5").filter(|_| status != StatusCode::PARTIAL_CONTENT);
    listed(Algorithm::Sha256)
        .or_else(|| listed(Algorithm::Md5))
        .or_else(|| of(Algorithm::Md5, text("x-ms-blob-content-md5").or_else(whole)?))
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
    fn digests_go_on_after_a_restart() {
        for declared in [vec![], vec![SHA256_OF_ABC], vec![MD5_OF_ABC], vec![SHA256_OF_ABC, MD5_OF_ABC]] {
            let declared: Vec<Digest> = declared.into_iter().map(|text| text.parse().unwrap()).collect();
            let mut digests = Digests::for_checking(&declared);
            digests.update(b"ab");
            let [sha256, md5] = digests.state();
            let mut on = Digests::restored(2, [&sha256, &md5], &declared).unwrap();
            assert_eq!(on.check("a", &declared).is_err(), !declared.is_empty());
            on.update(b"c");
            on.check("a", &declared).unwrap();
            assert_eq!((on.bytes, format!("sha-256:{}", on.sha256())), (3, SHA256_OF_ABC.to_owned()));
            // What was written down without MD5 cannot check one.
            assert!(md5.is_empty() || Digests::restored(2, [&sha256, ""], &declared).is_none());
        }
        assert!(Digests::restored(3, ["", ""], &[]).is_none() && Digests::restored(3, ["AAAA", ""], &[]).is_none());
        assert!(Digests::restored(0, ["", ""], &[]).is_some());
    }

    #[test]
    fn both_digests_are_named() {
        let declared = [SHA256_OF_ABC.parse().unwrap()];
        let error = Digests::for_checking(&declared).check("film.mp4", &declared).unwrap_err();
        for part in ["film.mp4", "sha-256:ba78", "sha-256:e3b0"] {
            assert!(error.message().contains(part), "{error:?}");
        }
    }

    #[test]
    fn what_headers_declare() {
        let (ok, part) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        let sha = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let md5 = "kAFQmDzST7DWlj99KOF/cg==";
        let both = format!("md5=:{md5}:, sha-256=:{sha}:");
        for (status, given, expected) in [
            (part, &[("repr-digest", both.as_str())][..], Some(SHA256_OF_ABC)),
            (part, &[("repr-digest", &format!("md5=:{md5}:;q=1"))], Some(MD5_OF_ABC)),
            (part, &[("repr-digest", "sha-512=:AAAA:"), ("x-ms-blob-content-md5", md5)], Some(MD5_OF_ABC)),
            (ok, &[("content-md5", md5)], Some(MD5_OF_ABC)),
            // That of the part.
            (part, &[("content-md5", md5)], None),
            (ok, &[("content-md5", "junk"), ("etag", "\"900150983cd24fb0d6963f7d28e17f72\"")], None),
        ] {
            assert_eq!(declared(status, &headers(given)), expected.map(|text| text.parse().unwrap()), "{given:?}");
        }
    }
}

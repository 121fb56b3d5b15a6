//! The digest of a file as a service reports it: an algorithm and a value, written `sha-256:2c26b4...`.
//!
//! This module only reads and writes digests. The code that transfers a file computes its digest and compares the two.
//!
//! ```
//! # use trunkline_core::{Algorithm, Digest};
//! let digest: Digest = "md5:900150983CD24FB0D6963F7D28E17F72".parse()?;
//! assert_eq!(digest.algorithm(), Algorithm::Md5);
//! assert_eq!(digest.to_string(), "md5:900150983cd24fb0d6963f7d28e17f72");
//! # Ok::<(), trunkline_core::Error>(())
//! ```

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The algorithm of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5 (RFC 1321), 16 bytes. It detects accidental changes, not forgeries.
    Md5,
    /// SHA-256 (FIPS 180-4), 32 bytes.
    Sha256,
}

impl Algorithm {
    /// Returns the algorithm's name in the registry of HTTP digest algorithms (RFC 9530 section 7.2).
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha256 => "sha-256",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 => 32,
        }
    }
}

/// The digest of a whole file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

impl Digest {
    /// Returns a digest with this value, or `None` if the value does not have the length of the algorithm's digests.
    pub fn new(algorithm: Algorithm, value: impl Into<Vec<u8>>) -> Option<Digest> {
        let value = value.into();
        (value.len() == algorithm.bytes()).then_some(Digest { algorithm, value })
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the value in lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.value)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        let read = || {
            let (name, digits) = text.split_once(':')?;
            let algorithm = [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|known| known.name() == name)?;
            Digest::new(algorithm, HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?)
        };
        read().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("`{text}` is not a digest"))
                .hint("write `sha-256:` and 64 hexadecimal digits, or `md5:` and 32")
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(sha-256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32})$" })
    }
}

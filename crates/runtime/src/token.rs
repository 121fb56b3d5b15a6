//! Tokens that are shown once: of webhook URLs and of the API. Only their hash is stored and compared.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use trunkline_core::Secret;

/// Returns 256 random bits as hexadecimal digits.
pub fn random() -> Secret {
    HEXLOWER.encode(&rand::random::<[u8; 32]>()).into()
}

/// Returns the SHA-256 hash of a token, in the form in which tokens are compared and stored.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

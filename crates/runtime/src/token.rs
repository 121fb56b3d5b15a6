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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_random_and_has_a_hash() {
        let (one, other) = (random(), random());
        assert!(one.expose().len() == 64 && one.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.expose(), other.expose());
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_ne!(hash(one.expose()), hash(other.expose()));
    }
}

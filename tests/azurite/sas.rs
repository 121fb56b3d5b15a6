//! Signed URLs (shared access signatures) of the emulator's account, built as Azure's documentation describes them
//! ("Create a service SAS", "Create an account SAS"), independently of the code that reads them.

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// The published account and key of the emulator, the same in every copy.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The container of all blobs of a test.
const CONTAINER: &str = "files";

const VERSION: &str = "2021-12-02";

/// Expiry dates of signed URLs.
pub const GOOD: &str = "2098-01-01T00:00:00Z";
pub const ALSO_GOOD: &str = "2099-01-01T00:00:00Z";
pub const EXPIRED: &str = "2020-01-01T00:00:00Z";

/// Returns the URL that creates the container.
pub fn container(host: &str) -> String {
    // Account, permissions, service, resource type, start, expiry, IP addresses, protocols, version, encryption scope.
    let signed = [ACCOUNT, "c", "b", "c", "", GOOD, "", "", VERSION, "", ""].join("\n");
    let query = format!("sv={VERSION}&ss=b&srt=c&sp=c&se={GOOD}&sig={}", signature(&signed));
    format!("http://{host}/{ACCOUNT}/{CONTAINER}?restype=container&{query}")
}

/// Returns the URL of a blob. Its permissions and its expiry are in the [`query`].
pub fn blob(host: &str, name: &str, permissions: &str, expiry: &str) -> String {
    format!("http://{host}/{ACCOUNT}/{CONTAINER}/{name}?{}", query(name, permissions, expiry))
}

/// Returns the signed query of a blob's URL.
pub fn query(name: &str, permissions: &str, expiry: &str) -> String {
    let resource = format!("/blob/{ACCOUNT}/{CONTAINER}/{name}");
    // Permissions, start, end, resource, policy, addresses, protocols, version, kind, snapshot, encryption, five
    // headers.
    let signed = [permissions, "", expiry, &resource, "", "", "", VERSION, "b", "", "", "", "", "", "", ""].join("\n");
    format!("sv={VERSION}&sr=b&sp={permissions}&se={expiry}&sig={}", signature(&signed))
}

fn signature(text: &str) -> String {
    let mac = hmac(&BASE64_STANDARD.decode(KEY).unwrap(), text.as_bytes());
    utf8_percent_encode(&BASE64_STANDARD.encode(mac), NON_ALPHANUMERIC).to_string()
}

/// HMAC-SHA256 (RFC 2104) with a key of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

#[test]
fn hmac_matches_the_second_case_of_rfc_4231() {
    let mac = HEXLOWER.encode(&hmac(b"Jefe", b"what do ya want for nothing?"));
    assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

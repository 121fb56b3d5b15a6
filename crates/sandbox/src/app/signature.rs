//! Signatures of the expiring URLs of the download host and of the blob storage.
//!
//! The signing key is derived from the seed, so an issued URL stays valid after a restart. The key protects nothing but
//! a sandbox, so it need not be secret.

use std::sync::atomic::Ordering;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::App;
use crate::state::now;

/// Returns the signature of these fields, as lower-case hexadecimal digits.
pub(crate) fn sign(app: &App, fields: &[&str]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"trunkline-sandbox");
    hash.update(app.options.seed.to_le_bytes());
    for field in fields {
        hash.update(field.len().to_le_bytes());
        hash.update(field);
    }
    HEXLOWER.encode(&hash.finalize())
}

/// Returns a blob URL with a shared access signature for `permissions` (`r`, `c`, `w`) that is valid for 24 hours.
///
/// Unlike Azure's, the URL has a number, for the fault `address_blocks`.
pub(crate) fn blob_url(app: &App, path: &str, permissions: &str) -> String {
    let expiry = jiff::Timestamp::from_millisecond(now() + BLOB_LIFETIME).unwrap_or_default();
    let expiry = format!("{expiry:.0}");
    let signature = sign(app, &["blob", path, &expiry, permissions]);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("sv", "2024-11-04"), ("sr", "b"), ("se", &expiry), ("sp", permissions), ("sig", &signature)])
        .append_pair("number", &app.signed_urls.fetch_add(1, Ordering::Relaxed).to_string())
        .finish();
    format!("{}/blob{path}?{query}", app.base)
}

/// The lifetime of a blob URL, in milliseconds.
pub(crate) const BLOB_LIFETIME: i64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::sign;
    use crate::{Options, Sandbox};

    #[tokio::test]
    async fn an_expired_url_is_rejected_although_its_signature_is_valid() {
        let sandbox = Sandbox::start(Options { files: 1, ..Options::default() }).await.unwrap();
        let app = &sandbox.app;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().build().unwrap();
        let path = "/library/5a0d0001-7c1e-4b3a-9f00-000000000009";
        for (expiry, status, code) in
            [("2020-01-01T00:00:00Z", 403, "AuthenticationFailed"), ("9020-01-01T00:00:00Z", 404, "BlobNotFound")]
        {
            let signature = sign(app, &["blob", path, expiry, "rcw"]);
            let url = format!("{}/blob{path}?se={expiry}&sp=rcw&sig={signature}", app.base);
            let response = http.put(url).header("x-ms-blob-type", "BlockBlob").body("x").send().await.unwrap();
            assert_eq!(response.status(), status);
            assert!(response.text().await.unwrap().contains(code));
        }
        let id = app.library.file(0).id.to_string();
        for (expires, status) in [("1000000000", 403), ("9000000000", 200), ("never", 200)] {
            let signature = sign(app, &["file", &id, "0", expires]);
            let url = format!("{}/mediaflow-files/{id}/0?expires={expires}&signature={signature}", app.base);
            assert_eq!(http.get(url).send().await.unwrap().status(), status);
        }
        sandbox.stop().await;
    }
}

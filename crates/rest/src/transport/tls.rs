//! The cryptography of TLS.

use std::sync::Once;

/// Installs the cryptography of TLS for this process, unless the host has installed another. Every HTTP client needs
/// it.
pub(crate) fn set_crypto() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // An error means that the host has installed one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

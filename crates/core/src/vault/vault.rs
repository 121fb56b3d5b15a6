//! The vault, which holds the tokens of connections between calls.
//!
//! The vault knows nothing about OAuth: it has one opaque secret for each connection, and the authentication scheme
//! decides what that is. Entries are versioned and replaced by compare-and-set, so that several tasks and processes can
//! share a connection. An implementation that stores entries encrypts them. Each replacement comes with the [`SignIn`]
//! that a host may show.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{Result, Secret, SignIn};

/// The vault's entry for a connection.
#[derive(Clone, Debug)]
pub struct VaultEntry {
    /// The version: 1 for the first entry, one more with each replacement.
    pub version: u64,
    /// The content, which is opaque to the vault.
    pub content: Secret,
}

/// A store of one versioned secret for each connection.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Returns the entry of a connection, if there is one.
    ///
    /// # Errors
    ///
    /// `store` if the entry cannot be read or decrypted.
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>>;

    /// Replaces the entry if its version is still `expected` (0 if there is no entry yet). `sign_in` is what a host may
    /// show of it. The entry is durable when this returns. Returns false if another task or process has replaced the
    /// entry first: the caller loads it again.
    ///
    /// # Errors
    ///
    /// `not_found` if the connection has been removed, and `store` if the entry cannot be written.
    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool>;
}

/// The vault's slot of one connection. A connector can use only the slot of its own connection.
#[derive(Clone)]
pub struct VaultSlot {
    connection: Arc<str>,
    vault: Arc<dyn Vault>,
}

impl VaultSlot {
    /// Returns the slot of this connection.
    pub fn new(connection: &str, vault: Arc<dyn Vault>) -> Self {
        VaultSlot { connection: connection.into(), vault }
    }

    /// Returns the connection's name.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Returns the entry, if there is one, see [`Vault::load`].
    ///
    /// # Errors
    ///
    /// Those of [`Vault::load`].
    pub async fn load(&self) -> Result<Option<VaultEntry>> {
        self.vault.load(&self.connection).await
    }

    /// Replaces the entry if its version is still `expected`, see [`Vault::replace`].
    ///
    /// # Errors
    ///
    /// Those of [`Vault::replace`].
    pub async fn replace(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.vault.replace(&self.connection, expected, content, sign_in).await
    }
}

/// A vault in memory, for tests and for checking a connection before it is saved.
#[derive(Default)]
pub struct MemoryVault(Mutex<HashMap<String, VaultEntry>>);

#[async_trait]
impl Vault for MemoryVault {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(connection).cloned())
    }

    async fn replace(&self, connection: &str, expected: u64, content: &Secret, _: &SignIn) -> Result<bool> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = entries.get(connection).map_or(0, |entry| entry.version);
        if current != expected {
            return Ok(false);
        }
        entries.insert(connection.to_owned(), VaultEntry { version: expected + 1, content: content.clone() });
        Ok(true)
    }
}

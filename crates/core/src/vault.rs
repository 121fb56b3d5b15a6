//! Where a connection's tokens live between calls: versioned, changed by compare-and-set, encrypted by whoever stores them.
//!
//! The vault knows nothing of OAuth: an entry is one opaque secret text a connection. What it holds is up to the
//! authentication scheme. Compare-and-set is what lets several tasks and processes share one connection. What a host may show
//! of it goes along with each replacement, as [`SignIn`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{Result, Secret, SignIn};

/// What the vault holds for a connection.
#[derive(Clone, Debug)]
pub struct VaultEntry {
    /// Grows by one with each replacement, from 1.
    pub version: u64,
    /// The content, opaque to the vault.
    pub content: Secret,
}

/// Keeps one versioned secret a connection.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The entry of a connection, if there is one.
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>>;

    /// Replaces the entry if its version still is `expected` (0 = there is none yet), and is durable before it returns;
    /// `sign_in` is what a host may show of it. False means that somebody else was faster: load again. `not_found` means that
    /// the connection has been removed.
    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool>;
}

/// One connection's own place in the vault: all that a connector gets to see of it.
#[derive(Clone)]
pub struct VaultSlot {
    connection: Arc<str>,
    vault: Arc<dyn Vault>,
}

impl VaultSlot {
    /// The place of this connection.
    pub fn new(connection: &str, vault: Arc<dyn Vault>) -> Self {
        VaultSlot { connection: connection.into(), vault }
    }

    /// The connection's name.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// See [`Vault::load`].
    pub async fn load(&self) -> Result<Option<VaultEntry>> {
        self.vault.load(&self.connection).await
    }

    /// See [`Vault::replace`].
    pub async fn replace(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.vault.replace(&self.connection, expected, content, sign_in).await
    }
}

/// A vault that forgets: for tests and for trying a connection before it is saved.
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

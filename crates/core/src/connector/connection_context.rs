//! What a connection gets from its host: its entry in the vault, the redactor, the clock, and what only some connectors
//! need, such as the HTTP transport.
//!
//! A host makes one [`ConnectionHost`] and passes it to [`Registry::connect`](crate::Registry::connect). The connector
//! gets a [`ConnectionContext`], which reaches the vault entry of its own connection and no other.
//!
//! ```
//! use std::sync::Arc;
//! use trunkline_core::{ConnectionContext, MemoryVault};
//! // Enough for a test: a vault in memory, the clock of the system, and a redactor of its own.
//! let context = ConnectionContext::new("my shop", Arc::new(MemoryVault::default()));
//! assert_eq!(context.connection(), "my shop");
//! ```

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
};

use crate::{Clock, MemoryBudget, Redactor, Result, Secret, SignIn, SystemClock, Vault, VaultEntry};

/// What a host gives to its connections. Clones share everything.
#[derive(Clone)]
pub struct ConnectionHost {
    vault: Arc<dyn Vault>,
    redactor: Redactor,
    clock: Arc<dyn Clock>,
    memory: MemoryBudget,
    extensions: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl ConnectionHost {
    /// Returns a host with this vault, the clock of the system, a redactor of its own and no extensions.
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        let (redactor, clock, memory) = (Redactor::default(), Arc::new(SystemClock), MemoryBudget::default());
        ConnectionHost { vault, redactor, clock, memory, extensions: HashMap::new() }
    }

    /// Sets the redactor that learns the secrets of the connections.
    pub fn with_redactor(self, redactor: Redactor) -> Self {
        ConnectionHost { redactor, ..self }
    }

    /// Sets the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        ConnectionHost { clock, ..self }
    }

    /// Sets the budget of the memory that calls outside runs take for values.
    pub fn with_memory(self, memory: MemoryBudget) -> Self {
        ConnectionHost { memory, ..self }
    }

    /// Adds a value that connectors look up by its type, such as the HTTP environment of `trunkline-rest`. A second value
    /// of the same type replaces the first.
    pub fn with_extension<T: Any + Send + Sync>(mut self, extension: T) -> Self {
        self.extensions.insert(TypeId::of::<T>(), Arc::new(extension));
        self
    }
}

impl From<Arc<dyn Vault>> for ConnectionHost {
    fn from(vault: Arc<dyn Vault>) -> Self {
        ConnectionHost::new(vault)
    }
}

impl<V: Vault + 'static> From<Arc<V>> for ConnectionHost {
    fn from(vault: Arc<V>) -> Self {
        ConnectionHost::new(vault)
    }
}

impl From<&ConnectionHost> for ConnectionHost {
    fn from(host: &ConnectionHost) -> Self {
        host.clone()
    }
}

/// What one connection gets from its host. It reaches only the vault entry of its own connection.
#[derive(Clone)]
pub struct ConnectionContext {
    connection: Arc<str>,
    host: ConnectionHost,
    /// The secrets of the settings: the redactor looks for them as long as one of the clones exists.
    secrets: Arc<[Secret]>,
}

impl ConnectionContext {
    /// Returns the context of a connection. A test passes only a vault for the host.
    pub fn new(connection: &str, host: impl Into<ConnectionHost>) -> Self {
        ConnectionContext { connection: connection.into(), host: host.into(), secrets: Arc::new([]) }
    }

    /// Adds the secrets of the settings to the redactor. They stay there as long as this context is used.
    pub fn with_secrets(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.secrets = self.secrets.iter().cloned().chain(secrets).collect();
        self.secrets.iter().for_each(|secret| self.redactor().add(secret));
        self
    }

    /// Returns the connection's name.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Returns the redactor of the host. A connector adds every secret to it that does not come from its settings or its
    /// vault entry.
    pub fn redactor(&self) -> &Redactor {
        &self.host.redactor
    }

    /// Returns the memory budget of the host.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.host.memory
    }

    /// Returns the clock of the host.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.host.clock
    }

    /// Returns the value of this type that the host has added, see [`ConnectionHost::with_extension`].
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.host.extensions.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    /// Returns the vault entry of the connection, if there is one. The redactor learns its content.
    ///
    /// # Errors
    ///
    /// Those of [`Vault::load`].
    pub async fn vault_entry(&self) -> Result<Option<VaultEntry>> {
        let entry = self.host.vault.load(&self.connection).await?;
        entry.iter().for_each(|entry| self.redactor().add(&entry.content));
        Ok(entry)
    }

    /// Replaces the vault entry of the connection if its version is still `expected`, see [`Vault::replace`]. The
    /// redactor learns the content.
    ///
    /// # Errors
    ///
    /// Those of [`Vault::replace`].
    pub async fn replace_vault_entry(&self, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.redactor().add(content);
        self.host.vault.replace(&self.connection, expected, content, sign_in).await
    }
}

impl fmt::Debug for ConnectionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionContext").field("connection", &self.connection).finish_non_exhaustive()
    }
}

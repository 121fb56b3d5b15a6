//! The store in memory: its tables, and the journal beside them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use trunkline_core::{Connection, Result, Secret, SignIn, Timestamp, VaultEntry, async_trait};
use trunkline_engine::{JournalParts, MemoryJournal};

use crate::{
    connections::connection_store::SignInEvent,
    flows::flow_store::{SavedFlow, TriggerDelivery},
    health::StoreHealth,
    memory::memory_runs::MemoryRuns,
};

/// Connections, their vault, saved flows and a journal in memory, for tests and for hosts that need no durability.
/// Clones share it. Everything ends with the process.
///
/// ```
/// use std::sync::Arc;
/// use trunkline_core::{Connection, Schema};
/// use trunkline_engine::Engine;
/// use trunkline_store::{ConnectionStore, MemoryStore};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
///
/// let store = MemoryStore::default();
/// let schema = Schema::from(serde_json::json!({ "properties": { "token": { "writeOnly": true } } }));
/// let connection = serde_json::json!({ "name": "dam", "connector": "dam-v1.0", "token": "hunter2" });
/// store.put_connection(&Connection::from_value(connection)?, &schema).await?;
/// assert_eq!(store.masked_connection("dam").await?["token"], "***");
///
/// let engine = Engine::new(Arc::new(store.journal()));
/// # Ok::<(), trunkline_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    pub(crate) runs: Arc<MemoryJournal>,
}

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) connections: BTreeMap<String, StoredConnection>,
    pub(crate) vault: BTreeMap<String, (VaultEntry, SignIn)>,
    pub(crate) sign_ins: Vec<SignInEvent>,
    /// The id of the last sign-in event.
    pub(crate) last_sign_in: u64,
    pub(crate) flows: BTreeMap<String, StoredFlow>,
}

pub(crate) struct StoredConnection {
    pub(crate) connection: Connection,
    /// The document, with a mask for each secret.
    pub(crate) masked: Value,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

pub(crate) struct StoredFlow {
    pub(crate) saved: SavedFlow,
    pub(crate) webhook_secret: Option<Secret>,
    pub(crate) deliveries: Vec<TriggerDelivery>,
}

impl MemoryStore {
    /// Returns the journal of this store. A run that it accepts counts as a use of its connections.
    pub fn journal(&self) -> JournalParts {
        let runs = Arc::new(MemoryRuns(self.clone()));
        JournalParts { events: runs.clone(), deduplication: runs, ..JournalParts::of(self.runs.clone()) }
    }

    /// Locks the tables. A run is accepted under the same lock.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().await
    }
}

#[async_trait]
impl StoreHealth for MemoryStore {
    async fn probe(&self) -> Result<()> {
        Ok(())
    }
}

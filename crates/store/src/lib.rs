//! Stores for a host: its connections with their vault, its saved flows, and the journal of its runs.
//!
//! [`ConnectionStore`] and [`FlowStore`] are the ports through which a host stores them, beside
//! [`Vault`](trunkline_core::Vault) and [`Journal`](trunkline_engine::Journal). `store_suite` (feature `suite`) checks
//! an implementation. There are two: [`MemoryStore`], and the embedded store `Store` (feature `sqlite`, on by default).
//!
//! # The embedded store
//!
//! One SQLite file holds connections with their secrets and tokens, saved flows with their deduplication
//! keys, and the journal of runs. Staged copies of files lie beside it while they are needed.
//!
//! One thread writes, in groups, and a caller that waits for it waits for the disk. Secrets are encrypted one by one
//! before they reach SQLite. Several processes may share a data directory, for instance one that runs flows and one
//! that lists them.
//!
//! ```
//! use trunkline_core::{Connection, Schema};
//! use trunkline_store::{ConnectionStore, KeySource, Store};
//! # let home = tempfile::tempdir().unwrap();
//! # let (dir, keys) = (home.path().join("data"), home.path().join("config"));
//!
//! let store = Store::open(&dir, KeySource::File(keys.join("key")))?;
//! let schema = Schema::from(serde_json::json!({ "properties": { "token": { "writeOnly": true } } }));
//! let connection = serde_json::json!({ "name": "dam", "connector": "dam-v1.0", "token": "hunter2" });
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! store.put_connection(&Connection::from_value(connection)?, &schema).await?;
//! assert_eq!(store.masked_connection("dam").await?["token"], "***");
//! assert_eq!(store.connection("dam").await?.settings["token"], "hunter2");
//! # Ok::<(), trunkline_core::Error>(())
//! # })?;
//! # Ok::<(), trunkline_core::Error>(())
//! ```

mod connections;
#[cfg(feature = "sqlite")]
mod database;
#[cfg(feature = "sqlite")]
mod encryption;
#[cfg(feature = "sqlite")]
mod files;
mod flows;
mod health;
#[cfg(feature = "sqlite")]
mod journal;
mod lookup;
#[cfg(feature = "sqlite")]
mod maintenance;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod staging;
#[cfg(feature = "suite")]
pub mod store_suite;
#[cfg(feature = "sqlite")]
mod vault;

pub use connections::connection_store::{
    ConnectionStore, ConnectionSummary, ConnectionUse, FlowUse, Replacement, SeenConnection, SignInEvent,
};
#[cfg(feature = "sqlite")]
pub use database::Store;
#[cfg(feature = "sqlite")]
pub use encryption::KeySource;
#[cfg(feature = "sqlite")]
pub use files::{create_private_file, make_private_directory, read_private_file, write_private_file};
pub use flows::flow_store::{
    DeliveryOutcome, FailedStart, FlowStore, FlowToSave, SavedFlow, TriggerDelivery, TriggerFinding, TriggerStarts,
};
pub use health::StoreHealth;
#[cfg(feature = "sqlite")]
pub use maintenance::compact::Compaction;
#[cfg(feature = "sqlite")]
pub use maintenance::rotate::{Rotation, RotationReport};
pub use memory::memory_store::MemoryStore;

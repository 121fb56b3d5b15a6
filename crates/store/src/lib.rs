//! The embedded store. One SQLite file holds connections with their secrets and tokens, saved flows with their deduplication
//! keys, and the journal of runs. Staged copies of files lie beside it while they are needed.
//!
//! One thread writes, in groups, and a caller that waits for it waits for the disk. Secrets are encrypted one by one before
//! they reach SQLite. Several processes may share a data directory, for instance one that runs flows and one that lists them.
//!
//! ```
//! use trunkline_core::{Connection, Schema};
//! use trunkline_store::{KeySource, Store};
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
mod database;
mod encryption;
mod files;
mod flows;
mod journal;
mod lookup;
mod maintenance;
mod sqlite;
mod staging;
mod vault;

pub use connections::connection_table::{ConnectionSummary, ConnectionUse, FlowUse};
pub use database::store::Store;
pub use encryption::key::KeySource;
pub use files::{
    private_files::{create_private_file, exposed_mode},
    store_fault::Fault,
};
pub use flows::flow_table::{FlowToSave, SavedFlow};
pub use maintenance::rotate::{Rotation, RotationReport};
pub use vault::vault_table::SignInEvent;

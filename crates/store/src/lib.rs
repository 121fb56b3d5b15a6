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

mod checksum;
mod connections;
mod deduplication;
mod event_row;
mod flows;
mod health_probe;
mod item_outcomes;
mod journal;
mod key;
mod pending_writes;
mod process_log;
mod rotate;
mod run_lock;
mod schema;
mod seal;
mod sqlite;
mod staging;
mod store_fault;
mod vault;
mod writer;

use std::{
    fmt,
    io::ErrorKind as Io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use trunkline_core::{Error, Result, Timestamp};

pub use connections::{ConnectionSummary, ConnectionUse, FlowUse};
pub use flows::{FlowToSave, SavedFlow};
pub use key::KeySource;
pub use rotate::{Rotation, RotationReport};
pub use vault::SignInEvent;

use crate::{
    key::Ring,
    pending_writes::Pending,
    seal::Seal,
    sqlite::{Opened, Readers},
    writer::Writer,
};

/// An open data directory. Clones share it; dropping the last one writes what is queued and closes the file.
#[derive(Clone)]
pub struct Store {
    // Dropped before the writer, which closes the file last and then cleans up.
    readers: Arc<Readers>,
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    path: PathBuf,
    seal: Arc<Seal>,
    writer: Writer,
    pending: Arc<Pending>,
    /// Whether a step of this process has staged a file or opened a staged one.
    stages: AtomicBool,
}

impl Store {
    /// Opens or creates the store `trunkline.db` in this directory. A store that this process may only read is opened
    /// read-only: every change fails with `store`.
    ///
    /// # Errors
    ///
    /// `config` if the key is missing, wrong or readable by others, and `store` if the file is damaged, of a later version,
    /// or not a store. The files are not changed in these cases.
    pub fn open(dir: &Path, key: KeySource) -> Result<Store> {
        let path = dir.join("trunkline.db");
        let mut found = schema::inspect(&path)?;
        let ring = Ring::read(key, found.is_some().then_some(&*path))?;
        while let Some(meta) = found {
            let Err(error) = meta.check(&ring, &path) else { break };
            // The key may have been changed after the store was read and before the key file was.
            found = schema::inspect(&path)?;
            if found.as_ref().is_none_or(|again| again.key_id() == meta.key_id()) {
                return Err(error);
            }
        }
        make(dir, &path).map_err(|error| sqlite::file_fault("creating the data directory", dir, error))?;
        let pending = Arc::<Pending>::default();
        let (seal, writer, changes) = match sqlite::open_writer(&path)? {
            Opened::ToWrite(mut connection) => {
                // Checked again: another process may have created the store in between.
                let seal = schema::migrate(&mut connection, &path, &ring)?.unlock(ring, &path)?;
                let checked = checksum::in_order(&connection).and_then(|()| staging::sweep(dir, &connection));
                checked.map_err(|error| sqlite::fault("checking the store", &path, error))?;
                let seal = Arc::new(seal);
                (seal.clone(), Writer::start(connection, &path, journal::inserts(seal, pending.clone()))?, true)
            }
            Opened::ToRead(refusal) => {
                let seal = schema::current(&path)?.ok_or_else(|| refusal.clone())?.unlock(ring, &path)?;
                (Arc::new(seal), Writer::refusing(&path, refusal), false)
            }
        };
        let inner =
            Inner { dir: dir.to_owned(), seal, writer, pending, path: path.clone(), stages: AtomicBool::new(false) };
        Ok(Store { readers: Readers::new(&path, changes), inner: Arc::new(inner) })
    }

    /// Returns the data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the fault that ended all writing in this process, if there was one. Only a process that opens the store again
    /// can write.
    pub fn failed(&self) -> Option<Error> {
        self.inner.writer.check().err()
    }

    /// Returns the number of transactions committed since the store was opened. With many writers it is far smaller than the
    /// number of appends, see the group commit of the writer.
    pub fn commits(&self) -> u64 {
        self.inner.writer.commits()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

fn make(dir: &Path, path: &Path) -> std::io::Result<()> {
    key::private_dir(dir)?;
    match key::private_file().create_new(true).open(path) {
        Ok(file) => file.sync_all().and_then(|()| key::sync_dir(dir)),
        Err(error) if error.kind() == Io::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The current time as it is stored.
fn now() -> i64 {
    event_row::column(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use trunkline_engine::{Flush, Journal, RunEvent, RunId, RunStatus};

    use super::*;

    /// The memory of a process that runs for a year must not grow with the number of runs.
    #[tokio::test]
    async fn ended_runs_leave_nothing_in_memory() -> Result<()> {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key")))?;
        let known = || store.inner.pending.known();
        for (name, flush) in [("a", Flush::Now), ("b", Flush::Later), ("c", Flush::Now)] {
            let run = RunId::from(name);
            let (flow, version, input) = ("copy".to_owned(), "v1".to_owned(), json!({}));
            let (connections, calls) = (BTreeMap::new(), BTreeMap::new());
            let started = RunEvent::Started {
                flow,
                version,
                input,
                connections,
                calls,
                retry: None,
                at: Timestamp::from_millis(1),
            };
            store.accept(&run, "v1", &json!({ "name": "copy" }), started, flush).await?;
            assert_eq!(known(), 1);
            let finished =
                RunEvent::Finished { status: RunStatus::Succeeded, error: None, at: Timestamp::from_millis(2) };
            store.append(&run, vec![finished], Flush::Now).await?;
            assert_eq!(known(), 0);
        }
        Ok(())
    }
}

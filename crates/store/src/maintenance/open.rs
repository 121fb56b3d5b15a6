//! Opening a store: its key, its file, its tables, and what a kill has left behind.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use rusqlite::config::DbConfig;
use trunkline_core::Result;

use crate::{
    database::{Inner, Pending, Store, Writer},
    encryption::{KeySource, Ring},
    files::make_data_directory,
    journal::inserts,
    maintenance::owner,
    sqlite::{Opened, Readers, authentication, completeness, fault, open_writer, schema},
    staging::staged_copies::sweep,
};

impl Store {
    /// Opens or creates the store `trunkline.db` in this directory. A store that this process may only read is opened
    /// read-only: every change fails with `store`. So is one that is a copy, was restored, or has lost commits, see
    /// [`Store::adopt`].
    ///
    /// # Errors
    ///
    /// `config` if the key is missing, wrong or readable by others, or if a file belongs to another user; `store` if
    /// the file is damaged, of a later version, or not a store. The files are not changed in these cases.
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
        make_data_directory(dir, &path)?;
        let pending = Arc::<Pending>::default();
        let (seal, writer, changes) = match open_writer(&path)? {
            Opened::ToWrite(mut connection) => {
                // Checked again: another process may have created the store in between.
                let seal = schema::migrate(&mut connection, &path, &ring)?.unlock(ring, &path)?;
                let checked = authentication::authenticate(&connection, seal.records(), true)
                    .and_then(|()| completeness::in_order(&connection));
                checked.map_err(|error| fault("checking the store", &path, error))?;
                let seal = Arc::new(seal);
                let writer = match owner::claim(&connection, &path, dir)? {
                    Ok(mark) => {
                        sweep(dir, &connection).map_err(|error| fault("checking the store", &path, error))?;
                        Writer::start(connection, &path, mark, inserts(seal.clone(), pending.clone()))?
                    }
                    Err(refusal) => {
                        tracing::error!("{refusal:?}");
                        // What is left of a damaged log stays as it is.
                        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                        Writer::refusing(&path, refusal)
                    }
                };
                (seal, writer, true)
            }
            Opened::ToRead(refusal) => {
                let seal = schema::current(&path)?.ok_or_else(|| refusal.clone())?.unlock(ring, &path)?;
                (Arc::new(seal), Writer::refusing(&path, refusal), false)
            }
        };
        let readers = Readers::new(&path, seal.clone(), changes);
        let inner =
            Inner { dir: dir.to_owned(), seal, writer, pending, path: path.clone(), stages: AtomicBool::new(false) };
        Ok(Store { readers, inner: Arc::new(inner) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use trunkline_core::{RunId, Timestamp};
    use trunkline_engine::{EventLog, Flush, KeyForm, RunEvent, RunStatus};

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
                start_error: None,
                trigger: None,
                keys: KeyForm::default(),
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

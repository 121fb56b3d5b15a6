//! Whether the store can work now, found out by doing what accepting a run does: a new file beside the store, with some
//! room, and a change of the store that is flushed.

use std::{io::Write, path::Path, time::Duration};

use trunkline_core::{Error, ErrorKind, Result};

use crate::{Fault, Store, key, now, run_lock, sqlite::file_fault};

/// How much room there has to be. It is asked for and given back before the system writes anything to the disk.
const ROOM: usize = 256 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

impl Store {
    /// Fails with what keeps the store from working ([`Fault::behind`] tells which fault that is). Flushes only if nothing
    /// was written since the last call: a store that is at work has shown by that what it can do.
    pub async fn probe(&self) -> Result<()> {
        self.inner.writer.check()?;
        match tokio::time::timeout(PATIENCE, self.try_all()).await {
            Ok(tried) => tried,
            Err(_) => {
                let error = Error::new(ErrorKind::Store, format!("the store has not answered within {PATIENCE:?}"));
                Err(Fault::Silent.tell(error.with("file", self.inner.path.display())))
            }
        }
    }

    async fn try_all(&self) -> Result<()> {
        let dir = self.inner.dir.clone();
        let file = tokio::task::spawn_blocking(move || a_file(&dir)).await;
        file.map_err(|error| Error::new(ErrorKind::Internal, "looking at the disk was broken off").source(error))??;
        if self.inner.writer.has_worked() {
            return Ok(());
        }
        // Another value each time: SQLite does not write what is there already.
        let change = "INSERT INTO meta (name, value) VALUES ('probed', ?1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let at = now().to_string();
        self.inner.writer.run(move |store| store.prepare_cached(change)?.execute([at]).map(drop)).await?;
        // That was nobody's work.
        self.inner.writer.has_worked();
        Ok(())
    }
}

/// Makes a file and takes it away again, where claims are made.
fn a_file(dir: &Path) -> Result<()> {
    let dir = dir.join("runs");
    let path = dir.join("probe.lock");
    let failed = |error| file_fault("making a file beside the store", &path, error);
    key::private_dir(&dir).map_err(failed)?;
    // Another process that has it just finds out the same.
    let Some(_held) = run_lock::hold(&path).map_err(failed)? else { return Ok(()) };
    let mut file = key::private_file().open(&path).map_err(failed)?;
    let filled = file.write_all(&[0; ROOM]);
    // Also if it stays, because it cannot be removed: its room is given back.
    file.set_len(0).ok();
    filled.map_err(failed)
}

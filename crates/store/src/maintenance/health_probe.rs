//! The health probe of the store. It does what accepting a run does: it writes a file beside the store, and flushes a
//! change of the store.

use std::{io::Write, path::Path, time::Duration};

use trunkline_core::{Error, ErrorKind, Result, StoreFault, async_trait};

use crate::{
    database::Store,
    files::{describe, file_fault, hold, private_dir, private_file},
    health::StoreHealth,
    sqlite::now,
};

/// The space that must be free, in bytes. It is allocated and released before the system writes anything to the disk.
const ROOM: usize = 256 * 1024;
/// The longest time that a probe may take.
const TIMEOUT: Duration = Duration::from_secs(15);

#[async_trait]
impl StoreHealth for Store {
    async fn probe(&self) -> Result<()> {
        self.inner.writer.check()?;
        match tokio::time::timeout(TIMEOUT, self.try_all()).await {
            Ok(tried) => tried,
            Err(_) => {
                let error = Error::new(ErrorKind::Store, format!("the store has not responded within {TIMEOUT:?}"));
                Err(describe(StoreFault::Silent, error.with("file", self.inner.path.display())))
            }
        }
    }

    fn failed(&self) -> Option<Error> {
        self.inner.writer.check().err()
    }
}

impl Store {
    async fn try_all(&self) -> Result<()> {
        let dir = self.inner.dir.clone();
        let file = tokio::task::spawn_blocking(move || write_a_file(&dir)).await;
        file.map_err(|error| Error::new(ErrorKind::Internal, "the check of the disk was aborted").source(error))??;
        if self.inner.writer.has_worked() {
            return Ok(());
        }
        // A new value each time: SQLite does not write a value that is unchanged.
        let change = "INSERT INTO meta (name, value) VALUES ('probed', ?1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let at = now().to_string();
        self.inner.writer.run(move |store| Ok(store.prepare_cached(change)?.execute([at]).map(drop)?)).await?;
        // The probe itself does not count as a recent write.
        self.inner.writer.has_worked();
        Ok(())
    }
}

/// Writes and removes a file in the directory of the run locks.
fn write_a_file(dir: &Path) -> Result<()> {
    let dir = dir.join("runs");
    let path = dir.join("probe.lock");
    let failed = |error| file_fault("making a file beside the store", &path, error);
    private_dir(&dir).map_err(failed)?;
    // If another process holds it, that process is making the same check.
    let Some(_lock) = hold(&path).map_err(failed)? else { return Ok(()) };
    let mut file = private_file().open(&path).map_err(failed)?;
    let filled = file.write_all(&[0; ROOM]);
    // Releases the space even if the file cannot be removed.
    file.set_len(0).ok();
    filled.map_err(failed)
}

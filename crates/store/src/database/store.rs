//! The open store: what all roles share of it, and what a caller has to wait for.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use rusqlite::Connection;
use trunkline_core::{Redactor, Result, RunId};

use crate::{
    database::{Pending, Writer},
    encryption::Seal,
    lookup::not_found::no_run,
    sqlite::Readers,
};

/// An open data directory. Clones share it; dropping the last one writes what is queued and closes the file.
#[derive(Clone)]
pub struct Store {
    // Dropped before the writer, which closes the file last and then cleans up.
    pub(crate) readers: Arc<Readers>,
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) seal: Arc<Seal>,
    pub(crate) writer: Writer,
    pub(crate) pending: Arc<Pending>,
    /// Whether a step of this process has staged a file or opened a staged one.
    pub(crate) stages: AtomicBool,
}

impl Store {
    /// Returns the data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the redactor that knows the keys of the store, also those that another process adds later.
    pub fn redactor(&self) -> &Redactor {
        self.inner.seal.ring().redactor()
    }

    /// Returns the number of transactions committed since the store was opened. With many writers it is far smaller
    /// than the number of appends, see the group commit of the writer.
    pub fn commits(&self) -> u64 {
        self.inner.writer.commits()
    }

    /// Waits until a run is on disk or lost.
    pub(crate) async fn arrived(&self, run: &RunId) -> Result<()> {
        let arrives = self.inner.pending.lock().arriving.contains(run);
        if arrives { self.inner.writer.flush().await } else { Ok(()) }
    }

    /// Waits until everything that this process queued is on disk.
    pub(crate) async fn flushed(&self) -> Result<()> {
        self.inner.writer.check()?;
        if self.inner.pending.lock().appends == 0 {
            return Ok(());
        }
        self.inner.writer.flush().await
    }

    /// Fails unless the run is on disk or queued.
    pub(crate) fn must_exist(&self, run: &RunId) -> Result<()> {
        if self.inner.pending.lock().known.contains(run) {
            return Ok(());
        }
        self.on_disk(run)?;
        self.inner.pending.lock().known.insert(run.clone());
        Ok(())
    }

    /// Fails unless the run is on disk.
    pub(crate) fn on_disk(&self, run: &RunId) -> Result<()> {
        let is_there = self.readers.look("reading a run", |store| exists(store, run))?;
        if is_there { Ok(()) } else { Err(no_run(run)) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

pub(crate) fn exists(store: &Connection, run: &RunId) -> rusqlite::Result<bool> {
    store.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?.exists([run.as_str()])
}

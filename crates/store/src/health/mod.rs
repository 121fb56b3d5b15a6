//! The port through which a host asks whether its storage works.

use trunkline_core::{Error, Result, async_trait};

/// Checks whether a storage works.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Does what accepting a run does, and returns whether that works. It ends within some seconds, and writes only if
    /// nothing was written since the last call: a recent write has shown the same.
    ///
    /// # Errors
    ///
    /// `store`, with the fault that keeps the storage from working, see
    /// [`Error::store_fault`](trunkline_core::Error::store_fault).
    async fn probe(&self) -> Result<()>;

    /// Returns the fault that ended all writing in this process, if there was one. Only a process that opens the
    /// storage again can write. The default is that there is no such fault.
    fn failed(&self) -> Option<Error> {
        None
    }
}

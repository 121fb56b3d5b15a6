//! The state that all handlers share.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};
use trunkline::Runtime;
use trunkline_core::{CancellationToken, Error, ErrorKind, HeldMemory, Result, check_value_memory};

use crate::{brake::Brake, connections::Connections, dispatcher::Dispatcher, guard::Guard, health::Health};

/// The memory of a request for which the budget is not asked, in bytes: most requests need no more.
const REQUEST_MEMORY: u64 = 256 << 10;
/// How long a request waits for memory that others use.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state of a server.
pub(crate) struct App {
    pub(crate) runtime: Runtime,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) health: Arc<Health>,
    pub(crate) connections: Arc<Connections>,
    /// Cancelled when the server stops.
    pub(crate) closing: CancellationToken,
    pub(crate) guard: Guard,
    pub(crate) brake: Brake,
    /// Permits for event streams.
    pub(crate) streams: Arc<Semaphore>,
    /// The public URL, without a slash at its end.
    pub(crate) base_url: String,
}

impl App {
    /// Reserves the memory that the values of a body will take, before they are made. They are in memory twice while a run
    /// is started with them.
    ///
    /// # Errors
    ///
    /// `limit` if they take more than one body may, and `unavailable` while others use the memory.
    pub(crate) async fn memory(&self, values: u64) -> Result<HeldMemory> {
        check_value_memory("the body", values)?;
        let account = self.runtime.ports().memory.account(REQUEST_MEMORY);
        let reserved = timeout(PATIENCE, account.reserve("the body", 2 * values)).await;
        reserved.unwrap_or_else(|_| {
            let message = "the body cannot be read now: other requests and runs use the memory for values";
            Err(Error::new(ErrorKind::Unavailable, message).hint("send it again later"))
        })
    }
}

//! The state that all handlers share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use trunkline::Runtime;
use trunkline_core::CancellationToken;

use crate::{brake::Brake, connections::Connections, dispatcher::Dispatcher, guard::Guard, health::Health};

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

//! How runs are made to stop: for good, or to be resumed.

use trunkline_core::CancellationToken;

/// What makes a run stop.
#[derive(Clone)]
pub(crate) struct Stop {
    /// Ends it, and breaks off steps in flight.
    pub(crate) cancellation: CancellationToken,
    /// Lets steps in flight end and begins nothing new: the run is left to be resumed.
    pub(crate) draining: CancellationToken,
}

impl Stop {
    /// Whether it is to stop.
    pub(crate) fn is_asked(&self) -> bool {
        self.cancellation.is_cancelled() || self.draining.is_cancelled()
    }

    /// Whether the run is left to be resumed rather than ended.
    pub(crate) fn parks(&self) -> bool {
        self.draining.is_cancelled() && !self.cancellation.is_cancelled()
    }

    /// Resolves as soon as it is to stop.
    pub(crate) async fn asked(&self) {
        tokio::select! {
            () = self.cancellation.cancelled() => {}
            () = self.draining.cancelled() => {}
        }
    }
}

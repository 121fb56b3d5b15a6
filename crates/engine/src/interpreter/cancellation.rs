//! The two signals that stop a run: cancellation ends it, draining leaves it to be resumed.

use trunkline_core::CancellationToken;

/// The signals that stop a run.
#[derive(Clone)]
pub(crate) struct Stop {
    /// Ends the run and interrupts steps in flight.
    pub(crate) cancellation: CancellationToken,
    /// Starts nothing new and lets steps in flight end; the run is left to be resumed. Draining the engine cancels it, too.
    pub(crate) draining: CancellationToken,
}

impl Stop {
    /// Returns whether the run has to stop.
    pub(crate) fn is_requested(&self) -> bool {
        self.cancellation.is_cancelled() || self.draining.is_cancelled()
    }

    /// Returns whether the run is left to be resumed rather than ended.
    pub(crate) fn suspends(&self) -> bool {
        self.draining.is_cancelled() && !self.cancellation.is_cancelled()
    }

    /// Resolves as soon as the run has to stop.
    pub(crate) async fn requested(&self) {
        tokio::select! {
            () = self.cancellation.cancelled() => {}
            () = self.draining.cancelled() => {}
        }
    }
}

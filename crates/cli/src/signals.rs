//! The signals that end a command: SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};
use trunkline::core::{Error, ErrorKind, Result};

use crate::output::exit;

/// From when it is made on, a signal does not end the process by itself, and none is missed.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(ErrorKind::Internal, "cannot listen for signals").source(error))
        };
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next signal, and returns the exit code by which shells know it.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
        }
    }
}

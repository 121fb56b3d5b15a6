//! How much of a machine one run may take. Each limit is named in its error, with its number.

use std::{io, time::Duration};

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result};

/// How deep steps may be nested.
pub(crate) const MAX_DEPTH: usize = 16;
/// How many steps a flow may have in all.
pub(crate) const MAX_STEPS: usize = 10_000;
/// How deep flows may call flows.
pub(crate) const MAX_CALLS: usize = 8;

/// Limits of an engine's runs; what a flow itself may be is fixed.
#[derive(Clone, Debug)]
pub struct RunLimits {
    /// How many items an `each` over a list takes; one over an action that lists takes any number.
    pub items: usize,
    /// How many bytes of JSON a step's output, a run's input or a signal's payload may be. Files are never in there.
    pub payload: usize,
    /// How long a run may take if its flow has no timeout, and how long its flow's timeout may be.
    pub run_time: Duration,
    /// How many steps of a run are recorded.
    pub recorded: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        RunLimits {
            items: 100_000,
            payload: 4 * 1024 * 1024,
            run_time: Duration::from_secs(90 * 24 * 60 * 60),
            recorded: 10_000_000,
        }
    }
}

impl RunLimits {
    /// An error if the value is more JSON than may be kept of one; `what` names it.
    pub(crate) fn payload(&self, what: &str, value: &Value) -> Result<()> {
        struct Count(usize);
        impl io::Write for Count {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        serde_json::to_writer(&mut count, value)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("{what} is not JSON")).source(error))?;
        if count.0 > self.payload {
            let message = format!("{what} is {} bytes of JSON; the limit is {}", count.0, self.payload);
            return Err(Error::new(ErrorKind::Limit, message).hint("hand over files, ids or a page at a time instead"));
        }
        Ok(())
    }
}

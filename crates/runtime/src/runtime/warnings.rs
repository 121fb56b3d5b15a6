//! The warnings of services about a call outside a flow.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use trunkline_core::{ByteProgress, Recorder, Result, async_trait};

/// Collects warnings, and nothing else.
#[derive(Default)]
pub(super) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Takes the warnings so far.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Recorder for Warnings {
    async fn checkpoint(&self, _: Value) -> Result<()> {
        Ok(())
    }

    fn progress(&self, _: ByteProgress) {}

    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}

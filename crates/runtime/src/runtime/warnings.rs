//! The warnings of services in a call outside a flow.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use trunkline_core::{ByteProgress, Recorder, Result, async_trait};

/// Collects the warnings of a call.
#[derive(Default)]
pub(super) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Recorder for Warnings {
    async fn checkpoint(&self, _: Value) -> Result<()> {
        Ok(())
    }

    fn progress(&self, _: ByteProgress) {}

    fn warning(&self, message: &str) {
        self.lock().push(message.to_owned());
    }
}

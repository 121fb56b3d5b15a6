//! A step of a flow as an action sees it: it keeps checkpoints, and crashes where the test wants.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use trunkline_core::{ByteProgress, Connections, Context, Recorder, Result};

/// A step whose action is called as an engine calls it, with its checkpoint in a later attempt.
///
/// ```
/// use std::sync::Arc;
/// use serde_json::json;
/// use trunkline_testkit::fake::FakeStep;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let step = Arc::new(FakeStep::crashing_after(2));
/// let cx = step.context("dam", Default::default());
/// let upload = async {
///     for block in 1..=3 {
///         cx.save_checkpoint(json!(block)).await.unwrap();
///     }
/// };
/// assert!(step.attempt(upload).await.is_none(), "it crashes after the second checkpoint");
/// // The next attempt starts with that checkpoint.
/// assert_eq!(step.context("dam", Default::default()).checkpoint(), Some(&json!(2)));
/// # }
/// ```
#[derive(Debug, Default)]
pub struct FakeStep {
    checkpoint: Mutex<Option<Value>>,
    saved: AtomicUsize,
    crash_after: Option<usize>,
    crashed: Notify,
    warnings: Mutex<Vec<String>>,
    progress: AtomicU64,
}

impl FakeStep {
    /// Creates a step whose attempt ends after this number of checkpoints; later attempts do not crash.
    pub fn crashing_after(checkpoints: usize) -> FakeStep {
        FakeStep { crash_after: Some(checkpoints), ..FakeStep::default() }
    }

    /// Returns the context of the next attempt: a call on this connection, with the last checkpoint.
    pub fn context(self: &Arc<Self>, connection: &str, connections: Connections) -> Context {
        Context::new("key", connection, connections).with_recorder(self.clone(), self.checkpoint())
    }

    /// Makes an attempt. Returns `None` if it has crashed.
    pub async fn attempt<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            ended = call => Some(ended),
            () = self.crashed.notified() => None,
        }
    }

    /// Returns the last checkpoint.
    pub fn checkpoint(&self) -> Option<Value> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the checkpoint, as if an earlier attempt had saved this one.
    pub fn set_checkpoint(&self, checkpoint: Value) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
    }

    /// Returns the number of saved checkpoints.
    pub fn saved(&self) -> usize {
        self.saved.load(Ordering::SeqCst)
    }

    /// Returns the warnings, oldest first.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the reported progress in bytes.
    pub fn progress_bytes(&self) -> u64 {
        self.progress.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Recorder for FakeStep {
    async fn checkpoint(&self, value: Value) -> Result<()> {
        self.set_checkpoint(value);
        if Some(self.saved.fetch_add(1, Ordering::SeqCst) + 1) == self.crash_after {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn progress(&self, progress: ByteProgress) {
        self.progress.fetch_add(progress.bytes, Ordering::SeqCst);
    }

    fn warning(&self, message: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}

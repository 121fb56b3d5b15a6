//! What an action gets beside client and input: who it is, how long it may take, where to leave a mark for after a crash.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{Connections, Error, ErrorKind, FileRef, FileStream, Position, Result, Staging};

/// Progress of a step: bytes that went from one system to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteProgress {
    /// Bytes since the last report.
    pub bytes: u64,
}

/// What the engine keeps of a step while it runs.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Keeps the checkpoint durably, in place of an earlier one.
    async fn checkpoint(&self, value: Value) -> Result<()>;
    /// Takes note of progress; never waits.
    fn progress(&self, progress: ByteProgress);
    /// Takes note of what a service said although the call succeeded; never waits.
    fn warning(&self, message: &str);
}

/// A recorder that keeps nothing: for single calls outside a flow.
struct Nothing;

#[async_trait]
impl Recorder for Nothing {
    async fn checkpoint(&self, _: Value) -> Result<()> {
        Ok(())
    }
    fn progress(&self, _: ByteProgress) {}
    fn warning(&self, _: &str) {}
}

/// What an action gets beside its client and its input.
#[derive(Clone)]
pub struct Context {
    idempotency_key: Arc<str>,
    connection: Arc<str>,
    connections: Connections,
    cancellation: CancellationToken,
    deadline: Option<Instant>,
    checkpoint: Option<Value>,
    recorder: Arc<dyn Recorder>,
    /// Where it spills files, and in the name of which run.
    staging: Option<(Arc<dyn Staging>, Arc<str>)>,
}

/// For a call outside any run: nothing is kept, no files can be opened.
impl Default for Context {
    fn default() -> Self {
        Context::new("", "", Connections::default())
    }
}

impl Context {
    /// For one call on this connection. The key stays the same however often the call is attempted; the connections are
    /// those whose files may be opened.
    pub fn new(idempotency_key: &str, connection: &str, connections: Connections) -> Self {
        Context {
            idempotency_key: idempotency_key.into(),
            connection: connection.into(),
            connections,
            cancellation: CancellationToken::new(),
            deadline: None,
            checkpoint: None,
            recorder: Arc::new(Nothing),
            staging: None,
        }
    }

    /// Stops the call when this token is cancelled.
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Gives the call this long in all.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Hands over what an earlier attempt left, and where to leave more.
    pub fn with_recorder(mut self, recorder: Arc<dyn Recorder>, checkpoint: Option<Value>) -> Self {
        self.recorder = recorder;
        self.checkpoint = checkpoint;
        self
    }

    /// Gives it a place to spill files to, in the name of this run.
    pub fn with_staging(mut self, staging: Arc<dyn Staging>, run: &str) -> Self {
        self.staging = Some((staging, run.into()));
        self
    }

    /// The same for all attempts of one step for one item, and for no other.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Name of the connection the action runs on: what goes into the [`FileRef`]s it hands out.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Resolves when the run is cancelled.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// When the call has to have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// `Ok` while the run goes on; for loops between awaits.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the run was cancelled"));
        }
        Ok(())
    }

    /// What an earlier attempt of this step left behind.
    pub fn checkpoint(&self) -> Option<&Value> {
        self.checkpoint.as_ref()
    }

    /// Leaves a mark that a later attempt finds, also after a crash; durable when this returns. It may hold signed URLs:
    /// a store keeps it encrypted.
    pub async fn save_checkpoint(&self, value: Value) -> Result<()> {
        self.recorder.checkpoint(value).await
    }

    /// Reports progress.
    pub fn progress(&self, progress: ByteProgress) {
        self.recorder.progress(progress);
    }

    /// Keeps what a service said although the call succeeded: it is shown with the step.
    pub fn warn(&self, message: &str) {
        self.recorder.warning(&crate::redact(message));
    }

    /// Opens a file that another step handed over, from a byte or a [`Position`] on.
    pub async fn open(&self, file: &FileRef, from: impl Into<Position>) -> Result<FileStream> {
        self.connections.open(file, from).await
    }

    /// Spills a file: all of the stream goes to disk, and what comes back reads that copy, which has a version of its own,
    /// from its beginning. Where there is no place for it, the stream comes back as it is.
    pub async fn staging(&self, file: &FileRef, stream: FileStream) -> Result<FileStream> {
        match &self.staging {
            Some((staging, run)) => staging.staging(run, &self.idempotency_key, file, stream).await,
            None => Ok(stream),
        }
    }

    /// What this step, or an earlier attempt of it, has spilled, from a position on; `None` if there is no copy of that
    /// version.
    pub async fn staged(&self, from: &Position) -> Result<Option<FileStream>> {
        match &self.staging {
            Some((staging, run)) if from.is_spilled() => staging.staged(run, &self.idempotency_key, from).await,
            _ => Ok(None),
        }
    }

    /// Removes what this step has spilled, once it needs that no more. The end of the step does so, too.
    pub async fn unstage(&self) {
        if let Some((staging, run)) = &self.staging {
            staging.unstage(run, Some(&self.idempotency_key)).await;
        }
    }
}

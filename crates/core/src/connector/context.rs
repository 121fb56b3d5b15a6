//! The context of a call: what an action receives besides its client and its input.
//!
//! A [`Context`] holds the idempotency key, the deadline, the cancellation of the run and the opener of the files of
//! other steps. Through it an action saves checkpoints that survive a crash, stages files, and reports progress and
//! warnings to a [`Recorder`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    ConnectionContext, Error, ErrorKind, FileRef, FileStream, MemoryAccount, MemoryBudget, NextStep, Position,
    Redactor, Result, Staging,
};

/// Progress of a step: bytes that were transferred between two systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteProgress {
    /// Bytes since the last report.
    pub bytes: u64,
}

/// A quota as a service states it with a response: how many requests it allows in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The number of requests that the service allows in the window.
    pub limit: u64,
    /// How many of them are left.
    pub left: u64,
    /// The time until the window ends.
    pub ends_in: Duration,
}

/// The receiver of what a running action reports: checkpoints, progress and warnings. The engine implements it.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Stores the checkpoint of the step in place of an earlier one. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be written.
    async fn checkpoint(&self, value: Value) -> Result<()>;
    /// Records progress. Never blocks.
    fn progress(&self, progress: ByteProgress);
    /// Records a warning of a service about a call that succeeded. Never blocks.
    fn warning(&self, message: &str);
    /// Records that the call waits, because its service has asked for a pause that is over after this time. Never
    /// blocks.
    fn paused(&self, left: Duration) {
        let _ = left;
    }

    /// Records a request that a quota has counted. Never blocks.
    fn quota(&self, quota: Quota) {
        let _ = quota;
    }
}

/// A recorder that discards everything, for single calls outside a flow.
struct NoopRecorder;

#[async_trait]
impl Recorder for NoopRecorder {
    async fn checkpoint(&self, _: Value) -> Result<()> {
        Ok(())
    }
    fn progress(&self, _: ByteProgress) {}
    fn warning(&self, _: &str) {}
}

/// Opens the files that steps refer to. [`Connections`](crate::Connections) opens them through the connections of a
/// run.
#[async_trait]
pub trait FileOpener: Send + Sync {
    /// Opens a file from a position on. `cx` is the context of the step that reads it.
    ///
    /// # Errors
    ///
    /// `config` if the file's connection is not known, `conflict` if the file has changed since the reference to it was
    /// made, and the errors of [`Connector::open`](crate::Connector::open).
    async fn open_file(&self, file: &FileRef, from: Position, cx: &Context) -> Result<FileStream>;
}

/// The opener of a call outside a run, which has no connections.
struct NoFiles;

#[async_trait]
impl FileOpener for NoFiles {
    async fn open_file(&self, file: &FileRef, _: Position, _: &Context) -> Result<FileStream> {
        Err(unknown_connection(&file.connection))
    }
}

/// Returns the error for a connection that a run does not have.
pub(crate) fn unknown_connection(name: &str) -> Error {
    Error::new(ErrorKind::Config, format!("there is no connection {name} in this run")).next(NextStep::BindConnection {
        flow: None,
        binding: name.to_owned(),
        connector: None,
        connections: Vec::new(),
    })
}

/// What an action receives besides its client and its input.
#[derive(Clone)]
pub struct Context {
    idempotency_key: Arc<str>,
    connection: Arc<str>,
    files: Arc<dyn FileOpener>,
    redactor: Redactor,
    cancellation: CancellationToken,
    deadline: Option<Instant>,
    checkpoint: Option<Value>,
    recorder: Arc<dyn Recorder>,
    memory: Option<MemoryAccount>,
    /// The staging area and the id of the run that it is used for.
    staging: Option<(Arc<dyn Staging>, Arc<str>)>,
}

/// A context for a call outside a run: nothing is recorded, and no files can be opened.
impl Default for Context {
    fn default() -> Self {
        Context::new("", "", NoFiles)
    }
}

impl Context {
    /// Returns a context for one call on this connection. The idempotency key is the same for all attempts of the call;
    /// `files` opens the files of other steps; usually it is the run's [`Connections`](crate::Connections).
    pub fn new(idempotency_key: &str, connection: &str, files: impl FileOpener + 'static) -> Self {
        Context {
            idempotency_key: idempotency_key.into(),
            connection: connection.into(),
            files: Arc::new(files),
            redactor: Redactor::default(),
            cancellation: CancellationToken::new(),
            deadline: None,
            checkpoint: None,
            recorder: Arc::new(NoopRecorder),
            memory: None,
            staging: None,
        }
    }

    /// Stops the call when this token is cancelled.
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Limits the whole call to this duration, from now on.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Sets the recorder and the checkpoint that an earlier attempt saved.
    pub fn with_recorder(mut self, recorder: Arc<dyn Recorder>, checkpoint: Option<Value>) -> Self {
        self.recorder = recorder;
        self.checkpoint = checkpoint;
        self
    }

    /// Sets the staging area and the id of the run that staged copies belong to.
    pub fn with_staging(mut self, staging: Arc<dyn Staging>, run: &str) -> Self {
        self.staging = Some((staging, run.into()));
        self
    }

    /// Sets the account of the values that the call reads. Without it, the call gets one of the budget of its connection's
    /// host.
    pub fn with_memory(mut self, memory: MemoryAccount) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Returns the account of the values that the call reads.
    pub fn memory(&self) -> MemoryAccount {
        self.memory.clone().unwrap_or_else(|| MemoryBudget::default().account(0))
    }

    /// Returns the idempotency key: the same for all attempts of one step for one item, and different from all others.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Returns the name of the connection that the action runs on. It goes into the [`FileRef`]s that the action
    /// returns.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Returns the token that is cancelled with the run.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Returns the time by which the call has to end, if it is limited.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Checks for cancellation in loops that do not wait for the token.
    ///
    /// # Errors
    ///
    /// `cancelled` if the run was cancelled.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the run was cancelled"));
        }
        Ok(())
    }

    /// Returns the checkpoint that an earlier attempt of this step saved.
    pub fn checkpoint(&self) -> Option<&Value> {
        self.checkpoint.as_ref()
    }

    /// Saves a checkpoint that a later attempt finds, also after a crash. It is durable when this returns. It may hold
    /// signed URLs, because a store keeps it encrypted.
    ///
    /// # Errors
    ///
    /// `store` if it cannot be written.
    pub async fn save_checkpoint(&self, value: Value) -> Result<()> {
        self.recorder.checkpoint(value).await
    }

    /// Reports progress.
    pub fn progress(&self, progress: ByteProgress) {
        self.recorder.progress(progress);
    }

    /// Reports that the call waits, because its service has asked for a pause that is over after this time.
    pub fn paused(&self, left: Duration) {
        self.recorder.paused(left);
    }

    /// Reports a request that a quota has counted.
    pub fn quota(&self, quota: Quota) {
        self.recorder.quota(quota);
    }

    /// Returns the same context with the redactor and the memory budget of a connection's host.
    pub(crate) fn with_host(&self, connection: &ConnectionContext) -> Context {
        let memory = self.memory.clone().or_else(|| Some(connection.memory().account(0)));
        Context { redactor: connection.redactor().clone(), memory, ..self.clone() }
    }

    /// Returns the redactor of the host. An action adds secrets to it that a service sends, such as signed URLs.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Records a warning that is shown with the step, such as one that a service sent although the call succeeded.
    /// Secrets in it are redacted.
    pub fn warn(&self, message: &str) {
        self.recorder.warning(&self.redactor.redact(message));
    }

    /// Opens a file that another step returned, from a byte or a [`Position`] on. Cancellation and deadline of this
    /// context also hold for the transfer of its bytes.
    ///
    /// # Errors
    ///
    /// Those of [`FileOpener::open_file`].
    pub async fn open(&self, file: &FileRef, from: impl Into<Position>) -> Result<FileStream> {
        self.files.open_file(file, from.into(), self).await
    }

    /// Stages a file: writes the whole stream to disk and returns a stream that reads the copy from its beginning. The
    /// copy has a version of its own. Without a staging area, the stream is returned unchanged.
    ///
    /// # Errors
    ///
    /// Those of [`Staging::staging`].
    pub async fn staging(&self, file: &FileRef, stream: FileStream) -> Result<FileStream> {
        match &self.staging {
            Some((staging, run)) => staging.staging(run, &self.idempotency_key, file, stream).await,
            None => Ok(stream),
        }
    }

    /// Opens the copy that this step or an earlier attempt of it has staged, from a position on. Returns `None` if
    /// there is no copy of that version.
    ///
    /// # Errors
    ///
    /// Those of [`Staging::staged`].
    pub async fn staged(&self, from: &Position) -> Result<Option<FileStream>> {
        match &self.staging {
            Some((staging, run)) if from.is_staged() => staging.staged(run, &self.idempotency_key, from).await,
            _ => Ok(None),
        }
    }

    /// Removes the staged copy of this step when it is not needed any more. The end of the step also removes it.
    pub async fn unstage(&self) {
        if let Some((staging, run)) = &self.staging {
            staging.unstage(run, Some(&self.idempotency_key)).await;
        }
    }
}

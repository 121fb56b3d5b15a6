//! Staging: copies of files whose source cannot be reopened at an offset in a known version.
//!
//! The host owns the disk and implements [`Staging`]; it keeps a copy while a step needs it. A step uses it through its
//! [`Context`](crate::Context).

use async_trait::async_trait;

use crate::{FileRef, FileStream, Position, Result};

/// The prefix of a staged copy's version. The SHA-256 digest of the copy follows, in lower-case hexadecimal digits.
/// Stores of earlier versions hold the prefix, so it does not change.
pub const STAGED: &str = "spilled:";

impl Position {
    /// Returns whether the position is in a staged copy and not in the source.
    pub fn is_staged(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.starts_with(STAGED))
    }
}

/// A staging area with one copy for each step of a run. Only the host can read the copies.
#[async_trait]
pub trait Staging: Send + Sync {
    /// Copies the whole stream, replaces an earlier copy of the step, and opens the copy at its beginning. The copy is
    /// complete and survives a power failure. A copy that fails leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The error of the stream, or `store` if the disk is full or cannot be written.
    async fn staging(&self, run: &str, step: &str, file: &FileRef, stream: FileStream) -> Result<FileStream>;

    /// Opens the copy of the step from a position on. Returns `None` if there is no copy of that version.
    ///
    /// # Errors
    ///
    /// `store` if the copy cannot be read.
    async fn staged(&self, run: &str, step: &str, from: &Position) -> Result<Option<FileStream>>;

    /// Removes the copy of one step of the run, or the copies of all its steps if `step` is `None`. A copy that cannot
    /// be removed now is removed later by the host.
    async fn unstage(&self, run: &str, step: Option<&str>);
}

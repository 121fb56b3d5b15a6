//! Copies of files whose source can be opened in the middle of no version: the host keeps them on disk while a step needs
//! them. This is the seam to the host, which owns the disk; a step asks its [`Context`](crate::Context).

use async_trait::async_trait;

use crate::{FileRef, FileStream, Position, Result};

/// What the version of a copy begins with; its SHA-256 in lower-case hexadecimal digits follows.
pub const STAGED: &str = "spilled:";

impl Position {
    /// Whether this is one in a copy, and not in the source.
    pub fn is_spilled(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.starts_with(STAGED))
    }
}

/// Where copies lie: one for each step of a run. Nobody but the host can read them.
#[async_trait]
pub trait Staging: Send + Sync {
    /// Copies the stream from its first byte to its last, in place of what the step has spilled before, and opens the copy
    /// at its beginning. The copy is whole and survives a power cut; of one that fails nothing stays.
    ///
    /// Fails with the error of the stream, or with `store` if the disk is full or refuses.
    async fn staging(&self, run: &str, step: &str, file: &FileRef, stream: FileStream) -> Result<FileStream>;

    /// What the step has spilled, from a position on; `None` if there is no copy of that version.
    async fn staged(&self, run: &str, step: &str, from: &Position) -> Result<Option<FileStream>>;

    /// Removes what this step of the run has spilled, or all of its steps have. What cannot be removed now is later, by the
    /// host.
    async fn unstage(&self, run: &str, step: Option<&str>);
}

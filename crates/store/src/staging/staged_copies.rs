//! Staged copies of files whose source cannot be opened again in the middle: `staging/RUN/STEP-SHA256` in the data
//! directory, private to its owner. A copy gets its name when it is complete and on disk, so the name proves the
//! content.
//!
//! Steps and runs remove their copies when they end. Copies that a kill left behind are removed when the store is
//! opened, or when another run stages its first file, unless their run can still be resumed.

use std::{
    fs,
    io::{self, ErrorKind as Io, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use data_encoding::HEXLOWER;
use futures::{StreamExt, TryStreamExt};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio_util::io::ReaderStream;
use trunkline_core::{
    Error, ErrorKind, FileRef, FileStream, NextStep, Position, Result, RunId, STAGED, Staging, async_trait,
};

use crate::{
    database::Store,
    files::{file_fault, private_dir, private_file, sync_dir},
    journal::run_claim,
    sqlite::now,
};

/// The directory of the copies, in the data directory.
const DIRECTORY: &str = "staging";
/// Its name up to version 0.1.
const FORMER_DIRECTORY: &str = "spill";

/// How long the copies of a failed run are kept, in milliseconds: a week, as long as storage services keep the blocks
/// of an unfinished upload.
const KEPT: i64 = 7 * 24 * 60 * 60 * 1000;

/// Bytes that are written or read at a time.
const PIECE: usize = 256 << 10;

#[async_trait]
impl Staging for Store {
    async fn staging(&self, run: &str, step: &str, file: &FileRef, stream: FileStream) -> Result<FileStream> {
        self.inner.stages.store(true, Ordering::Relaxed);
        let copies = Copies::of(self.dir(), run, step)?;
        if !copies.dir.exists() {
            let dir = self.dir().to_owned();
            self.readers
                .read("looking for staged files that are no longer needed", move |store| sweep(&dir, store))
                .await?;
        }
        let size = file.size.or(stream.size);
        let version = copies.write(stream, |error| refused(&copies.dir, file, size, error)).await?;
        let copy = copies.open(&Position { byte: 0, version: Some(version) }).await?;
        copy.ok_or_else(|| refused(&copies.dir, file, size, Io::NotFound.into()))
    }

    async fn staged(&self, run: &str, step: &str, from: &Position) -> Result<Option<FileStream>> {
        self.inner.stages.store(true, Ordering::Relaxed);
        Copies::of(self.dir(), run, step)?.open(from).await
    }

    async fn unstage(&self, run: &str, step: Option<&str>) {
        // Few steps stage a file, but all of them call this.
        if step.is_some() && !self.inner.stages.load(Ordering::Relaxed) {
            return;
        }
        let Ok(copies) = Copies::of(self.dir(), run, step.unwrap_or_default()) else { return };
        if copies.dir.exists() {
            let whole = step.is_none();
            let remove = move || if whole { fs::remove_dir_all(&copies.dir) } else { copies.remove() };
            // A copy that stays is removed by the next sweep.
            let _ = tokio::task::spawn_blocking(remove).await;
        }
    }
}

/// The copies of a step: one, and perhaps another that is being written.
struct Copies {
    dir: PathBuf,
    step: String,
}

impl Copies {
    fn of(data: &Path, run: &str, step: &str) -> Result<Copies> {
        run_claim::check(&RunId::from(run))?;
        if !step.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::new(ErrorKind::Internal, format!("no file can be named after the step {step}")));
        }
        Ok(Copies { dir: data.join(DIRECTORY).join(run), step: step.to_owned() })
    }

    /// Returns the path of the copy with this SHA-256.
    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{}-{sha256}", self.step))
    }

    /// Writes a copy that replaces all others of the step. Returns its version.
    async fn write(&self, mut stream: FileStream, failed: impl Fn(io::Error) -> Error) -> Result<String> {
        let part = Part(self.dir.join(format!("{}.part", self.step)));
        let begin = || {
            private_dir(&self.dir)?;
            // A new file, which no other process has open; a part that a kill left behind is removed first.
            self.remove()?;
            private_file().create_new(true).open(&part.0)
        };
        let mut out = BufWriter::with_capacity(PIECE, tokio::fs::File::from_std(begin().map_err(&failed)?));
        let mut hasher = Sha256::new();
        while let Some(piece) = stream.bytes.next().await {
            let piece = piece?;
            hasher.update(&piece);
            out.write_all(&piece).await.map_err(&failed)?;
        }
        out.flush().await.map_err(&failed)?;
        out.get_ref().sync_all().await.map_err(&failed)?;
        let sha256 = HEXLOWER.encode(&hasher.finalize());
        let end = || fs::rename(&part.0, self.path(&sha256)).and_then(|()| sync_dir(&self.dir));
        end().map_err(&failed)?;
        Ok(format!("{STAGED}{sha256}"))
    }

    async fn open(&self, from: &Position) -> Result<Option<FileStream>> {
        let version = from.version.clone();
        let Some(sha256) = version.as_ref().and_then(|version| version.strip_prefix(STAGED)).filter(is_sha256) else {
            return Ok(None);
        };
        let path = self.path(sha256);
        let failed = move |error| file_fault("reading the copy of a file", &path, error);
        let opened = async {
            let mut copy = tokio::fs::File::open(self.path(sha256)).await?;
            copy.seek(SeekFrom::Start(from.byte)).await?;
            io::Result::Ok((copy.metadata().await?.len(), copy))
        };
        let (size, copy) = match opened.await {
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            opened => opened.map_err(&failed)?,
        };
        let bytes = ReaderStream::with_capacity(copy, PIECE).map_err(failed).boxed();
        Ok(Some(FileStream { version: from.version.clone(), ..FileStream::new(Some(size), bytes) }))
    }

    /// Removes what there is of the step.
    fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&self.step));
            let ours = |rest: &str| rest == ".part" || rest.strip_prefix('-').is_some_and(|rest| is_sha256(&rest));
            if rest.is_some_and(ours) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A partial copy, removed when the write fails. Only a kill leaves one behind.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

fn is_sha256(text: &&str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the error of a copy that cannot be written.
fn refused(dir: &Path, file: &FileRef, size: Option<u64>, error: io::Error) -> Error {
    let size = size.map_or("of unknown size".to_owned(), |size| format!("{size} bytes"));
    let (name, place) = (&file.name, dir.display());
    let message = format!(
        "{name} ({size}) cannot be staged in {place}, which is needed because its source cannot be read again from the \
         middle: {error}"
    );
    let failed = Error::new(ErrorKind::Store, message);
    let failed = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            failed.hint("free at least its size on that disk").next(NextStep::ResumeRun { run: None })
        }
        _ => failed.hint("the user that Trunkline runs as must be able to read and write there"),
    };
    failed.with("file", name).with("directory", place).source(error)
}

/// Removes the copies of runs that have ended, or that failed so long ago that their uploads cannot continue.
pub(crate) fn sweep(data: &Path, store: &Connection) -> rusqlite::Result<()> {
    // Runs of an earlier version find their copies under the new name.
    let _ = fs::rename(data.join(FORMER_DIRECTORY), data.join(DIRECTORY));
    let Ok(runs) = fs::read_dir(data.join(DIRECTORY)) else { return Ok(()) };
    // All directories are listed before the first query: a run is in the store before it stages anything.
    let runs: Vec<_> = runs.flatten().filter_map(|run| run.file_name().into_string().ok()).map(RunId::from).collect();
    for run in runs {
        let mut needs = store.prepare_cached(
            "SELECT 1 FROM good_runs WHERE id = ?1 AND (status = 'running' OR (status = 'failed' AND finished_at > ?2))",
        )?;
        if !needs.exists(params![run.as_str(), now() - KEPT])? {
            // What cannot be removed is tried again by the next sweep.
            let _ = fs::remove_dir_all(data.join(DIRECTORY).join(run.as_str()));
        }
    }
    Ok(())
}

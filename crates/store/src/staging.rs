//! Copies of files whose source cannot be opened again in the middle: `staging/RUN/STEP-SHA256` in the data directory, for its
//! owner only. A copy has its name once it is whole and on disk, so what it is called is what it holds.
//!
//! Steps and runs remove their copies when they end. What a kill has left goes when the store is opened, or when another run
//! begins to spill, unless its run can still be resumed.

use std::{
    fs,
    io::{self, ErrorKind as Io, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use futures::{StreamExt, TryStreamExt};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio_util::io::ReaderStream;
use trunkline_core::{Error, ErrorKind, FileRef, FileStream, Position, Result, STAGED, Staging, async_trait};
use trunkline_engine::RunId;

use crate::{
    Store,
    key::{hex, private_dir, private_file, sync_dir},
    now, run_lock,
    sqlite::file_fault,
};

/// How long the copies of a failed run are kept, in milliseconds: a week, as storages keep the blocks of an upload.
const KEPT: i64 = 7 * 24 * 60 * 60 * 1000;

/// Bytes that are written or read at a time.
const PIECE: usize = 256 << 10;

#[async_trait]
impl Staging for Store {
    async fn staging(&self, run: &str, step: &str, file: &FileRef, stream: FileStream) -> Result<FileStream> {
        self.inner.spills.store(true, Ordering::Relaxed);
        let copies = Copies::of(self.dir(), run, step)?;
        if !copies.dir.exists() {
            let dir = self.dir().to_owned();
            self.readers.read("looking for files that are needed no more", move |store| sweep(&dir, store)).await?;
        }
        let size = file.size.or(stream.size);
        let version = copies.write(stream, |error| refused(&copies.dir, file, size, error)).await?;
        let copy = copies.open(&Position { byte: 0, version: Some(version) }).await?;
        copy.ok_or_else(|| refused(&copies.dir, file, size, Io::NotFound.into()))
    }

    async fn staged(&self, run: &str, step: &str, from: &Position) -> Result<Option<FileStream>> {
        self.inner.spills.store(true, Ordering::Relaxed);
        Copies::of(self.dir(), run, step)?.open(from).await
    }

    async fn unstage(&self, run: &str, step: Option<&str>) {
        // Few steps spill anything, and all of them come here.
        if step.is_some() && !self.inner.spills.load(Ordering::Relaxed) {
            return;
        }
        let Ok(copies) = Copies::of(self.dir(), run, step.unwrap_or_default()) else { return };
        if copies.dir.exists() {
            let whole = step.is_none();
            let remove = move || if whole { fs::remove_dir_all(&copies.dir) } else { copies.remove() };
            // What stays is swept up.
            let _ = tokio::task::spawn_blocking(remove).await;
        }
    }
}

/// The copies of a step: one, and perhaps another that is being made.
struct Copies {
    dir: PathBuf,
    step: String,
}

impl Copies {
    fn of(data: &Path, run: &str, step: &str) -> Result<Copies> {
        run_lock::check(&RunId::from(run))?;
        if !step.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::new(ErrorKind::Internal, format!("no file can be named after the step {step}")));
        }
        Ok(Copies { dir: data.join("spill").join(run), step: step.to_owned() })
    }

    /// Where the copy of this SHA-256 is.
    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{}-{sha256}", self.step))
    }

    /// Makes a copy in place of all others, and tells its version.
    async fn write(&self, mut stream: FileStream, failed: impl Fn(io::Error) -> Error) -> Result<String> {
        let part = Part(self.dir.join(format!("{}.part", self.step)));
        let begin = || {
            private_dir(&self.dir)?;
            // Made anew, so that nobody else has it open; one that a kill has left goes here.
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
        let sha256 = hex(&hasher.finalize());
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

/// Nothing half-copied stays, unless the process is killed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It has its other name, or there is nothing to be done about it.
        let _ = fs::remove_file(&self.0);
    }
}

fn is_sha256(text: &&str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What the system says of a copy that cannot be made.
fn refused(dir: &Path, file: &FileRef, size: Option<u64>, error: io::Error) -> Error {
    let size = size.map_or("of unknown size".to_owned(), |size| format!("{size} bytes"));
    let (name, place) = (&file.name, dir.display());
    let message = format!(
        "{name} ({size}) cannot be copied to {place}, as it has to be because its source cannot be read again from the \
         middle: {error}"
    );
    let hint = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            "free at least its size on that disk, then try again; a run goes on with `trunkline runs resume`"
        }
        _ => "the user that Trunkline runs as must be able to read and write there",
    };
    Error::new(ErrorKind::Store, message).hint(hint).with("file", name).with("directory", place).source(error)
}

/// Removes the copies of runs that cannot be resumed, or not with what was sent.
pub(crate) fn sweep(data: &Path, store: &Connection) -> rusqlite::Result<()> {
    let Ok(runs) = fs::read_dir(data.join("spill")) else { return Ok(()) };
    // All are listed before the first is asked for: a run is in the store before it spills anything.
    let runs: Vec<_> = runs.flatten().filter_map(|run| run.file_name().into_string().ok()).map(RunId::from).collect();
    for run in runs {
        let mut needs = store.prepare_cached(
            "SELECT 1 FROM good_runs WHERE id = ?1 AND (status = 'running' OR (status = 'failed' AND finished_at > ?2))",
        )?;
        if !needs.exists(params![run.as_str(), now() - KEPT])? {
            // What stays is tried again the next time.
            let _ = fs::remove_dir_all(data.join("spill").join(run.as_str()));
        }
    }
    Ok(())
}

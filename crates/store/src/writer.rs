//! The one thread that writes. It takes everything that is queued, runs it in one transaction, commits, and then answers
//! everybody: sixty-four waiters cost one flush of the disk, not sixty-four.
//!
//! A transaction that fails is rolled back, and all who wait for it get the error; nothing is tried again here. If the disk
//! or the system refused in a way that passes (see [`Fault`]), the writer goes on with the next one. Anything else poisons
//! it: what is on disk is then known to nobody in this process (after a failed flush the system may even have forgotten what
//! it could not write), so all who come later get the same error, and the next process reads from disk what is there.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, config::DbConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    Fault,
    sqlite::{fault, file_fault},
};

/// How many jobs may wait; who comes with one more has to wait himself.
const QUEUE: usize = 1024;
/// How long jobs that nobody waits for may gather before they are written.
const GATHER: Duration = Duration::from_millis(5);

type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;
type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// A place in the queue, given back when the job is done.
pub(crate) type Room = OwnedSemaphorePermit;

struct Job {
    work: Work,
    done: Done,
    urgent: bool,
    room: Room,
}

pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    room: Arc<Semaphore>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    path: PathBuf,
    poison: OnceLock<Error>,
    /// The store can only be looked at, and this is why.
    refusal: Option<Error>,
    commits: AtomicU64,
    /// Whether anything was written since somebody asked, and nothing has failed since.
    works: AtomicBool,
}

impl State {
    fn new(path: &Path, refusal: Option<Error>) -> State {
        let (commits, works) = (AtomicU64::new(0), AtomicBool::new(false));
        State { path: path.to_owned(), poison: OnceLock::new(), refusal, commits, works }
    }

    fn poisoned(&self) -> Error {
        self.poison.get().or(self.refusal.as_ref()).map_or_else(
            || {
                Error::new(ErrorKind::Store, "the thread that writes the store has ended")
                    .hint("start Trunkline again; runs go on from what is on disk")
                    .with("file", self.path.display())
            },
            Error::clone,
        )
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection, path: &Path) -> Result<Self> {
        let state = Arc::new(State::new(path, None));
        let (jobs, queue) = mpsc::channel();
        let of_thread = state.clone();
        let thread = thread::Builder::new()
            .name("trunkline-store".into())
            .spawn(move || serve(connection, &queue, &of_thread))
            .map_err(|error| file_fault("starting the thread that writes the store", path, error))?;
        Ok(Writer { jobs: Some(jobs), room: Arc::new(Semaphore::new(QUEUE)), state, thread: Some(thread) })
    }

    /// One that refuses everything, for a store that can only be looked at.
    pub(crate) fn refusing(path: &Path, refusal: Error) -> Self {
        let state = Arc::new(State::new(path, Some(refusal)));
        Writer { jobs: None, room: Arc::new(Semaphore::new(QUEUE)), state, thread: None }
    }

    /// Whether something was written since this was asked last, and all went well.
    pub(crate) fn has_worked(&self) -> bool {
        self.state.works.swap(false, Ordering::Relaxed)
    }

    /// How many transactions have been committed.
    pub(crate) fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::Relaxed)
    }

    /// The error that everybody gets once a transaction has failed in a way that does not pass.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state.poison.get().is_some() { Err(self.state.poisoned()) } else { Ok(()) }
    }

    /// Waits for a place in the queue.
    pub(crate) async fn room(&self) -> Result<Room> {
        self.check()?;
        self.room.clone().acquire_owned().await.map_err(|_| self.state.poisoned())
    }

    /// Queues work that nobody waits for; `done` is called once it is on disk, or will never be.
    pub(crate) fn queue(
        &self,
        room: Room,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<()> {
        self.send(Job { work: Box::new(work), done: Box::new(done), urgent: false, room })
    }

    /// Runs work and returns what it returned once it is on disk, with everything that was queued before it.
    ///
    /// Work that refuses (returns an error inside its value) must not have changed anything before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let room = self.room().await?;
        let value = Arc::new(Mutex::new(None));
        let (answer, answered) = oneshot::channel();
        let found = value.clone();
        self.send(Job {
            work: Box::new(move |transaction| {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(transaction)?);
                Ok(())
            }),
            // Nobody listens any more if the caller was cancelled.
            done: Box::new(move |result| drop(answer.send(result))),
            urgent: true,
            room,
        })?;
        answered.await.unwrap_or_else(|_| Err(self.state.poisoned()))?;
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| self.state.poisoned())
    }

    fn send(&self, job: Job) -> Result<()> {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.state.poisoned()) }
    }
}

/// Writes what is still queued and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported there.
            let _ = thread.join();
        }
    }
}

fn serve(mut connection: Connection, queue: &Receiver<Job>, state: &State) {
    while let Ok(first) = queue.recv() {
        let (mut works, mut dones, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        for job in gather(first, queue) {
            works.push(job.work);
            dones.push(job.done);
            rooms.push(job.room);
        }
        let result = match state.poison.get() {
            Some(poison) => Err(poison.clone()),
            None => written(&mut connection, works, state),
        };
        for done in dones {
            done(result.clone());
        }
    }
}

/// Writes all of it or nothing.
fn written(connection: &mut Connection, works: Vec<Work>, state: &State) -> Result<()> {
    let before = connection.total_changes();
    match commit(connection, works) {
        Ok(()) => {
            state.commits.fetch_add(1, Ordering::Relaxed);
            if connection.total_changes() > before {
                state.works.store(true, Ordering::Relaxed);
            }
            Ok(())
        }
        Err(error) => {
            state.works.store(false, Ordering::Relaxed);
            let passes = Fault::of(&error, &state.path).is_some_and(Fault::passes);
            let error = fault("writing to the store", &state.path, error);
            if !passes {
                let _ = state.poison.set(error.clone());
                // Nothing more is written or flushed from here, not even by SQLite when the file is closed.
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
            Err(error)
        }
    }
}

/// All that is queued; if nobody waits for any of it, also what comes within the next few milliseconds.
fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let mut urgent = first.urgent;
    let mut batch = vec![first];
    let until = Instant::now() + GATHER;
    while batch.len() < QUEUE {
        let wait = if urgent { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
        match queue.recv_timeout(wait) {
            Ok(job) => {
                urgent |= job.urgent;
                batch.push(job);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

fn commit(connection: &mut Connection, works: Vec<Work>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in works {
        work(&transaction)?;
    }
    transaction.commit()
}

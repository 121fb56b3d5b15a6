//! The one thread that writes. It takes everything that is queued, runs it in one transaction, commits, and then answers
//! everybody: sixty-four waiters cost one flush of the disk, not sixty-four.
//!
//! A transaction that fails poisons the writer. What is on disk is then known to nobody in this process (after a failed
//! flush the system may even have forgotten what it could not write), so nothing is tried again: all waiters and all who
//! come later get the same error, and the next process reads from disk what is there.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use trunkline_core::{Error, ErrorKind, Result};

use crate::sqlite::{fault, file_fault};

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
    commits: AtomicU64,
}

impl State {
    fn poisoned(&self) -> Error {
        self.poison.get().map_or_else(
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
        let state = Arc::new(State { path: path.to_owned(), poison: OnceLock::new(), commits: AtomicU64::new(0) });
        let (jobs, queue) = mpsc::channel();
        let of_thread = state.clone();
        let thread = thread::Builder::new()
            .name("trunkline-store".into())
            .spawn(move || serve(connection, &queue, &of_thread))
            .map_err(|error| file_fault("starting the thread that writes the store", path, error))?;
        Ok(Writer { jobs: Some(jobs), room: Arc::new(Semaphore::new(QUEUE)), state, thread: Some(thread) })
    }

    /// How many transactions have been committed.
    pub(crate) fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::Relaxed)
    }

    /// The error that everybody gets once a transaction has failed.
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
        if state.poison.get().is_none() {
            match commit(&mut connection, works) {
                Ok(()) => {
                    state.commits.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let _ = state.poison.set(fault("writing to the store", &state.path, error));
                }
            }
        }
        for done in dones {
            done(if state.poison.get().is_some() { Err(state.poisoned()) } else { Ok(()) });
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

//! The one thread that writes. It takes all that somebody waits for, runs it in one transaction, commits, and then answers
//! everybody: sixty-four waiters cost one flush of the disk, not sixty-four. Events of a run that nobody waits for gather
//! for some milliseconds, or until somebody waits for later ones of that run: they are inserted together, which costs little
//! more than one.
//!
//! A transaction that fails is rolled back, and all who wait for it get the error; nothing is tried again here. If the disk
//! or the system refused in a way that passes (see [`Fault`]), the writer goes on with the next one. Anything else poisons
//! it: what is on disk is then known to nobody in this process (after a failed flush the system may even have forgotten what
//! it could not write), so all who come later get the same error, and the next process reads from disk what is there.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::RunId;

use crate::{
    Fault,
    event_row::Row,
    sqlite::{execute, fault, file_fault},
};

/// How many jobs may wait; who comes with one more has to wait himself.
const QUEUE: usize = 1024;
/// How long events that nobody waits for may gather before they are written.
const GATHER: Duration = Duration::from_millis(5);

/// What is to be written.
pub(crate) enum Work {
    /// Events of a run. They go in after all that is not events and is queued with them: who had to wait for something has
    /// waited for it before he appended them.
    Events(RunId, Vec<Row>),
    /// Anything else.
    Other(Task),
}

type Task = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

type Done = Box<dyn FnOnce(Result<()>) + Send>;
/// How the events of a transaction are inserted.
pub(crate) type Insert = Box<dyn Fn(&Connection, HashMap<RunId, Vec<Row>>) -> rusqlite::Result<()> + Send>;

/// A place in the queue, given back when the job is done.
pub(crate) type Room = OwnedSemaphorePermit;

struct Job {
    work: Work,
    done: Done,
    haste: Haste,
    since: Instant,
    room: Room,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Haste {
    /// Nobody waits for it.
    #[default]
    None,
    /// Somebody does.
    Own,
    /// Somebody waits for it, and for all that was queued before it.
    All,
}

pub(crate) struct Writer {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    queued: Mutex<Queued>,
    /// Wakes the thread, if what it waits for has come.
    came: Condvar,
}

#[derive(Default)]
struct Queued {
    /// The oldest first.
    jobs: Vec<Job>,
    /// The greatest of theirs.
    haste: Haste,
    /// No more will come.
    closed: bool,
    waits: Waits,
}

/// What the thread waits for. To wake it takes longer than to queue a job.
#[derive(Default)]
enum Waits {
    #[default]
    No,
    ForAny,
    ForHaste,
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
    pub(crate) fn start(connection: Connection, path: &Path, insert: Insert) -> Result<Self> {
        let (state, queue) = (Arc::new(State::new(path, None)), Arc::<Queue>::default());
        let (of_thread, jobs) = (state.clone(), queue.clone());
        let thread = thread::Builder::new()
            .name("trunkline-store".into())
            .spawn(move || serve(connection, &jobs, &of_thread, &insert))
            .map_err(|error| file_fault("starting the thread that writes the store", path, error))?;
        Ok(Writer { queue, room: Arc::new(Semaphore::new(QUEUE)), state, thread: Some(thread) })
    }

    /// One that refuses everything, for a store that can only be looked at.
    pub(crate) fn refusing(path: &Path, refusal: Error) -> Self {
        let state = Arc::new(State::new(path, Some(refusal)));
        let queue = Arc::<Queue>::default();
        queue.close();
        Writer { queue, room: Arc::new(Semaphore::new(QUEUE)), state, thread: None }
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
    pub(crate) fn queue(&self, room: Room, work: Work, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        self.send(Job { work, done: Box::new(done), haste: Haste::None, since: Instant::now(), room })
    }

    /// Waits until work is on disk, with what was queued of its run before it, and `done` was called as by [`Writer::queue`].
    pub(crate) async fn wait(
        &self,
        work: Work,
        done: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.hasten(work, Haste::Own, done).await
    }

    /// Waits until all that was queued before is on disk.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.hasten(Work::Other(Box::new(|_| Ok(()))), Haste::All, |result| result).await
    }

    async fn hasten(
        &self,
        work: Work,
        haste: Haste,
        done: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let room = self.room().await?;
        let (answer, answered) = oneshot::channel();
        // Nobody listens any more if the caller was cancelled.
        let done = move |result| drop(answer.send(done(result)));
        self.send(Job { work, done: Box::new(done), haste, since: Instant::now(), room })?;
        answered.await.unwrap_or_else(|_| Err(self.state.poisoned()))
    }

    /// Runs work and returns what it returned once it is on disk.
    ///
    /// Work that refuses (returns an error inside its value) must not have changed anything before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let value = Arc::new(Mutex::new(None));
        let found = value.clone();
        let work = Work::Other(Box::new(move |transaction| {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(transaction)?);
            Ok(())
        }));
        self.wait(work, |result| result).await?;
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| self.state.poisoned())
    }

    fn send(&self, job: Job) -> Result<()> {
        if self.queue.push(job) { Ok(()) } else { Err(self.state.poisoned()) }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody will take it.
    fn push(&self, job: Job) -> bool {
        let mut queued = self.lock();
        if queued.closed {
            return false;
        }
        let haste = if queued.jobs.len() + 1 >= QUEUE { Haste::All } else { job.haste };
        queued.haste = queued.haste.max(haste);
        queued.jobs.push(job);
        let wakes = match queued.waits {
            Waits::No => false,
            Waits::ForAny => true,
            Waits::ForHaste => queued.haste > Haste::None,
        };
        if wakes {
            queued.waits = Waits::No;
            drop(queued);
            self.came.notify_one();
        }
        true
    }

    fn close(&self) {
        self.lock().closed = true;
        self.came.notify_one();
    }

    /// What is to be written next, in the order in which it was queued. Nothing if no more will come.
    fn take(&self) -> Option<Vec<Job>> {
        let mut queued = self.lock();
        loop {
            let waited = queued.jobs.first().map(|oldest| oldest.since.elapsed());
            let all = queued.closed || queued.haste == Haste::All || waited.is_some_and(|waited| waited >= GATHER);
            if all || queued.haste == Haste::Own {
                (queued.waits, queued.haste) = (Waits::No, Haste::None);
                let jobs = std::mem::take(&mut queued.jobs);
                let (now, later) = if all { (jobs, Vec::new()) } else { apart(jobs) };
                queued.jobs = later;
                return Some(now).filter(|jobs| !jobs.is_empty());
            }
            queued = match waited {
                None => {
                    queued.waits = Waits::ForAny;
                    self.came.wait(queued).unwrap_or_else(PoisonError::into_inner)
                }
                Some(waited) => {
                    queued.waits = Waits::ForHaste;
                    self.came.wait_timeout(queued, GATHER - waited).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// What has to be written now, and events of runs that nobody waits for.
fn apart(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let awaited = |job: &Job| match &job.work {
        Work::Events(run, _) if job.haste > Haste::None => Some(run.clone()),
        _ => None,
    };
    let awaited: HashSet<_> = jobs.iter().filter_map(awaited).collect();
    jobs.into_iter().partition(|job| match &job.work {
        Work::Events(run, _) => awaited.contains(run),
        Work::Other(_) => true,
    })
}

/// Writes what is still queued and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported there.
            let _ = thread.join();
        }
    }
}

fn serve(connection: Connection, queue: &Queue, state: &State, insert: &Insert) {
    let _end = Ends(queue);
    while let Some(jobs) = queue.take() {
        let (mut works, mut dones, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            works.push(job.work);
            dones.push(job.done);
            rooms.push(job.room);
        }
        let result = match state.poison.get() {
            Some(poison) => Err(poison.clone()),
            None => written(&connection, works, state, insert),
        };
        for done in dones {
            done(result.clone());
        }
    }
}

/// Writes all of it or nothing.
fn written(connection: &Connection, works: Vec<Work>, state: &State, insert: &Insert) -> Result<()> {
    let before = connection.total_changes();
    match commit(connection, works, insert) {
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

fn commit(connection: &Connection, works: Vec<Work>, insert: &Insert) -> rusqlite::Result<()> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let committed = write(connection, works, insert).and_then(|()| execute(connection, "COMMIT"));
    // Some errors have rolled back already.
    if committed.is_err() && !connection.is_autocommit() {
        let _ = execute(connection, "ROLLBACK");
    }
    committed
}

fn write(connection: &Connection, works: Vec<Work>, insert: &Insert) -> rusqlite::Result<()> {
    let mut events: HashMap<RunId, Vec<Row>> = HashMap::new();
    for work in works {
        match work {
            Work::Events(run, rows) => events.entry(run).or_default().extend(rows),
            Work::Other(work) => work(connection)?,
        }
    }
    if events.is_empty() { Ok(()) } else { insert(connection, events) }
}

/// However the thread ends, nobody waits for it any more.
struct Ends<'a>(&'a Queue);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().jobs.clear();
    }
}

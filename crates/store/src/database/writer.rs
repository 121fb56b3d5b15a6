//! The writer thread, with group commit. It takes all jobs that have a waiting caller, runs them in one transaction,
//! commits, and then answers all callers: 64 callers cost one flush of the disk, not 64. Events without a waiting
//! caller are collected for a few milliseconds, or until a caller waits for later events of the same run, and are then
//! inserted together.
//!
//! A transaction that fails is rolled back, and every caller gets the error; nothing is retried here. After a temporary
//! fault of the disk or the system (see [`StoreFault`]) the writer continues with the next transaction. Any other fault
//! poisons the writer: this process no longer knows what is on disk (after a failed flush the system may have dropped
//! pages that it could not write), so every later call gets the same error, and the next process reads from disk what
//! is there.

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
use trunkline_core::{Error, ErrorKind, Result, RunId, StoreFault};

use crate::{
    database::Row,
    files::{CommitMark, file_fault},
    sqlite::{WorkError, WorkResult, authentication, execute, fault, fault_of, schema},
};

/// The capacity of the queue in jobs; further callers wait.
const QUEUE: usize = 1024;
/// The longest time that events without a waiting caller are collected before they are written.
const GATHER: Duration = Duration::from_millis(5);

/// A change to write.
pub(crate) enum Work {
    /// Events of a run. They are written after the other jobs of the same batch; a caller whose events depend on such a
    /// job has already waited for it.
    Events(RunId, Vec<Row>),
    /// Anything else.
    Other(Task),
}

type Task = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

type Done = Box<dyn FnOnce(Result<()>) + Send>;
/// Inserts the events of a transaction.
pub(crate) type Insert = Box<dyn Fn(&Connection, HashMap<RunId, Vec<Row>>) -> rusqlite::Result<()> + Send>;

/// A place in the queue, released when the job is done.
pub(crate) type Room = OwnedSemaphorePermit;

struct Job {
    work: Work,
    done: Done,
    priority: Priority,
    since: Instant,
    room: Room,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// No caller waits.
    #[default]
    Background,
    /// A caller waits for this job.
    Awaited,
    /// A caller waits for this job and for everything queued before it.
    Barrier,
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
    /// Wakes the thread when a job that it waits for was queued.
    wake: Condvar,
}

#[derive(Default)]
struct Queued {
    /// Oldest first.
    jobs: Vec<Job>,
    /// The highest priority among the jobs.
    priority: Priority,
    /// Set when no more jobs are accepted.
    closed: bool,
    waiting: WaitsFor,
}

/// What the thread waits for. Waking it takes longer than queueing a job, so it is woken only when needed.
#[derive(Default)]
enum WaitsFor {
    #[default]
    Nothing,
    AnyJob,
    AwaitedJob,
}

struct State {
    path: PathBuf,
    poison: OnceLock<Error>,
    /// Why the store is read-only, if it is.
    refusal: Option<Error>,
    /// Shows the next process how much was acknowledged.
    mark: Option<CommitMark>,
    commits: AtomicU64,
    /// Set by a write, cleared by a failure and by [`Writer::has_worked`].
    works: AtomicBool,
}

impl State {
    fn new(path: &Path, refusal: Option<Error>, mark: Option<CommitMark>) -> State {
        let (commits, works) = (AtomicU64::new(0), AtomicBool::new(false));
        State { path: path.to_owned(), poison: OnceLock::new(), refusal, mark, commits, works }
    }

    fn poisoned(&self) -> Error {
        self.poison.get().or(self.refusal.as_ref()).map_or_else(
            || {
                Error::new(ErrorKind::Store, "the thread that writes the store has ended")
                    .hint("start Trunkline again: runs continue from what is on disk")
                    .with("file", self.path.display())
            },
            Error::clone,
        )
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection, path: &Path, mark: CommitMark, insert: Insert) -> Result<Self> {
        let (state, queue) = (Arc::new(State::new(path, None, Some(mark))), Arc::<Queue>::default());
        let (of_thread, jobs) = (state.clone(), queue.clone());
        let thread = thread::Builder::new()
            .name("trunkline-store".into())
            .spawn(move || serve(connection, &jobs, &of_thread, &insert))
            .map_err(|error| file_fault("starting the thread that writes the store", path, error))?;
        Ok(Writer { queue, room: Arc::new(Semaphore::new(QUEUE)), state, thread: Some(thread) })
    }

    /// Makes a writer that refuses all jobs, for a store that is read-only.
    pub(crate) fn refusing(path: &Path, refusal: Error) -> Self {
        let state = Arc::new(State::new(path, Some(refusal), None));
        let queue = Arc::<Queue>::default();
        queue.close();
        Writer { queue, room: Arc::new(Semaphore::new(QUEUE)), state, thread: None }
    }

    /// Returns why the store is read-only, if it is.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        self.state.refusal.as_ref()
    }

    /// Returns whether anything was written since the last call, without a failure since.
    pub(crate) fn has_worked(&self) -> bool {
        self.state.works.swap(false, Ordering::Relaxed)
    }

    /// Returns the number of committed transactions.
    pub(crate) fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::Relaxed)
    }

    /// Fails with the error of the fault that poisoned the writer, if there was one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state.poison.get().is_some() { Err(self.state.poisoned()) } else { Ok(()) }
    }

    /// Waits for a place in the queue.
    pub(crate) async fn room(&self) -> Result<Room> {
        self.check()?;
        self.room.clone().acquire_owned().await.map_err(|_| self.state.poisoned())
    }

    /// Queues work without waiting. `done` is called when the work is on disk or has failed.
    pub(crate) fn queue(&self, room: Room, work: Work, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        self.send(Job { work, done: Box::new(done), priority: Priority::Background, since: Instant::now(), room })
    }

    /// Waits until work is on disk, together with everything of the same run that was queued before it. `done` is
    /// called as by [`Writer::queue`].
    pub(crate) async fn wait(
        &self,
        work: Work,
        done: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.submit(work, Priority::Awaited, done).await
    }

    /// Waits until everything that was queued before is on disk.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.submit(Work::Other(Box::new(|_| Ok(()))), Priority::Barrier, |result| result).await
    }

    async fn submit(
        &self,
        work: Work,
        priority: Priority,
        done: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let room = self.room().await?;
        let (sender, receiver) = oneshot::channel();
        // The receiver is gone if the caller was cancelled.
        let done = move |result| drop(sender.send(done(result)));
        self.send(Job { work, done: Box::new(done), priority, since: Instant::now(), room })?;
        receiver.await.unwrap_or_else(|_| Err(self.state.poisoned()))
    }

    /// Runs work and returns its value when it is on disk. Work that is refused must not have changed anything.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> WorkResult<T> + Send + 'static,
    ) -> Result<T> {
        let value = Arc::new(Mutex::new(None));
        let found = value.clone();
        let work = Work::Other(Box::new(move |transaction| {
            let value = match work(transaction) {
                Ok(value) => Ok(value),
                Err(WorkError::Refused(error)) => Err(error),
                Err(WorkError::Sqlite(error)) => return Err(error),
            };
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        }));
        self.wait(work, |result| result).await?;
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.unwrap_or_else(|| Err(self.state.poisoned()))
    }

    fn send(&self, job: Job) -> Result<()> {
        if self.queue.push(job) { Ok(()) } else { Err(self.state.poisoned()) }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. Returns `false` if the queue is closed.
    fn push(&self, job: Job) -> bool {
        let mut queued = self.lock();
        if queued.closed {
            return false;
        }
        let priority = if queued.jobs.len() + 1 >= QUEUE { Priority::Barrier } else { job.priority };
        queued.priority = queued.priority.max(priority);
        queued.jobs.push(job);
        let wakes = match queued.waiting {
            WaitsFor::Nothing => false,
            WaitsFor::AnyJob => true,
            WaitsFor::AwaitedJob => queued.priority > Priority::Background,
        };
        if wakes {
            queued.waiting = WaitsFor::Nothing;
            drop(queued);
            self.wake.notify_one();
        }
        true
    }

    fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits for the jobs of the next transaction and returns them in queue order, or `None` when the queue is closed
    /// and empty.
    fn take(&self) -> Option<Vec<Job>> {
        let mut queued = self.lock();
        loop {
            let waited = queued.jobs.first().map(|oldest| oldest.since.elapsed());
            let all =
                queued.closed || queued.priority == Priority::Barrier || waited.is_some_and(|waited| waited >= GATHER);
            if all || queued.priority == Priority::Awaited {
                (queued.waiting, queued.priority) = (WaitsFor::Nothing, Priority::Background);
                let jobs = std::mem::take(&mut queued.jobs);
                let (now, later) = if all { (jobs, Vec::new()) } else { split_awaited(jobs) };
                queued.jobs = later;
                return Some(now).filter(|jobs| !jobs.is_empty());
            }
            queued = match waited {
                None => {
                    queued.waiting = WaitsFor::AnyJob;
                    self.wake.wait(queued).unwrap_or_else(PoisonError::into_inner)
                }
                Some(waited) => {
                    queued.waiting = WaitsFor::AwaitedJob;
                    self.wake.wait_timeout(queued, GATHER - waited).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Splits jobs into those to write now and those that can wait: events of runs without a waiting caller.
fn split_awaited(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let awaited = |job: &Job| match &job.work {
        Work::Events(run, _) if job.priority > Priority::Background => Some(run.clone()),
        _ => None,
    };
    let awaited: HashSet<_> = jobs.iter().filter_map(awaited).collect();
    jobs.into_iter().partition(|job| match &job.work {
        Work::Events(run, _) => awaited.contains(run),
        Work::Other(_) => true,
    })
}

/// Writes the queued jobs and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by that thread.
            let _ = thread.join();
        }
    }
}

fn serve(connection: Connection, queue: &Queue, state: &State, insert: &Insert) {
    let _close = CloseOnExit(queue);
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

/// Writes all jobs in one transaction, or none of them.
fn written(connection: &Connection, works: Vec<Work>, state: &State, insert: &Insert) -> Result<()> {
    match commit(connection, works, insert) {
        Ok(number) => {
            state.commits.fetch_add(1, Ordering::Relaxed);
            if let Some(number) = number {
                state.works.store(true, Ordering::Relaxed);
                // A mark that stays behind does no harm.
                let _ = state.mark.as_ref().map(|mark| mark.write(number));
            }
            Ok(())
        }
        Err(error) => {
            state.works.store(false, Ordering::Relaxed);
            let passes = fault_of(&error, &state.path).is_some_and(StoreFault::passes);
            let error = fault("writing to the store", &state.path, error);
            if !passes {
                let _ = state.poison.set(error.clone());
                // Nothing more is written or flushed by this process, not even by SQLite when it closes the file.
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
            Err(error)
        }
    }
}

/// Returns the number of the commit if anything was changed.
fn commit(connection: &Connection, works: Vec<Work>, insert: &Insert) -> rusqlite::Result<Option<i64>> {
    let before = connection.total_changes();
    execute(connection, "BEGIN IMMEDIATE")?;
    let committed = write(connection, works, insert).and_then(|()| {
        let changed = connection.total_changes() > before;
        let number = changed.then(|| schema::count_commit(connection)).transpose()?;
        execute(connection, "COMMIT").map(|()| number)
    });
    // Some errors have already rolled the transaction back.
    if committed.is_err() && !connection.is_autocommit() {
        let _ = execute(connection, "ROLLBACK");
    }
    committed.map_err(authentication::name_row)
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

/// Closes the queue when the thread ends, even by a panic, so that no caller waits for it.
struct CloseOnExit<'a>(&'a Queue);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().jobs.clear();
    }
}

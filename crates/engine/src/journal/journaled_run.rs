//! A run on its [`Journal`]: the fold of its events, and the append of further ones.
//!
//! This is all that stands between the interpreter and a journal. It decides nothing: which events a run needs, and when
//! they have to be on disk, is up to the interpreter.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use trunkline_core::{Result, RunId};

use crate::{
    journal::{Flush, Journal},
    run::{Run, RunEvent},
};

/// A run on its [`Journal`]. A clone is the same run.
#[derive(Clone)]
pub(crate) struct JournaledRun(Arc<Inner>);

struct Inner {
    id: RunId,
    run: Mutex<Run>,
    /// Wakes the steps that wait for an event of another process.
    received: Notify,
    journal: Arc<dyn Journal>,
    /// Whether each event is flushed before anything else happens.
    flush_every_step: bool,
    progress: tokio::sync::Mutex<Progress>,
}

/// The progress of a run in this process.
#[derive(Default)]
struct Progress {
    /// How often something was recorded.
    records: u64,
    /// Whether the run is marked as one that may be the cause of a crash.
    marked: bool,
}

impl JournaledRun {
    pub(crate) fn new(run: Run, journal: Arc<dyn Journal>, flush_every_step: bool) -> Self {
        let (id, run) = (run.id.clone(), Mutex::new(run));
        JournaledRun(Arc::new(Inner {
            id,
            run,
            received: Notify::new(),
            journal,
            flush_every_step,
            progress: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns the run's id.
    pub(crate) fn id(&self) -> &RunId {
        &self.0.id
    }

    /// Returns the journal, to look up what is not part of the fold.
    pub(crate) fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    /// Reads the state of the run.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        self.change(|run| read(run))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Run) -> T) -> T {
        change(&mut self.0.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends an event to the journal, then applies it.
    pub(crate) async fn record(&self, event: RunEvent, flush: Flush) -> Result<()> {
        self.record_all(vec![event], flush).await
    }

    /// Records several events at once: after a crash, all of them are there or none.
    pub(crate) async fn record_all(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.append(events.clone(), flush).await?;
        self.change(|run| events.into_iter().for_each(|event| run.apply(event)));
        self.unmark().await;
        Ok(())
    }

    /// Marks the run as active without progress, once: if its process dies now, the run may be the cause. Does nothing if
    /// the number of records is not `seen` any more. Returns this number.
    pub(crate) async fn mark(&self, seen: u64) -> u64 {
        let mut progress = self.0.progress.lock().await;
        if progress.records == seen
            && !std::mem::replace(&mut progress.marked, true)
            && let Err(error) = self.0.journal.mark_active(&self.0.id).await
        {
            tracing::warn!(run = %self.0.id, "cannot be marked as active: {error}");
        }
        progress.records
    }

    /// Removes the marks of the run, since it has recorded something or stops at a safe point.
    async fn unmark(&self) {
        let mut progress = self.0.progress.lock().await;
        progress.records += 1;
        if std::mem::take(&mut progress.marked)
            && let Err(error) = self.0.journal.clear_active(&self.0.id).await
        {
            tracing::warn!(run = %self.0.id, "cannot be unmarked as active: {error}");
        }
    }

    /// Appends events that only the next process has to see: they are not applied.
    pub(crate) async fn append(&self, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        let flush = if self.0.flush_every_step { Flush::Now } else { flush };
        self.0.journal.append(&self.0.id, events, flush).await
    }

    /// Applies events that another process has appended.
    pub(crate) fn receive(&self, events: Vec<RunEvent>) {
        self.change(|run| events.into_iter().for_each(|event| run.apply(event)));
        self.0.received.notify_waiters();
    }

    /// Waits until `find` returns something of the state. It is asked again whenever an event of another process has
    /// been received.
    pub(crate) async fn received<T>(&self, find: impl Fn(&Run) -> Option<T>) -> T {
        loop {
            // Registered before the check, so an event that arrives in between is not missed.
            let received = self.0.received.notified();
            if let Some(found) = self.read(&find) {
                return found;
            }
            received.await;
        }
    }

    /// Writes all recorded events to disk and leaves the run to be resumed. Returns its state.
    pub(crate) async fn suspend(&self) -> Result<Run> {
        self.append(Vec::new(), Flush::Now).await?;
        self.unmark().await;
        Ok(self.take())
    }

    /// Takes the state out of a run that nothing works on any more.
    pub(crate) fn take(&self) -> Run {
        self.change(|run| std::mem::replace(run, Run::new(run.id.clone())))
    }
}

//! The event log: a table of events. What is derived from them (the row of the run, the outcomes of items) is written
//! in the same transaction, so a list of runs or a query for one item never reads all events of a run.
//!
//! Events queued with [`Flush::Later`] are not on disk yet, but this process has to see them: their outcomes and
//! cancellations are kept as pending writes until then, and a replay flushes them first.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use trunkline_core::{Result, RunId, StepPath, async_trait};
use trunkline_engine::{
    EventLog, EventPage, EventPlace, Flush, RunEvent, RunStatus, TriggerDeduplication, TriggerEvent,
};

use crate::{
    database::{Change, Row, Store, StoredEvent, Work, damaged, parse},
    journal::{accepting, named},
    lookup::not_found::no_run,
    sqlite::{WorkError, completeness, signed},
};

/// A replay reads this many events at a time, or fewer that together reach `PAGE_BYTES`.
const PAGE_EVENTS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

#[async_trait]
impl EventLog for Store {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        if flush == Flush::Now {
            return self.accept_triggered(run, version, flow, started, &TriggerEvent::default()).await.map(drop);
        }
        let accept = accepting(self, run, version, flow, started, TriggerEvent::default())?;
        let room = self.inner.writer.room().await?;
        let (pending, run) = (self.inner.pending.clone(), run.clone());
        let number = pending.arrive(&run);
        let (lost, of) = (pending.clone(), run.clone());
        let work = Work::Other(Box::new(move |store| {
            // Marked as failed at once, so that no event of a run that does not exist is inserted.
            match accept(store) {
                Err(WorkError::Sqlite(error)) => return Err(error),
                Err(WorkError::Refused(error)) => lost.fail(&of, &error),
                Ok(_) => {}
            }
            Ok(())
        }));
        self.inner.writer.queue(room, work, move |result| pending.done(&run, Vec::new(), number, result))
    }

    async fn wait_stored(&self, run: &RunId) -> Result<()> {
        self.arrived(run).await?;
        self.on_disk(run)
    }

    async fn append(&self, run: &RunId, events: Vec<RunEvent>, flush: Flush) -> Result<()> {
        self.must_exist(run)?;
        let rows: Result<Vec<_>> = events.into_iter().map(Row::new).collect();
        let (rows, pending, run) = (rows?, self.inner.pending.clone(), run.clone());
        if flush == Flush::Now {
            let ends = rows.iter().any(|row| matches!(row.change, Change::Status { finished_at: Some(_), .. }));
            let work = Work::Events(run.clone(), rows);
            let done = move |result: Result<()>| {
                if ends {
                    pending.lock().known.remove(&run);
                }
                result.and_then(|()| pending.check(&run)).inspect_err(|error| pending.fail(&run, error))
            };
            return self.inner.writer.wait(work, done).await;
        }
        pending.check(&run)?;
        let room = self.inner.writer.room().await?;
        let number = pending.add(&run, &rows);
        let keys: Vec<_> = rows.iter().filter_map(|row| row.item(&run)).collect();
        let work = Work::Events(run.clone(), rows);
        self.inner.writer.queue(room, work, move |result| pending.done(&run, keys, number, result))
    }

    async fn replay(&self, run: &RunId, visit: &mut (dyn FnMut(RunEvent) + Send)) -> Result<()> {
        self.flushed().await?;
        let id = run.clone();
        let all = self.readers.read("reading a run", move |store| completeness::complete(store, &id)).await?;
        let all = all.ok_or_else(|| no_run(run))?;
        let mut last = 0;
        loop {
            let id = run.clone();
            let page = self.readers.read("reading a run's events", move |store| page(store, &id, last)).await?;
            if page.is_empty() {
                break;
            }
            for stored in page {
                last += 1;
                if stored.seq != last {
                    return Err(damaged(run).with("missing event", last));
                }
                visit(stored.event(&self.inner.seal, run)?);
            }
        }
        if last < all { Err(damaged(run).with("missing event", last + 1)) } else { Ok(()) }
    }

    async fn events(&self, run: &RunId, after: u64) -> Result<(RunStatus, Vec<(u64, RunEvent)>)> {
        let (id, after) = (run.clone(), signed(after));
        // The status is read first: if the run has ended, its last event is in the page.
        let read =
            self.readers.read("watching a run", move |store| Ok((status(store, &id)?, page(store, &id, after)?)));
        let (status, page) = read.await?;
        let shown =
            |stored: StoredEvent| Ok((stored.seq.unsigned_abs(), parse::<RunEvent>(run, &stored.event)?.shown()));
        Ok((status.ok_or_else(|| no_run(run))?, page.into_iter().map(shown).collect::<Result<_>>()?))
    }

    async fn all_events(&self, after: Option<EventPlace>) -> Result<EventPage> {
        self.page_of_all(after).await
    }

    async fn step_events(&self, run: &RunId, step: &StepPath) -> Result<Vec<RunEvent>> {
        self.flushed().await?;
        let (id, step) = (run.clone(), step.clone());
        let read = self.readers.read("reading the events of a step", move |store| {
            let exists = completeness::last_event(store, &id)?;
            Ok((exists, of_step(store, &id, &step)?))
        });
        let (exists, found) = read.await?;
        exists.ok_or_else(|| no_run(run))?;
        found.into_iter().map(|stored| stored.event(&self.inner.seal, run)).collect()
    }

    async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        if self.inner.pending.lock().cancels.contains_key(run) {
            return Ok(true);
        }
        self.arrived(run).await?;
        let requested = self.readers.look("reading a run", |store| {
            let mut statement = store.prepare_cached("SELECT cancel_requested FROM good_runs WHERE id = ?1")?;
            statement.query_row([run.as_str()], |row| row.get(0)).optional()
        });
        requested?.ok_or_else(|| no_run(run))
    }

    async fn signals(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, u64)> {
        self.flushed().await?;
        let (id, after) = (run.clone(), signed(after));
        let (found, last) = self
            .readers
            .read("reading a run's signals", move |store| {
                let last = completeness::last_event(store, &id)?;
                // Without `+`, SQLite would check the MACs of events of all kinds.
                let mut found = store.prepare_cached(
                    "SELECT seq, event, key_id, sealed FROM good_events
                     WHERE run = ?1 AND seq > ?2 AND seq <= ?3 AND +kind = 'signalled' ORDER BY seq",
                )?;
                let found =
                    found.query_map(params![id.as_str(), after, last.unwrap_or_default()], StoredEvent::read)?;
                Ok((found.collect::<rusqlite::Result<Vec<_>>>()?, last))
            })
            .await?;
        let last = last.ok_or_else(|| no_run(run))?;
        let found: Result<_> = found.into_iter().map(|stored| stored.event(&self.inner.seal, run)).collect();
        Ok((found?, last.unsigned_abs()))
    }
}

fn page(store: &Connection, run: &RunId, after: i64) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut statement = store.prepare_cached(
        "SELECT seq, event, key_id, sealed FROM good_events WHERE run = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![run.as_str(), after])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < PAGE_EVENTS && bytes < PAGE_BYTES {
        let Some(row) = rows.next()? else { break };
        let one = StoredEvent::read(row)?;
        bytes += one.event.len() + one.sealed.as_ref().map_or(0, |sealed| sealed.bytes.len());
        page.push(one);
    }
    Ok(page)
}

fn status(store: &Connection, run: &RunId) -> rusqlite::Result<Option<RunStatus>> {
    let mut statement = store.prepare_cached("SELECT status FROM good_runs WHERE id = ?1")?;
    let found: Option<String> = statement.query_row([run.as_str()], |row| row.get(0)).optional()?;
    found.map(named).transpose()
}

/// Returns the events of one step of a run, in order.
fn of_step(store: &Connection, run: &RunId, step: &StepPath) -> rusqlite::Result<Vec<StoredEvent>> {
    // The events are looked for without a look at their MACs, which those that are found are read with.
    let mut events = store.prepare_cached(
        "SELECT seq, event, key_id, sealed FROM good_events WHERE run = ?1 AND seq IN (
             SELECT seq FROM main.events WHERE run = ?1 AND json_extract(event, '$.step') = ?2
             AND kind NOT IN ('end', 'item_finished', 'item_resolved', 'checkpoint', 'deadline_set')
         ) ORDER BY seq",
    )?;
    events.query_map(params![run.as_str(), step.as_str()], StoredEvent::read)?.collect()
}

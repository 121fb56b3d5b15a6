//! The journal: a table of events. What is derived from them (the row of the run, the outcomes of items) is written in the
//! same transaction, so a list of runs or a query for one item never reads all events of a run.
//!
//! Events queued with [`Flush::Later`] are not on disk yet, but this process has to see them: their outcomes and
//! cancellations are kept as pending writes until then, and a replay flushes them first.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, NextStep, Result, async_trait};
use trunkline_engine::{
    Flush, Item, ItemOutcome, Journal, LogEntry, LogPage, PreviousOutcome, RunClaim, RunEvent, RunId, RunStatus,
    RunSummary, StepPath, TriggerEvent,
};

use crate::{
    Store, checksum, deduplication,
    event_row::{Change, Row, SecretPart, StoredEvent, damaged, parse, signed, text},
    event_row::{column, time},
    flows::{flow_document, pin},
    item_outcomes::{self, Counts, STATUSES},
    pending_writes::Pending,
    run_lock, schema,
    seal::{AssociatedData, Seal},
    sqlite::{WorkError, WorkResult, ours},
    writer::{Insert, Work},
};

/// A replay reads this many events at a time, or fewer that together reach `PAGE_BYTES`.
const PAGE_EVENTS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

#[async_trait]
impl Journal for Store {
    async fn accept(&self, run: &RunId, version: &str, flow: &Value, started: RunEvent, flush: Flush) -> Result<()> {
        if flush == Flush::Now {
            return self.accept_triggered(run, version, flow, started, &TriggerEvent::default()).await.map(drop);
        }
        let accept = self.accepting(run, version, flow, started, TriggerEvent::default())?;
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

    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        event: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        let accept = self.accepting(run, version, flow, started, event.clone())?;
        let earlier = self.inner.writer.run(accept).await?;
        if earlier.is_none() {
            self.inner.pending.lock().known.insert(run.clone());
        }
        Ok(earlier)
    }

    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        let (version, document) = (version.to_owned(), text(flow)?);
        self.inner.writer.run(move |store| pin(store, &version, &document)).await
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
        let all = self.readers.read("reading a run", move |store| checksum::complete(store, &id)).await?;
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

    async fn log(&self, run: &RunId, entry: LogEntry) -> Result<()> {
        self.add_to_log(run, entry).await
    }

    async fn logged(&self, run: &RunId, after: u64) -> Result<LogPage> {
        self.read_log(run, after).await
    }

    async fn flow(&self, version: &str) -> Result<Value> {
        let document = self.readers.look("reading a flow", |store| flow_document(store, version))?;
        let document =
            document.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no flow version {version}")))?;
        serde_json::from_str(&document).map_err(|error| {
            Error::new(ErrorKind::Store, format!("the stored flow version {version} cannot be read"))
                .hint("restore the last backup of the data directory")
                .source(error)
        })
    }

    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.inner.writer.check()?;
        let item = (run.clone(), step.clone(), key.to_owned());
        let queued = self.inner.pending.lock().items.get(&item).map(|(_, outcome)| outcome.clone());
        if let Some(outcome) = queued {
            return parse(run, &outcome).map(Some);
        }
        let kept = self.readers.look("reading an item", |store| {
            let mut statement =
                store.prepare_cached("SELECT outcome FROM good_items WHERE run = ?1 AND step = ?2 AND key = ?3")?;
            statement.query_row([run.as_str(), step.as_str(), key], |row| row.get::<_, String>(0)).optional()
        });
        kept?.map(|outcome| parse(run, &outcome)).transpose()
    }

    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        let _ = self.flushed().await;
        self.some_items(run, status, after, most).await
    }

    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        self.arrived(run).await?;
        self.remembered(run, step, key)
    }

    async fn runs(&self) -> Result<Vec<RunSummary>> {
        // A journal that can no longer write can still be read.
        let _ = self.flushed().await;
        let read = self.readers.read("listing the runs", |store| {
            let mut statement = store.prepare_cached(
                "SELECT id, flow, version, status, started_at, finished_at, done, skipped, failed, unknown
                 FROM good_runs ORDER BY started_at DESC, number DESC",
            )?;
            statement.query_map([], summary)?.collect()
        });
        read.await
    }

    async fn claim(&self, run: &RunId) -> Result<RunClaim> {
        let claimed = run_lock::claim(&self.inner.dir, run)?;
        if self.inner.pending.check(run).is_err() {
            // What the previous worker queued is dropped first, while the run still counts as failed.
            let _ = self.inner.writer.flush().await;
            self.inner.pending.reload(run);
        }
        Ok(claimed)
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
                let last = checksum::last_event(store, &id)?;
                // Without `+`, SQLite would check the checksums of events of all kinds.
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

/// Inserts events, but not those of a run whose earlier events were lost.
pub(crate) fn inserts(seal: Arc<Seal>, pending: Arc<Pending>) -> Insert {
    Box::new(move |store, events| {
        let key_id = schema::key_id(store)?;
        for (run, rows) in events {
            if pending.check(&run).is_ok() {
                insert(store, (&seal, &key_id), &run, rows)?;
            }
        }
        Ok(())
    })
}

impl Store {
    /// Returns the work that accepts a run, or returns the earlier run that was started for the same trigger event. It fails
    /// before it changes anything.
    fn accepting(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        event: TriggerEvent,
    ) -> Result<impl FnOnce(&Connection) -> WorkResult<Option<RunId>> + Send + 'static> {
        run_lock::check(run)?;
        let RunEvent::Started { flow: name, connections, at, .. } = &started else {
            return Err(Error::new(ErrorKind::Internal, "the first event of a run must be `started`"));
        };
        let (name, connections, at) = (name.clone(), text(connections)?, column(*at));
        let (version, document) = (version.to_owned(), text(flow)?);
        let id = run.clone();
        let row = Row::new(started)?;
        let seal = self.inner.seal.clone();
        Ok(move |store: &Connection| {
            if let Some(earlier) = deduplication::run_for(store, &event)? {
                return Ok(Some(earlier));
            }
            if exists(store, &id)? {
                return Err(Error::new(ErrorKind::Conflict, format!("run {id} exists already")).into());
            }
            pin(store, &version, &document)?;
            store
                .prepare_cached(
                    "INSERT INTO runs (id, flow, version, status, started_at, connections, last, sum)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, checksum(?1, ?2, ?3, ?4, ?5, NULL, 0, 0, 0, 0, 0, ?6, 1, 0))",
                )?
                .execute(params![id.as_str(), name, version, RunStatus::Running.as_str(), at, connections])?;
            insert_event(store, (&seal, &schema::key_id(store)?), &id, 1, row)?;
            checksum::set_end(store, &id, 1)?;
            deduplication::save(store, &event, Some(&id))?;
            Ok(None)
        })
    }

    /// Waits until an accepted run is on disk.
    ///
    /// # Errors
    ///
    /// `not_found` if the run was lost before it reached the disk, or `store`.
    pub async fn wait_stored(&self, run: &RunId) -> Result<()> {
        self.arrived(run).await?;
        self.on_disk(run)
    }

    /// Waits until a run is on disk or lost.
    async fn arrived(&self, run: &RunId) -> Result<()> {
        let arrives = self.inner.pending.lock().arriving.contains(run);
        if arrives { self.inner.writer.flush().await } else { Ok(()) }
    }

    /// Waits until everything that this process queued is on disk.
    async fn flushed(&self) -> Result<()> {
        self.inner.writer.check()?;
        if self.inner.pending.lock().appends == 0 {
            return Ok(());
        }
        self.inner.writer.flush().await
    }

    pub(crate) fn must_exist(&self, run: &RunId) -> Result<()> {
        if self.inner.pending.lock().known.contains(run) {
            return Ok(());
        }
        self.on_disk(run)?;
        self.inner.pending.lock().known.insert(run.clone());
        Ok(())
    }

    fn on_disk(&self, run: &RunId) -> Result<()> {
        let is_there = self.readers.look("reading a run", |store| exists(store, run))?;
        if is_there { Ok(()) } else { Err(no_run(run)) }
    }
}

fn insert(store: &Connection, seal: (&Seal, &str), run: &RunId, rows: Vec<Row>) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut seq = checksum::end(store, run)?;
    let (mut counts, mut changed, mut cancelled): (Counts, _, _) = ([0; 4], None, false);
    for row in rows {
        seq += 1;
        let change = insert_event(store, seal, run, seq, row)?;
        match change {
            Change::None => {}
            Change::Status { status, finished_at } => changed = Some((status, finished_at)),
            Change::Cancel => cancelled = true,
            Change::Item(item) => item_outcomes::save(store, run, &item, &mut counts)?,
        }
    }
    checksum::set_end(store, run, seq)?;
    if changed.is_none() && !cancelled && counts == [0; 4] {
        return Ok(());
    }
    let [done, skipped, failed, unknown] = counts;
    let (status, finished_at) = changed.map(|(status, finished_at)| (status.as_str(), finished_at)).unzip();
    // In one go: each change of the line is a look at its checksum, and another one.
    store
        .prepare_cached(
            "UPDATE runs SET done = done + ?2, skipped = skipped + ?3, failed = failed + ?4, unknown = unknown + ?5,
                 last = ?6, cancel_requested = cancel_requested OR ?7, status = coalesce(?8, status),
                 finished_at = CASE WHEN ?8 IS NULL THEN finished_at ELSE ?9 END
             WHERE id = ?1",
        )?
        .execute(params![run.as_str(), done, skipped, failed, unknown, seq, cancelled, status, finished_at.flatten()])
        .map(drop)
}

/// Inserts an event of this number, sealed with this key; what else it changes.
fn insert_event(
    store: &Connection,
    (seal, key_id): (&Seal, &str),
    run: &RunId,
    seq: i64,
    row: Row,
) -> rusqlite::Result<Change> {
    let sealed = row.secret.map(|SecretPart { row, field, plain }| {
        let place = AssociatedData { table: "events", row: &[run.as_str(), &row], field };
        seal.seal_with(key_id, &place, plain.as_bytes()).map_err(ours)
    });
    let (key_id, bytes) = sealed.transpose()?.map(|sealed| (sealed.key_id, sealed.bytes)).unzip();
    store
        .prepare_cached(
            "INSERT INTO events (run, seq, kind, event, key_id, sealed, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, checksum(?1, ?2, ?3, ?4))",
        )?
        .execute(params![run.as_str(), seq, row.kind, row.event, key_id, bytes])?;
    Ok(row.change)
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
    found.map(status_of).transpose()
}

fn status_of(text: String) -> rusqlite::Result<RunStatus> {
    serde_json::from_value(text.into())
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

fn summary(row: &SqlRow<'_>) -> rusqlite::Result<RunSummary> {
    let mut items = BTreeMap::new();
    for (index, status) in STATUSES.into_iter().enumerate() {
        let count: i64 = row.get(6 + index)?;
        if count > 0 {
            items.insert(status.to_owned(), count.unsigned_abs());
        }
    }
    Ok(RunSummary {
        id: RunId::from(row.get::<_, String>(0)?),
        flow: row.get(1)?,
        version: row.get(2)?,
        status: status_of(row.get(3)?)?,
        started_at: time(row.get(4)?),
        finished_at: row.get::<_, Option<i64>>(5)?.map(time),
        items,
    })
}

fn exists(store: &Connection, run: &RunId) -> rusqlite::Result<bool> {
    store.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?.exists([run.as_str()])
}

fn no_run(run: &RunId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no run {run}")).next(NextStep::ListRuns)
}

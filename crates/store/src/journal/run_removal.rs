//! The removal of runs, in small transactions. The first one checks the run and marks it: the views then no longer
//! show it, so nothing finds it, whatever is left of it. A removal that a kill has ended is completed by the next one.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::{Result, RunId, async_trait};
use trunkline_engine::RunRemoval;
use trunkline_flow::Retention;

use crate::{
    database::Store,
    journal::run_index,
    lookup::not_found::no_run,
    sqlite::{WorkResult, retention},
};

/// The most rows that one transaction removes, and about the most bytes of each table.
const ROWS: i64 = 40;
const BYTES: i64 = 256 << 10;
/// After each transaction, the removal waits for this many times as long as it took: other writers come first.
const PAUSE: u32 = 8;

/// The tables of a run's rows, with the rest of their keys and the sizes of their rows.
const TABLES: [(&str, &str, &str); 3] = [
    ("events", "seq", "octet_length(event) + coalesce(octet_length(sealed), 0)"),
    ("step_log", "seq", "octet_length(sealed)"),
    ("items", "step, key", "octet_length(key) + octet_length(outcome)"),
];

#[async_trait]
impl RunRemoval for Store {
    async fn remove_run(&self, run: &RunId) -> Result<()> {
        let id = run.clone();
        let mut next = self.one_removal(move |store| mark(store, &id)).await?;
        self.inner.pending.lock().known.remove(run);
        while let Some(run) = next {
            next = self.one_removal(move |store| Ok(remove_rows(store, &run)?)).await?;
        }
        Ok(())
    }

    async fn retention(&self) -> Result<Option<Retention>> {
        self.readers.look("reading the retention of runs", retention::read)
    }

    async fn set_retention(&self, setting: Retention) -> Result<()> {
        self.inner.writer.run(move |store| Ok(retention::write(store, setting)?)).await
    }
}

impl Store {
    /// Runs one transaction of a removal, and then leaves time for other writers.
    async fn one_removal(
        &self,
        work: impl FnOnce(&Connection) -> WorkResult<Option<RunId>> + Send + 'static,
    ) -> Result<Option<RunId>> {
        let begun = Instant::now();
        let next = self.inner.writer.run(work).await?;
        tokio::time::sleep(begun.elapsed().min(Duration::from_millis(250)) * PAUSE).await;
        Ok(next)
    }
}

/// Marks a run as removed, if it may be, and removes its first rows. Returns the run whose rows are left.
fn mark(store: &Connection, run: &RunId) -> WorkResult<Option<RunId>> {
    let summary = run_index::summary_of(store, run)?.ok_or_else(|| no_run(run))?;
    let mut rerun = store.prepare_cached("SELECT id FROM good_runs WHERE repeats = ?1 LIMIT 1")?;
    let rerun: Option<String> = rerun.query_row([run.as_str()], |row| row.get(0)).optional()?;
    summary.check_removal(rerun.map(RunId::from).as_ref())?;
    store.prepare_cached("UPDATE runs SET status = 'removed' WHERE id = ?1")?.execute([run.as_str()])?;
    Ok(remove_rows(store, run)?)
}

/// Removes rows of a run that is marked, and the run with the last ones. Returns the run whose rows are removed next:
/// the same one, or one that an earlier process has left, or none.
fn remove_rows(store: &Connection, run: &RunId) -> rusqlite::Result<Option<RunId>> {
    let mut room = ROWS;
    for (table, key, size) in TABLES {
        let mut delete = store.prepare_cached(&delete(table, key, size))?;
        room -= i64::try_from(delete.execute(params![run.as_str(), room, BYTES])?).unwrap_or(room);
    }
    let left = TABLES.map(|(table, ..)| format!("EXISTS (SELECT 1 FROM {table} WHERE run = ?1)")).join(" OR ");
    let mut left = store.prepare_cached(&format!("SELECT {left}"))?;
    if left.query_row([run.as_str()], |row| row.get(0))? {
        return Ok(Some(run.clone()));
    }
    store.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([run.as_str()])?;
    let mut other = store.prepare_cached("SELECT id FROM runs WHERE status = 'removed' LIMIT 1")?;
    other.query_row([], |row| Ok(RunId::from(row.get::<_, String>(0)?))).optional()
}

/// Returns the statement that removes the first rows of a run from a table: at most ?2, of about ?3 bytes together.
fn delete(table: &str, key: &str, size: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE run = ?1 AND ({key}) IN (
             SELECT {key} FROM (
                 SELECT {key}, sum(size) OVER (ORDER BY {key} ROWS UNBOUNDED PRECEDING) - size AS before
                 FROM (SELECT {key}, {size} AS size FROM {table} WHERE run = ?1 ORDER BY {key} LIMIT ?2)
             ) WHERE before < ?3
         )"
    )
}

#[cfg(test)]
mod tests;

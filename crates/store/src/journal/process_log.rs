//! The process log of runs. Entries are encrypted one by one; a run keeps a limited number of entries and bytes.

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::{Result, RunId, async_trait};
use trunkline_engine::{LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LogEntry, LogPage, ProcessLog};
use zeroize::Zeroizing;

use crate::{
    database::{Store, Work, damaged},
    encryption::{AssociatedData, Seal, Sealed},
    sqlite::{WorkError, completeness, seal_in, signed, text},
};

/// The field of its [`AssociatedData`].
pub(crate) const ENTRY: &str = "entry";

#[async_trait]
impl ProcessLog for Store {
    /// The entry is written with the next events.
    async fn log(&self, run: &RunId, entry: LogEntry) -> Result<()> {
        self.must_exist(run)?;
        let (plain, id, seal) = (Zeroizing::new(text(&entry)?), run.clone(), self.inner.seal.clone());
        let room = self.inner.writer.room().await?;
        let work = Work::Other(Box::new(move |store| insert(store, &seal, &id, plain.as_bytes())));
        self.inner.writer.queue(room, work, drop)
    }

    async fn logged(&self, run: &RunId, after: u64) -> Result<LogPage> {
        let (id, after) = (run.clone(), signed(after));
        let read = self.readers.read("reading the log of a run", move |store| {
            completeness::last_entry(store, &id)?;
            let mut first = store.prepare_cached("SELECT min(seq) FROM step_log WHERE run = ?1")?;
            let first: Option<i64> = first.query_row([id.as_str()], |row| row.get(0))?;
            let mut page = store.prepare_cached(
                "SELECT seq, key_id, sealed FROM step_log WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?;
            let page = page.query_map(params![id.as_str(), after, LOG_PAGE as i64], |row| {
                Ok((row.get::<_, i64>(0)?, Sealed { key_id: row.get(1)?, bytes: row.get(2)? }))
            })?;
            Ok((first, page.collect::<rusqlite::Result<Vec<_>>>()?))
        });
        let (first, page) = read.await?;
        let mut entries = Vec::new();
        for ((seq, sealed), next) in page.into_iter().zip(first.unwrap_or(1).max(after.saturating_add(1))..) {
            if seq != next {
                return Err(damaged(run).with("missing entry", next));
            }
            let number = seq.to_string();
            let place = AssociatedData { table: "step_log", row: &[run.as_str(), &number], field: ENTRY };
            let plain = self.inner.seal.open(&place, &sealed).map_err(|error| error.with("run", run))?;
            entries.push((seq.unsigned_abs(), serde_json::from_slice(&plain).map_err(|_| damaged(run))?));
        }
        Ok(LogPage { dropped: first.map_or(0, |first| first.unsigned_abs() - 1), entries })
    }
}

fn insert(store: &Connection, seal: &Seal, run: &RunId, plain: &[u8]) -> rusqlite::Result<()> {
    let mut last = store.prepare_cached("SELECT seq, total FROM step_log WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?;
    let last: Option<(i64, i64)> = last.query_row([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (seq, total) = last.unwrap_or_default();
    let seq = seq + 1;
    let number = seq.to_string();
    let place = AssociatedData { table: "step_log", row: &[run.as_str(), &number], field: ENTRY };
    let Sealed { key_id, bytes } = seal_in(store, seal, &place, plain).map_err(WorkError::into_sqlite)?;
    let total = total + i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    store
        .prepare_cached("INSERT INTO step_log (run, seq, total, key_id, sealed) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![run.as_str(), seq, total, key_id, bytes])?;
    store.prepare_cached("UPDATE runs SET logged = ?2 WHERE id = ?1")?.execute(params![run.as_str(), seq])?;
    // The oldest entry that still fits: nearly always the first row of the query.
    let mut oldest = store.prepare_cached(
        "SELECT seq FROM step_log WHERE run = ?1 AND total - length(sealed) >= ?2 ORDER BY seq LIMIT 1",
    )?;
    let oldest: i64 = oldest.query_row(params![run.as_str(), total - signed(LOG_BYTES)], |row| row.get(0))?;
    let oldest = oldest.max(seq - signed(LOG_ENTRIES) + 1);
    store.prepare_cached("DELETE FROM step_log WHERE run = ?1 AND seq < ?2")?.execute(params![run.as_str(), oldest])?;
    Ok(())
}

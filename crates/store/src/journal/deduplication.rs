//! Deduplication keys of triggers: deliveries, items and due times for which a run was started.
//!
//! A key is written in the transaction that accepts the run. A key that has not been seen for 30 days is removed; the same
//! delivery after that starts another run.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::{Result, RunId};
use trunkline_engine::TriggerEvent;

use crate::{
    database::store::Store,
    sqlite::columns::{column, now},
};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How long a key is kept after it was last seen, in milliseconds.
const KEEP: i64 = 30 * DAY;

impl Store {
    /// Returns those of `keys` for which the trigger of a flow has not started a run.
    ///
    /// # Errors
    ///
    /// `store` if the keys cannot be read.
    pub async fn not_taken(&self, flow: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        let of = flow.to_owned();
        let read = self.readers.read("reading deduplication keys", move |store| {
            let mut statement = store.prepare_cached("SELECT at FROM good_taken WHERE flow = ?1 AND key = ?2")?;
            let (mut new, mut stale) = (BTreeSet::new(), Vec::new());
            for key in keys {
                match statement.query_row([&of, &key], |row| row.get::<_, i64>(0)).optional()? {
                    None => drop(new.insert(key)),
                    Some(at) if at < now() - DAY => stale.push(key),
                    Some(_) => {}
                }
            }
            Ok((new, stale))
        });
        let (new, stale) = read.await?;
        if !stale.is_empty() {
            // Seen again: they are kept for another 30 days.
            let of = flow.to_owned();
            let renewed = self.inner.writer.run(move |store| {
                let mut update = store.prepare_cached("UPDATE taken SET at = ?3 WHERE flow = ?1 AND key = ?2")?;
                Ok(stale.iter().try_for_each(|key| update.execute(params![of, key, now()]).map(drop))?)
            });
            renewed.await?;
        }
        Ok(new)
    }

    /// Saves the deduplication keys of a trigger event for which no run is started.
    ///
    /// # Errors
    ///
    /// `store` if they cannot be written.
    pub async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.inner.writer.run(move |store| Ok(save(store, &event, None)?)).await
    }
}

/// Returns the run that was started for one of the keys of an event.
pub(crate) fn run_for(store: &Connection, event: &TriggerEvent) -> rusqlite::Result<Option<RunId>> {
    let mut statement =
        store.prepare_cached("SELECT coalesce(run, '') FROM good_taken WHERE flow = ?1 AND key = ?2")?;
    for key in &event.keys {
        if let Some(run) = statement.query_row([&event.flow, key], |row| row.get::<_, String>(0)).optional()? {
            return Ok(Some(RunId::from(run)));
        }
    }
    Ok(None)
}

/// Saves the keys of an event, and the time up to which its trigger has handled everything.
pub(crate) fn save(store: &Connection, event: &TriggerEvent, run: Option<&RunId>) -> rusqlite::Result<()> {
    let now = now();
    let mut insert = store
        .prepare_cached("INSERT INTO taken (flow, key, run, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?;
    for key in &event.keys {
        insert.execute(params![event.flow, key, run.map(|run| run.as_str()), now])?;
    }
    if !event.keys.is_empty() {
        let mut forget = store.prepare_cached("DELETE FROM taken WHERE flow = ?1 AND at < ?2")?;
        forget.execute(params![event.flow, now - KEEP])?;
    }
    if let Some(through) = event.through.map(column) {
        let mut update = store.prepare_cached("UPDATE kept_flows SET through = ?2 WHERE name = ?1")?;
        update.execute(params![event.flow, through])?;
    }
    Ok(())
}

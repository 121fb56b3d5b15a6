//! What triggers have handed to runs, so that nothing is handed over twice: deliveries, items, times.
//!
//! It is written where the run is accepted, in the same transaction. Keys that nobody has shown for 30 days are forgotten: a
//! delivery that comes again later than that starts another run.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::Result;
use trunkline_engine::{RunId, TriggerEvent};

use crate::{Store, event_row::column, now};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How long a key is kept that nobody shows any more.
const KEEP: i64 = 30 * DAY;

impl Store {
    /// Those of these keys that a flow's trigger has not handed over yet, in their order.
    pub async fn not_taken(&self, flow: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        let of = flow.to_owned();
        let read = self.readers.read("reading what a trigger has seen", move |store| {
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
            // Still shown: not to be forgotten.
            let of = flow.to_owned();
            let renewed = self.inner.writer.run(move |store| {
                let mut update = store.prepare_cached("UPDATE taken SET at = ?3 WHERE flow = ?1 AND key = ?2")?;
                stale.iter().try_for_each(|key| update.execute(params![of, key, now()]).map(drop))
            });
            renewed.await?;
        }
        Ok(new)
    }

    /// Remembers what a trigger has seen and hands to no run.
    pub async fn remember_trigger(&self, fired: TriggerEvent) -> Result<()> {
        self.inner.writer.run(move |store| take(store, &fired, None)).await
    }
}

/// The run that has taken one of these keys.
pub(crate) fn by(store: &Connection, fired: &TriggerEvent) -> rusqlite::Result<Option<RunId>> {
    let mut statement =
        store.prepare_cached("SELECT coalesce(run, '') FROM good_taken WHERE flow = ?1 AND key = ?2")?;
    for key in &fired.keys {
        if let Some(run) = statement.query_row([&fired.flow, key], |row| row.get::<_, String>(0)).optional()? {
            return Ok(Some(RunId::from(run)));
        }
    }
    Ok(None)
}

/// Remembers keys, and how far the trigger is.
pub(crate) fn take(store: &Connection, fired: &TriggerEvent, run: Option<&RunId>) -> rusqlite::Result<()> {
    let now = now();
    let mut insert = store
        .prepare_cached("INSERT INTO taken (flow, key, run, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?;
    for key in &fired.keys {
        insert.execute(params![fired.flow, key, run.map(|run| run.as_str()), now])?;
    }
    if !fired.keys.is_empty() {
        let mut forget = store.prepare_cached("DELETE FROM taken WHERE flow = ?1 AND at < ?2")?;
        forget.execute(params![fired.flow, now - KEEP])?;
    }
    if let Some(through) = fired.through.map(column) {
        let mut update = store.prepare_cached("UPDATE kept_flows SET through = ?2 WHERE name = ?1")?;
        update.execute(params![fired.flow, through])?;
    }
    Ok(())
}

//! Deduplication keys of triggers: deliveries, items and due times for which a run was started.
//!
//! A key is written in the transaction that accepts the run. A key that has not been seen for 30 days is removed, unless
//! its trigger may still meet it; the same delivery after that starts another run.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use trunkline_core::{Result, RunId, async_trait};
use trunkline_engine::{RunEvent, TriggerDeduplication, TriggerEvent};

use crate::{
    database::Store,
    journal::{accepting, run_for, save},
    sqlite::now,
};

const DAY: i64 = 24 * 60 * 60 * 1000;

#[async_trait]
impl TriggerDeduplication for Store {
    async fn accept_triggered(
        &self,
        run: &RunId,
        version: &str,
        flow: &Value,
        started: RunEvent,
        event: &TriggerEvent,
    ) -> Result<Option<RunId>> {
        let accept = accepting(self, run, version, flow, started, event.clone())?;
        let earlier = self.inner.writer.run(accept).await?;
        if earlier.is_none() {
            self.inner.pending.lock().known.insert(run.clone());
        }
        Ok(earlier)
    }

    async fn not_taken(&self, flow: &str, feed: &str, keys: Vec<String>) -> Result<BTreeSet<String>> {
        let (of, in_feed) = (flow.to_owned(), feed.to_owned());
        let read = self.readers.read("reading deduplication keys", move |store| {
            let mut statement =
                store.prepare_cached("SELECT at FROM good_taken WHERE flow = ?1 AND feed = ?2 AND key = ?3")?;
            let (mut new, mut stale) = (BTreeSet::new(), Vec::new());
            for key in keys {
                match statement.query_row([&of, &in_feed, &key], |row| row.get::<_, i64>(0)).optional()? {
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
            let (of, feed) = (flow.to_owned(), feed.to_owned());
            let renewed = self.inner.writer.run(move |store| {
                let mut update =
                    store.prepare_cached("UPDATE taken SET at = ?4 WHERE flow = ?1 AND feed = ?2 AND key = ?3")?;
                Ok(stale.iter().try_for_each(|key| update.execute(params![of, feed, key, now()]).map(drop))?)
            });
            renewed.await?;
        }
        Ok(new)
    }

    async fn count_taken(&self, flow: &str) -> Result<Option<u64>> {
        let flow = flow.to_owned();
        let read = self.readers.read("counting what a trigger remembers", move |store| {
            // The empty key and `#` stand for no event. Rows are counted, not read, so their MACs are not checked.
            let sql = "SELECT count(*) FROM main.taken WHERE flow = ?1 AND key NOT IN ('', '#')";
            store.prepare_cached(sql)?.query_row([flow], |row| row.get::<_, i64>(0))
        });
        Ok(Some(read.await?.unsigned_abs()))
    }

    async fn taken_by(&self, flow: &str, feed: &str, key: &str) -> Result<Option<RunId>> {
        let keys = vec![key.to_owned()];
        let event = TriggerEvent { flow: flow.to_owned(), feed: feed.to_owned(), keys, ..TriggerEvent::default() };
        self.readers.read("reading a deduplication key", move |store| run_for(store, &event)).await
    }

    async fn remember_trigger(&self, event: TriggerEvent) -> Result<()> {
        self.inner.writer.run(move |store| Ok(save(store, &event, None)?)).await
    }

    async fn forget_trigger(&self, flow: &str) -> Result<()> {
        let flow = flow.to_owned();
        self.inner.writer.run(move |store| Ok(forget(store, &flow)?)).await
    }
}

/// Removes the deduplication keys of a flow's trigger.
pub(crate) fn forget(store: &Connection, flow: &str) -> rusqlite::Result<()> {
    store.prepare_cached("DELETE FROM taken WHERE flow = ?1")?.execute([flow]).map(drop)
}

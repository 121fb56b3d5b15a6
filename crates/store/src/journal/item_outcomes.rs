//! The outcomes of items, and the fingerprints of items that are remembered across runs. Both are derived from events and
//! written in the same transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};
use trunkline_core::{Result, RunId, StepPath};
use trunkline_engine::{Item, ItemOutcome, PreviousOutcome};

use crate::{
    database::{
        event_row::{Outcome, parse},
        store::Store,
    },
    sqlite::{checksum, columns::time},
};

/// The columns of `runs` that count items, in the order of [`Counts`].
pub(crate) const STATUSES: [&str; 4] = ["done", "skipped", "failed", "unknown"];
pub(crate) type Counts = [i64; 4];

/// Stores the latest outcome of an item, and adds the change in the number of each status to `counts`.
pub(crate) fn save(store: &Connection, run: &RunId, item: &Outcome, counts: &mut Counts) -> rusqlite::Result<()> {
    let Outcome { step, key, status, outcome, at, .. } = item;
    let mut before = store.prepare_cached("SELECT status FROM good_items WHERE run = ?1 AND step = ?2 AND key = ?3")?;
    let before: Option<String> = before.query_row([run.as_str(), step.as_str(), key], |row| row.get(0)).optional()?;
    for (count, name) in counts.iter_mut().zip(STATUSES) {
        *count += i64::from(name == *status) - i64::from(before.as_deref() == Some(name));
    }
    store
        .prepare_cached(
            "INSERT INTO items (run, step, key, status, outcome, finished_at, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, checksum(?1, ?2, ?3, ?4, ?5, ?6)) ON CONFLICT (run, step, key) DO UPDATE
             SET status = excluded.status, outcome = excluded.outcome, finished_at = excluded.finished_at,
                 sum = excluded.sum",
        )?
        .execute(params![run.as_str(), step.as_str(), key, status, outcome, at])?;
    if item.resolved {
        resolve(store, run, item)
    } else if let (Some(fingerprint), "done" | "unknown") = (&item.once, *status) {
        store
            .prepare_cached(
                "INSERT INTO done_once (flow, connections, step, key, fingerprint, unknown, run, at)
                 SELECT flow, connections, ?2, ?3, ?4, ?5, id, ?6 FROM good_runs WHERE id = ?1
                 ON CONFLICT (flow, connections, step, key) DO UPDATE
                 SET fingerprint = excluded.fingerprint, unknown = excluded.unknown, run = excluded.run,
                     at = excluded.at",
            )?
            .execute(params![run.as_str(), step.as_str(), key, fingerprint, *status == "unknown", at])
            .map(drop)
    } else {
        Ok(())
    }
}

/// Updates the remembered fingerprint of an item that an operator resolved.
fn resolve(store: &Connection, run: &RunId, item: &Outcome) -> rusqlite::Result<()> {
    let which = "run = ?1 AND step = ?2 AND key = ?3
                 AND (flow, connections) = (SELECT flow, connections FROM runs WHERE id = ?1)";
    let sql = match item.status {
        "done" => format!("UPDATE done_once SET unknown = 0 WHERE {which}"),
        _ => format!("DELETE FROM done_once WHERE {which}"),
    };
    store.prepare_cached(&sql)?.execute(params![run.as_str(), item.step.as_str(), item.key]).map(drop)
}

impl Store {
    pub(crate) async fn some_items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        let (id, status) = (run.clone(), status.map(str::to_owned));
        let read = self.readers.read("listing the items of a run", move |store| {
            if after.is_none() {
                checksum::complete(store, &id)?;
            }
            let behind = if after.is_some() { "AND (step, key) > (?3, ?4)" } else { "" };
            let mut statement = store.prepare_cached(&format!(
                "SELECT step, key, outcome, finished_at FROM good_items
                 WHERE run = ?1 AND (?2 IS NULL OR status = ?2) {behind} ORDER BY step, key LIMIT ?5"
            ))?;
            let (step, key) = after.unzip();
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            let found = params![id.as_str(), status, step.as_ref().map(StepPath::as_str), key, most];
            statement.query_map(found, row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        let item = |(step, key, outcome, at): (String, String, String, i64)| {
            let outcome: ItemOutcome = parse(run, &outcome)?;
            Ok(Item { step: StepPath::from(&*step), key, outcome, at: time(at) })
        };
        read.await?.into_iter().map(item).collect()
    }

    pub(crate) fn remembered(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        self.readers.look("reading what was done once", |store| {
            let mut statement = store.prepare_cached(
                "SELECT done_once.run, fingerprint, done_once.unknown FROM good_done_once AS done_once
                 JOIN good_runs AS runs USING (flow, connections)
                 WHERE runs.id = ?1 AND step = ?2 AND key = ?3",
            )?;
            let before = |row: &Row<'_>| {
                Ok(PreviousOutcome {
                    run: RunId::from(row.get::<_, String>(0)?),
                    fingerprint: row.get(1)?,
                    unknown: row.get(2)?,
                })
            };
            statement.query_row([run.as_str(), step.as_str(), key], before).optional()
        })
    }
}

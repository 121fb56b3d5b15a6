//! The outcomes of items, and the fingerprints of items that are remembered across runs. Both are derived from events
//! and written in the same transaction.

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::RunId;

use crate::database::Outcome;

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
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, mac('items', ?1, ?2, ?3, ?4, ?5, ?6)) ON CONFLICT (run, step, key) DO UPDATE
             SET status = excluded.status, outcome = excluded.outcome, finished_at = excluded.finished_at,
                 sum = excluded.sum",
        )?
        .execute(params![run.as_str(), step.as_str(), key, status, outcome, at])?;
    // Names that the item does not have any more may stay: what is found is compared with the item.
    for name in &item.names {
        store
            .prepare_cached(
                "INSERT INTO item_names (run, step, key, name) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute(params![run.as_str(), step.as_str(), key, name])?;
    }
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

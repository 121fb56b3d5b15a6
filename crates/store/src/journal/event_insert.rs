//! Inserting events, and what they change in other tables, in one transaction.

use std::sync::Arc;

use rusqlite::{Connection, params};
use trunkline_core::{ErrorKind, RunId};

use crate::{
    database::{Change, Insert, Pending, Row, SecretPart},
    encryption::{AssociatedData, Seal},
    journal::{Counts, event_order, item_outcomes},
    lookup::not_found::no_run,
    sqlite::{completeness, ours, schema},
};

/// Inserts events, but not those of a run whose earlier events were lost.
pub(crate) fn inserts(seal: Arc<Seal>, pending: Arc<Pending>) -> Insert {
    Box::new(move |store, events| {
        let key_id = schema::key_id(store)?;
        for (run, rows) in events {
            if pending.check(&run).is_ok() {
                insert(store, (&seal, &key_id), &pending, &run, rows)?;
            }
        }
        Ok(())
    })
}

fn insert(
    store: &Connection,
    seal: (&Seal, &str),
    pending: &Pending,
    run: &RunId,
    rows: Vec<Row>,
) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let Some(mut seq) = completeness::end(store, run)? else {
        // It was removed, by whichever process: its worker must stop.
        pending.fail(run, &no_run(run));
        return Ok(());
    };
    event_order::add(store, run, seq + 1, seq + i64::try_from(rows.len()).unwrap_or(i64::MAX))?;
    let (mut counts, mut changed, mut cancelled): (Counts, _, _) = ([0; 4], None, false);
    for row in rows {
        seq += 1;
        let change = insert_event(store, seal, run, seq, row)?;
        match change {
            Change::None => {}
            Change::Status { status, error, finished_at } => changed = Some((status, error, finished_at)),
            Change::Cancel => cancelled = true,
            Change::Item(item) => item_outcomes::save(store, run, &item, &mut counts)?,
        }
    }
    completeness::set_end(store, run, seq)?;
    if changed.is_none() && !cancelled && counts == [0; 4] {
        return Ok(());
    }
    let [done, skipped, failed, unknown] = counts;
    let status = changed.map(|(status, ..)| status.as_str());
    let (error, finished_at) = changed.map(|(_, error, at)| (error.map(ErrorKind::as_str), at)).unwrap_or_default();
    // In one go: each change of the line is a look at its MAC, and another one.
    store
        .prepare_cached(
            "UPDATE runs SET done = done + ?2, skipped = skipped + ?3, failed = failed + ?4, unknown = unknown + ?5,
                 last = ?6, cancel_requested = cancel_requested OR ?7, status = coalesce(?8, status),
                 finished_at = CASE WHEN ?8 IS NULL THEN finished_at ELSE ?9 END,
                 error = CASE WHEN ?8 IS NULL THEN error ELSE ?10 END
             WHERE id = ?1",
        )?
        .execute(params![run.as_str(), done, skipped, failed, unknown, seq, cancelled, status, finished_at, error])
        .map(drop)
}

/// Inserts an event of this number, sealed with this key; what else it changes.
pub(crate) fn insert_event(
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
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, mac('events', ?1, ?2, ?3, ?4, substr(?6, 1, 24)))",
        )?
        .execute(params![run.as_str(), seq, row.kind, row.event, key_id, bytes])?;
    Ok(row.change)
}

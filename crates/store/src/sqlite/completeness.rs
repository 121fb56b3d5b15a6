//! What of a run must be there: the counts of its events, items and log entries, which the last row of its events and
//! its row in `runs` hold. And the check of the tables for damaged pages.

use rusqlite::{Connection, OptionalExtension, ffi, params};
use trunkline_core::RunId;

/// The tables whose rows are not counted elsewhere. The rows of the other tables are counted by run.
const UNCOUNTED: [&str; 15] = [
    "meta",
    "connections",
    "secrets",
    "vault",
    "sign_ins",
    "flows",
    "kept_flows",
    "webhooks",
    "findings",
    "starts",
    "deliveries",
    "runs",
    "event_order",
    "taken",
    "done_once",
];

/// Checks the tables for damaged pages, which could hide rows. Fails if there are any.
pub(crate) fn in_order(connection: &Connection) -> rusqlite::Result<()> {
    for table in UNCOUNTED {
        let found: String = connection.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(corrupt(Some(format!("the table {table} is damaged: {found}"))));
        }
    }
    Ok(())
}

/// The sequence number of the row after all events of a run.
const END: i64 = i64::MAX;

/// Returns the number of the last event of a run, from the row after its events, or `None` if there is no such run.
pub(crate) fn end(store: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let mut statement = store.prepare_cached(
        "SELECT CAST(event AS INTEGER) FROM events WHERE run = ?1 AND seq = ?2
         AND sound(sum = mac('events', run, seq, kind, event, NULL), 'events', run, seq)",
    )?;
    let end = statement.query_row(params![run.as_str(), END], |row| row.get(0)).optional()?;
    let exists = "SELECT 1 FROM runs WHERE id = ?1 AND status <> 'removed'";
    if end.is_none() && store.prepare_cached(exists)?.exists([run.as_str()])? {
        return Err(corrupt(Some("the last row of the run is missing".to_owned())));
    }
    Ok(end)
}

/// Writes the row after the events of a run.
pub(crate) fn set_end(store: &Connection, run: &RunId, last: i64) -> rusqlite::Result<()> {
    let mut statement = store.prepare_cached(
        "INSERT INTO events (run, seq, kind, event, sum)
         VALUES (?1, ?2, 'end', ?3, mac('events', ?1, ?2, 'end', ?3, NULL))
         ON CONFLICT (run, seq) DO UPDATE SET event = excluded.event, sum = excluded.sum",
    )?;
    statement.execute(params![run.as_str(), END, last.to_string()]).map(drop)
}

/// Returns the number of the last event of a run, or `None` if there is no such run. Fails if its last events are
/// missing.
pub(crate) fn last_event(store: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let Some([counted, ..]) = counts(store, run)? else { return Ok(None) };
    // If the last row is older than the row of the run, its page was never written.
    let last = end(store, run)?.unwrap_or_default().max(counted);
    let sql = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ?1 AND seq < ?2";
    let found = store.prepare_cached(sql)?.query_row(params![run.as_str(), END], |row| row.get(0))?;
    as_many("events", found, last).map(Some)
}

/// As [`last_event`]. Fails if items are missing, too.
pub(crate) fn complete(store: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let Some([_, items, _]) = counts(store, run)? else { return Ok(None) };
    let mut statement = store.prepare_cached("SELECT count(*) FROM good_items WHERE run = ?1")?;
    as_many("items", statement.query_row([run.as_str()], |row| row.get(0))?, items)?;
    last_event(store, run)
}

/// Fails if the last entries of a run's log are missing.
pub(crate) fn last_entry(store: &Connection, run: &RunId) -> rusqlite::Result<()> {
    let Some([.., logged]) = counts(store, run)? else { return Ok(()) };
    let mut statement = store.prepare_cached("SELECT coalesce(max(seq), 0) FROM step_log WHERE run = ?1")?;
    as_many("log entries", statement.query_row([run.as_str()], |row| row.get(0))?, logged).map(drop)
}

/// Returns the numbers of events, items and log entries.
fn counts(store: &Connection, run: &RunId) -> rusqlite::Result<Option<[i64; 3]>> {
    let sql = "SELECT last, done + skipped + failed + unknown, logged FROM good_runs WHERE id = ?1";
    let mut statement = store.prepare_cached(sql)?;
    statement.query_row([run.as_str()], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).optional()
}

fn as_many(what: &str, found: i64, written: i64) -> rusqlite::Result<i64> {
    match found == written {
        true => Ok(written),
        false => Err(corrupt(Some(format!("{written} {what} of the run were written, but {found} were found")))),
    }
}

pub(crate) fn corrupt(what: Option<String>) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), what)
}

//! Checksums of rows: what a disk has changed since it was written is an error, never a result.
//!
//! Two functions for SQL, which the triggers and views of the tables call: `checksum(value, …)` and `intact(sum, value, …)`. Rows that are missing altogether are found by what is counted of a run.

use rusqlite::{
    Connection, OptionalExtension, ffi,
    functions::{Context, FunctionFlags},
    params,
    types::ValueRef,
};
use sha2::{Digest, Sha256};
use trunkline_engine::RunId;

/// Makes the functions known to a connection.
pub(crate) fn functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("checksum", -1, flags, |values| checksum(values, 0))?;
    connection.create_scalar_function("intact", -1, flags, |values| {
        // SQLite keeps an error's code or its text.
        if values.get::<i64>(0)? == checksum(values, 1)? { Ok(true) } else { Err(corrupt(None)) }
    })
}

/// The tables of which no other one tells how many rows they have. All rows of one run are counted instead.
const UNCOUNTED: [&str; 11] = [
    "meta",
    "connections",
    "secrets",
    "vault",
    "sign_ins",
    "flows",
    "kept_flows",
    "webhooks",
    "runs",
    "taken",
    "done_once",
];

/// Refuses a store whose tables are not in order: a damaged page could hide rows.
pub(crate) fn in_order(connection: &Connection) -> rusqlite::Result<()> {
    for table in UNCOUNTED {
        let found: String = connection.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(corrupt(Some(format!("the table {table} is damaged: {found}"))));
        }
    }
    Ok(())
}

/// 64 bits of a digest.
pub(crate) fn number(digest: Sha256) -> i64 {
    let mut number = [0; 8];
    number.copy_from_slice(&digest.finalize()[..8]);
    i64::from_le_bytes(number)
}

/// The number of the row behind all events of a run.
const END: i64 = i64::MAX;

/// What stands for the values and their types.
fn checksum(values: &Context<'_>, first: usize) -> rusqlite::Result<i64> {
    let mut digest = Sha256::new();
    for index in first..values.len() {
        let (kind, content): (u8, &[u8]) = match values.get_raw(index) {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => (1, &number.to_le_bytes()),
            ValueRef::Real(number) => (2, &number.to_le_bytes()),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(bytes) => (4, bytes),
        };
        digest.update([kind]);
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(content);
    }
    Ok(number(digest))
}

/// The number of the last event of a run, as the row behind it has it.
pub(crate) fn end(store: &Connection, run: &RunId) -> rusqlite::Result<i64> {
    let mut statement = store.prepare_cached("SELECT sum FROM events WHERE run = ?1 AND seq = ?2")?;
    let end = statement.query_row(params![run.as_str(), END], |row| row.get(0)).optional()?;
    end.ok_or_else(|| corrupt(Some("the end of the run is missing".to_owned())))
}

/// Puts that row where it has to be.
pub(crate) fn set_end(store: &Connection, run: &RunId, last: i64) -> rusqlite::Result<()> {
    let mut statement = store.prepare_cached(
        "INSERT INTO events (run, seq, kind, event, sum) VALUES (?1, ?2, 'end', '', ?3)
         ON CONFLICT (run, seq) DO UPDATE SET sum = excluded.sum",
    )?;
    statement.execute(params![run.as_str(), END, last]).map(drop)
}

/// The number of a run's last event; refuses a run whose last events are missing. Nothing if there is no such run.
pub(crate) fn last_event(store: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let Some([told, ..]) = counts(store, run)? else { return Ok(None) };
    // An end that is older than the line of the run is on a page that was never written.
    let last = end(store, run)?.max(told);
    let sql = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ?1 AND seq < ?2";
    let found = store.prepare_cached(sql)?.query_row(params![run.as_str(), END], |row| row.get(0))?;
    as_many("events", found, last).map(Some)
}

/// The same, and refuses a run of which items are missing.
pub(crate) fn complete(store: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let Some([_, items, _]) = counts(store, run)? else { return Ok(None) };
    let mut statement = store.prepare_cached("SELECT count(*) FROM good_items WHERE run = ?1")?;
    as_many("items", statement.query_row([run.as_str()], |row| row.get(0))?, items)?;
    last_event(store, run)
}

/// Refuses a run of whose log the last entries are missing.
pub(crate) fn last_entry(store: &Connection, run: &RunId) -> rusqlite::Result<()> {
    let Some([.., logged]) = counts(store, run)? else { return Ok(()) };
    let mut statement = store.prepare_cached("SELECT coalesce(max(seq), 0) FROM step_log WHERE run = ?1")?;
    as_many("log entries", statement.query_row([run.as_str()], |row| row.get(0))?, logged).map(drop)
}

/// Events, items and log entries.
fn counts(store: &Connection, run: &RunId) -> rusqlite::Result<Option<[i64; 3]>> {
    let sql = "SELECT last, done + skipped + failed + unknown, logged FROM good_runs WHERE id = ?1";
    let mut statement = store.prepare_cached(sql)?;
    statement.query_row([run.as_str()], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).optional()
}

fn as_many(what: &str, found: i64, written: i64) -> rusqlite::Result<i64> {
    match found == written {
        true => Ok(written),
        false => Err(corrupt(Some(format!("{written} {what} of the run were written, {found} are there")))),
    }
}

fn corrupt(what: Option<String>) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), what)
}

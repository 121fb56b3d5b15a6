//! The transaction that accepts a run: its flow version, its row, its first event, and the deduplication keys of its
//! trigger.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId};
use trunkline_engine::{RunEvent, RunStatus, TriggerEvent};

use crate::{
    database::{Row, Store, exists},
    journal::{event_order, insert_event, pin, run_claim},
    sqlite::{WorkResult, column, completeness, now, schema, text},
};

/// How long a deduplication key is kept after it was last seen, in milliseconds: 30 days.
const KEEP: i64 = 30 * 24 * 60 * 60 * 1000;

/// Returns the work that accepts a run, or returns the earlier run that was started for the same trigger event. It
/// fails before it changes anything.
pub(crate) fn accepting(
    store: &Store,
    run: &RunId,
    version: &str,
    flow: &Value,
    started: RunEvent,
    event: TriggerEvent,
) -> Result<impl FnOnce(&Connection) -> WorkResult<Option<RunId>> + Send + 'static> {
    run_claim::check(run)?;
    let RunEvent::Started { flow: name, connections, trigger, retry, at, .. } = &started else {
        return Err(Error::new(ErrorKind::Internal, "the first event of a run must be `started`"));
    };
    let (name, connections, at) = (name.clone(), text(connections)?, column(*at));
    let (trigger, repeats) = (trigger.clone(), retry.as_ref().map(|retry| retry.run.as_str().to_owned()));
    let (version, document) = (version.to_owned(), text(flow)?);
    let id = run.clone();
    let row = Row::new(started)?;
    let seal = store.inner.seal.clone();
    Ok(move |store: &Connection| {
        if let Some(earlier) = run_for(store, &event)? {
            return Ok(Some(earlier));
        }
        if exists(store, &id)? {
            return Err(Error::new(ErrorKind::Conflict, format!("run {id} exists already")).into());
        }
        pin(store, &version, &document)?;
        store
            .prepare_cached(
                "INSERT INTO runs (id, flow, version, status, started_at, connections, last, trigger, repeats, sum)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8,
                     mac('runs', ?1, ?2, ?3, ?4, ?5, NULL, 0, 0, 0, 0, 0, ?6, 1, 0, ?7, NULL, ?8))",
            )?
            .execute(params![
                id.as_str(),
                name,
                version,
                RunStatus::Running.as_str(),
                at,
                connections,
                trigger,
                repeats
            ])?;
        insert_event(store, (&seal, &schema::key_id(store)?), &id, 1, row)?;
        completeness::set_end(store, &id, 1)?;
        event_order::add(store, &id, 1, 1)?;
        save(store, &event, Some(&id))?;
        Ok(None)
    })
}

/// Returns the run that was started for one of the keys of an event.
pub(crate) fn run_for(store: &Connection, event: &TriggerEvent) -> rusqlite::Result<Option<RunId>> {
    let mut statement =
        store.prepare_cached("SELECT coalesce(run, '') FROM good_taken WHERE flow = ?1 AND feed = ?2 AND key = ?3")?;
    for key in &event.keys {
        if let Some(run) =
            statement.query_row([&event.flow, &event.feed, key], |row| row.get::<_, String>(0)).optional()?
        {
            return Ok(Some(RunId::from(run)));
        }
    }
    Ok(None)
}

/// Saves the keys of an event, and the time up to which its trigger has handled everything.
pub(crate) fn save(store: &Connection, event: &TriggerEvent, run: Option<&RunId>) -> rusqlite::Result<()> {
    let now = now();
    let mut insert = store.prepare_cached(
        "INSERT INTO taken (flow, feed, key, run, at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    for key in &event.keys {
        insert.execute(params![event.flow, event.feed, key, run.map(|run| run.as_str()), now])?;
    }
    if !event.keep {
        let mut forget = store.prepare_cached("DELETE FROM taken WHERE flow = ?1 AND feed = ?2 AND at < ?3")?;
        forget.execute(params![event.flow, event.feed, now - KEEP])?;
    }
    if let Some(through) = event.through.map(column) {
        let mut update = store.prepare_cached("UPDATE kept_flows SET through = ?2 WHERE name = ?1")?;
        update.execute(params![event.flow, through])?;
    }
    Ok(())
}

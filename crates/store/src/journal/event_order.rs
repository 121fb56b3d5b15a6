//! The order of the events of all runs: a table with a row for each run in each transaction. The rows are numbered without
//! gaps, so a missing one is noticed.

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_core::{Result, RunId};
use trunkline_engine::{EventPage, EventPlace, PlacedEvent, RunEvent};

use crate::{
    database::{Store, StoredEvent, parse},
    sqlite::{completeness::corrupt, signed},
};

/// The number of rows that are kept, at least.
const KEPT: i64 = 200_000;
/// Rows that are not kept are removed after this number of writes.
const REMOVED: i64 = 1024;
/// The most events in a page.
const PAGE_EVENTS: usize = 256;
/// The most rows that a page looks at. Those of removed runs have no events.
const PAGE_ROWS: i64 = 1000;

/// Adds the events of a run with these numbers, in the transaction that stores them.
pub(crate) fn add(store: &Connection, run: &RunId, first: i64, last: i64) -> rusqlite::Result<()> {
    let mut insert = store.prepare_cached(
        "INSERT INTO event_order (write, run, first, last, sum)
         SELECT next, ?1, ?2, ?3, mac('event_order', next, ?1, ?2, ?3)
         FROM (SELECT coalesce(max(write), 0) + 1 AS next FROM event_order) RETURNING write",
    )?;
    let write: i64 = insert.query_row(params![run.as_str(), first, last], |row| row.get(0))?;
    if write % REMOVED == 0 {
        store.prepare_cached("DELETE FROM event_order WHERE write <= ?1")?.execute([write - KEPT])?;
    }
    Ok(())
}

/// A page as it is read: its events, the place after which the next page begins, and whether events may be missing.
type Found = (Vec<(EventPlace, RunId, String, StoredEvent)>, EventPlace, bool);

impl Store {
    /// Returns a page of the events of all runs, as they are on disk.
    pub(crate) async fn page_of_all(&self, after: Option<EventPlace>) -> Result<EventPage> {
        let (found, next, missed) = self.readers.read("watching all runs", move |store| page(store, after)).await?;
        let shown = |(place, run, flow, event): (EventPlace, RunId, String, StoredEvent)| {
            let event = parse::<RunEvent>(&run, &event.event)?.shown();
            Ok(PlacedEvent { place, run, flow, event })
        };
        Ok(EventPage { events: found.into_iter().map(shown).collect::<Result<_>>()?, next, missed })
    }
}

fn page(store: &Connection, after: Option<EventPlace>) -> rusqlite::Result<Found> {
    let mut newest = store.prepare_cached("SELECT write, last FROM good_event_order ORDER BY write DESC LIMIT 1")?;
    let newest = newest.query_row([], |row| Ok(place(row.get(0)?, row.get(1)?))).optional()?.unwrap_or_default();
    // A place behind the end is one of a store that was put back to an earlier state.
    let Some(after) = after.filter(|after| after.write <= newest.write) else {
        return Ok((Vec::new(), newest, after.is_some()));
    };
    let mut oldest = store.prepare_cached("SELECT coalesce(min(write), 1) FROM event_order")?;
    let oldest: i64 = oldest.query_row([], |row| row.get(0))?;
    let missed = signed(after.write) < oldest && (after.write, oldest) != (0, 1);
    let mut rows = store.prepare_cached(
        "SELECT write, run, first, last FROM good_event_order WHERE write >= ?1 ORDER BY write LIMIT ?2",
    )?;
    let mut rows = rows.query(params![signed(after.write), PAGE_ROWS])?;
    let (mut found, mut next, mut expected) = (Vec::new(), after, signed(after.write).max(oldest));
    while let Some(row) = rows.next()?.filter(|_| found.len() < PAGE_EVENTS) {
        let (write, run, first, last): (i64, String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if write != expected {
            return Err(corrupt(Some(format!("the row {expected} of the table event_order is missing"))));
        }
        expected += 1;
        let seen = if write == signed(after.write) { signed(after.seq) } else { 0 };
        let (run, from) = (RunId::from(run), seen.max(first - 1));
        let most = PAGE_EVENTS - found.len();
        let events = if from < last { events_of(store, &run, (from, last), most)? } else { None };
        next = place(write, last);
        for (flow, event) in events.into_iter().flatten() {
            next = place(write, event.seq);
            found.push((next, run.clone(), flow, event));
        }
    }
    Ok((found, next, missed))
}

fn place(write: i64, seq: i64) -> EventPlace {
    EventPlace { write: write.unsigned_abs(), seq: seq.unsigned_abs() }
}

/// Returns the first events of a run behind one number and up to another, at most `most`, with the flow of the run. Returns
/// `None` if the run was removed.
fn events_of(
    store: &Connection,
    run: &RunId,
    (after, last): (i64, i64),
    most: usize,
) -> rusqlite::Result<Option<Vec<(String, StoredEvent)>>> {
    let mut flow = store.prepare_cached("SELECT flow FROM good_runs WHERE id = ?1")?;
    let Some(flow) = flow.query_row([run.as_str()], |row| row.get::<_, String>(0)).optional()? else {
        return Ok(None);
    };
    let mut events = store.prepare_cached(
        "SELECT seq, event, NULL, NULL FROM good_events WHERE run = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    )?;
    let rows = events.query_map(params![run.as_str(), after, last, signed(most as u64)], StoredEvent::read)?;
    let found = rows.map(|event| Ok((flow.clone(), event?))).collect::<rusqlite::Result<Vec<_>>>()?;
    // A damaged page can hide events at its end and in its middle.
    let all = (after + 1..=last).take(most);
    match found.iter().map(|(_, event)| event.seq).eq(all) {
        true => Ok(Some(found)),
        false => Err(corrupt(Some(format!("events {} to {last} of run {run} are not all there", after + 1)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_core::ErrorKind;
    use trunkline_engine::{EventLog, Flush};

    use super::*;
    use crate::KeySource;

    async fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key"))).unwrap();
        for (number, name) in ["a1", "b2", "c3"].into_iter().enumerate() {
            let started = json!({ "event": "started", "flow": "copy", "version": "v1", "input": {}, "connections": {},
                "at": number });
            let started = serde_json::from_value(started).unwrap();
            store.accept(&RunId::from(name), "v1", &json!({ "name": "copy" }), started, Flush::Now).await.unwrap();
        }
        (home, store)
    }

    async fn change(store: &Store, sql: &'static str) {
        store.inner.writer.run(move |store| Ok(store.execute(sql, [])?)).await.unwrap();
    }

    /// Adds rows until those that are not kept are removed.
    async fn add_many(store: &Store) {
        let add_all = |store: &Connection| {
            (0..REMOVED).try_for_each(|_| add(store, &RunId::from("a1"), 1, 1))?;
            Ok(())
        };
        store.inner.writer.run(add_all).await.unwrap();
    }

    /// A place whose rows are no longer kept is reported. The sabotage twin: one row earlier, the next one is there.
    #[tokio::test]
    async fn a_place_that_is_no_longer_kept_is_reported() {
        let (_home, store) = store().await;
        change(&store, "DELETE FROM event_order WHERE write <= 2").await;
        for (write, missed) in [(0, true), (1, true), (2, true), (3, false)] {
            let page = store.all_events(Some(EventPlace { write, seq: 0 })).await.unwrap();
            assert_eq!((page.missed, page.events.len(), page.next.write), (missed, 1, 3), "{write}");
        }
    }

    #[tokio::test]
    async fn a_row_that_is_missing_is_an_error() {
        let (_home, store) = store().await;
        let all = async || store.all_events(Some(EventPlace::default())).await;
        assert_eq!(all().await.unwrap().events.len(), 3, "the sabotage twin");
        change(&store, "DELETE FROM event_order WHERE write = 2").await;
        assert_eq!(all().await.unwrap_err().kind(), ErrorKind::Store);
    }

    #[tokio::test]
    async fn old_rows_are_removed_in_the_order_of_their_numbers() {
        let (_home, store) = store().await;
        change(&store, "UPDATE event_order SET write = write + 1000000").await;
        add_many(&store).await;
        let sql = "SELECT count(*), min(write) > 1000000 FROM event_order";
        let rows = store.readers.read("counting", move |store| {
            store.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))
        });
        assert_eq!(rows.await.unwrap(), (REMOVED + 3, true), "they are all among the newest");
        change(&store, "UPDATE event_order SET write = 1 WHERE write = 1000001").await;
        add_many(&store).await;
        let left = store.readers.read("counting", |store| {
            store.query_row("SELECT count(*) FROM event_order WHERE write = 1", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(left.await.unwrap(), 0, "it is too old");
    }
}

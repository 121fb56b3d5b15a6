//! Removals in small transactions.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use trunkline_core::ErrorKind;
use trunkline_engine::{EventLog, Flush, RunEvent, RunIndex};

use super::*;
use crate::KeySource;

const ITEMS: i64 = 2000;

async fn store() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key"))).unwrap();
    (home, store)
}

/// Returns an ended run with many items.
async fn ended(store: &Store, name: &str) -> RunId {
    let run = RunId::from(name);
    let event = |event: serde_json::Value| serde_json::from_value::<RunEvent>(event).unwrap();
    let started =
        json!({ "event": "started", "flow": "copy", "version": "v1", "input": {}, "connections": {}, "at": 1 });
    store.accept(&run, "v1", &json!({ "name": "copy" }), event(started), Flush::Later).await.unwrap();
    let items = (0..ITEMS).map(|key| {
        event(json!({ "event": "item_finished", "step": "all", "key": key.to_string(), "at": 2,
            "outcome": { "status": "done" } }))
    });
    store.append(&run, items.collect(), Flush::Later).await.unwrap();
    let end = event(json!({ "event": "finished", "status": "succeeded", "error": null, "at": 3 }));
    store.append(&run, vec![end], Flush::Now).await.unwrap();
    run
}

/// Returns the number of rows of all runs in a table.
async fn rows(store: &Store, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store.readers.read("counting rows", move |store| store.query_row(&sql, [], |row| row.get(0))).await.unwrap()
}

/// Runs the first transaction of a removal, and returns the number of changed rows.
async fn begin(store: &Store, run: &RunId) -> u64 {
    let run = run.clone();
    let work = move |store: &Connection| {
        let before = store.total_changes();
        mark(store, &run)?;
        Ok(store.total_changes() - before)
    };
    store.inner.writer.run(work).await.unwrap()
}

#[tokio::test]
async fn a_transaction_removes_a_limited_number_of_rows() {
    let (_home, store) = store().await;
    let run = ended(&store, "a1").await;
    // The mark changes the row of the run and its MAC.
    assert_eq!(begin(&store, &run).await, u64::try_from(ROWS).unwrap() + 2);
    let (commits, all) = (store.commits(), 2 * ITEMS + 3 - ROWS);
    let other = ended(&store, "b2").await;
    let of_other = store.commits() - commits;
    store.remove_run(&other).await.unwrap();
    let transactions = i64::try_from(store.commits() - commits - of_other).unwrap();
    // Both runs: what the first removal has left is removed with the next one.
    let expected = (all + 2 * ITEMS + 3) / ROWS;
    assert!((expected..=expected + 3).contains(&transactions), "{transactions} transactions, not about {expected}");
    for table in ["runs", "events", "items", "step_log"] {
        assert_eq!(rows(&store, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_run_that_is_removed_in_part_is_not_found() {
    let (home, store) = store().await;
    let run = ended(&store, "a1").await;
    begin(&store, &run).await;
    drop(store);
    // The process has ended in the middle.
    let store = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key"))).unwrap();
    assert!(rows(&store, "events").await > ITEMS / 2, "most of it is there");
    let kind = |error: trunkline_core::Error| error.kind();
    assert_eq!(store.replay(&run, &mut drop).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(store.events(&run, 0).await.map(drop).map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(store.cancel_requested(&run).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(store.runs().await.unwrap(), []);
    assert_eq!(store.runs_starting_with("a", 5).await.unwrap(), []);
}

/// Another process removes a run that this one still knows. Nothing is written then, and the store goes on.
#[tokio::test]
async fn events_of_a_run_that_another_process_has_removed_are_refused() {
    let (home, store) = store().await;
    let run = ended(&store, "a1").await;
    let note = || serde_json::from_value::<RunEvent>(json!({ "event": "cancel_requested", "at": 4 })).unwrap();
    store.append(&run, vec![note()], Flush::Now).await.unwrap();
    let other = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key"))).unwrap();
    other.remove_run(&run).await.unwrap();
    let error = store.append(&run, vec![note()], Flush::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    ended(&store, "b2").await;
    assert_eq!(store.runs().await.unwrap().len(), 1);
}

/// What stands behind the time of a removal: each statement finds its rows by their keys.
#[tokio::test]
async fn rows_are_removed_by_their_keys() {
    let (_home, store) = store().await;
    for (table, key, size) in TABLES {
        let sql = format!("EXPLAIN QUERY PLAN {}", delete(table, key, size));
        let plan = store.inner.writer.run(move |store| {
            let mut statement = store.prepare(&sql)?;
            let rows = statement.query_map(params!["a", 1, 1], |row| row.get::<_, String>(3))?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        let plan = plan.await.unwrap();
        assert!(plan.iter().any(|step| step.starts_with(&format!("SEARCH {table} USING PRIMARY KEY"))), "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with(&format!("SCAN {table}"))), "{plan:?}");
    }
}

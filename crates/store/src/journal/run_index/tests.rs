//! The work for a page of a list does not grow with the number of runs.
#![allow(clippy::unwrap_used)]

use rusqlite::{StatementStatus, params};
use serde_json::json;
use trunkline_engine::{EventLog, Flush, RunEvent};

use super::*;
use crate::KeySource;

/// Returns a store with this many runs, each tenth of another flow.
async fn store_with(runs: u64) -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("data"), KeySource::File(home.path().join("key"))).unwrap();
    for number in 0..runs {
        let flow = if number % 10 == 0 { "rare" } else { "copy" };
        let started =
            json!({ "event": "started", "flow": flow, "version": "v1", "input": {}, "connections": {}, "at": number });
        let started: RunEvent = serde_json::from_value(started).unwrap();
        let run = RunId::from(format!("{number:08}"));
        store.accept(&run, "v1", &json!({ "name": "copy" }), started, Flush::Later).await.unwrap();
    }
    store.flushed().await.unwrap();
    (home, store)
}

fn filters() -> [RunFilter; 3] {
    let flow = Some("rare".to_owned());
    [
        RunFilter::default(),
        RunFilter { flow, status: Some(RunStatus::Failed), ..RunFilter::default() },
        RunFilter { status: Some(RunStatus::Running), ..RunFilter::default() },
    ]
}

/// Returns the plan of a statement, one line a step.
fn plan(store: &Store, sql: &str, parameters: usize) -> String {
    let steps = store.readers.look("explaining a query", |store| {
        let mut statement = store.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let values = vec![rusqlite::types::Value::Null; parameters];
        statement
            .query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3))?
            .collect::<rusqlite::Result<Vec<_>>>()
    });
    steps.unwrap().join("\n")
}

#[tokio::test]
async fn lists_are_read_in_the_order_of_an_index() {
    let (_home, store) = store_with(1).await;
    for (filter, index) in filters().into_iter().zip(["runs_by_start", "runs_by_flow", "runs_by_status"]) {
        let plan = plan(&store, &list(&filter), 4);
        assert!(plan.contains(&format!("USING INDEX {index} (")) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    // The sabotage twin: another order needs a sort of all runs, and the plan shows it.
    let unordered = list(&RunFilter::default()).replace("started_at DESC, id DESC", "id DESC, started_at");
    assert!(plan(&store, &unordered, 4).contains("TEMP B-TREE"));
    let by_start = plan(&store, "SELECT id FROM good_runs WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id", 1);
    assert!(by_start.contains("SEARCH") && !by_start.contains("TEMP B-TREE"), "{by_start}");
    let rerun = plan(&store, "SELECT id FROM good_runs WHERE repeats = ?1 LIMIT 1", 1);
    assert!(rerun.contains("runs_by_repeated"), "{rerun}");
}

/// Returns the steps of SQLite's machine for the first 20 rows of a list.
fn steps(store: &Store, filter: &RunFilter) -> i32 {
    let counted = store.readers.look("counting the steps of a query", |store| {
        let mut statement = store.prepare(&list(filter))?;
        let of = filter.flow.as_deref().or(filter.status.map(RunStatus::as_str));
        {
            let mut rows = statement.query(params![of, 0, i64::MAX, ""])?;
            for _ in 0..20 {
                assert!(rows.next()?.is_some());
            }
        }
        Ok(statement.get_status(StatementStatus::VmStep))
    });
    counted.unwrap()
}

#[tokio::test]
async fn a_page_takes_as_many_steps_in_a_larger_store() {
    let ((_small_home, small), (_large_home, large)) = (store_with(300).await, store_with(3000).await);
    for filter in filters() {
        assert_eq!(steps(&small, &filter), steps(&large, &filter), "{filter:?}");
    }
}

#[tokio::test]
async fn a_search_looks_at_a_limited_number_of_runs_at_a_time() {
    let (_home, store) = store_with(100).await;
    let filter = RunFilter { search: Some("RAR".into()), ..RunFilter::default() };
    let look = |after: Option<&RunPlace>| {
        store.readers.look("listing the runs", |store| page(store, &filter, after, 50, 30)).unwrap()
    };
    let (mut found, mut pages, mut after) = (0, 0, None);
    loop {
        let page = look(after.as_ref());
        assert!(page.runs.len() <= 3, "of 30 runs that were looked at");
        (found, pages, after) = (found + page.runs.len(), pages + 1, page.next);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found, pages), (10, 4));
}

//! How long runs are kept, stores of an earlier version, and the space of removed runs.
#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use crate::support::{Home, accepted, downgrade, item};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId};
use trunkline_engine::{EventLog, Flush, RunEvent, RunIndex, RunRemoval};
use trunkline_flow::Retention;
use trunkline_store::Store;

fn event(event: serde_json::Value) -> RunEvent {
    serde_json::from_value(event).unwrap()
}

fn finished(error: serde_json::Value) -> RunEvent {
    event(json!({ "event": "finished", "status": "failed", "error": error, "at": 9 }))
}

#[tokio::test]
async fn a_store_of_an_earlier_version_keeps_all_runs_until_its_operator_decides() {
    let home = Home::new();
    let store = home.open().unwrap();
    assert_eq!(store.retention().await.unwrap(), Some(Retention::DEFAULT), "a new store begins with 90 days");
    for (name, end) in [
        ("good", finished(json!({ "kind": "auth", "message": "no" }))),
        ("unresolved", finished(json!({ "kind": "unknown_outcome", "message": "it may have arrived" }))),
        ("broken", finished(json!(null))),
    ] {
        let run = accepted(&store, name).await;
        store.append(&run, vec![item("1"), end], Flush::Now).await.unwrap();
    }
    drop(store);
    downgrade(&home);
    // A disk has changed a row before the migration.
    home.sqlite().execute_batch("UPDATE runs SET done = 5 WHERE id = 'broken'").unwrap();

    let store = home.open().unwrap();
    assert_eq!(store.retention().await.unwrap(), None, "nothing was decided");
    assert_eq!(store.remove_run(&"broken".into()).await.unwrap_err().kind(), ErrorKind::Store, "it stays damaged");
    drop(store);
    let store = home.open().unwrap();
    let refused = store.remove_run(&"unresolved".into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "the migration has found the outcome: {refused}");
    store.remove_run(&"good".into()).await.unwrap();
    store.set_retention(Retention::For(Duration::from_secs(30 * 86_400))).await.unwrap();
    drop(store);
    let days = home.open().unwrap().retention().await.unwrap();
    assert_eq!(days.unwrap().to_string(), "30d", "what was set stays");
}

/// Only the key of the store can have its runs removed.
#[tokio::test]
async fn a_retention_that_the_store_has_not_written_is_refused() {
    let home = Home::new();
    drop(home.open().unwrap());
    let change = |sql: &str| {
        home.sqlite().execute_batch(sql).unwrap();
    };
    change("UPDATE meta SET value = json_set(value, '$[0]', '1h') WHERE name = 'retention'");
    assert_eq!(home.open().unwrap().retention().await.unwrap_err().kind(), ErrorKind::Store);
    change("DELETE FROM meta WHERE name = 'retention'");
    assert_eq!(home.open().unwrap().retention().await.unwrap(), None, "then nothing is removed");
}

async fn filled(store: &Store, name: &str) -> RunId {
    let run = accepted(store, name).await;
    let items = (0..4000).map(|key| item(&format!("{name} {key} {}", "x".repeat(100)))).collect();
    store.append(&run, items, Flush::Later).await.unwrap();
    store.append(&run, vec![finished(json!(null))], Flush::Now).await.unwrap();
    run
}

#[tokio::test]
async fn free_space_is_used_again_and_given_back_on_request() {
    let home = Home::new();
    let size = || {
        home.sqlite().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        fs::metadata(home.database()).unwrap().len()
    };
    let store = home.open().unwrap();
    let (_kept, first) = (filled(&store, "a1").await, filled(&store, "b1").await);
    let full = size();
    store.remove_run(&first).await.unwrap();
    filled(&store, "c1").await;
    assert!(size() < full + full / 10, "{} bytes, {full} before", size());
    store.remove_run(&"c1".into()).await.unwrap();

    let key = || trunkline_store::KeySource::File(home.key());
    let refused = Store::compact(&home.data(), key()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(refused.advice().unwrap().contains("serve"), "{refused:?}");
    let listed = store.runs().await.unwrap();
    drop(store);
    let done = Store::compact(&home.data(), key()).unwrap();
    assert!(done.before > full * 9 / 10 && done.after < full * 6 / 10, "{done:?}, {full} when full");
    let store = home.open().unwrap();
    assert_eq!(store.runs().await.unwrap(), listed);
    assert_eq!(store.items(&"a1".into(), None, None, 9000).await.unwrap().len(), 4000);
    filled(&store, "d1").await;
    let missing = Store::compact(&home.data().join("none"), key()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

//! Trigger events: their deduplication keys are recorded with the run in one transaction, or not at all.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::support::{Home, started};
use serde_json::json;
use trunkline_core::{Result, RunId, Timestamp};
use trunkline_engine::{RunIndex, TriggerDeduplication, TriggerEvent};
use trunkline_store::{FlowStore, FlowToSave, Store};

fn fired(keys: &[&str], through: Option<u64>) -> TriggerEvent {
    let (keys, through) = (texts(keys), through.map(Timestamp::from_millis));
    TriggerEvent { flow: "copy".into(), keys, through, ..TriggerEvent::default() }
}

fn texts(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

async fn accept(store: &Store, run: &str, fired: &TriggerEvent) -> Result<Option<RunId>> {
    store.accept_triggered(&RunId::from(run), "v1", &json!({ "name": "copy" }), started(1), fired).await
}

async fn kept(store: &Store) {
    let flow = FlowToSave {
        name: "copy".into(),
        version: "v1".into(),
        document: json!({ "name": "copy" }),
        connections: Default::default(),
        input: Default::default(),
        active: true,
        restart: false,
        called: BTreeMap::new(),
    };
    let earlier = store.saved_flow("copy").await.ok();
    store.save_flow(flow, earlier.as_ref()).await.unwrap();
}

async fn new(store: &Store, keys: &[&str]) -> BTreeSet<String> {
    store.not_taken("copy", "", texts(keys)).await.unwrap()
}

async fn through(store: &Store) -> Option<u64> {
    store.saved_flow("copy").await.unwrap().through.map(Timestamp::as_millis)
}

#[tokio::test]
async fn deduplication_keys_are_on_disk_with_the_run_and_the_position_of_the_trigger() {
    let home = Home::new();
    let store = home.open().unwrap();
    kept(&store).await;
    let commits = store.commits();
    assert_eq!(accept(&store, "a1", &fired(&["x", "y"], Some(7))).await.unwrap(), None);
    assert_eq!(store.commits(), commits + 1, "one transaction");
    drop(store);
    let store = home.open().unwrap();
    assert_eq!((through(&store).await, new(&store, &["x", "y", "z"]).await), (Some(7), BTreeSet::from(["z".into()])));
    assert_eq!(accept(&store, "a2", &fired(&["z", "y"], Some(9))).await.unwrap(), Some(RunId::from("a1")));
    assert_eq!(
        (through(&store).await, new(&store, &["z"]).await.len()),
        (Some(7), 1),
        "a rejected event changes nothing"
    );
    assert_eq!(store.runs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_concurrent_events_with_the_same_key_one_starts_a_run() {
    let home = Home::new();
    let store = Arc::new(home.open().unwrap());
    let other = Arc::new(home.open().unwrap());
    kept(&store).await;
    let mut tasks = Vec::new();
    for number in 0..40 {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        tasks.push(tokio::spawn(async move {
            accept(&store, &format!("run-{number}"), &fired(&["delivery"], None)).await.unwrap()
        }));
    }
    let mut earlier = Vec::new();
    for task in tasks {
        earlier.push(task.await.unwrap());
    }
    let runs = store.runs().await.unwrap();
    assert_eq!((runs.len(), earlier.iter().filter(|one| one.is_none()).count()), (1, 1));
    assert!(earlier.iter().flatten().all(|run| *run == runs[0].id), "all others get the id of that run");
}

#[tokio::test]
async fn events_that_start_no_run_are_recorded_too() {
    let home = Home::new();
    let store = home.open().unwrap();
    kept(&store).await;
    assert_eq!(through(&store).await, None);
    store.remember_trigger(fired(&["x"], Some(5))).await.unwrap();
    store.remember_trigger(fired(&["x", "y"], Some(6))).await.unwrap();
    assert_eq!((through(&store).await, new(&store, &["x", "y"]).await.len()), (Some(6), 0));
    // A replaced flow keeps its position. A flow that starts again keeps its keys, but not the time.
    kept(&store).await;
    store.deactivate_flow("copy", None).await.unwrap();
    assert_eq!(through(&store).await, Some(6));
    store.activate_flow(&store.saved_flow("copy").await.unwrap(), &BTreeMap::new(), true).await.unwrap();
    assert_eq!((through(&store).await, new(&store, &["x", "y"]).await.len()), (None, 0));
    store.remove_flow("copy", None).await.unwrap();
    assert_eq!(new(&store, &["x", "y"]).await.len(), 2);
}

#[tokio::test]
async fn keys_that_no_event_has_any_more_are_forgotten_after_30_days() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let home = Home::new();
    let store = home.open().unwrap();
    kept(&store).await;
    store.remember_trigger(fired(&["old", "shown", "young"], None)).await.unwrap();
    let age = |key: &str, days: i64| {
        let sql = "UPDATE taken SET at = at - ?2, sum = mac('taken', flow, feed, key, run, at - ?2) WHERE key = ?1";
        home.sqlite_with_key().execute(sql, rusqlite::params![key, days * DAY + 1]).unwrap();
    };
    age("old", 30);
    age("shown", 30);
    age("young", 29);
    assert!(new(&store, &["shown"]).await.is_empty(), "a key that is seen again is remembered");
    store.remember_trigger(fired(&["next"], None)).await.unwrap();
    assert_eq!(new(&store, &["old", "shown", "young", "next"]).await, BTreeSet::from(["old".into()]));
}

/// A trigger that reads a part of its list does not ask for the keys of the other part.
#[tokio::test]
async fn keys_of_a_feed_that_is_read_in_part_are_kept() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let home = Home::new();
    let store = home.open().unwrap();
    kept(&store).await;
    let of = |feed: &str, keys: &[&str], keep| TriggerEvent { feed: feed.into(), keep, ..fired(keys, Some(5)) };
    let new = async |feed: &str| store.not_taken("copy", feed, texts(&["old"])).await.unwrap().len();
    for feed in ["one", "two"] {
        store.remember_trigger(of(feed, &["old"], true)).await.unwrap();
    }
    let sql = "UPDATE taken SET at = at - ?1, sum = mac('taken', flow, feed, key, run, at - ?1)";
    home.sqlite_with_key().execute(sql, [40 * DAY]).unwrap();
    store.remember_trigger(of("one", &["next"], true)).await.unwrap();
    let event = of("one", &["last"], true);
    store.accept_triggered(&RunId::from("a1"), "v1", &json!({ "name": "copy" }), started(1), &event).await.unwrap();
    let count = |sql: &str| home.sqlite().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM taken WHERE key = 'old'"), 2, "none is removed");
    // At the end of a look at the whole list, its keys that were not asked for are removed, and those of no other list.
    store.remember_trigger(of("one", &[], false)).await.unwrap();
    assert_eq!((new("one").await, new("two").await), (1, 0));
}

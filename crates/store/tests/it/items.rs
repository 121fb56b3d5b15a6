//! The names of items: what is kept of an item beside its outcome, and how it is found.
#![allow(clippy::unwrap_used)]

use crate::support::{Home, accepted, downgrade, events, item};
use serde_json::{Value, json};
use trunkline_core::{RunId, Timestamp};
use trunkline_engine::{Collected, EventLog, Flush, ItemNote, ItemOutcome, RunEvent, RunIndex};
use trunkline_store::Store;

fn noted(key: &str, label: &str, result: Value, collected: Value) -> RunEvent {
    let collected = Some(Collected { index: 0, value: collected });
    RunEvent::ItemFinished {
        step: "files".into(),
        key: key.to_owned(),
        outcome: ItemOutcome::Done { reason: None },
        once: None,
        note: ItemNote { label: Some(label.to_owned()), result: Some(result), collected },
        at: Timestamp::from_millis(2),
    }
}

async fn found(store: &Store, name: &str) -> Vec<(RunId, String)> {
    let found = store.find_items(&[name.to_owned()], false, None, 10).await.unwrap();
    found.into_iter().map(|found| (found.run, found.item.key)).collect()
}

/// Version 11 found items by their runs only.
#[tokio::test]
async fn the_items_of_a_store_of_version_11_are_found_after_its_migration() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![item("4711")], Flush::Now).await.unwrap();
    drop(store);
    downgrade(&home);
    let store = home.open().unwrap();
    assert_eq!(found(&store, "4711").await, [(run.clone(), "4711".to_owned())]);
    store.append(&run, vec![noted("4712", "press.tif", json!("b1c2"), Value::Null)], Flush::Now).await.unwrap();
    drop(store);
    let store = home.open().unwrap();
    for name in ["4712", "press.tif", "b1c2"] {
        assert_eq!(found(&store, name).await, [(run.clone(), "4712".to_owned())], "{name}");
    }
}

#[tokio::test]
async fn a_collected_value_is_sealed_and_survives_a_change_of_the_key() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let value = json!({ "url": "https://blob.test/sample-signature" });
    store.append(&run, vec![noted("1", "one", json!(7), value.clone())], Flush::Now).await.unwrap();
    let kept: String =
        home.sqlite().query_row("SELECT event FROM events WHERE kind = 'item_finished'", [], |row| row.get(0)).unwrap();
    assert!(kept.contains("\"label\":\"one\"") && !kept.contains("signature"), "{kept}");
    store.rotate_key(|_| ()).await.unwrap();
    drop(store);
    let store = home.open().unwrap();
    let found = events(&store, &run).await;
    let RunEvent::ItemFinished { note, .. } = &found[1] else { panic!("{found:?}") };
    assert_eq!(note.collected.as_ref().unwrap().value, value);
}

/// The rows of names are not authenticated. With the twin, the index alone decides.
#[tokio::test]
async fn a_forged_name_finds_no_item() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![noted("1", "one", json!(7), Value::Null), item("2")], Flush::Now).await.unwrap();
    let attacker = home.sqlite();
    attacker.execute_batch("INSERT INTO item_names VALUES ('a1', 'files', '2', 'one')").unwrap();
    assert_eq!(found(&store, "one").await, [(run, "1".to_owned())]);
    let names = "SELECT count(*) FROM item_names WHERE name = 'one'";
    assert_eq!(attacker.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap(), 2, "the sabotage twin");
}

/// A year of nightly runs: 365 runs of 2,000 items with a label and a result.
#[tokio::test]
#[ignore = "minutes: it writes 730,000 items"]
async fn an_item_of_a_year_of_nightly_runs_is_found_in_50_milliseconds() {
    let home = Home::new();
    let store = home.open().unwrap();
    let began = std::time::Instant::now();
    for night in 0..365 {
        let run = accepted(&store, &format!("n{night:03}")).await;
        let items = (0..2000).map(|n| {
            noted(&format!("{}", 100_000 + n), &format!("{n}.tif"), json!(format!("a{night}-{n}")), Value::Null)
        });
        store.append(&run, items.collect(), Flush::Now).await.unwrap();
    }
    println!("written in {:?}", began.elapsed());
    for (name, count) in [("100034", 10), ("34.tif", 10), ("a200-34", 1), ("nothing", 0)] {
        let began = std::time::Instant::now();
        assert_eq!(found(&store, name).await.len(), count, "{name}");
        println!("{name}: {:?}", began.elapsed());
        assert!(began.elapsed().as_millis() < 50, "{name}: {:?}", began.elapsed());
    }
}

//! The store as a journal: the suite that every journal has to pass, group commits, and the effects of closing and of
//! failing.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use crate::support::{Home, accepted, events, fact, item, keys, started};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId, StepPath, Timestamp};
use trunkline_engine::{EventLog, Flush, RunClaims, RunEvent, RunIndex, journal_suite};
use trunkline_store::Store;

#[tokio::test]
async fn the_store_is_a_journal() {
    let homes: Vec<_> = (0..40).map(|_| Home::new()).collect();
    let next = Cell::new(0);
    journal_suite::run(async || {
        next.set(next.get() + 1);
        homes[next.get()].open().unwrap()
    })
    .await;
}

/// A crash leaves the files as they are at that moment.
#[tokio::test]
async fn the_store_survives_a_crash() {
    let homes: Vec<_> = (0..16).map(|_| Home::new()).collect();
    let next = Cell::new(0);
    let next_home = || {
        next.set(next.get() + 1);
        &homes[next.get()]
    };
    let reopen = async |before: Store| {
        let home = next_home();
        home.copy_from(before.dir());
        home.open().unwrap()
    };
    journal_suite::run_reopening(async || next_home().open().unwrap(), reopen).await;
}

#[tokio::test]
async fn closing_writes_what_is_queued() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    for key in &expected {
        store.append(&run, vec![item(key)], Flush::Later).await.unwrap();
    }
    drop(store);
    let store = home.open().unwrap();
    assert_eq!(keys(&store, &run).await, expected);
    assert_eq!(store.runs().await.unwrap()[0].items["done"], 500);
    drop(store);
    assert_eq!(home.bytes().keys().collect::<Vec<_>>(), ["trunkline.db"], "after closing, all data is in one file");
}

#[tokio::test]
async fn sixty_four_concurrent_appends_need_few_commits() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    // While another connection writes, all appends queue, so the result does not depend on timing.
    let other = home.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = store.commits();
    let appends: Vec<_> = (0..64)
        .map(|number| {
            let (store, run) = (store.clone(), run.clone());
            tokio::spawn(async move { store.append(&run, vec![item(&number.to_string())], Flush::Now).await })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.commits(), before);
    assert!(appends.iter().all(|append| !append.is_finished()), "an append was acknowledged before it was written");
    other.execute_batch("COMMIT").unwrap();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    assert!(store.commits() - before <= 3, "{} commits", store.commits() - before);
    assert_eq!(keys(&store, &run).await.len(), 64);
}

#[tokio::test]
async fn later_events_share_commits() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let before = store.commits();
    for number in 0..5_000 {
        store.append(&run, vec![item(&number.to_string())], Flush::Later).await.unwrap();
    }
    assert_eq!(keys(&store, &run).await.len(), 5_000);
    assert!(store.commits() - before < 500, "{} commits", store.commits() - before);
}

#[tokio::test]
async fn a_failed_append_poisons_the_journal() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![item("kept")], Flush::Now).await.unwrap();
    home.sqlite().execute_batch("ALTER TABLE items RENAME TO away").unwrap();

    // The event could be written, but the outcome of its item cannot: neither may stay.
    let error = store.append(&run, vec![item("lost")], Flush::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.advice().unwrap().contains("start Trunkline again"), "{error:?}");
    assert!(fact(&error, "file").unwrap().ends_with("trunkline.db"), "{error:?}");
    home.sqlite().execute_batch("ALTER TABLE away RENAME TO items").unwrap();

    // The cause is gone, but this process does not know what is on disk.
    for flush in [Flush::Now, Flush::Later] {
        let later =
            store.append(&run, vec![RunEvent::Resumed { at: Timestamp::from_millis(1) }], flush).await.unwrap_err();
        assert_eq!((later.kind(), later.message()), (ErrorKind::Store, error.message()));
    }
    let rejected =
        store.accept(&RunId::from("a2"), "v1", &serde_json::json!({ "name": "copy" }), started(2), Flush::Now).await;
    assert_eq!(rejected.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(store.item(&run, &StepPath::from("files"), "lost").await.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(store.replay(&run, &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(store.runs().await.unwrap().len(), 1, "reading is allowed");

    drop(store);
    let store = home.open().unwrap();
    assert_eq!(keys(&store, &run).await, ["kept"]);
    assert_eq!(events(&store, &run).await.len(), 2);
    store.append(&run, vec![item("next")], Flush::Now).await.unwrap();
}

#[tokio::test]
async fn a_later_append_that_fails_poisons_the_journal() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    home.sqlite().execute_batch("ALTER TABLE items RENAME TO away").unwrap();
    store.append(&run, vec![item("lost")], Flush::Later).await.unwrap();
    let error =
        store.append(&run, vec![RunEvent::Resumed { at: Timestamp::from_millis(1) }], Flush::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(store.item(&run, &StepPath::from("files"), "lost").await.unwrap_err().kind(), ErrorKind::Store);
}

async fn accept_later(store: &Store, name: &str, flow: serde_json::Value) -> RunId {
    let run = RunId::from(name);
    store.accept(&run, "v1", &flow, started(1), Flush::Later).await.unwrap();
    run
}

#[tokio::test]
async fn an_event_flushed_to_disk_takes_the_acceptance_of_its_run_with_it() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accept_later(&store, "a1", json!({ "name": "copy" })).await;
    let step_started = RunEvent::StepStarted { step: "one".into(), attempt: 1, at: Timestamp::from_millis(1) };
    store.append(&run, vec![step_started], Flush::Now).await.unwrap();
    let kept: i64 =
        home.sqlite().query_row("SELECT count(*) FROM events WHERE kind <> 'end'", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn a_run_that_is_rejected_later_records_nothing_and_harms_no_other_run() {
    let home = Home::new();
    let store = home.open().unwrap();
    let good = accepted(&store, "a1").await;
    let run = accept_later(&store, "a2", json!({ "name": "another flow of this version" })).await;
    let now = [run.clone(), good.clone()].map(async |run| store.append(&run, vec![item("1")], Flush::Now).await);
    let [rejected, kept] = futures::future::join_all(now).await.try_into().unwrap();
    assert_eq!(rejected.unwrap_err().kind(), ErrorKind::Conflict, "a version belongs to one flow");
    kept.unwrap();
    assert_eq!(store.append(&run, vec![item("2")], Flush::Later).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.runs().await.unwrap().len(), 1);
    let _claim = store.claim(&run).await.unwrap();
    assert_eq!(store.append(&run, vec![item("3")], Flush::Now).await.unwrap_err().kind(), ErrorKind::NotFound);
    store.append(&good, vec![item("4")], Flush::Now).await.unwrap();
    assert_eq!(keys(&store, &good).await, ["1", "4"]);
}

#[tokio::test]
async fn a_missing_event_is_detected() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![item("1"), item("2"), item("3")], Flush::Now).await.unwrap();
    home.sqlite().execute_batch("DELETE FROM events WHERE seq = 3").unwrap();
    assert_eq!(store.replay(&run, &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store);
}

#[tokio::test]
async fn missing_events_at_the_end_of_an_unfinished_run_are_detected() {
    for lost in ["seq = 3", "seq >= 2 AND kind <> 'end'", "kind = 'end'", "seq >= 3", "seq >= 1"] {
        let home = Home::new();
        let store = home.open().unwrap();
        let run = accepted(&store, "a1").await;
        let step_started =
            |step: &str| RunEvent::StepStarted { step: step.into(), attempt: 1, at: Timestamp::from_millis(1) };
        store.append(&run, vec![step_started("one"), step_started("two")], Flush::Now).await.unwrap();
        home.sqlite().execute(&format!("DELETE FROM events WHERE {lost}"), []).unwrap();
        assert_eq!(store.replay(&run, &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store, "{lost}");
        assert_eq!(store.signals(&run, 0).await.unwrap_err().kind(), ErrorKind::Store, "{lost}");
    }
    // A page that is in the state before the last event, beside a page with a later row of the run.
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![item("1")], Flush::Now).await.unwrap();
    home.sqlite_with_key()
        .execute_batch("DELETE FROM events WHERE seq = 2; UPDATE events SET event = '1', sum = mac('events', run, seq, kind, '1', NULL)
             WHERE kind = 'end'",)
        .unwrap();
    assert_eq!(store.replay(&run, &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store);
}

#[tokio::test]
async fn an_id_is_data_and_never_a_path() {
    let home = Home::new();
    let store = home.open().unwrap();
    for name in ["", ".", "..", "../a", "a/b", "A", "a.b", "a b", "a\0", "ä", &"a".repeat(65)] {
        let run = RunId::from(name);
        let accepted = store.accept(&run, "v1", &serde_json::json!({}), started(1), Flush::Now).await;
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(store.claim(&run).await.err().unwrap().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_concurrent_claims_of_a_run_one_succeeds() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static HOLDERS: AtomicU64 = AtomicU64::new(0);
    static CLAIMS: AtomicU64 = AtomicU64::new(0);
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let workers = (0..16).map(|_| {
        let (store, run) = (store.clone(), run.clone());
        tokio::spawn(async move {
            for _ in 0..2_000 {
                let Ok(claim) = store.claim(&run).await else { continue };
                assert_eq!(HOLDERS.fetch_add(1, Ordering::SeqCst), 0, "two tasks have claimed one run");
                CLAIMS.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                HOLDERS.fetch_sub(1, Ordering::SeqCst);
                drop(claim);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert!(CLAIMS.load(Ordering::SeqCst) > 0);
    drop(accepted(&store, "a2").await);
    drop(store.claim(&RunId::from("a2")).await.unwrap());
    let left = std::fs::read_dir(home.data().join("runs")).unwrap().map(|entry| entry.unwrap().file_name());
    let expected: &[&str] = if cfg!(target_os = "linux") { &["claims.lock"] } else { &[] };
    assert_eq!(left.collect::<Vec<_>>(), expected, "runs leave no files behind");
}

/// The twin of the refusal to forget while a run of the flow is active: what is removed then comes back with the items
/// that the run ends.
#[tokio::test]
async fn what_is_forgotten_below_an_active_run_is_remembered_again() {
    let (home, step) = (Home::new(), StepPath::from("files"));
    let done_once = |key: &str| match item(key) {
        RunEvent::ItemFinished { step, key, outcome, note, at, .. } => {
            RunEvent::ItemFinished { step, key, outcome, once: Some("v1".into()), note, at }
        }
        other => other,
    };
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    store.append(&run, vec![done_once("a")], Flush::Now).await.unwrap();
    assert_eq!(store.forget("copy", &[]).await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(store);
    assert_eq!(home.sqlite().execute("DELETE FROM done_once", []).unwrap(), 1);
    let store = home.open().unwrap();
    assert_eq!(store.before(&run, &step, "a").await.unwrap(), None);
    store.append(&run, vec![done_once("a")], Flush::Now).await.unwrap();
    assert!(store.before(&run, &step, "a").await.unwrap().is_some());
}

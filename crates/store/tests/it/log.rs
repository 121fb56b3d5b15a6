//! The call log of runs: it is bounded and sealed, and does not cause a flush.
#![allow(clippy::unwrap_used)]

use crate::support::{Home, accepted, item, logged};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId};
use trunkline_engine::{EventLog, Flush, LOG_BYTES, LOG_ENTRIES, LOG_PAGE, LOG_VALUE, LogEntry, ProcessLog};
use trunkline_store::Store;

async fn flushed(store: &Store, run: &RunId) {
    store.append(run, Vec::new(), Flush::Now).await.unwrap();
}

/// Returns the number of dropped entries and all other entries, read page by page.
async fn all(store: &Store, run: &RunId) -> (u64, Vec<(u64, LogEntry)>) {
    let mut all: Vec<(u64, LogEntry)> = Vec::new();
    loop {
        let page = store.logged(run, all.last().map_or(0, |(number, _)| *number)).await.unwrap();
        assert!(page.entries.len() <= LOG_PAGE);
        if page.entries.is_empty() {
            return (page.dropped, all);
        }
        all.extend(page.entries);
    }
}

#[tokio::test]
async fn the_newest_entries_are_kept_and_the_dropped_ones_are_counted() {
    let home = Home::new();
    let store = home.open().unwrap();
    let (run, other) = (accepted(&store, "a1").await, accepted(&store, "a2").await);
    assert_eq!(all(&store, &run).await, (0, Vec::new()));
    let more = 250;
    for number in 0..LOG_ENTRIES + more {
        store.log(&run, logged(json!(number))).await.unwrap();
    }
    store.log(&other, logged(json!("other"))).await.unwrap();
    flushed(&store, &run).await;
    let (dropped, kept) = all(&store, &run).await;
    assert_eq!((dropped, kept.len() as u64), (more, LOG_ENTRIES));
    assert!(kept.iter().map(|(_, entry)| entry.input.as_u64().unwrap()).eq(more..more + LOG_ENTRIES));
    assert!(kept.iter().map(|(number, _)| *number).eq(more + 1..=more + LOG_ENTRIES));
    assert_eq!(all(&store, &other).await, (0, vec![(1, logged(json!("other")))]), "each run has a log of its own");
}

#[tokio::test]
async fn the_size_of_a_log_in_bytes_is_limited() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let large = json!("x".repeat(3 * LOG_VALUE));
    for _ in 0..300 {
        store.log(&run, logged(large.clone())).await.unwrap();
    }
    flushed(&store, &run).await;
    let sum = "SELECT sum(length(sealed)), count(*), max(seq) FROM step_log";
    let kept = home.sqlite().query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (bytes, count, last): (i64, i64, i64) = kept.unwrap();
    let (bytes, dropped) = (bytes.unsigned_abs(), store.logged(&run, 300).await.unwrap().dropped);
    assert!(bytes <= LOG_BYTES && bytes > LOG_BYTES - LOG_BYTES / 50, "{bytes}");
    assert_eq!((dropped + count.unsigned_abs(), last), (300, 300));
}

#[tokio::test]
async fn an_entry_is_committed_with_the_next_event() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    // While another connection writes, all writes queue.
    let other = home.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = store.commits();
    let append = {
        let (store, run) = (store.clone(), run.clone());
        tokio::spawn(async move {
            store.log(&run, logged(json!(1))).await.unwrap();
            store.append(&run, vec![item("a")], Flush::Now).await
        })
    };
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    other.execute_batch("COMMIT").unwrap();
    append.await.unwrap().unwrap();
    assert_eq!(store.commits(), before + 1, "one commit for both");
    assert_eq!(all(&store, &run).await.1.len(), 1);
}

#[tokio::test]
async fn a_log_entry_is_sealed_and_bound_to_its_row() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    for title in ["a secret title", "another title"] {
        store.log(&run, logged(json!({ "title": title }))).await.unwrap();
    }
    flushed(&store, &run).await;
    for (file, bytes) in home.bytes() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("a secret title") && !text.contains("asset.upload"), "in {file}");
    }
    home.sqlite()
        .execute("UPDATE step_log SET sealed = (SELECT sealed FROM step_log WHERE seq = 1) WHERE seq = 2", [])
        .unwrap();
    assert_eq!(store.logged(&run, 1).await.unwrap_err().kind(), ErrorKind::Store, "it was moved to another row");
}

#[tokio::test]
async fn an_unknown_run_has_no_log_and_the_journal_continues() {
    let home = Home::new();
    let store = home.open().unwrap();
    let unknown = RunId::from("a2");
    assert_eq!(store.log(&unknown, logged(json!(1))).await.unwrap_err().kind(), ErrorKind::NotFound);
    let run = accepted(&store, "a1").await;
    flushed(&store, &run).await;
    assert_eq!(all(&store, &unknown).await, (0, Vec::new()));
}

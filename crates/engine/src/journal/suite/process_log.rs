//! The process log of a run.

use serde_json::json;
use trunkline_core::Timestamp;

use super::sample::accepted;
use crate::journal::{Flush, Journal, LOG_ENTRIES, LOG_PAGE, LogEntry};

pub(super) fn log_entry(number: u64) -> LogEntry {
    let entry = json!({
        "path": "files/a~1b", "step": "files/*", "attempt": 1, "at": Timestamp::from_millis(number), "took": number,
        "action": "shop.look", "connection": "shop", "input": { "text": "Ä \u{0}" }, "output": number
    });
    serde_json::from_value(entry).unwrap()
}

/// A journal may store no log.
pub(super) async fn the_newest_log_entries_are_kept(journal: &impl Journal) {
    let (run, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    for number in 1..=LOG_ENTRIES + 5 {
        journal.log(&run, log_entry(number)).await.unwrap();
    }
    journal.append(&run, Vec::new(), Flush::Now).await.unwrap();
    let (mut after, mut found, mut dropped) = (0, Vec::new(), 0);
    loop {
        let page = journal.logged(&run, after).await.unwrap();
        assert!(page.entries.len() <= LOG_PAGE, "{}", page.entries.len());
        let Some((last, _)) = page.entries.last() else { break };
        (after, dropped) = (*last, page.dropped);
        found.extend(page.entries);
    }
    if !found.is_empty() {
        assert_eq!((found.len() as u64, dropped), (LOG_ENTRIES, 5));
        let expected: Vec<_> = (6..=LOG_ENTRIES + 5).map(|number| (number, log_entry(number))).collect();
        assert!(found == expected, "the newest entries, in order and unchanged");
    }
    assert!(journal.logged(&other, 0).await.unwrap().entries.is_empty());
}

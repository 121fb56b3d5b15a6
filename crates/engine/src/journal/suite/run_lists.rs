//! Lists of runs, and runs found by their ids.

use serde_json::json;
use trunkline_core::{RunId, StepPath, Timestamp};

use super::sample::{accepted, failed, finished, item, resumed, skipped};
use crate::{
    journal::{Flush, Journal, RunSummary},
    run::{ItemOutcome, RunStatus},
};

pub(super) async fn runs_are_listed_newest_first(journal: &impl Journal) {
    let step = StepPath::from("files");
    let middle = accepted(journal, "b", 200).await;
    let oldest = accepted(journal, "c", 100).await;
    let newest = accepted(journal, "a", 300).await;
    let items = [
        ("1", ItemOutcome::Done { reason: None }),
        ("2", ItemOutcome::Done { reason: None }),
        ("3", skipped("why")),
        ("4", failed()),
    ];
    let events = items.into_iter().map(|(key, outcome)| item(&step, key, outcome)).collect();
    journal.append(&middle, events, Flush::Now).await.unwrap();
    journal.append(&middle, vec![finished(RunStatus::Partial, 250)], Flush::Now).await.unwrap();
    journal.append(&oldest, vec![finished(RunStatus::Failed, 150)], Flush::Now).await.unwrap();
    let listed = journal.runs().await.unwrap();
    let row = |run: &RunSummary| {
        let ended = run.finished_at.map(Timestamp::as_millis);
        (run.id.clone(), run.status, run.started_at.as_millis(), ended)
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    let expected = [
        (newest, RunStatus::Running, 300, None),
        (middle.clone(), RunStatus::Partial, 200, Some(250)),
        (oldest.clone(), RunStatus::Failed, 100, Some(150)),
    ];
    assert_eq!(rows, expected);
    assert_eq!(json!(listed[1].items), json!({ "done": 2, "failed": 1, "skipped": 1 }));
    assert!(listed[0].items.is_empty() && listed[2].items.is_empty());

    journal.append(&oldest, vec![resumed(400)], Flush::Now).await.unwrap();
    let listed = journal.runs().await.unwrap();
    assert_eq!(row(&listed[2]), (oldest.clone(), RunStatus::Running, 100, None), "resumed");
    journal.append(&oldest, vec![finished(RunStatus::Succeeded, 500)], Flush::Now).await.unwrap();
    let listed = journal.runs().await.unwrap();
    assert_eq!(row(&listed[2]), (oldest, RunStatus::Succeeded, 100, Some(500)));
}

pub(super) async fn runs_are_found_by_the_start_of_their_ids(journal: &impl Journal) {
    for name in ["ab-1", "ab-2", "ab-3", "a", "b"] {
        accepted(journal, name, 100).await;
    }
    for (start, expected) in [
        ("ab-2", &["ab-2"][..]),
        ("ab", &["ab-1", "ab-2", "ab-3"]),
        ("a", &["a", "ab-1", "ab-2", "ab-3"]),
        ("", &["a", "ab-1", "ab-2", "ab-3", "b"]),
        ("ab-20", &[]),
        ("AB", &[]),
        ("%", &[]),
        ("c", &[]),
    ] {
        let mut found = journal.runs_starting_with(start, 9).await.unwrap();
        found.sort();
        let found: Vec<_> = found.iter().map(RunId::as_str).collect();
        assert_eq!(found, expected, "{start:?}");
    }
    assert_eq!(journal.runs_starting_with("ab", 2).await.unwrap().len(), 2, "no more than asked for");
}

//! Lists of runs, and runs found by their ids.

use serde_json::json;
use trunkline_core::{Error, ErrorKind, RunId, StepPath, Timestamp};

use super::sample::{accepted, failed, finished, item, resumed, skipped, started};
use crate::{
    journal::{Flush, Journal, RunFilter, RunSummary},
    run::{ItemOutcome, RunEvent, RunStatus},
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
        let found = journal.runs_starting_with(start, 9).await.unwrap();
        let found: Vec<_> = found.iter().map(RunId::as_str).collect();
        assert_eq!(found, expected, "{start:?}");
    }
    let found = journal.runs_starting_with("ab", 2).await.unwrap();
    assert_eq!(found, ["ab-1", "ab-2"].map(RunId::from), "the smallest ids, and no more than asked for");
}

/// Returns the ids of a list, and how many pages it took.
async fn listed(journal: &impl Journal, filter: &RunFilter, most: usize) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = journal.run_page(filter, after.as_ref(), most).await.unwrap();
        assert!(page.runs.len() <= most);
        ids.extend(page.runs.into_iter().map(|run| run.id.as_str().to_owned()));
        pages += 1;
        match page.next {
            None => return (ids, pages),
            next => after = next,
        }
    }
}

pub(super) async fn a_list_is_filtered_and_paged(journal: &impl Journal) {
    // Several runs of one time, so that a page ends between them.
    for (name, flow, at) in
        [("r1", "copy", 100), ("r2", "Sync", 200), ("r3", "copy", 200), ("r4", "copy", 200), ("r5", "Sync", 300)]
    {
        let mut start = started("v1", at);
        if let RunEvent::Started { flow: of, trigger, .. } = &mut start {
            *of = flow.to_owned();
            *trigger = (flow == "Sync").then(|| "schedule".to_owned());
        }
        journal.accept(&RunId::from(name), "v1", &json!({ "name": "copy" }), start, Flush::Now).await.unwrap();
    }
    let error = Some(Error::new(ErrorKind::RateLimited, "slow down"));
    let failed = RunEvent::Finished { status: RunStatus::Failed, error, at: Timestamp::from_millis(400) };
    journal.append(&"r2".into(), vec![failed], Flush::Now).await.unwrap();
    journal.append(&"r3".into(), vec![finished(RunStatus::Failed, 300)], Flush::Now).await.unwrap();
    let all = RunFilter::default();
    let at = |millis| Some(Timestamp::from_millis(millis));
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (all.clone(), "r5 r4 r3 r2 r1"),
        (RunFilter { flow: text("copy"), ..all.clone() }, "r4 r3 r1"),
        (RunFilter { flow: text("cop"), ..all.clone() }, ""),
        (RunFilter { status: Some(RunStatus::Failed), ..all.clone() }, "r3 r2"),
        (RunFilter { flow: text("copy"), status: Some(RunStatus::Failed), ..all.clone() }, "r3"),
        (RunFilter { since: at(200), ..all.clone() }, "r5 r4 r3 r2"),
        (RunFilter { until: at(200), ..all.clone() }, "r1"),
        (RunFilter { since: at(200), until: at(300), flow: text("copy"), ..all.clone() }, "r4 r3"),
        (RunFilter { ended_before: at(400), ..all.clone() }, "r3"),
        (RunFilter { trigger: text("schedule"), ..all.clone() }, "r5 r2"),
        (RunFilter { trigger: text("webhook"), ..all.clone() }, ""),
        (RunFilter { search: text("sYn"), ..all.clone() }, "r5 r2"),
        (RunFilter { search: text("rate"), ..all.clone() }, "r2"),
        (RunFilter { search: text("R4"), ..all.clone() }, "r4"),
        (RunFilter { search: text("Slow D"), ..all.clone() }, "r2"),
        (RunFilter { search: text("slow d"), flow: text("copy"), ..all.clone() }, ""),
        (RunFilter { search: text("%"), ..all.clone() }, ""),
    ] {
        for most in [1, 2, 3, 9] {
            let (ids, pages) = listed(journal, &filter, most).await;
            assert_eq!(ids.join(" "), expected, "{filter:?}, {most} at a time");
            assert!(pages <= 1 + ids.len() / most, "{filter:?}: {pages} pages of {most}");
        }
    }
}

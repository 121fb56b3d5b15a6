//! The removal of runs, and what stays.

use std::time::Duration;

use serde_json::json;
use trunkline_core::{Error, ErrorKind, RunId, StepPath, Timestamp};
use trunkline_flow::Retention;

use super::{process_log::log_entry, sample::*};
use crate::{
    journal::{Flush, Journal},
    run::{ItemOutcome, RunEvent, RunStatus},
};

pub(super) async fn a_removed_run_leaves_only_what_is_remembered(journal: &impl Journal) {
    let step = StepPath::from("files");
    let (run, other) = (accepted(journal, "b1", 100).await, accepted(journal, "b2", 200).await);
    for run in [&run, &other] {
        // More rows than a journal removes in one transaction.
        for first in (0..3000).step_by(500) {
            let items = (first..first + 500).map(|key| done_once(&step, &key.to_string(), "v1")).collect();
            journal.append(run, items, Flush::Later).await.unwrap();
        }
        journal.log(run, log_entry(1)).await.unwrap();
        journal.append(run, vec![finished(RunStatus::Succeeded, 300)], Flush::Now).await.unwrap();
    }
    journal.append(&other, vec![done_once(&step, "only", "v2")], Flush::Now).await.unwrap();
    journal.remove_run(&run).await.unwrap();
    assert_eq!(kind(journal.replay(&run, &mut drop).await), ErrorKind::NotFound);
    assert_eq!(kind(journal.append(&run, vec![resumed(400)], Flush::Now).await), ErrorKind::NotFound);
    assert_eq!(kind(journal.remove_run(&run).await), ErrorKind::NotFound);
    assert!(journal.item(&run, &step, "1").await.unwrap().is_none());
    assert!(journal.items(&run, None, None, 10).await.unwrap().is_empty());
    assert!(journal.logged(&run, 0).await.unwrap().entries.is_empty());
    let left: Vec<_> = journal.runs().await.unwrap().into_iter().map(|run| (run.id, run.items["done"])).collect();
    assert_eq!(left, [(other.clone(), 3001)]);
    assert_eq!(journal.items(&other, None, None, 5000).await.unwrap().len(), 3001, "another run stays whole");
    assert_eq!(replayed(journal, &other).await.len(), 3003);
    let later = accepted(journal, "b3", 400).await;
    let remembered = journal.before(&later, &step, "7").await.unwrap().unwrap();
    assert_eq!((remembered.fingerprint.as_str(), remembered.unknown), ("v1", false), "what was done once");
    // The id can be used again, and nothing of the earlier run comes back.
    let again = accepted(journal, "b1", 500).await;
    assert_eq!(replayed(journal, &again).await.len(), 1);
    assert!(journal.items(&again, None, None, 10).await.unwrap().is_empty());
}

/// Fails unless a run is refused, and is there as before.
async fn refused(journal: &impl Journal, run: &RunId, why: &str) {
    let before = replayed(journal, run).await;
    let error = journal.remove_run(run).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{why}: {error}");
    assert!(error.advice().is_some(), "{why}: it says what to do");
    assert_eq!(replayed(journal, run).await, before, "{why}");
}

pub(super) async fn only_an_ended_run_without_unknown_outcomes_is_removed(journal: &impl Journal) {
    let step = StepPath::from("files");
    let running = accepted(journal, "c1", 100).await;
    refused(journal, &running, "it runs, or waits").await;
    journal.append(&running, vec![finished(RunStatus::Cancelled, 200)], Flush::Now).await.unwrap();
    journal.append(&running, vec![resumed(300)], Flush::Now).await.unwrap();
    refused(journal, &running, "it was resumed").await;
    journal.append(&running, vec![finished(RunStatus::Failed, 400)], Flush::Now).await.unwrap();
    journal.remove_run(&running).await.unwrap();

    let unknown = accepted(journal, "c2", 100).await;
    let events = vec![item(&step, "1", ItemOutcome::Unknown { error: error() }), finished(RunStatus::Partial, 200)];
    journal.append(&unknown, events, Flush::Now).await.unwrap();
    refused(journal, &unknown, "the outcome of an item is unknown").await;
    let done = resolved(&step, "1", ItemOutcome::Done { reason: None });
    journal.append(&unknown, vec![done], Flush::Now).await.unwrap();
    journal.remove_run(&unknown).await.unwrap();

    let stopped = accepted(journal, "c3", 100).await;
    let error = Some(Error::new(ErrorKind::UnknownOutcome, "the call may have arrived"));
    let end = RunEvent::Finished { status: RunStatus::Failed, error, at: Timestamp::from_millis(200) };
    journal.append(&stopped, vec![end], Flush::Now).await.unwrap();
    refused(journal, &stopped, "the outcome of a step is unknown").await;
    journal.append(&stopped, vec![resumed(300), finished(RunStatus::Succeeded, 400)], Flush::Now).await.unwrap();
    journal.remove_run(&stopped).await.unwrap();
}

pub(super) async fn a_run_is_kept_for_its_rerun(journal: &impl Journal) {
    // The samples repeat the failed items of this run.
    let (first, mut start) = (RunId::from("a0"), started("v1", 100));
    if let RunEvent::Started { retry, .. } = &mut start {
        *retry = None;
    }
    journal.accept(&first, "v1", &json!({ "name": "copy" }), start, Flush::Now).await.unwrap();
    journal.append(&first, vec![finished(RunStatus::Partial, 200)], Flush::Now).await.unwrap();
    let rerun = accepted(journal, "a1", 300).await;
    journal.append(&rerun, vec![finished(RunStatus::Succeeded, 400)], Flush::Now).await.unwrap();
    refused(journal, &first, "its rerun needs it").await;
    journal.remove_run(&rerun).await.unwrap();
    journal.remove_run(&first).await.unwrap();
}

pub(super) async fn the_retention_is_kept(journal: &impl Journal) {
    assert_eq!(journal.retention().await.unwrap(), Some(Retention::DEFAULT), "what a new storage begins with");
    for setting in [Retention::Forever, Retention::For(Duration::from_secs(7200))] {
        journal.set_retention(setting).await.unwrap();
        assert_eq!(journal.retention().await.unwrap(), Some(setting));
    }
}

//! What is there after a crash.

use serde_json::json;
use trunkline_core::ErrorKind;

use super::*;
use crate::journal::TriggerEvent;

/// The number of events in each append of [`a_crash_loses_only_the_end_of_a_run`].
const TOGETHER: usize = 3;

/// Checks what a journal that survives its process finds after a crash.
///
/// `fresh` returns an empty journal each time it is called. `reopen` ends a journal as a crash would, and returns one
/// on the same storage. The closer it is to a crash, the more is checked: a journal that is dropped in an orderly way
/// may write what a crash would lose.
///
/// # Panics
///
/// If the journal lacks a behaviour. The backtrace names it.
pub async fn run_reopening<J: Journal, F: AsyncFn() -> J, R: AsyncFn(J) -> J>(fresh: F, reopen: R) {
    what_was_flushed_is_there(fresh().await, &reopen).await;
    a_crash_loses_only_the_end_of_a_run(fresh().await, &reopen).await;
    a_claim_ends_with_its_process(fresh().await, &reopen).await;
    marks::marks_survive_their_process(fresh().await, &reopen).await;
}

async fn what_was_flushed_is_there<J: Journal>(journal: J, reopen: &impl AsyncFn(J) -> J) {
    let (run, step) = (accepted(&journal, "a1", 1).await, StepPath::from("files"));
    let events = vec![
        item(&step, "1", failed()),
        done_once(&step, "2", "v1"),
        RunEvent::Signalled { name: "go".into(), payload: json!(1), at: Timestamp::from_millis(2) },
        RunEvent::CancelRequested { at: Timestamp::from_millis(3) },
    ];
    journal.append(&run, events, Flush::Now).await.unwrap();
    let triggered = TriggerEvent { flow: "copy".into(), keys: vec!["a".into()], ..TriggerEvent::default() };
    let flow = json!({ "name": "copy" });
    journal.accept_triggered(&id("a2"), "v1", &flow, started("v1", 2), &triggered).await.unwrap();
    journal.remember_trigger(TriggerEvent { keys: vec!["b".into()], ..triggered.clone() }).await.unwrap();
    journal.keep_version("v2", &json!({ "name": "called" })).await.unwrap();
    let later = id("a3");
    journal.accept(&later, "v1", &flow, started("v1", 3), Flush::Later).await.unwrap();
    journal.wait_stored(&later).await.unwrap();
    let (before, runs) = (replayed(&journal, &run).await, journal.runs().await.unwrap());

    let journal = reopen(journal).await;
    assert_eq!(replayed(&journal, &run).await, before);
    assert_eq!(journal.runs().await.unwrap(), runs);
    assert_eq!(runs.len(), 3);
    assert_eq!(journal.item(&run, &step, "1").await.unwrap().map(|outcome| outcome.status()), Some("failed"));
    assert_eq!(journal.items(&run, None, None, 10).await.unwrap().len(), 2);
    assert_eq!(journal.before(&later, &step, "2").await.unwrap().map(|previous| previous.run), Some(run.clone()));
    assert!(journal.cancel_requested(&run).await.unwrap());
    let (signals, last) = journal.signals(&run, 0).await.unwrap();
    assert_eq!((signals.len(), last), (1, 5));
    assert_eq!(journal.flow("v2").await.unwrap(), json!({ "name": "called" }));
    assert_eq!(journal.not_taken("copy", "", ["a", "b", "c"].map(str::to_owned).into()).await.unwrap().len(), 1);
    let again = journal.accept_triggered(&id("a4"), "v1", &flow, started("v1", 4), &triggered).await;
    assert_eq!(again.unwrap(), Some(id("a2")));
    let again = journal.accept(&run, "v1", &flow, started("v1", 4), Flush::Now).await;
    assert_eq!(kind(again), ErrorKind::Conflict, "the run exists");
    // The run continues where it was.
    journal.append(&run, vec![resumed(5)], Flush::Now).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, [before, vec![json(&resumed(5))]].concat());
}

async fn a_crash_loses_only_the_end_of_a_run<J: Journal>(journal: J, reopen: &impl AsyncFn(J) -> J) {
    let run = accepted(&journal, "a1", 0).await;
    let append = async |from: u64, flush| {
        let events = (from..from + TOGETHER as u64).map(resumed).collect();
        journal.append(&run, events, flush).await.unwrap();
    };
    for number in 0..50 {
        append(number * TOGETHER as u64, if number == 30 { Flush::Now } else { Flush::Later }).await;
    }
    let before = replayed(&journal, &run).await;
    append(50 * TOGETHER as u64, Flush::Later).await;
    let all = [before, (50 * TOGETHER as u64..51 * TOGETHER as u64).map(|at| json(&resumed(at))).collect()].concat();
    let journal = reopen(journal).await;
    let found = replayed(&journal, &run).await;
    assert!(found.len() > 31 * TOGETHER, "{} events: a flushed one was lost", found.len());
    assert_eq!(found, all[..found.len()], "events are lost from the end only");
    assert_eq!((found.len() - 1) % TOGETHER, 0, "an append is there as a whole or not at all");
}

async fn a_claim_ends_with_its_process<J: Journal>(journal: J, reopen: &impl AsyncFn(J) -> J) {
    let run = accepted(&journal, "a1", 0).await;
    let claim = journal.claim(&run).await.unwrap();
    // The operating system closes what a process had open.
    drop(claim);
    let journal = reopen(journal).await;
    let claim = journal.claim(&run).await.unwrap();
    assert_eq!(kind(journal.claim(&run).await), ErrorKind::Conflict);
    drop(claim);
}

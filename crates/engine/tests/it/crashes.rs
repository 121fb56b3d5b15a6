//! Runs that were active when their process died, and runs that wait: what is recorded of them, and what they hold.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{call, flow, slots};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId, Timestamp};
use trunkline_engine::{
    Engine, EventLog, FlowVersions, Flush, MemoryJournal, ResumeOptions, RunClaims, RunEvent, RunStatus,
};
use trunkline_flow::Flow;

/// A run that is stuck in a call.
fn stuck() -> Flow {
    flow(json!([
        call("before", "thing.look", json!({ "name": "before" })),
        call("stuck", "thing.look", json!({ "name": "stuck", "fault": "forever" }))
    ]))
}

/// The journal of a process that has died: no task works on its runs any more.
async fn after_the_death_of(journal: &MemoryJournal, run: &RunId) -> Arc<MemoryJournal> {
    let (mut all, next) = (Vec::new(), MemoryJournal::default());
    journal.replay(run, &mut |event| all.push(event)).await.unwrap();
    let started = all.remove(0);
    let RunEvent::Started { version, .. } = &started else { unreachable!() };
    let (version, document) = (version.clone(), journal.flow(version).await.unwrap());
    next.accept(run, &version, &document, started, Flush::Now).await.unwrap();
    next.append(run, all, Flush::Now).await.unwrap();
    for _ in 0..journal.active_marks(run).await.unwrap() {
        next.mark_active(run).await.unwrap();
    }
    Arc::new(next)
}

/// Lets a server resume a run once, keep it for this time, and die.
async fn life(journal: &MemoryJournal, run: &RunId, time: Duration) -> (Arc<MemoryJournal>, Option<ErrorKind>) {
    let next = after_the_death_of(journal, run).await;
    let options = ResumeOptions { after_crash: true, memory: None };
    let resumed = Engine::new(next.clone()).resume_with(run, slots("stuck"), options).await;
    let error = resumed.as_ref().err().map(|error| error.kind());
    tokio::time::sleep(time).await;
    (next, error)
}

const LONG: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn a_run_that_was_active_in_three_crashes_is_suspended_until_an_operator_resumes_it() {
    let mut journal = Arc::new(MemoryJournal::default());
    let handle = Engine::new(journal.clone()).start(&stuck(), json!({}), slots("stuck")).await.unwrap();
    let run = handle.id().clone();
    tokio::time::sleep(LONG).await;
    // The first life recorded a step, and then nothing for long enough.
    assert_eq!(journal.active_marks(&run).await.unwrap(), 1);
    for time in [LONG, SHORT] {
        let (next, error) = life(&journal, &run, time).await;
        assert_eq!(error, None);
        journal = next;
    }
    let (next, error) = life(&journal, &run, LONG).await;
    assert_eq!(error, Some(ErrorKind::Internal));
    let engine = Engine::new(next.clone());
    let state = engine.run(&run).await.unwrap();
    assert_eq!(state.status, RunStatus::Failed);
    let text = state.error.unwrap().to_string();
    assert!(text.contains("active in the last 3 crashes"), "{text}");
    assert_eq!(next.active_marks(&run).await.unwrap(), 3, "it is reported until an operator resumes it");
    // An operator resumes it, and the count begins again.
    assert!(engine.resume(&run, slots("stuck")).await.is_ok());
    let (_, error) = life(&next, &run, LONG).await;
    assert_eq!(error, None);
}

/// The sabotage twin: a journal that keeps no marks resumes the run every time.
#[tokio::test(start_paused = true)]
async fn without_marks_a_run_is_resumed_every_time() {
    let mut journal = Arc::new(MemoryJournal::default());
    let handle = Engine::new(journal.clone()).start(&stuck(), json!({}), slots("stuck")).await.unwrap();
    let run = handle.id().clone();
    tokio::time::sleep(LONG).await;
    for _ in 0..6 {
        let (next, error) = life(&journal, &run, LONG).await;
        assert_eq!(error, None);
        next.clear_active(&run).await.unwrap();
        journal = next;
    }
}

/// The time in which a run dies whose process cannot bear what it does.
const AT_ONCE: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_shortest_life_after_a_crash_counts_and_progress_ends_the_count() {
    let mut journal = Arc::new(MemoryJournal::default());
    let handle = Engine::new(journal.clone()).start(&stuck(), json!({}), slots("stuck")).await.unwrap();
    let run = handle.id().clone();
    tokio::time::sleep(SHORT).await;
    for marks in [1, 2] {
        let (next, error) = life(&journal, &run, AT_ONCE).await;
        assert_eq!((error, next.active_marks(&run).await.unwrap()), (None, marks));
        journal = next;
    }
    let engine = Engine::new(journal.clone());
    engine.cancel(&run).await.unwrap();
    // The cancelled call ends after its grace period, and the end is recorded.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(journal.active_marks(&run).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_and_an_operator_do_not_count_as_crashes() {
    let journal = Arc::new(MemoryJournal::default());
    let wait = flow(json!([{ "id": "ok", "wait": { "signal": "go" } }]));
    let handle = Engine::new(journal.clone()).start(&wait, json!({}), slots("clean")).await.unwrap();
    let run = handle.id().clone();
    let mut waiting = Some(handle);
    for _ in 0..5 {
        tokio::time::sleep(LONG).await;
        let suspension = waiting.as_ref().unwrap().suspension();
        suspension.cancel();
        assert_eq!(waiting.take().unwrap().wait().await.unwrap().status, RunStatus::Running);
        let options = ResumeOptions { after_crash: true, memory: None };
        waiting = Some(Engine::new(journal.clone()).resume_with(&run, slots("clean"), options).await.unwrap());
    }
    let engine = Engine::new(journal.clone());
    engine.signal(&run, "go", json!({})).await.unwrap();
    assert_eq!(waiting.unwrap().wait().await.unwrap().status, RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_reports_the_end_of_its_wait_and_a_reading_one_does_not() {
    let journal = Arc::new(MemoryJournal::default());
    let engine = Engine::new(journal.clone());
    let steps = json!([{ "id": "both", "parallel": {
        "long": [{ "id": "long", "wait": { "for": "2h" } }],
        "short": [{ "id": "short", "wait": { "for": "1h" } }]
    } }]);
    let handle = engine.start(&flow(steps), json!({}), slots("waits")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = Timestamp::now();
    let left = handle.activity().waits_until(now).unwrap().left(now);
    assert!(left > Duration::from_secs(3590) && left <= Duration::from_secs(3600), "{left:?}");
    handle.cancel();
    handle.wait().await.unwrap();
    let calling = engine.start(&stuck(), json!({}), slots("calls")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(calling.activity().waits_until(now), None);
}

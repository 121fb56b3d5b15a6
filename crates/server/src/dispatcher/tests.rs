//! Runs that wait for long keep nothing in memory, and continue when they are due.

use serde_json::{Value, json};
use trunkline_core::Registry;
use trunkline_flow::Flow;

use super::*;

/// Returns a dispatcher that suspends runs that wait for at least this long, and watches over them.
fn dispatcher(shortest_wait: Duration) -> Arc<Dispatcher> {
    let (runtime, closing) = (Runtime::in_memory(Registry::empty()), CancellationToken::new());
    let health = Health::of(runtime.ports().health.clone());
    let mut dispatcher = Dispatcher::new(runtime, health, 2, closing);
    Arc::get_mut(&mut dispatcher).unwrap().shortest_wait = shortest_wait;
    dispatcher.watch_suspended();
    dispatcher
}

async fn start(dispatcher: &Arc<Dispatcher>, name: &str, wait: Value) -> RunId {
    let document = json!({ "name": name, "overlap": "queue", "steps": [{ "id": "ok", "wait": wait }] });
    let flow = Flow::from_value(document).unwrap();
    let new = NewRun { flow, input: json!({}), bindings: Default::default(), is_saved: true, once: None };
    match dispatcher.dispatch(new, Cause::Caller(Flush::Now)).await.unwrap() {
        StartOutcome::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

/// Waits until this many runs are active, suspended and queued.
async fn reaches(dispatcher: &Dispatcher, expected: [usize; 3]) {
    for _ in 0..100 {
        let counts = {
            let state = dispatcher.lock();
            [state.active.len(), state.suspended.len(), state.queue.len()]
        };
        if counts == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{expected:?}");
}

#[tokio::test]
async fn a_run_that_waits_for_long_is_suspended_and_continues_when_it_is_due() {
    let dispatcher = dispatcher(Duration::from_secs(2));
    let signal = start(&dispatcher, "signal", json!({ "signal": "go" })).await;
    let cancelled = start(&dispatcher, "cancelled", json!({ "signal": "go" })).await;
    let timed = start(&dispatcher, "timed", json!({ "for": "3s" })).await;
    // Its flow runs one after the other, so it counts as active.
    let second = start(&dispatcher, "timed", json!({ "for": "1ms" })).await;
    reaches(&dispatcher, [0, 3, 1]).await;
    assert!(dispatcher.is_busy("signal") && dispatcher.is_busy("timed"));
    let state =
        async |run: &RunId| dispatcher.runtime.engine().state_of(run, RunStatus::Running).await.unwrap().unwrap();
    let RunState::Waiting { signal: name, .. } = state(&signal).await else { panic!("{:?}", state(&signal).await) };
    assert_eq!(name.as_deref(), Some("go"));
    assert!(state(&timed).await.until().is_some(), "{:?}", state(&timed).await);
    assert_eq!(state(&second).await, RunState::Queued { behind: Some(timed.clone()), limit: None });
    let ends: Vec<_> = [&signal, &timed, &second].map(|run| dispatcher.end_of(run).unwrap()).into();
    dispatcher.runtime.engine().signal(&signal, "other", json!(1)).await.unwrap();
    dispatcher.runtime.engine().signal(&signal, "go", json!(1)).await.unwrap();
    dispatcher.runtime.engine().cancel(&cancelled).await.unwrap();
    for end in ends {
        let run = tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap();
        assert_eq!(run.status, RunStatus::Succeeded);
    }
    reaches(&dispatcher, [0, 0, 0]).await;
    assert!(!dispatcher.is_busy("cancelled"));
}

/// The sabotage twin: a dispatcher that suspends nothing keeps the runs in memory.
#[tokio::test]
async fn a_run_that_is_not_suspended_stays_in_memory() {
    let dispatcher = dispatcher(Duration::MAX);
    start(&dispatcher, "signal", json!({ "signal": "go" })).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    reaches(&dispatcher, [1, 0, 0]).await;
}

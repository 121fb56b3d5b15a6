//! Starts that fail: recorded, counted, and reported by the failure handler of the flow.

use axum::body::to_bytes;
use trunkline_engine::{Run, RunStatus};

use super::*;

/// A flow whose schedule is due each minute. Its runs need a folder, which a test takes away after it was saved.
fn nightly(on_failure: bool) -> Value {
    let handler = json!([{ "id": "note", "fail": "noted at {{ input.at }}: {{ error.message }}" }]);
    json!({
        "name": "nightly", "overlap": "parallel", "trigger": { "schedule": { "cron": "* * * * *", "missed": "all" } },
        "steps": [{ "id": "never", "wait": { "for": "1h" } }], "on_failure": if on_failure { handler } else { json!([]) },
        "connections": { "feed": "feed" }
    })
}

/// A room with a flow whose connection was removed after it was saved, so that none of its runs can start.
async fn broken(name: &str, on_failure: bool) -> Room {
    let room = room(name).await;
    room.save(&nightly(on_failure), "feed").await;
    let runtime = &room.scheduler.runtime;
    runtime.remove_connection("feed", true).await.unwrap();
    due_since(&room, 90).await;
    room
}

/// Lets the schedule be due since this many seconds.
async fn due_since(room: &Room, seconds: u64) {
    let runtime = &room.scheduler.runtime;
    let through = Timestamp::from_millis(runtime.now().as_millis() - seconds * 1000);
    let event = TriggerEvent { flow: "nightly".into(), through: Some(through), ..TriggerEvent::default() };
    runtime.journal().remember_trigger(event).await.unwrap();
}

/// Checks the trigger once, as the scheduler does. Without `reported`, the failure is only swallowed.
async fn check(room: &Room, reported: bool) {
    let scheduler = &room.scheduler;
    let (_, flow) = scheduler.runtime.saved_flow("nightly").await.unwrap();
    if let Err(error) = scheduler.check("nightly", &flow).await
        && reported
    {
        scheduler.failed("nightly", &error).await;
    }
    scheduler.dispatcher.starts.flush(&scheduler.runtime).await.unwrap();
    let starts = scheduler.runtime.flows().saved_flow("nightly").await.unwrap().starts;
    scheduler.health.set_failed_starts([starts].iter());
}

async fn health(room: &Room) -> Value {
    let body = room.scheduler.health.response(serde_json::Map::new()).into_body();
    serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap()
}

async fn ended_runs(room: &Room) -> Vec<Run> {
    let (runtime, mut all) = (&room.scheduler.runtime, Vec::new());
    for run in runtime.journal().runs().await.unwrap() {
        if let Some(end) = room.scheduler.dispatcher.end_of(&run.id) {
            let _ = end.await;
        }
        all.push(runtime.engine().run(&run.id).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_failed_start_is_recorded_counted_and_runs_the_failure_handler() {
    let room = broken("failed start", true).await;
    check(&room, true).await;
    let saved = room.scheduler.runtime.flows().saved_flow("nightly").await.unwrap();
    let failed = &saved.starts.failed[0];
    assert_eq!((saved.starts.failures, &*failed.trigger, saved.starts.last), (1, "schedule", None));
    assert!(failed.due.is_some() && failed.reason.contains("feed"), "{failed:?}");
    assert_eq!(health(&room).await["failed_starts"], json!({ "schedule": 1 }));
    let runs = ended_runs(&room).await;
    let [run] = &runs[..] else { panic!("one run of the failure handler, not {}", runs.len()) };
    let error = serde_json::to_string(&run.error).unwrap();
    assert_eq!((run.status, run.input["at"].is_string()), (RunStatus::Failed, true));
    assert!(error.contains("feed") && error.contains("noted at 20"), "{error}");

    // The same due time again is the same failed start.
    check(&room, true).await;
    let again = room.scheduler.runtime.flows().saved_flow("nightly").await.unwrap().starts;
    assert_eq!((again.failures, again.failed.len(), ended_runs(&room).await.len()), (1, 1, 1));
    // Another due time is another one.
    due_since(&room, 30 * 60).await;
    check(&room, true).await;
    let more = room.scheduler.runtime.flows().saved_flow("nightly").await.unwrap().starts;
    assert_eq!((more.failures, more.failed.len(), ended_runs(&room).await.len()), (2, 2, 2));

    // A start that succeeds ends the count.
    let document = json!({ "name": "feed", "connector": "feed-v1.0", "feed": "failed start" });
    room.scheduler.runtime.add_connection(document).await.unwrap();
    check(&room, true).await;
    let healed = room.scheduler.runtime.flows().saved_flow("nightly").await.unwrap().starts;
    assert_eq!((healed.failures, healed.failed.len(), healed.last.is_some()), (0, 2, true));
    assert_eq!(health(&room).await.get("failed_starts"), None);
}

/// A run that could not be started never runs the steps of its flow, also if it is resumed.
#[tokio::test]
async fn a_run_that_could_not_start_runs_only_its_failure_handler_when_it_is_resumed() {
    let room = broken("resumed start", true).await;
    check(&room, true).await;
    let run = ended_runs(&room).await.remove(0);
    let runtime = &room.scheduler.runtime;
    let resumed = runtime.resume(&run.id).await.unwrap().wait().await.unwrap();
    let error = serde_json::to_string(&resumed.error).unwrap();
    assert_eq!((resumed.status, error.contains("noted at 20")), (RunStatus::Failed, true), "{error}");
    let steps = serde_json::to_string(&runtime.engine().timeline(&run.id).await.unwrap()).unwrap();
    assert!(!steps.contains("never"), "{steps}");
}

#[tokio::test]
async fn a_failed_start_of_a_flow_without_a_failure_handler_is_only_recorded() {
    let room = broken("no handler", false).await;
    check(&room, true).await;
    assert_eq!(health(&room).await["failed_starts"], json!({ "schedule": 1 }));
    assert!(ended_runs(&room).await.is_empty());
}

/// The sabotage twin: a scheduler that passes over a failed start looks healthy.
#[tokio::test]
async fn without_the_record_a_start_fails_silently() {
    let room = broken("silent start", true).await;
    check(&room, false).await;
    assert!(room.scheduler.runtime.flows().saved_flow("nightly").await.unwrap().starts.is_empty());
    assert_eq!(health(&room).await, json!({ "status": "ok" }));
    assert!(ended_runs(&room).await.is_empty());
}

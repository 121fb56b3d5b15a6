//! System clocks that are set forwards or back, during a run or between two processes: no timer is lost, none fires
//! twice, and no wait becomes longer than it was declared.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{call, flow, lab::recorded_once, slots, world};
use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_core::{Clock, SystemClock, Timestamp};
use trunkline_engine::{Engine, EventLog, MemoryJournal, ProcessLog, Run, RunEvent, RunStatus};
use trunkline_flow::Flow;
use trunkline_testkit::clock::TestClock;

const HOUR: i64 = 3_600_000;
/// How far the clock is set forwards or back, in milliseconds.
const MOVES: [i64; 4] = [3 * HOUR, -3 * HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR];
/// The time limit of a run, 90 days in milliseconds: when the clock jumps a year ahead, the run exceeds it.
const LIMIT: i64 = 90 * 24 * HOUR;

/// A journal and a clock that can be set.
struct Room {
    journal: Arc<MemoryJournal>,
    clock: TestClock,
    place: String,
}

impl Room {
    fn new(place: String) -> Room {
        Room { journal: Arc::default(), clock: TestClock::default(), place }
    }

    fn engine(&self) -> Engine {
        Engine::new(self.journal.clone()).with_clock(Arc::new(self.clock.clone()))
    }

    /// Runs the flow to its end and sets the clock by `by` milliseconds after `after`. With `down`, one process ends
    /// before that and another one resumes the run.
    async fn play(&self, flow: &Flow, after: Duration, by: i64, down: bool) -> Run {
        let engine = self.engine();
        let running = engine.start(flow, json!({}), slots(&self.place)).await.unwrap();
        let id = running.id().clone();
        tokio::time::sleep(after).await;
        if !down {
            self.clock.set_by(by);
            return running.wait().await.unwrap();
        }
        engine.drain();
        assert_eq!(running.wait().await.unwrap().status, RunStatus::Running);
        self.clock.set_by(by);
        self.engine().resume(&id, slots(&self.place)).await.unwrap().wait().await.unwrap()
    }

    async fn events(&self, run: &Run) -> Vec<RunEvent> {
        let mut events = Vec::new();
        self.journal.replay(&run.id, &mut |event| events.push(event)).await.unwrap();
        events
    }
}

fn count(events: &[RunEvent], kind: &str) -> usize {
    events.iter().filter(|event| json!(event)["event"] == kind).count()
}

fn after() -> Value {
    call("after", "thing.make", json!({ "name": "after" }))
}

/// Sets the clock in every way, 30 seconds into the run, and checks how the run ends. `longest` is the longest time in
/// seconds that it may take in one process and in two; `records` is the kind of event that is recorded once.
async fn every_move(name: &str, flow: &Flow, longest: [u64; 2], records: &str) {
    for by in MOVES {
        for down in [false, true] {
            let place = format!("{name} {by} {down}");
            let room = Room::new(place.clone());
            let run = room.play(flow, Duration::from_secs(30), by, down).await;
            let took = room.clock.elapsed().as_secs();
            assert!(took <= longest[usize::from(down)], "{place}: took {took} s");
            let events = room.events(&run).await;
            recorded_once(&events);
            assert_eq!((count(&events, records), count(&events, "finished")), (1, 1), "{place}");
            let (status, made) = (run.status, world(&place).created().len());
            match by > LIMIT {
                true => assert_eq!((status, made), (RunStatus::Failed, 0), "{place}: {run:#?}"),
                false => assert_eq!((status, made), (RunStatus::Succeeded, 1), "{place}: {run:#?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time_however_the_clock_is_set() {
    let flow = flow(json!([{ "id": "pause", "wait": { "for": "100s" } }, after()]));
    // In the same process the wait is never longer. The next process only knows its length, so it may start it again.
    every_move("pause", &flow, [100, 130], "wait_began").await;
}

#[tokio::test(start_paused = true)]
async fn a_backoff_is_never_longer_than_recorded() {
    let flow = flow(json!([
        { "id": "busy", "action": "thing.look", "connection": "shop", "retry": { "tries": 3, "wait": "100s" },
          "input": { "name": "busy", "fault": "busy 1" } },
        after()
    ]));
    every_move("busy", &flow, [101, 131], "step_retried").await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_step_is_ended_by_its_timeout_however_the_clock_is_set() {
    let flow = flow(json!([
        { "id": "slow", "action": "thing.look", "connection": "shop", "timeout": "100s", "on_error": "continue",
          "input": { "name": "slow", "fault": "sleep 100000000000" } },
        after()
    ]));
    for by in MOVES.into_iter().filter(|by| *by < LIMIT) {
        let room = Room::new(format!("slow {by}"));
        let run = room.play(&flow, Duration::from_secs(30), by, false).await;
        assert_eq!((run.status, room.clock.elapsed().as_secs() <= 100), (RunStatus::Succeeded, true), "{by}: {run:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_until_a_date_follows_the_clock() {
    // 100 s after the start of the room's clock.
    let flow = flow(json!([{ "id": "then", "wait": { "until": 1_700_000_100_000_u64 } }, after()]));
    for (by, took) in [(3 * HOUR, 60..=100), (-3 * HOUR, 10_900..=10_900)] {
        let room = Room::new(format!("calendar {by}"));
        let run = room.play(&flow, Duration::from_secs(30), by, false).await;
        let seconds = room.clock.elapsed().as_secs();
        assert!(run.status == RunStatus::Succeeded && took.contains(&seconds), "{by}: {seconds} s");
    }
}

/// Adds the times in a value to `found`.
fn times(value: &Value, found: &mut Vec<Timestamp>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Timestamp>()),
        Value::Array(items) => items.iter().for_each(|item| times(item, found)),
        Value::Object(members) => members.values().for_each(|member| times(member, found)),
        _ => {}
    }
}

/// Runs a flow with this clock and returns all times that are recorded: in its events and in its process log.
async fn recorded_times(clock: Arc<dyn Clock>, place: &str) -> Vec<Timestamp> {
    let steps = json!([
        { "id": "busy", "action": "thing.look", "connection": "shop", "retry": { "tries": 3, "wait": "10s" },
          "timeout": "1m", "input": { "name": "busy", "fault": "busy 1" } },
        { "id": "rest", "wait": { "for": "40s" } },
        { "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [after()] }
    ]);
    let document = json!({ "name": "x", "log": "all", "connections": { "shop": "shop" }, "steps": steps });
    let (journal, flow) = (Arc::new(MemoryJournal::default()), Flow::from_value(document).unwrap());
    let engine = Engine::new(journal.clone()).with_clock(clock);
    let run = engine.start(&flow, json!({}), slots(place)).await.unwrap().wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded, "{run:?}");
    let mut found = Vec::new();
    journal.replay(&run.id, &mut |event| times(&json!(event), &mut found)).await.unwrap();
    let log = json!(journal.logged(&run.id, 0).await.unwrap());
    assert_eq!(log["entries"].as_array().unwrap().len(), 4, "{log}");
    times(&log, &mut found);
    found
}

#[tokio::test(start_paused = true)]
async fn every_recorded_time_is_one_of_the_engines_clock() {
    let (first, began) = ("2001-01-01T00:00:00Z".parse::<Timestamp>().unwrap(), Instant::now());
    let other = |times: &[Timestamp]| {
        times.iter().filter(|time| **time < first || **time > first + Duration::from_secs(24 * 3600)).count()
    };
    let found = recorded_times(Arc::new(move || first + began.elapsed()), "clock of 2001").await;
    assert_eq!((other(&found), found.len() > 15), (0, true), "{found:?}");
    // The same check finds the times of another clock.
    let found = recorded_times(Arc::new(SystemClock), "clock of the system").await;
    assert_eq!(other(&found), found.len());
}

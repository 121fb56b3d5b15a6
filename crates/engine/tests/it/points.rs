//! Named points at which a process dies, each tested five times: around the acceptance of a run, with the run claimed,
//! and around every kind of event. The next process gets the same result, repeats no recorded step, and repeats the
//! steps in flight with the same idempotency keys.
//!
//! [`Lab::play`] dies at each append. These tests also die at requests that are not appends, and after an append that
//! reached the journal although the process never knew.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::support::{
    between::{Asked, Watcher, died, watched},
    call, flow,
    lab::{Lab, Mortal, nothing, recorded_once},
    slots, world,
};
use serde_json::json;
use trunkline_core::{ErrorKind, Result, RunId, StepPath};
use trunkline_engine::{EventLog, Journal, MemoryJournal, RunEvent, RunIndex, RunStatus};
use trunkline_testkit::fake::FakeSystem;
use uuid::Uuid;

const TIMES: usize = 5;

/// The request at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Accept,
    Claim,
    /// An append with an event of this kind.
    Append(&'static str),
}

/// A point at which a process dies.
#[derive(Clone, Copy, Debug)]
struct Point {
    name: &'static str,
    at: At,
    /// Whether the request has reached the journal.
    kept: bool,
    /// How often a run reaches the point.
    there: usize,
    /// Whether the second process dies there, not the first.
    second: bool,
}

const fn point(name: &'static str, at: At, kept: bool, there: usize) -> Point {
    Point { name, at, kept, there, second: false }
}

const fn second(name: &'static str, at: At, kept: bool) -> Point {
    Point { name, at, kept, there: 1, second: true }
}

const POINTS: &[Point] = &[
    point("before a run is claimed", At::Claim, false, 1),
    point("while a new run is claimed", At::Claim, true, 1),
    point("before accept", At::Accept, false, 1),
    point("after accept", At::Accept, true, 1),
    point("before a step's start record", At::Append("step_started"), false, TIMES),
    point("after a step's start record, before it is sent", At::Append("step_started"), true, TIMES),
    point("after it was sent, before its record", At::Append("step_finished"), false, TIMES),
    point("after its record", At::Append("step_finished"), true, TIMES),
    point("before a retry is recorded", At::Append("step_retried"), false, 1),
    point("at the timer of a retry", At::Append("step_retried"), true, 1),
    point("before an item's outcome", At::Append("item_finished"), false, TIMES),
    point("after an item's outcome", At::Append("item_finished"), true, TIMES),
    point("before a timer", At::Append("wait_began"), false, 1),
    point("at a timer", At::Append("wait_began"), true, 1),
    point("before finish", At::Append("finished"), false, 1),
    point("after finish", At::Append("finished"), true, 1),
    second("before it is claimed again", At::Claim, false),
    second("while it is claimed again", At::Claim, true),
    second("before it is resumed", At::Append("resumed"), false),
    second("after it is resumed", At::Append("resumed"), true),
];

/// A process that dies at a point.
struct Doomed {
    point: Point,
    left: AtomicUsize,
    dead: AtomicBool,
}

impl Doomed {
    fn new(point: Point, nth: usize) -> Arc<Doomed> {
        Arc::new(Doomed { point, left: AtomicUsize::new(nth), dead: AtomicBool::new(false) })
    }

    fn comes_to(&self, asked: Asked<'_>) -> bool {
        let has = |events: &[RunEvent], kind: &str| events.iter().any(|event| json!(event)["event"] == kind);
        match (self.point.at, asked) {
            (At::Accept, Asked::Accept) | (At::Claim, Asked::Claim) => true,
            (At::Append(kind), Asked::Append(events, _)) => has(events, kind),
            _ => false,
        }
    }
}

impl Watcher for Doomed {
    fn before(&self, asked: Asked<'_>) -> Result<()> {
        self.after()?;
        if self.comes_to(asked) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.dead.store(true, Ordering::SeqCst);
            return if self.point.kept { Ok(()) } else { died() };
        }
        Ok(())
    }
    fn after(&self) -> Result<()> {
        if self.dead.load(Ordering::SeqCst) { died() } else { Ok(()) }
    }
}

/// Returns a lab with a flow that passes all points: reads and creates, a retried call, a timer and items.
fn lab() -> Lab {
    let flow = flow(json!([
        call("first", "thing.look", json!({ "name": "first" })),
        { "id": "busy", "action": "thing.look", "connection": "shop", "retry": { "tries": 3, "wait": "10s" },
          "input": { "name": "busy", "fault": "busy 1" } },
        { "id": "rest", "wait": { "for": "40s" } },
        { "id": "all", "each": ["a", "b", "c", "d", "e"], "key": "{{ item }}", "concurrency": 1, "steps": [
            call("look", "thing.look", json!({ "name": "look {{ item }}" })),
            call("make", "thing.make", json!({ "name": "{{ item }}" }))] }
    ]));
    Lab::new("points", &flow, json!({}))
}

/// Returns the number of calls by idempotency key. Keys are UUIDs; the world counts other names too.
fn keys(world: &FakeSystem) -> BTreeMap<String, usize> {
    let calls = world.all_calls();
    calls.into_iter().filter(|(name, _)| Uuid::parse_str(name).is_ok()).collect()
}

async fn events(journal: &MemoryJournal, id: &RunId) -> Vec<RunEvent> {
    let mut events = Vec::new();
    journal.replay(id, &mut |event| events.push(event)).await.unwrap();
    events
}

/// Returns the idempotency keys of the recorded steps.
fn recorded(events: &[RunEvent], id: &RunId) -> BTreeSet<String> {
    let key = |step: &StepPath| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{id}/{step}").as_bytes()).to_string();
    let finished = events.iter().filter_map(|event| match event {
        RunEvent::StepFinished { step, .. } => Some(key(step)),
        _ => None,
    });
    finished.collect()
}

/// Runs the flow in a process that dies at the point, resumes it, and returns whether the point was reached.
async fn dies_at(point: Point, nth: usize, place: &str) -> bool {
    let (lab, journal) = (lab(), Arc::new(MemoryJournal::default()));
    let watcher = Doomed::new(point, nth);
    let doomed = watched(journal.clone(), watcher.clone());
    let first: Arc<dyn Journal> = match point.second {
        true => Mortal::journal(journal.clone(), 7, nothing),
        false => doomed.clone(),
    };
    // A run that the first process has acknowledged has to be in the journal.
    let mut acknowledged = None;
    if let Ok(running) = lab.engine(first).start(&lab.flow, json!({}), slots(place)).await {
        acknowledged = Some(running.id().clone());
        assert_eq!(running.wait().await.unwrap_err().message(), "the process has died");
    }
    let runs = journal.runs().await.unwrap();
    assert!(acknowledged.is_none_or(|id| runs.iter().any(|run| run.id == id)), "{place}: an accepted run is lost");
    let Some(id) = runs.first().map(|run| run.id.clone()) else {
        assert!(keys(&world(place)).is_empty(), "{place}: nothing is called for a run that was not accepted");
        return watcher.dead.load(Ordering::SeqCst);
    };
    let world = world(place);
    let called = |recorded: &BTreeSet<String>| -> BTreeMap<_, _> {
        keys(&world).into_iter().filter(|(key, _)| recorded.contains(key)).collect()
    };
    let mut before = recorded(&events(&journal, &id).await, &id);
    let mut calls = called(&before);
    if point.second {
        let resumed = lab.engine(doomed.clone()).resume(&id, slots(place)).await;
        let ended = match resumed {
            Ok(running) => running.wait().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(ended.unwrap_err().message(), "the process has died");
        assert_eq!(called(&before), calls, "{place}: called again");
        before = recorded(&events(&journal, &id).await, &id);
        calls = called(&before);
    }
    // The next process. It cannot resume a run that has ended.
    let ended = lab.engine(journal.clone()).resume(&id, slots(place)).await;
    let run = match ended {
        Ok(running) => running.wait().await.unwrap(),
        Err(error) => {
            assert_eq!((error.kind(), point.name), (ErrorKind::Conflict, "after finish"), "{error:?}");
            lab.engine(journal.clone()).run(&id).await.unwrap()
        }
    };
    assert_eq!(called(&before), calls, "{place}: a recorded step was called again");
    assert_eq!((run.status, run.ledger[&"all".into()].done), (RunStatus::Succeeded, 5), "{place}: {run:#?}");
    let mut made = world.created();
    made.sort();
    assert_eq!(made, ["a", "b", "c", "d", "e"], "{place}: each is created once");
    // There are twelve steps with calls: repeated calls had the same key.
    assert_eq!(keys(&world).len(), 12, "{place}");
    let events = events(&journal, &id).await;
    recorded_once(&events);
    let ends = events.iter().filter(|event| matches!(event, RunEvent::Finished { .. })).count();
    assert_eq!(ends, 1, "{place}: it ends once");
    watcher.dead.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_process_may_die_at_every_named_point() {
    let mut reached = BTreeMap::<&str, usize>::new();
    for point in POINTS {
        for time in 0..TIMES {
            let nth = 1 + time % point.there;
            let there = dies_at(*point, nth, &format!("{} {time}", point.name)).await;
            *reached.entry(point.name).or_default() += usize::from(there);
        }
    }
    println!("{reached:#?}");
    assert_eq!(reached.len(), POINTS.len());
    assert!(reached.values().all(|times| *times == TIMES), "{reached:#?}");
}

//! Cancellation of random flows at random instants: the run ends, no step starts afterwards, no process has it claimed,
//! and it cannot be resumed.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use crate::support::{
    call, flow,
    lab::{Lab, Mortal, nothing},
    slots, world,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use trunkline_core::{ErrorKind, RunId, StepPath, Timestamp};
use trunkline_engine::{EventLog, MemoryJournal, RunClaims, RunEvent, RunStatus};
use trunkline_flow::Flow;
use trunkline_testkit::fake::FakeSystem;

/// Longer than another process needs to notice a cancellation request.
const HEARD: Duration = Duration::from_secs(2);
/// Longer than the grace period of a cancelled call and all that follows it.
const ENDED: Duration = Duration::from_secs(15);

/// A random generator (SplitMix64).
struct Dice {
    seed: u64,
    /// Whether there are calls that only end by cancellation.
    endless: bool,
}

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn steps(&mut self, depth: u64, id: &mut u64, item: &str) -> Value {
        (0..=self.roll(3)).map(|_| self.step(depth, id, item)).collect()
    }

    fn step(&mut self, depth: u64, number: &mut u64, item: &str) -> Value {
        *number += 1;
        let id = format!("s{number}");
        let name = format!("{id} {item}");
        let mut step = match self.roll(if depth == 0 { 7 } else { 11 }) {
            0 => call(&id, "thing.look", json!({ "name": name })),
            1 if self.endless => call(&id, "thing.look", json!({ "name": name, "fault": "forever" })),
            1 | 2 => call(&id, "thing.look", json!({ "name": name, "fault": format!("sleep {}", self.roll(40_000)) })),
            3 => call(&id, "thing.make", json!({ "name": name, "fault": format!("sleep {}", self.roll(40_000)) })),
            4 => {
                let fault = ["lost", "early", "busy 2"][usize::try_from(self.roll(3)).unwrap()];
                let mut step = call(&id, "thing.make", json!({ "name": name, "fault": fault }));
                step["retry"] = json!({ "tries": 5, "wait": "10s" });
                step
            }
            5 => json!({ "id": id, "wait": { "for": format!("{}s", 1 + self.roll(40)) } }),
            6 => json!({ "id": id, "wait": { "signal": "never" }, "timeout": "50s" }),
            7 => {
                let branch = |random: &mut Dice, number: &mut u64| random.steps(depth - 1, number, item);
                json!({ "id": id, "parallel": { "a": branch(self, number), "b": branch(self, number) } })
            }
            8 => json!({ "id": id, "if": "{{ true }}", "then": self.steps(depth - 1, number, item) }),
            9 => {
                let (items, concurrency) = (1 + self.roll(6), 1 + self.roll(4));
                let items: Vec<_> = (0..items).collect();
                json!({ "id": id, "each": items, "key": "{{ item }}", "concurrency": concurrency,
                    "steps": self.steps(depth - 1, number, "{{ item }}") })
            }
            _ => json!({ "id": id, "key": "{{ item.name }}", "concurrency": 1 + self.roll(4),
                "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 1 + self.roll(4) } },
                "steps": self.steps(depth - 1, number, "{{ item.name }}") }),
        };
        if self.roll(3) == 0 && step.get("if").is_none() {
            step["on_error"] =
                json!([call(&format!("{id}_instead"), "thing.make", json!({ "name": format!("{name}!") }))]);
        }
        step
    }
}

fn random_flow(random: &mut Dice) -> Flow {
    let steps = random.steps(2, &mut 0, "once");
    Flow::from_value(json!({ "name": "random", "connections": { "shop": "shop" }, "steps": steps })).unwrap()
}

/// The process that cancels a run.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The process that works on it.
    Own,
    /// Another process, while the first one works on the run.
    Other,
    /// Another process, after the first one has died.
    Heir,
    /// Another process, after the first one has drained and suspended the run.
    Parked,
    /// Another process that resumes the run when the cancellation request is already recorded.
    Successor,
}

const ALL: [By; 5] = [By::Own, By::Other, By::Heir, By::Parked, By::Successor];

fn begun(world: &FakeSystem) -> usize {
    world.all_calls().iter().filter(|(what, _)| *what != "connect").map(|(_, times)| times).sum()
}

async fn events(journal: &MemoryJournal, id: &RunId) -> Vec<RunEvent> {
    let mut events = Vec::new();
    journal.replay(id, &mut |event| events.push(event)).await.unwrap();
    events
}

/// Cancels a random run at a random instant and returns the status it ended with.
async fn cancelled(seed: u64) -> RunStatus {
    let by = ALL[usize::try_from(seed).unwrap() % ALL.len()];
    let mut random = Dice { seed, endless: matches!(by, By::Own | By::Other) };
    let flow = random_flow(&mut random);
    let place = format!("cancel {seed}");
    let after = Duration::from_millis(if random.roll(5) == 0 { random.roll(10) } else { random.roll(30_000) });
    let what = format!("seed {seed}, by {by:?} after {after:?}: {}", flow.document());

    let lab = Lab::new(&place, &flow, json!({}));
    let (journal, world) = (Arc::new(MemoryJournal::default()), world(&place));
    let lives =
        if matches!(by, By::Heir | By::Successor) { usize::try_from(random.roll(12)).unwrap() } else { usize::MAX };
    let (first, other) = (lab.engine(Mortal::journal(journal.clone(), lives, nothing)), lab.engine(journal.clone()));
    let wanted = slots_of(&flow, &place);
    let running = first.start(&flow, json!({}), wanted.clone()).await.unwrap();
    let id = running.id().clone();

    // A failed run could still be resumed, so another process can still cancel it through the journal.
    let ended_before = async || {
        let run = other.run(&id).await.unwrap();
        run.finished_at.map(|_| run.status)
    };
    let for_good = |ended: Option<RunStatus>| ended.is_some_and(|status| status != RunStatus::Failed);
    let (ended, before) = match by {
        By::Own => {
            sleep(after).await;
            let ended = ended_before().await;
            let before = begun(&world);
            running.cancel();
            let since = Instant::now();
            running.wait().await.unwrap();
            assert!(since.elapsed() < ENDED, "{what}");
            (ended, before)
        }
        By::Other => {
            sleep(after).await;
            let ended = ended_before().await;
            assert_eq!(other.cancel(&id).await.is_err(), for_good(ended), "{what}");
            sleep(HEARD).await;
            let before = begun(&world);
            let since = Instant::now();
            running.wait().await.unwrap();
            assert!(since.elapsed() < ENDED, "{what}");
            (ended, before)
        }
        By::Heir | By::Parked | By::Successor => {
            if matches!(by, By::Parked) {
                sleep(after).await;
                first.drain();
            }
            // A dead process returns an error; a drained one returns the suspended run.
            let _ = running.wait().await;
            let ended = ended_before().await;
            let before = begun(&world);
            if matches!(by, By::Successor) && !for_good(ended) {
                journal
                    .append(
                        &id,
                        vec![RunEvent::CancelRequested { at: Timestamp::from_millis(1) }],
                        trunkline_engine::Flush::Now,
                    )
                    .await
                    .unwrap();
                other.resume(&id, wanted.clone()).await.unwrap().wait().await.unwrap();
            } else {
                assert_eq!(other.cancel(&id).await.is_err(), for_good(ended), "{what}");
            }
            (ended, before)
        }
    };

    let run = other.run(&id).await.unwrap();
    let recorded = events(&journal, &id).await;
    let ends = recorded.iter().filter(|event| matches!(event, RunEvent::Finished { .. })).count();
    let stays = for_good(ended) || ended.is_some() && matches!(by, By::Own);
    // All remaining steps may have finished during the grace period.
    let done = matches!(run.status, RunStatus::Succeeded | RunStatus::Partial);
    let stays = stays || done && matches!(by, By::Own | By::Other);
    let ended = ended.or(done.then_some(run.status));
    let expected = (if stays { ended } else { Some(RunStatus::Cancelled) }, 1 + usize::from(ended.is_some() && !stays));
    assert_eq!((run.finished_at.map(|_| run.status), ends), expected, "{what}");
    assert_eq!(begun(&world), before, "a step was started after the cancellation: {what}");
    assert!(run.waiting.is_empty(), "{what}");
    // A task that is still alive would show itself in this time.
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!((begun(&world), events(&journal, &id).await.len()), (before, recorded.len()), "{what}");
    drop(journal.claim(&id).await.unwrap_or_else(|error| panic!("{error}: {what}")));
    if run.status != RunStatus::Failed {
        for rejected in [other.resume(&id, wanted).await.map(drop), other.cancel(&id).await] {
            assert_eq!(rejected.unwrap_err().kind(), ErrorKind::Conflict, "{what}");
        }
    }
    run.status
}

fn slots_of(flow: &Flow, place: &str) -> std::collections::BTreeMap<String, trunkline_core::Connected> {
    slots(place).into_iter().filter(|(slot, _)| flow.connections().contains_key(slot)).collect()
}

fn hold(seeds: u64) {
    let mut ended = 0;
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        ended += u64::from(runtime.block_on(cancelled(seed)) == RunStatus::Cancelled);
    }
    println!("{ended} of {seeds} runs were cancelled, the others had ended before");
    assert!(ended > seeds / 2, "too few runs were cancelled: {ended} of {seeds}");
}

#[test]
fn a_run_that_is_cancelled_at_any_instant_ends_and_leaves_no_task() {
    hold(200);
}

#[test]
#[ignore = "takes a minute: a thousand random flows"]
fn a_thousand_runs_that_are_cancelled_at_any_instant_end_and_leave_no_task() {
    hold(1_000);
}

/// The checkpoint of an action, such as an open upload, is not forgotten with the run.
#[tokio::test(start_paused = true)]
async fn a_cancelled_run_warns_of_an_interrupted_step_with_a_checkpoint() {
    let flow = flow(json!([{ "id": "files", "each": ["a"], "key": "{{ item }}", "steps": [
        call("asset", "thing.look", json!({ "name": "a", "fault": "forever" })) ] }]));
    let lab = Lab::new("broken off", &flow, json!({}));
    let journal = Arc::new(MemoryJournal::default());
    let engine = lab.engine(journal.clone());
    let running = engine.start(&flow, json!({}), slots("broken off")).await.unwrap();
    let id = running.id().clone();
    sleep(Duration::from_secs(1)).await;
    // The checkpoint that the action would have saved.
    let step = StepPath::from("files/a/asset");
    journal
        .append(&id, vec![RunEvent::Checkpoint { step, value: json!(1) }], trunkline_engine::Flush::Now)
        .await
        .unwrap();
    running.cancel();
    running.wait().await.unwrap();
    let run = engine.run(&id).await.unwrap();
    let warnings: Vec<_> = run.warnings.keys().collect();
    assert_eq!((run.status, warnings.len()), (RunStatus::Cancelled, 1), "{warnings:?}");
    assert!(warnings[0].starts_with("files/a/asset was interrupted"), "{warnings:?}");
}

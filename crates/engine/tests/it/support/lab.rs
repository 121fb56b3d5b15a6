//! A fault lab for runs.
//!
//! It plays a run undisturbed, then with a process that dies at each position of the journal, then with processes that
//! each die after one event. The result has to be the same every time, and a recorded step must not be called again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use trunkline_core::{Connected, Result, RunId, StepPath};
use trunkline_engine::{
    Engine, EventLog, ItemOutcome, Journal, JournalParts, MemoryJournal, Run, RunEvent, RunIndex, RunLimits,
};
use trunkline_flow::Flow;
use trunkline_testkit::{clock::TestClock, fake::FakeSystem};
use uuid::Uuid;

use super::{
    between::{Asked, Watcher, died, watched},
    slots, world,
};

/// A process that dies after a number of appends.
pub struct Mortal {
    left: AtomicUsize,
    forgets: Forgets,
}

/// Sabotage: selects the events that the next process does not find in the journal.
pub type Forgets = fn(&RunEvent) -> bool;

/// Forgets no event.
pub fn nothing(_: &RunEvent) -> bool {
    false
}

impl Mortal {
    /// Returns the journal of a process that dies after `appends` appends.
    pub fn journal(inner: Arc<MemoryJournal>, appends: usize, forgets: Forgets) -> Arc<JournalParts> {
        watched(inner, Arc::new(Mortal { left: AtomicUsize::new(appends), forgets }))
    }
}

impl Watcher for Mortal {
    fn before(&self, asked: Asked<'_>) -> Result<()> {
        let Asked::Append(..) = asked else { return Ok(()) };
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        taken.map_or_else(|_| died(), |_| Ok(()))
    }
    fn shows(&self, event: &RunEvent) -> bool {
        !(self.forgets)(event)
    }
}

/// Prepares a world for a run.
pub type Prepare = fn(&FakeSystem);

/// Plays the runs of one flow.
pub struct Lab {
    pub name: String,
    pub flow: Flow,
    pub input: Value,
    pub limits: RunLimits,
    /// Signals that are sent when the run has started.
    pub signals: Vec<(&'static str, Value)>,
    pub forgets: Forgets,
    /// If present, the played run reruns the failed items of an earlier run. The first function prepares the world for
    /// the earlier run, the second one for the rerun.
    pub again: Option<(Prepare, Prepare)>,
    clock: TestClock,
}

/// The result of a play.
pub struct Played {
    pub run: Run,
    pub world: Arc<FakeSystem>,
    pub events: Vec<RunEvent>,
    pub lives: usize,
}

impl Played {
    /// Returns the part of the result that has to be the same however often the process died.
    fn end(&self) -> Value {
        let mut run = json!(self.run);
        for name in ["id", "started_at", "finished_at", "connections", "retry"] {
            run.as_object_mut().unwrap().remove(name);
        }
        let mut made = self.world.created();
        made.sort();
        json!({ "run": run, "made": made, "done": self.done() })
    }

    /// Returns the paths of the items that are done, with the warnings of their steps.
    pub fn done(&self) -> BTreeMap<String, Option<String>> {
        let done = |event: &RunEvent| match event {
            RunEvent::ItemFinished { step, key, outcome: ItemOutcome::Done { reason }, .. } => {
                Some((step.join(key).as_str().to_owned(), reason.clone()))
            }
            _ => None,
        };
        self.events.iter().filter_map(done).collect()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| json!(event)["event"] == kind).count()
    }
}

impl Lab {
    pub fn new(name: &str, flow: &Flow, input: Value) -> Lab {
        let (name, flow, limits) = (name.to_owned(), flow.clone(), RunLimits::default());
        Lab {
            name,
            flow,
            input,
            limits,
            signals: Vec::new(),
            forgets: nothing,
            again: None,
            clock: TestClock::default(),
        }
    }

    /// Returns an engine whose clock follows the simulated time of the test.
    pub fn engine(&self, journal: Arc<dyn Journal>) -> Engine {
        Engine::new(journal).with_clock(Arc::new(self.clock.clone())).with_limits(self.limits.clone())
    }

    fn slots(&self, place: &str) -> BTreeMap<String, Connected> {
        slots(place).into_iter().filter(|(slot, _)| self.flow.connections().contains_key(slot)).collect()
    }

    /// Plays the run once. `lives` has the number of appends after which each process dies; the last process does not
    /// die.
    pub async fn once(&self, place: &str, lives: impl Iterator<Item = usize>) -> Played {
        let journal = Arc::new(MemoryJournal::default());
        let mut lives = lives.chain(std::iter::repeat(usize::MAX));
        let engine = self.engine(Mortal::journal(journal.clone(), lives.next().unwrap(), self.forgets));
        let (id, begun) = self.begin(&engine, &journal, place).await;
        for (name, payload) in &self.signals {
            self.engine(journal.clone()).signal(&id, name, payload.clone()).await.unwrap();
        }
        let (world, mut count) = (world(place), 1);
        let mut ended = match begun {
            Ok(running) => running.wait().await,
            Err(error) => Err(error),
        };
        // How often each recorded step had been called when its process died.
        let mut called = BTreeMap::<StepPath, usize>::new();
        let run = loop {
            let mut recorded = BTreeSet::new();
            let visit = &mut |event| match event {
                RunEvent::StepFinished { step, .. } => {
                    recorded.insert(step);
                }
                // A called flow that is retried and fails again runs its failure handler again.
                RunEvent::StepRetried { .. } => recorded.retain(|step: &StepPath| !step.as_str().contains("/~flow/")),
                _ => {}
            };
            journal.replay(&id, visit).await.unwrap();
            called.retain(|step, _| recorded.contains(step));
            for step in recorded {
                let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{id}/{step}").as_bytes());
                let now = world.calls(&key.to_string());
                let before = *called.entry(step.clone()).or_insert(now);
                assert_eq!(before, now, "{step} was recorded, and called again");
            }
            match ended {
                Ok(run) => break run,
                Err(error) => assert_eq!(error.message(), "the process has died", "{error:?}"),
            }
            count += 1;
            assert!(count < 200, "{place}: the run does not get on");
            let engine = self.engine(Mortal::journal(journal.clone(), lives.next().unwrap(), self.forgets));
            ended = match engine.resume(&id, self.slots(place)).await {
                Ok(running) => running.wait().await,
                Err(error) => Err(error),
            };
        };
        let mut events = Vec::new();
        journal.replay(&id, &mut |event| events.push(event)).await.unwrap();
        recorded_once(&events);
        Played { run, world, events, lives: count }
    }

    /// Starts the run to play and returns its id, even if its process has died since it was accepted.
    async fn begin(
        &self,
        engine: &Engine,
        journal: &Arc<MemoryJournal>,
        place: &str,
    ) -> (RunId, Result<trunkline_engine::RunHandle>) {
        let Some((before, after)) = self.again else {
            let running = engine.start(&self.flow, self.input.clone(), self.slots(place)).await.unwrap();
            return (running.id().clone(), Ok(running));
        };
        before(&world(place));
        let first = self.engine(journal.clone()).start(&self.flow, self.input.clone(), self.slots(place)).await;
        let first = first.unwrap().wait().await.unwrap().id;
        after(&world(place));
        let running = engine.rerun_failed(&first, None, self.slots(place), true).await;
        let runs = journal.runs().await.unwrap();
        (runs.into_iter().find(|run| run.id != first).unwrap().id, running)
    }

    /// Runs all plays and returns the result of the undisturbed one.
    pub async fn play(&self) -> Played {
        let first = self.once(&self.name, std::iter::empty()).await;
        for position in 0..first.events.len() {
            let place = format!("{} dies at {position}", self.name);
            let played = self.once(&place, std::iter::once(position)).await;
            assert_eq!(played.end(), first.end(), "{place}");
        }
        // Each process appends one event besides the one that resumes the run.
        let place = format!("{} dies again and again", self.name);
        let played = self.once(&place, std::iter::once(1).chain(std::iter::repeat_n(2, 199))).await;
        assert_eq!(played.end(), first.end(), "{place}");
        assert!(played.lives > 1 || first.events.len() < 3, "nothing was tried");
        first
    }
}

/// Checks that each step and item has at most one recorded result, unless a retried call repeats the step.
pub fn recorded_once(events: &[RunEvent]) {
    let mut seen = BTreeSet::<StepPath>::new();
    for event in events {
        match event {
            RunEvent::StepFinished { step, .. } => assert!(seen.insert(step.clone()), "{step} was recorded twice"),
            RunEvent::StepRetried { .. } => seen.retain(|step| !step.as_str().contains("/~flow/")),
            RunEvent::ItemFinished { step, key, .. } => {
                assert!(seen.insert(step.join("item ").join(key)), "{step} {key} was recorded twice");
            }
            _ => {}
        }
    }
}

//! Random flows whose processes die at random points, compared with a model.
//!
//! The model is fifty lines long and has neither a journal nor a clock.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::support::lab::Lab;
use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_engine::RunStatus;
use trunkline_flow::Flow;

/// A random step. It has no id yet: [`Numbers`] gives it one.
#[derive(Clone, Debug)]
enum Plan {
    Make(&'static str),
    Look { good: bool },
    Fail,
    Skip,
    Wait,
    Signal,
    If(bool, Vec<Step>, Vec<Step>),
    Parallel(Vec<Vec<Step>>),
    Each { items: usize, concurrency: usize, batch: Option<usize>, steps: Vec<Step> },
}

#[derive(Clone, Debug)]
struct Step {
    plan: Plan,
    on_error: OnError,
}

#[derive(Clone, Debug)]
enum OnError {
    Fail,
    Continue,
    Make,
}

/// The result of a step or of a list of steps.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Completed,
    Skipped(String),
    Failed(String),
}

/// The expected effects of a run: the created things, and the number of items by `each` step and outcome.
#[derive(Debug, Default, PartialEq)]
struct Model {
    made: Vec<String>,
    items: BTreeMap<(String, String), u64>,
}

/// The position of a step: the path of its parent, and the item it runs for.
#[derive(Clone, Copy)]
struct Here<'a> {
    path: &'a str,
    item: Option<&'a str>,
    batch: bool,
}

impl Here<'_> {
    fn name(self, id: &str) -> String {
        self.item.map_or_else(|| id.to_owned(), |item| format!("{id} {item}"))
    }

    fn template(self, id: &str) -> String {
        match (self.item, self.batch) {
            (None, _) => id.to_owned(),
            (Some(_), false) => format!("{id} {{{{ item }}}}"),
            (Some(_), true) => format!("{id} {{{{ items | join('+') }}}}"),
        }
    }
}

/// Numbers the steps. The document and the model number them in the same order, so a step has the same id in both.
#[derive(Default)]
struct Numbers(usize);

impl Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("s{}", self.0)
    }
}

fn document(steps: &[Step], here: Here<'_>, numbers: &mut Numbers) -> Value {
    steps.iter().map(|step| step_document(step, here, numbers)).collect()
}

fn step_document(step: &Step, here: Here<'_>, numbers: &mut Numbers) -> Value {
    let id = numbers.next();
    let call = |action: &str, id: &str, fault: &str| {
        crate::support::call(id, action, json!({ "name": here.template(id), "fault": fault }))
    };
    let mut document = match &step.plan {
        Plan::Make(fault) => call("thing.make", &id, fault),
        Plan::Look { good } => call("thing.look", &id, if *good { "" } else { "missing" }),
        Plan::Fail => return json!({ "id": id, "fail": format!("fail {id}") }),
        Plan::Skip => return json!({ "id": id, "skip": format!("skip {id}") }),
        Plan::Wait => json!({ "id": id, "wait": { "for": "40s" } }),
        Plan::Signal => json!({ "id": id, "wait": { "signal": "go" } }),
        Plan::If(yes, then, otherwise) => {
            let (then, otherwise) = (document(then, here, numbers), document(otherwise, here, numbers));
            return json!({ "id": id, "if": format!("{{{{ {yes} }}}}"), "then": then, "else": otherwise });
        }
        Plan::Parallel(branches) => {
            let branch = |(index, steps): (usize, &Vec<Step>)| (format!("b{index:02}"), document(steps, here, numbers));
            json!({ "id": id, "parallel": branches.iter().enumerate().map(branch).collect::<serde_json::Map<_, _>>() })
        }
        Plan::Each { items, concurrency, batch, steps } => {
            let items: Vec<_> = (0..*items).map(|n| format!("i{n}")).collect();
            let inside = Here { item: Some(""), batch: batch.is_some(), ..here };
            let mut each = json!({ "id": id, "each": items, "key": "{{ item }}", "concurrency": concurrency,
                "steps": document(steps, inside, numbers) });
            if let Some(batch) = batch {
                each["batch"] = json!(batch);
            }
            each
        }
    };
    if matches!(step.plan, Plan::Make("busy 2")) {
        document["retry"] = json!({ "tries": 5, "wait": "10s" });
    }
    match step.on_error {
        OnError::Fail => {}
        OnError::Continue => document["on_error"] = json!("continue"),
        OnError::Make => document["on_error"] = json!([call("thing.make", &format!("{id}_instead"), "")]),
    }
    document
}

impl Model {
    /// Runs all steps in order, up to the first that does not complete. Steps that do not run are numbered too.
    fn steps(&mut self, steps: &[Step], here: Here<'_>, runs: bool, numbers: &mut Numbers) -> End {
        let mut end = End::Completed;
        for step in steps {
            let runs = runs && end == End::Completed;
            let of_step = self.step(step, here, runs, numbers);
            if runs {
                end = of_step;
            }
        }
        end
    }

    fn step(&mut self, step: &Step, here: Here<'_>, runs: bool, numbers: &mut Numbers) -> End {
        let id = numbers.next();
        let end = match &step.plan {
            Plan::Make(_) => {
                self.made.extend(runs.then(|| here.name(&id)));
                End::Completed
            }
            Plan::Look { good: false } => End::Failed("no such thing".to_owned()),
            Plan::Look { good: true } | Plan::Wait | Plan::Signal => End::Completed,
            Plan::Fail => return End::Failed(format!("fail {id}")),
            Plan::Skip => return End::Skipped(format!("skip {id}")),
            Plan::If(yes, then, otherwise) => {
                let then = self.steps(then, here, runs && *yes, numbers);
                let otherwise = self.steps(otherwise, here, runs && !yes, numbers);
                return if *yes { then } else { otherwise };
            }
            Plan::Parallel(branches) => {
                let path = format!("{}{id}/", here.path);
                let here = Here { path: &path, ..here };
                let ends: Vec<_> = branches.iter().map(|steps| self.steps(steps, here, runs, numbers)).collect();
                let failed = ends.iter().find(|end| matches!(end, End::Failed(_)));
                let ended = failed.or_else(|| ends.iter().find(|end| **end != End::Completed));
                ended.cloned().unwrap_or(End::Completed)
            }
            Plan::Each { items, batch, steps, .. } => {
                let all: Vec<_> = (0..*items).map(|n| format!("i{n}")).collect();
                let begin = numbers.0;
                for group in all.chunks(batch.unwrap_or(1)) {
                    numbers.0 = begin;
                    let item = group.join("+");
                    let end = self.steps(steps, Here { item: Some(&item), ..here }, runs, numbers);
                    let outcome = match end {
                        End::Completed => "done".to_owned(),
                        End::Skipped(reason) | End::Failed(reason) => reason,
                    };
                    if runs {
                        *self.items.entry((format!("{}{id}", here.path), outcome)).or_default() += group.len() as u64;
                    }
                }
                End::Completed
            }
        };
        match (&end, &step.on_error) {
            (End::Failed(_), OnError::Continue) => End::Completed,
            (End::Failed(_), OnError::Make) => {
                self.made.extend(runs.then(|| here.name(&format!("{id}_instead"))));
                End::Completed
            }
            _ => end,
        }
    }
}

fn step(plan: impl Strategy<Value = Plan> + 'static) -> BoxedStrategy<Step> {
    let on_error = prop_oneof![3 => Just(OnError::Fail), 1 => Just(OnError::Continue), 1 => Just(OnError::Make)];
    (plan, on_error).prop_map(|(plan, on_error)| Step { plan, on_error }).boxed()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        4 => prop_oneof![Just(""), Just("lost"), Just("early"), Just("busy 2")].prop_map(Plan::Make),
        2 => any::<bool>().prop_map(|good| Plan::Look { good }),
        1 => Just(Plan::Fail),
        1 => Just(Plan::Skip),
        1 => Just(Plan::Wait),
        1 => Just(Plan::Signal),
    ];
    let nested = step(leaf).prop_recursive(3, 16, 3, move |inner| {
        let some = move || prop::collection::vec(inner.clone(), 1..4);
        let branches = prop::collection::vec(some(), 1..4);
        let each = (1_usize..5, 1_usize..4, prop::option::of(1_usize..4), some());
        let each = each.prop_map(|(items, concurrency, batch, steps)| {
            // Names of created things contain only the innermost item, so there are no lists in lists here. Other tests
            // have them.
            Plan::Each { items, concurrency, batch, steps: steps.into_iter().map(flat).collect() }
        });
        step(
            prop_oneof![
                (any::<bool>(), some(), some())
                    .prop_map(|(yes, then, otherwise)| Plan::If(yes, then, otherwise))
                    .boxed(),
                branches.prop_map(Plan::Parallel).boxed(),
                each.boxed(),
            ]
            .boxed(),
        )
    });
    prop::collection::vec(nested, 1..5)
}

/// Returns the step with each list in it replaced by the steps of the list, which run once.
fn flat(step: Step) -> Step {
    let all = |steps: Vec<Step>| steps.into_iter().map(flat).collect();
    let plan = match step.plan {
        Plan::Each { steps, .. } => Plan::Parallel(vec![all(steps)]),
        Plan::If(yes, then, otherwise) => Plan::If(yes, all(then), all(otherwise)),
        Plan::Parallel(branches) => Plan::Parallel(branches.into_iter().map(all).collect()),
        plan => plan,
    };
    Step { plan, ..step }
}

fn hold(steps: &[Step], lives: &[usize]) {
    static PLACE: AtomicUsize = AtomicUsize::new(0);
    let place = format!("model {}", PLACE.fetch_add(1, Ordering::SeqCst));
    let here = Here { path: "", item: None, batch: false };
    let all = document(steps, here, &mut Numbers::default());
    let flow = Flow::from_value(json!({ "name": "random", "connections": { "shop": "shop" }, "steps": all })).unwrap();
    let mut model = Model::default();
    let end = model.steps(steps, here, true, &mut Numbers::default());
    model.made.sort();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let played = runtime.block_on(async {
        let mut lab = Lab::new(&place, &flow, json!({}));
        lab.signals.push(("go", json!(null)));
        lab.once(&place, lives.iter().copied()).await
    });
    let mut done = Model::default();
    done.made.clone_from(&played.world.created());
    done.made.sort();
    for (path, ledger) in &played.run.ledger {
        let counts = [&ledger.skipped, &ledger.failed, &ledger.unknown].into_iter().flatten();
        let counts = counts.map(|(reason, count)| (reason.clone(), *count)).chain([("done".to_owned(), ledger.done)]);
        for (outcome, count) in counts.filter(|(_, count)| *count > 0) {
            *done.items.entry((path.to_string(), outcome)).or_default() += count;
        }
    }
    assert_eq!(done, model, "{all:#}");
    let faulty = played.run.ledger.values().any(|ledger| ledger.faults() > 0);
    let status = match (&end, faulty) {
        (End::Failed(_), _) => RunStatus::Failed,
        (_, true) => RunStatus::Partial,
        _ => RunStatus::Succeeded,
    };
    let message = played.run.error.as_ref().map(|error| error.message().to_owned());
    let expected = if let End::Failed(message) = end { Some(message) } else { None };
    assert_eq!((played.run.status, message), (status, expected), "{all:#}");
}

fn compare(cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let deaths = prop::collection::vec(0_usize..7, 0..12);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(steps(), deaths), |(steps, deaths)| {
            hold(&steps, &deaths);
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_flows_end_as_in_the_model_however_often_the_process_dies() {
    compare(150);
}

#[test]
#[ignore = "takes minutes: five thousand random flows"]
fn many_random_flows_end_as_in_the_model_however_often_the_process_dies() {
    compare(5_000);
}

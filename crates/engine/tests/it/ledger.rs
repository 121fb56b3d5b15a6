//! Outcomes of items across runs: items are rerun, their unknown outcomes are resolved by an operator, and `once`
//! remembers them. The tests count how often each thing was created.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use crate::support::{call, flow, lab::Lab, slots, world};
use serde_json::{Value, json};
use trunkline_core::{ErrorKind, NextStep, RunId, StepPath};
use trunkline_engine::{Engine, EventLog, Item, Journal, MemoryJournal, Run, RunEvent, RunIndex, RunStatus, Verdict};
use trunkline_flow::Flow;
use trunkline_testkit::fake::FakeSystem;

fn engine() -> (Engine, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    (Engine::new(journal.clone()), journal)
}

/// Returns a flow that creates a thing for each item of `pages` pages of three. The fault `door` fails for the names in
/// [`FakeSystem::refuse`].
fn making(pages: u64, more: Value) -> Flow {
    let mut each = json!({ "id": "all", "key": "{{ item.name }}", "concurrency": 8,
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": pages } },
        "steps": [call("make", "thing.make_blindly", json!({ "name": "{{ item.name }}", "fault": "door" }))] });
    each.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    flow(json!([each]))
}

async fn run(engine: &Engine, flow: &Flow, place: &str) -> Run {
    engine.start(flow, json!({}), slots(place)).await.unwrap().wait().await.unwrap()
}

async fn retry(engine: &Engine, id: &RunId, flow: Option<&Flow>, place: &str, unknown: bool) -> Run {
    engine.rerun_failed(id, flow.cloned(), slots(place), unknown).await.unwrap().wait().await.unwrap()
}

fn counts(run: &Run, step: &str) -> [u64; 4] {
    let ledger = &run.ledger[&StepPath::from(step)];
    let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum();
    [ledger.done, sum(&ledger.skipped), sum(&ledger.failed), sum(&ledger.unknown)]
}

/// Returns how often the same thing was created at most, how many things exist, and how many calls tried to create one.
fn written(world: &FakeSystem) -> (usize, usize, usize) {
    let mut made = BTreeMap::<String, usize>::new();
    world.created().iter().for_each(|name| *made.entry(name.clone()).or_default() += 1);
    let calls = world.all_calls();
    let calls = calls.iter().filter(|(what, _)| what.starts_with("make ")).map(|(_, count)| count).sum();
    (made.values().copied().max().unwrap_or_default(), made.len(), calls)
}

async fn items(journal: &dyn Journal, run: &RunId, status: &str) -> Vec<Item> {
    journal.items(run, Some(status), None, usize::MAX).await.unwrap()
}

/// The number of pages of three items that give 10,001 items, because the list shifts by one between two pages.
const PAGES: u64 = 3334;

fn shut(world: &FakeSystem, names: impl Iterator<Item = u64>) {
    world.refuse(names.map(|n| format!("t{n}")));
}

#[tokio::test(start_paused = true)]
async fn rerunning_37_failures_of_ten_thousand_items_makes_exactly_37_writes_even_after_an_edit() {
    for (place, edited) in [("37 again", false), ("37 edited", true)] {
        let (engine, journal) = engine();
        let (flow, world) = (making(PAGES, json!({})), world(place));
        shut(&world, (0..37).map(|n| n * 270 + 5));
        let first = run(&engine, &flow, place).await;
        let all = 3 * PAGES as usize - 1;
        assert!(all > 10_000);
        assert_eq!((first.status, counts(&first, "all")), (RunStatus::Partial, [all as u64 - 37, 1, 37, 0]));
        assert_eq!(written(&world), (1, all - 37, all));

        world.refuse_nothing();
        let corrected = making(PAGES, json!({ "concurrency": 4, "timeout": "2h" }));
        let second = retry(&engine, &first.id, edited.then_some(&corrected), place, false).await;
        assert_eq!((second.status, counts(&second, "all")), (RunStatus::Succeeded, [37, 0, 0, 0]), "{place}");
        assert_eq!(written(&world), (1, all, all + 37), "exactly 37 more calls");
        assert_eq!(second.version == first.version, !edited);
        assert_eq!(second.retry.unwrap().run, first.id);
        assert_eq!(engine.run(&first.id).await.unwrap().rerun_by, Some(second.id.clone()));
        assert_eq!(items(&*journal, &second.id, "done").await.len(), 37);

        // A run can be rerun only once, and only if an item has failed.
        let error = engine.rerun_failed(&first.id, None, slots(place), false).await.err().unwrap();
        assert!(error.message().contains(&format!("rerun as run {}", second.id)), "{error}");
        let error = engine.rerun_failed(&second.id, None, slots(place), false).await.err().unwrap();
        assert_eq!(error.message(), format!("no item of run {} has failed", second.id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_nightly_run_with_once_writes_only_failed_and_changed_items() {
    let (engine, _) = engine();
    let (place, pages) = ("nightly", 400);
    let all = 3 * pages as usize - 1;
    let flow = making(pages, json!({ "once": true }));
    let world = world(place);
    shut(&world, (0..37).map(|n| n * 30 + 5));
    let first = run(&engine, &flow, place).await;
    // The list shifts once: an item is on two pages, and skipped the second time.
    assert_eq!(counts(&first, "all"), [all as u64 - 37, 1, 37, 0]);
    world.refuse_nothing();
    let second = run(&engine, &flow, place).await;
    assert_eq!(counts(&second, "all"), [37, all as u64 - 36, 0, 0]);
    assert_eq!(written(&world), (1, all, all + 37));
    assert_eq!(second.ledger[&"all".into()].skipped[&format!("unchanged since run {}", first.id)], all as u64 - 37);
    // An edited flow with the same name remembers them too.
    let edited = making(pages, json!({ "once": true, "concurrency": 2 }));
    assert_eq!(counts(&run(&engine, &edited, place).await, "all"), [0, all as u64 + 1, 0, 0]);
    // With another fingerprint, all items count as changed. Without `once`, nothing is remembered.
    let by = making(pages, json!({ "once": "{{ item.name }} again" }));
    assert_eq!(counts(&run(&engine, &by, place).await, "all"), [all as u64, 1, 0, 0]);
    assert_eq!(counts(&run(&engine, &making(1, json!({})), place).await, "all"), [3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn of_500_creates_with_lost_responses_none_is_repeated_blindly_and_none_exists_twice() {
    let list: Vec<_> = (0..500).collect();
    let losing = |action: &str, once: bool| {
        flow(json!([{ "id": "all", "each": list, "key": "{{ item }}", "concurrency": 8, "once": once, "steps": [
            call("make", action, json!({ "name": "{{ item }}!", "fault": "lost" }))] }]))
    };
    // A create that can be looked up is looked up.
    let (engine, journal) = engine();
    let first = run(&engine, &losing("thing.make", false), "500 looked up").await;
    assert_eq!((first.status, counts(&first, "all")), (RunStatus::Succeeded, [500, 0, 0, 0]));
    assert_eq!(written(&world("500 looked up")), (1, 500, 500));

    // A create that cannot be looked up is left to an operator, in every later run.
    let (place, blind) = ("500 blind", losing("thing.make_blindly", true));
    let first = run(&engine, &blind, place).await;
    assert_eq!((first.status, counts(&first, "all")), (RunStatus::Partial, [0, 0, 0, 500]));
    let error = engine.rerun_failed(&first.id, None, slots(place), false).await.err().unwrap();
    assert_eq!(error.message(), format!("no item of run {} has failed, but the outcome of 500 is unknown", first.id));
    let resolve = NextStep::ResolveStep { run: first.id.to_string(), step: None };
    assert!(error.next_steps().contains(&resolve), "{error:?}");
    let nightly = run(&engine, &blind, place).await;
    assert_eq!(counts(&nightly, "all"), [0, 0, 0, 500], "not done again blindly");
    let second = retry(&engine, &first.id, None, place, true).await;
    assert_eq!(counts(&second, "all"), [0, 0, 0, 500], "the look-up does not find out either");
    assert_eq!(written(&world(place)), (1, 500, 500), "no call was repeated");
    let left = items(&*journal, &second.id, "unknown").await;
    let last = left[0].outcome.error().unwrap().next_steps().last();
    assert!(matches!(last, Some(NextStep::ResolveStep { step: Some(_), .. })), "{left:?}");
    for item in &left[..20] {
        let path = item.step.join(&item.key).join("make");
        let resolved = engine.resolve_unknown(&second.id, &path, Verdict::Done, json!({ "name": "x" })).await.unwrap();
        assert_eq!((resolved.items.len(), resolved.items[0].outcome.status()), (1, "done"));
        assert_eq!(resolved.items[0].result, Some(json!({ "name": "x" })), "what the operator has found");
    }
    let resolved = engine.run(&second.id).await.unwrap();
    assert_eq!(counts(&resolved, "all"), [20, 0, 0, 480]);
    assert_eq!(
        journal.find_items(&["x".into()], false, None, 100).await.unwrap().len(),
        20,
        "the items are found by it"
    );
    assert_eq!(counts(&run(&engine, &blind, place).await, "all"), [0, 20, 0, 480], "a resolution is remembered");
    assert_eq!(written(&world(place)), (1, 500, 500));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_looked_up_under_its_key_once_the_look_up_works_again() {
    // The look-up fails in the first run. In the second run it finds the thing if it exists; otherwise the thing is
    // created.
    for (place, fault, calls) in [("late look-up", "lost", 1), ("late make", "early", 2)] {
        let (engine, journal) = engine();
        let flow = flow(json!([{ "id": "all", "each": ["a"], "key": "{{ item }}", "steps": [
            call("make", "thing.make", json!({ "name": "{{ item }}", "fault": fault })),
            call("after", "thing.look", json!({ "name": "after {{ steps.make.key }}" }))] }]));
        let world = world(place);
        world.set_blind(true);
        let first = run(&engine, &flow, place).await;
        assert_eq!(counts(&first, "all"), [0, 0, 0, 1]);
        world.set_blind(false);
        let second = retry(&engine, &first.id, None, place, true).await;
        assert_eq!((counts(&second, "all"), written(&world)), ([1, 0, 0, 0], (1, 1, calls)), "{place}");
        let mut output = Value::Null;
        let visit = &mut |event| match event {
            RunEvent::StepFinished { step, output: made, .. } if step.as_str() == "all/a/make" => output = made,
            _ => {}
        };
        journal.replay(&second.id, visit).await.unwrap();
        let key = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{}/all/a/make", first.id).as_bytes());
        assert_eq!(output["key"], key.to_string(), "under the key of the attempt with the unknown outcome");
    }
}

#[tokio::test]
async fn a_rerun_keeps_what_the_earlier_run_has_created_and_repeats_all_other_steps() {
    let steps = |look: &str, make: &str| {
        flow(json!([
            call("before", "thing.make_blindly", json!({ "name": "before" })),
            call("seen", "thing.look", json!({ "name": "seen" })),
            { "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [
                call("first", make, json!({ "name": "first {{ item }}" })),
                call("look", "thing.look", json!({ "name": "{{ steps.first.name }}", "fault": look })),
                call("second", "thing.make_blindly", json!({ "name": "second {{ item }}" }))] },
            call("after", "thing.make_blindly", json!({ "name": "after" }))
        ]))
    };
    let (engine, _) = engine();
    let first = run(&engine, &steps("missing", "thing.make_blindly"), "stays").await;
    assert_eq!(counts(&first, "all"), [0, 0, 2, 0]);
    let world = world("stays");
    // It fails again: recorded creates are passed on from run to run.
    let second = retry(&engine, &first.id, None, "stays", false).await;
    assert_eq!(counts(&second, "all"), [0, 0, 2, 0]);
    let third = retry(&engine, &second.id, Some(&steps("", "thing.make_blindly")), "stays", false).await;
    assert_eq!((third.status, counts(&third, "all")), (RunStatus::Succeeded, [2, 0, 0, 0]));
    assert_eq!(written(&world), (1, 6, 6), "nothing was made twice");
    assert_eq!((world.calls("look seen"), world.calls("look first a")), (3, 3), "reads are repeated in each run");

    // A step that now calls another action counts as another step.
    let first = run(&engine, &steps("missing", "thing.make_blindly"), "other").await;
    let second = retry(&engine, &first.id, Some(&steps("", "thing.make")), "other", false).await;
    assert_eq!((second.status, crate::support::world("other").calls("make first a")), (RunStatus::Succeeded, 2));
}

#[tokio::test]
async fn nested_items_are_rerun_where_they_failed() {
    let flow = flow(json!([{ "id": "outer", "each": ["x", "y", "z"], "key": "{{ item }}", "steps": [
        call("gate", "thing.make_blindly", json!({ "name": "gate {{ item }}", "fault": "door" })),
        { "id": "inner", "each": ["{{ item }}1", "{{ item }}/2"], "key": "{{ item }}", "steps": [
            call("make", "thing.make_blindly", json!({ "name": "{{ item }}", "fault": "door" }))] }] }]));
    let (engine, journal) = engine();
    let world = world("nested");
    world.refuse(["gate y", "x/2"]);
    let first = run(&engine, &flow, "nested").await;
    assert_eq!((counts(&first, "outer"), counts(&first, "outer/*/inner")), ([2, 0, 1, 0], [3, 0, 1, 0]));
    world.refuse_nothing();
    let second = retry(&engine, &first.id, None, "nested", false).await;
    // x because of its inner item, and y itself with all its inner items.
    assert_eq!((counts(&second, "outer"), counts(&second, "outer/*/inner")), ([2, 0, 0, 0], [3, 0, 0, 0]));
    assert_eq!((second.status, written(&world)), (RunStatus::Succeeded, (1, 9, 11)));
    assert_eq!(items(&*journal, &second.id, "done").await.len(), 5);
}

#[tokio::test]
async fn batches_are_rerun_as_a_whole_and_create_nothing_twice() {
    let flow = |look: &str| {
        flow(json!([{ "id": "all", "each": "{{ input.list }}", "key": "{{ item }}", "batch": 2,
            "steps": [
                call("make", "thing.make_blindly", json!({ "name": "{{ items | join('+') }}" })),
                call("look", "thing.look", json!({ "name": "look {{ items | join('+') }}", "fault": look }))] }]))
    };
    let (engine, _) = engine();
    let fault = "{{ 'missing' if items | join('+') in ['c+d', 'e'] else '' }}";
    let input = json!({ "list": ["a", "b", "c", "d", "e"] });
    let first = engine.start(&flow(fault), input, slots("batches")).await.unwrap().wait().await.unwrap();
    assert_eq!(counts(&first, "all"), [2, 0, 3, 0]);
    let second = retry(&engine, &first.id, Some(&flow("")), "batches", false).await;
    assert_eq!((second.status, counts(&second, "all")), (RunStatus::Succeeded, [3, 0, 0, 0]));
    assert_eq!(written(&world("batches")), (1, 3, 3));
}

#[tokio::test]
async fn an_item_missing_from_the_list_is_reported_as_failed() {
    let list = |names: &[&str]| {
        flow(json!([
            { "id": "list", "set": { "names": names } },
            { "id": "all", "each": "{{ steps.list.names }}", "key": "{{ item }}", "steps": [
                call("make", "thing.make_blindly", json!({ "name": "{{ item }}", "fault": "door" }))] }]))
    };
    let (engine, journal) = engine();
    let world = world("gone");
    world.refuse(["a", "b/~", "c"]);
    let first = run(&engine, &list(&["a", "b/~", "c", "d"]), "gone").await;
    world.refuse_nothing();
    let second = retry(&engine, &first.id, Some(&list(&["new", "c"])), "gone", false).await;
    assert_eq!((second.status, counts(&second, "all")), (RunStatus::Partial, [1, 0, 2, 0]));
    let missing = items(&*journal, &second.id, "failed").await;
    assert_eq!(missing.iter().map(|item| &*item.key).collect::<Vec<_>>(), ["a", "b/~"]);
    assert!(missing[0].outcome.reason().unwrap().contains("list no longer contains it"), "{missing:?}");
    assert_eq!(world.calls("make new"), 0, "a rerun does not process new items");
    // They are not lost: once they are in the list again, they are rerun.
    let third = retry(&engine, &second.id, None, "gone", false).await;
    assert_eq!(counts(&third, "all"), [0, 0, 2, 0]);
    let fourth = retry(&engine, &third.id, Some(&list(&["a", "b/~"])), "gone", false).await;
    assert_eq!((fourth.status, written(&world)), (RunStatus::Succeeded, (1, 4, 4 + 3)));
}

#[tokio::test]
async fn a_corrected_flow_keeps_its_name_and_its_lists() {
    let (engine, _) = engine();
    let good = making(1, json!({}));
    shut(&world("misfits"), 0..3);
    let first = run(&engine, &good, "misfits").await;
    let rejected = async |document: Value| {
        let flow = Flow::from_value(document).unwrap();
        engine.rerun_failed(&first.id, Some(flow), slots("misfits"), false).await.err().unwrap()
    };
    let mut renamed = good.document().clone();
    renamed["name"] = "another".into();
    assert_eq!(rejected(renamed).await.message(), format!("run {} is a run of flow test, not of another", first.id));
    let mut without = good.document().clone();
    without["steps"][0]["id"] = "every".into();
    let error = rejected(without).await;
    assert!(error.kind() == ErrorKind::Config && error.message().ends_with(": all"), "{error}");
    let mut batched = good.document().clone();
    batched["steps"][0]["batch"] = 2.into();
    assert!(rejected(batched).await.message().ends_with("(batch): all"));
    // The rejected reruns have left no trace.
    world("misfits").refuse_nothing();
    assert_eq!(counts(&retry(&engine, &first.id, None, "misfits", false).await, "all"), [3, 0, 0, 0]);
}

#[tokio::test]
async fn an_operator_can_resolve_unknown_outcomes_and_no_others() {
    let flow = flow(json!([{ "id": "all", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "steps": [
        call("make", "thing.make_blindly", json!({ "name": "{{ item }}", "fault": "{{ '' if item == 'd' else 'lost' }}" })),
        { "id": "last", "if": "{{ true or item == 'd' }}", "then": [
            call("after", "thing.make_blindly", json!({ "name": "after {{ item }} {{ steps.make.name }}" }))] }] }]));
    let (engine, journal) = engine();
    let (place, world) = ("resolved", world("resolved"));
    let first = run(&engine, &flow, place).await;
    assert_eq!(counts(&first, "all"), [1, 0, 0, 3]);
    let resolve =
        async |step: &str, verdict| engine.resolve_unknown(&first.id, &step.into(), verdict, Value::Null).await;
    for (step, words) in [
        ("all/d", "item d of all is done"),
        ("all/d/make", "item d of all is done"),
        ("all/z", "has no step or item all/z"),
        ("all", "has no step or item all"),
        ("all/a/other", "item a of all is unknown"),
    ] {
        let error = resolve(step, Verdict::Done).await.unwrap_err();
        assert!(error.message().contains(words), "{step}: {error}");
    }
    let made = json!({ "name": "by hand" });
    let done = engine.resolve_unknown(&first.id, &"all/a/make".into(), Verdict::Done, made).await.unwrap();
    let outcome = &done.items[0].outcome;
    assert_eq!((outcome.status(), outcome.reason().unwrap().contains("have not run yet")), ("failed", true));
    assert_eq!(done.items[0].result, None, "it has become nothing yet");
    // The path of the item works, too.
    assert_eq!(resolve("all/b", Verdict::Retry).await.unwrap().step.as_str(), "all/b/make");
    resolve("all/c", Verdict::Fail).await.unwrap();
    assert_eq!(resolve("all/c", Verdict::Fail).await.unwrap_err().kind(), ErrorKind::Conflict, "once");
    let resolved = engine.run(&first.id).await.unwrap();
    assert_eq!(counts(&resolved, "all"), [1, 0, 3, 0]);
    assert_eq!(items(&*journal, &first.id, "failed").await.len(), 3);

    let second = retry(&engine, &first.id, None, place, false).await;
    assert_eq!((second.status, counts(&second, "all")), (RunStatus::Succeeded, [2, 0, 0, 0]));
    let calls = ["make a", "make b", "make c", "make after a by hand", "make after b b", "make after d d"];
    assert_eq!(calls.map(|what| world.calls(what)), [1, 2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_run_that_failed_with_an_unknown_outcome_continues_once_it_is_resolved() {
    let called = Flow::from_value(json!({ "name": "called", "connections": { "shop": "shop" },
        "steps": [call("make", "thing.make_blindly", json!({ "name": "once", "fault": "lost" }))],
        "output": { "name": "{{ steps.make.name }}" },
        "on_failure": [call("report", "thing.look", json!({ "name": "reported" }))] }))
    .unwrap();
    let outer = Flow::from_value(json!({ "name": "outer", "connections": { "shop": "shop" }, "steps": [
        { "id": "sub", "call": "called" },
        call("after", "thing.look", json!({ "name": "after {{ steps.sub.name }}" }))] }))
    .unwrap();
    let outer = outer.link(&|_| Some(called.clone())).unwrap();
    for (place, verdict, status, made) in [
        ("resolve done", Verdict::Done, RunStatus::Succeeded, 1),
        ("resolve retry", Verdict::Retry, RunStatus::Succeeded, 2),
        ("resolve fail", Verdict::Fail, RunStatus::Failed, 1),
    ] {
        let (engine, _) = engine();
        let first = run(&engine, &outer, place).await;
        assert_eq!((first.status, first.error.unwrap().kind()), (RunStatus::Failed, ErrorKind::UnknownOutcome));
        // Until it is resolved, the run stays failed.
        let again = engine.resume(&first.id, slots(place)).await.unwrap().wait().await.unwrap();
        assert_eq!((again.status, world(place).calls("make once")), (RunStatus::Failed, 1));
        let output = if verdict == Verdict::Done { json!({ "name": "by hand" }) } else { Value::Null };
        let resolved = engine.resolve_unknown(&first.id, &"sub/make".into(), verdict, output).await.unwrap();
        assert!(resolved.items.is_empty());
        let resumed = engine.resume(&first.id, slots(place)).await.unwrap().wait().await.unwrap();
        assert_eq!((resumed.status, world(place).calls("make once")), (status, made), "{place} {:?}", resumed.error);
        let error = engine.resolve_unknown(&first.id, &"sub/make".into(), verdict, Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{place}");
    }
    assert_eq!(world("resolve done").calls("look after by hand"), 1);
}

/// Returns a flow whose items fail after a create or have an unknown outcome, with nested items and batches.
fn troubled() -> Flow {
    let late = |fault: &str| format!("{{{{ '{fault}' if item == 'b' else '' }}}}");
    flow(json!([
        call("before", "thing.make_blindly", json!({ "name": "before" })),
        { "id": "all", "each": ["a", "b", "c"], "key": "{{ item }}", "concurrency": 1, "steps": [
            call("first", "thing.make", json!({ "name": "first {{ item }}", "fault": late("early") })),
            call("door", "thing.make", json!({ "name": "door {{ item }}", "fault": "door" })),
            { "id": "inner", "each": ["{{ item }}1", "{{ item }}2"], "key": "{{ item }}", "steps": [
                call("make", "thing.make", json!({ "name": "{{ item }}", "fault": "door" }))] }] },
        { "id": "many", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "batch": 2, "steps": [
            call("both", "thing.make", json!({ "name": "both {{ items | join('+') }}" })),
            call("shut", "thing.make", json!({ "name": "shut {{ items | join('+') }}", "fault": "door" }))] }
    ]))
}

fn close(world: &FakeSystem) {
    world.set_blind(true);
    world.refuse(["door a", "c2", "shut c+d"]);
}

fn open(world: &FakeSystem) {
    world.set_blind(false);
    world.refuse_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_rerun_has_the_same_result_wherever_its_process_dies() {
    let mut lab = Lab::new("rerun", &troubled(), json!({}));
    lab.again = Some((close, open));
    let played = lab.play().await;
    assert_eq!((played.run.status, written(&played.world).0), (RunStatus::Succeeded, 1), "{:?}", played.run.ledger);
    assert_eq!(counts(&played.run, "all"), [3, 0, 0, 0], "a and b themselves, c because of its inner item");
    assert_eq!(counts(&played.run, "all/*/inner"), [5, 0, 0, 0]);
    assert_eq!(counts(&played.run, "many"), [2, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_the_record_of_the_earlier_run_things_would_be_created_twice() {
    let mut lab = Lab::new("forgotten", &troubled(), json!({}));
    lab.again = Some((close, open));
    lab.forgets = |event| matches!(event, RunEvent::StepStarted { .. });
    let played = lab.once("forgotten", std::iter::empty()).await;
    assert_eq!(written(&played.world).0, 2, "the test above can fail");
}

#[tokio::test]
async fn a_run_that_an_error_has_stopped_can_be_rerun_with_a_corrected_flow() {
    let steps = |fault: &str, last: &str| {
        flow(json!([
            call("before", "thing.make_blindly", json!({ "name": "before" })),
            { "id": "all", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "steps": [
                call("make", "thing.make_blindly", json!({ "name": "{{ item }}" })),
                call("look", "thing.look", json!({ "name": "{{ item }}", "fault": format!("{{{{ '{fault}' if item == 'c' else '' }}}}") }))] },
            { "id": "end", "if": "{{ steps.all.done < 9 }}", "then": [call("last", "thing.make_blindly", json!({ "name": last })) ] }
        ]))
    };
    let (engine, _) = engine();
    let first = run(&engine, &steps("auth", "last"), "stopped").await;
    assert_eq!((first.status, counts(&first, "all")), (RunStatus::Failed, [2, 0, 0, 0]));
    let error = engine.rerun_failed(&first.id, None, slots("stopped"), false).await.err().unwrap();
    assert_eq!(error.next_steps()[0], NextStep::ResumeRun { run: Some(first.id.to_string()) }, "{error:?}");
    let second = retry(&engine, &first.id, Some(&steps("", "last")), "stopped", false).await;
    assert_eq!((second.status, counts(&second, "all")), (RunStatus::Succeeded, [2, 0, 0, 0]), "c and d");
    assert_eq!(written(&world("stopped")), (1, 6, 6));
    let error = engine.resume(&first.id, slots("stopped")).await.err().unwrap();
    assert!(error.message().contains(&format!("was rerun as run {}", second.id)), "{error}");
}

#[test]
fn a_wrong_once_is_reported_at_its_position() {
    let found = |once: Value, key: Value| {
        let document =
            json!({ "name": "x", "steps": [{ "id": "all", "each": [1], "once": once, "key": key, "steps": [] }] });
        let found = match Flow::from_value(document) {
            Ok(flow) => flow.check(&crate::support::registry()),
            Err(found) => found,
        };
        found.into_iter().map(|one| one.pointer).collect::<Vec<_>>()
    };
    assert_eq!(found(json!(true), Value::Null), ["/steps/0/key"]);
    assert_eq!(found(json!(false), Value::Null), [""; 0]);
    assert_eq!(found(json!(7), json!("{{ item }}")), ["/steps/0/once"]);
    assert_eq!(found(json!("{{ steps.nothing.x }}"), json!("{{ item }}")), ["/steps/0/once"]);
    assert_eq!(found(json!("{{ item }} {{ run.id }}"), json!("{{ item }}")), [""; 0]);
}

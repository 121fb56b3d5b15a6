//! Keys of items: every item of a list has an outcome, whatever its key is.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use trunkline_core::StepPath;
use trunkline_engine::{Engine, EventLog, Flush, Journal, Ledger, MemoryJournal, Run, RunEvent, RunStatus};
use trunkline_flow::Flow;

use crate::support::{call, flow, lab::Lab, world};

const DIFFERENT: &str = "another item of the list has the same key; let `key` identify one item";
const EQUAL: &str = "the same item occurs again in the list";
const NULL: &str = "the key of the item is null, which identifies nothing";

fn engine() -> Engine {
    Engine::new(Arc::new(MemoryJournal::default()))
}

/// A flow with an `each` over a list that its input has.
fn listing(more: Value) -> Flow {
    let mut each = json!({ "id": "all", "each": "{{ input.list }}", "key": "{{ item.id }}",
                           "steps": [{ "id": "x", "set": { "n": 1 } }] });
    each.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Flow::from_value(json!({ "name": "keys", "steps": [each] })).unwrap()
}

async fn run(engine: &Engine, flow: &Flow, list: &Value) -> Run {
    let input = json!({ "list": list });
    engine.start(flow, input, BTreeMap::new()).await.unwrap().wait().await.unwrap()
}

fn ledger(run: &Run) -> Ledger {
    run.ledger.get(&StepPath::from("all")).cloned().unwrap_or_default()
}

fn reasons(counted: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    counted.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}

type Case = (&'static str, Value, u64, Vec<(&'static str, u64)>, Vec<(&'static str, u64)>);

/// Lists, with the number of items that are done, and the reasons of those that are skipped and that fail.
fn cases() -> Vec<Case> {
    let missing = "{{ item.id }} cannot be evaluated: item has no member id";
    let nothing = |what: &str| format!("the key of the item is {what}, which identifies nothing").leak() as &str;
    vec![
        (
            "keys that are null",
            json!([{ "id": null, "n": 1 }, { "id": null, "n": 2 }, { "id": null, "n": 3 }]),
            0,
            vec![],
            vec![(NULL, 3)],
        ),
        (
            "two items with one key",
            json!([{ "id": "a", "n": 1 }, { "id": "a", "n": 2 }]),
            1,
            vec![(DIFFERENT, 1)],
            vec![],
        ),
        ("one item twice", json!([{ "id": "a", "n": 1 }, { "n": 1, "id": "a" }]), 1, vec![(EQUAL, 1)], vec![]),
        ("no key", json!([{ "id": 1 }, { "n": 2 }, { "id": 3 }]), 2, vec![], vec![(missing, 1)]),
        ("an empty text", json!([{ "id": "" }, { "id": " " }]), 1, vec![], vec![(nothing("an empty text"), 1)]),
        ("an object", json!([{ "id": { "a": 1 } }, { "id": 1 }]), 1, vec![], vec![(nothing("an object"), 1)]),
        ("a list", json!([{ "id": [1] }, { "id": [1] }]), 0, vec![(EQUAL, 1)], vec![(nothing("a list"), 1)]),
        ("a number and a text", json!([{ "id": 1 }, { "id": "1" }]), 2, vec![], vec![]),
        (
            "both twice",
            json!([{ "id": 1 }, { "id": "1" }, { "id": "1", "n": 2 }, { "id": 1 }]),
            2,
            { vec![(DIFFERENT, 1), (EQUAL, 1)] },
            vec![],
        ),
        (
            "equal numbers",
            json!([{ "id": 1 }, { "id": 1.0 }, { "id": "1.0" }, { "id": 1.5 }]),
            3,
            vec![(DIFFERENT, 1)],
            vec![],
        ),
        ("truth and its text", json!([{ "id": true }, { "id": "true" }, { "id": false }]), 3, vec![], vec![]),
        (
            "texts that look like repetitions",
            json!([{ "id": "a" }, { "id": "a#2" }, { "id": "a", "n": 2 }, { "id": "a#2", "n": 2 }, { "id": "#1" }]),
            3,
            vec![(DIFFERENT, 2)],
            vec![],
        ),
        (
            "many of one key",
            json!((0..50).map(|n| json!({ "id": "a", "n": n })).collect::<Vec<_>>()),
            1,
            { vec![(DIFFERENT, 49)] },
            vec![],
        ),
        ("paths", json!([{ "id": "a/b" }, { "id": "a~1b" }, { "id": "a" }, { "id": "é" }]), 4, vec![], vec![]),
    ]
}

#[tokio::test]
async fn every_item_of_a_list_has_an_outcome_whatever_its_key_is() {
    for more in [json!({}), json!({ "once": true }), json!({ "batch": 2 }), json!({ "concurrency": 3 })] {
        for (name, list, done, skipped, failed) in cases() {
            let flow = listing(more.clone());
            let run = run(&engine(), &flow, &list).await;
            let ledger = ledger(&run);
            assert_eq!(ledger.done, done, "{name}: {ledger:?}");
            assert_eq!(reasons(&ledger.skipped), skipped, "{name}");
            assert_eq!(reasons(&ledger.failed), failed, "{name}");
            assert_eq!(ledger.total(), list.as_array().unwrap().len() as u64, "{name}");
            let status = if failed.is_empty() { RunStatus::Succeeded } else { RunStatus::Partial };
            assert_eq!(run.status, status, "{name}");
        }
    }
}

#[tokio::test]
async fn the_error_of_an_item_without_a_key_says_where_it_is_and_what_to_do() {
    let journal = Arc::new(MemoryJournal::default());
    let list = json!([{ "id": 1 }, { "id": null }]);
    let run = run(&Engine::new(journal.clone()), &listing(json!({})), &list).await;
    let journal: &dyn Journal = &*journal;
    let failed = journal.items(&run.id, Some("failed"), None, 10).await.unwrap();
    assert!(failed[0].key.starts_with('#'), "{failed:?}");
    let error = failed[0].outcome.error().unwrap();
    let facts: BTreeMap<_, _> = error.facts().collect();
    assert_eq!((facts["pointer"], facts["item"]), ("/steps/0/key", "2"), "{error:?}");
    assert!(error.advice().unwrap().contains("`key`"), "{error:?}");
}

#[tokio::test]
async fn an_item_whose_fingerprint_cannot_be_evaluated_fails_alone() {
    let flow = listing(json!({ "once": "{{ item.version }}" }));
    let list = json!([{ "id": 1, "version": 1 }, { "id": 2 }, { "id": 3, "version": 1 }]);
    let ledger = ledger(&run(&engine(), &flow, &list).await);
    assert_eq!((ledger.done, ledger.faults()), (2, 1), "{ledger:?}");
}

#[tokio::test]
async fn with_once_the_same_items_are_left_out_in_every_run() {
    let (engine, flow) = (engine(), listing(json!({ "once": true })));
    for (name, list, done, ..) in cases() {
        let place = json!({ "name": name });
        let items =
            list.as_array().unwrap().iter().map(|item| json!({ "id": item.get("id"), "of": place, "was": item }));
        let list = json!(items.collect::<Vec<_>>());
        let first = ledger(&run(&engine, &flow, &list).await);
        let second = ledger(&run(&engine, &flow, &list).await);
        assert_eq!((second.done, second.total()), (0, first.total()), "{name}");
        assert!(first.done <= done, "{name}: other lists of this flow have some of the keys");
        assert_eq!(second.failed.values().sum::<u64>(), first.failed.values().sum::<u64>(), "{name}");
    }
}

/// A list of two pages in which another item of the second page has the key of one of the first page.
fn paged() -> Flow {
    flow(json!([{ "id": "all", "key": "{{ 'x' if item.name in ['t1', 't4'] else item.name }}",
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 2 } },
        "steps": [call("look", "thing.look", json!({ "name": "{{ item.name }}" }))] }]))
}

#[tokio::test(start_paused = true)]
async fn repeated_keys_are_counted_once_wherever_a_run_is_interrupted() {
    let flow = paged();
    let lab = Lab::new("repeated keys", &flow, json!({}));
    let first = lab.once("repeated keys", std::iter::empty()).await;
    let found = ledger(&first.run);
    // Pages are t0 t1 t2 and t2 t3 t4.
    assert_eq!((found.done, reasons(&found.skipped)), (4, vec![(DIFFERENT, 1), (EQUAL, 1)]));
    for position in 0..first.events.len() {
        let place = format!("repeated keys {position}");
        let played = lab.once(&place, std::iter::once(position)).await;
        let found = ledger(&played.run);
        assert_eq!((found.done, found.total()), (4, 6), "{place}: {found:?}");
        assert_eq!(world(&place).calls("look t4"), 0, "{place}");
    }
}

/// Copies a run into another journal as an early version would have recorded it: with keys in the plain form.
async fn plain(from: &MemoryJournal, run: &Run, flow: &Flow, most: usize) -> Arc<MemoryJournal> {
    let rewrite = |text: &str| text.trim_start_matches("typed:").replace('"', "");
    rewritten(from, run, flow, (None, most), rewrite).await
}

/// Returns a journal with the first events of a run, with keys in another form. `rewrite` changes a key, a path or a
/// fingerprint.
async fn rewritten(
    from: &MemoryJournal,
    run: &Run,
    flow: &Flow,
    (form, most): (Option<&str>, usize),
    rewrite: impl Fn(&str) -> String,
) -> Arc<MemoryJournal> {
    let mut events = Vec::new();
    from.replay(&run.id, &mut |event| events.push(serde_json::to_value(event).unwrap())).await.unwrap();
    let events = events.into_iter().take(most).map(|mut event| {
        let members = event.as_object_mut().unwrap();
        if let Some(keys) = members.remove("keys")
            && let Some(form) = form
        {
            assert_eq!(keys, "equal");
            members.insert("keys".into(), form.into());
        }
        for (name, value) in members {
            if let ("key" | "step" | "once", Value::String(text)) = (name.as_str(), value) {
                *text = rewrite(text);
            }
        }
        serde_json::from_value::<RunEvent>(event).unwrap()
    });
    let (mut events, to): (Vec<_>, _) = (events.collect(), Arc::new(MemoryJournal::default()));
    let started = events.remove(0);
    to.accept(&run.id, flow.version(), flow.document(), started, Flush::Now).await.unwrap();
    to.append(&run.id, events, Flush::Now).await.unwrap();
    to
}

/// Runs a flow with three items, of which the one with this key fails.
async fn recorded(key: &Value, more: Value) -> (Arc<MemoryJournal>, Run, Flow, Value) {
    let journal = Arc::new(MemoryJournal::default());
    let steps = json!([{ "id": "x", "if": "{{ item.bad }}", "fail": "bad" }]);
    let mut more = more;
    more["steps"] = steps;
    let flow = listing(more);
    let list = json!([{ "id": "4711", "bad": false }, { "id": key, "bad": true }, { "id": "007", "bad": false }]);
    let run = run(&Engine::new(journal.clone()), &flow, &list).await;
    assert_eq!((ledger(&run).done, ledger(&run).faults()), (2, 1));
    (journal, run, flow, list)
}

#[tokio::test]
async fn a_rerun_of_an_early_run_finds_its_items_by_their_plain_keys() {
    for key in [json!("12"), json!(12), json!("a"), json!("true"), json!("1.5"), json!("#1")] {
        let (journal, run, flow, _) = recorded(&key, json!({})).await;
        let early = plain(&journal, &run, &flow, usize::MAX).await;
        let engine = Engine::new(early.clone());
        let again = engine.rerun_failed(&run.id, None, BTreeMap::new(), false).await.unwrap().wait().await.unwrap();
        let found = ledger(&again);
        assert_eq!((found.done, reasons(&found.failed)), (0, vec![("bad", 1)]), "{key}");
    }
}

/// The sabotage twin: a rerun that wrote keys in the typed form would not find the item.
#[tokio::test]
async fn with_keys_in_another_form_a_rerun_does_not_find_its_items() {
    let (journal, run, flow, _) = recorded(&json!("12"), json!({})).await;
    let mut events = Vec::new();
    let early = plain(&journal, &run, &flow, usize::MAX).await;
    early.replay(&run.id, &mut |event| events.push(event)).await.unwrap();
    let mut started = events.remove(0);
    if let RunEvent::Started { keys, .. } = &mut started {
        *keys = trunkline_engine::KeyForm::Typed;
    }
    let other = Arc::new(MemoryJournal::default());
    other.accept(&run.id, flow.version(), flow.document(), started, Flush::Now).await.unwrap();
    other.append(&run.id, events, Flush::Now).await.unwrap();
    let engine = Engine::new(other);
    let again = engine.rerun_failed(&run.id, None, BTreeMap::new(), false).await.unwrap().wait().await.unwrap();
    assert!(ledger(&again).failed.keys().next().unwrap().contains("did not occur again"), "{again:?}");
}

#[tokio::test]
async fn an_early_run_that_was_interrupted_continues_with_its_plain_keys() {
    let (journal, run, flow, _) = recorded(&json!("12"), json!({})).await;
    for most in 1..12 {
        let early = plain(&journal, &run, &flow, most).await;
        if matches!(last(&early, &run).await, RunEvent::Finished { .. }) {
            break;
        }
        let resumed = Engine::new(early).resume(&run.id, BTreeMap::new()).await.unwrap().wait().await.unwrap();
        let found = ledger(&resumed);
        assert_eq!((found.done, found.total()), (2, 3), "{most}: {found:?}");
    }
}

async fn last(journal: &MemoryJournal, run: &Run) -> RunEvent {
    let mut last = None;
    journal.replay(&run.id, &mut |event| last = Some(event)).await.unwrap();
    last.unwrap()
}

#[tokio::test]
async fn items_that_an_early_run_has_done_once_stay_done() {
    for once in [json!(true), json!("{{ item.bad }}")] {
        let (journal, first, flow, list) = recorded(&json!("12"), json!({ "once": once })).await;
        let early = plain(&journal, &first, &flow, usize::MAX).await;
        let engine = Engine::new(early);
        let second = ledger(&run(&engine, &flow, &list).await);
        let unchanged = format!("unchanged since run {}", first.id);
        assert_eq!((second.done, reasons(&second.skipped)), (0, vec![(&*unchanged, 2)]), "{second:?}");
        // A number that an item of this version has as its key is not the text that another one has.
        let numbers = json!([{ "id": 4712, "bad": false }, { "id": "4712", "bad": false }]);
        assert_eq!(ledger(&run(&engine, &flow, &numbers).await).done, 2);
        let again = ledger(&run(&engine, &flow, &numbers).await);
        assert_eq!((again.done, again.total()), (0, 2));
    }
}

#[tokio::test]
async fn a_rerun_with_a_corrected_key_processes_the_items_that_had_none() {
    let list = json!([{ "id": 1, "n": 1 }, { "id": null, "n": 2 }, { "n": 3 }]);
    let engine = engine();
    let first = run(&engine, &listing(json!({})), &list).await;
    assert_eq!((ledger(&first).done, ledger(&first).faults()), (1, 2));
    let rerun = async |key: &str, of: &Run| {
        let corrected = listing(json!({ "key": key }));
        let handle = engine.rerun_failed(&of.id, Some(corrected), BTreeMap::new(), false).await.unwrap();
        handle.wait().await.unwrap()
    };
    let same = rerun("{{ item.id }}", &first).await;
    assert_eq!((ledger(&same).done, ledger(&same).faults()), (0, 2), "they still have no key");
    let corrected = rerun("{{ item.id | default(item.n) }}", &same).await;
    assert_eq!((ledger(&corrected).done, ledger(&corrected).faults()), (2, 0), "{corrected:?}");
}

/// Any list of keys: as many items are done as there are different keys, and every other item is skipped or fails.
#[tokio::test]
async fn of_any_keys_each_is_processed_once_and_every_item_is_counted() {
    let good = [json!(1), json!("1"), json!(1.5), json!("1.5"), json!(true), json!("true"), json!("a"), json!("a#2")];
    let bad = [json!(null), json!(""), json!([1]), json!({ "a": 1 })];
    let mut dice = trunkline_testkit::dice::Dice::default();
    for round in 0..60 {
        let mut list = Vec::new();
        let (mut keys, mut faults) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..dice.roll(0, 30) {
            let number = usize::try_from(dice.roll(0, 12)).unwrap();
            let id = good.iter().chain(&bad).nth(number).unwrap();
            let item = json!({ "id": id, "n": dice.roll(0, 2) });
            match number < good.len() {
                true => keys.insert(id.to_string()),
                false => faults.insert(item.to_string()),
            };
            list.push(item);
        }
        let more = json!({ "concurrency": 1 + round % 3, "once": round % 2 == 0 });
        let found = ledger(&run(&engine(), &listing(more), &json!(list)).await);
        let counted = (found.done, found.faults(), found.total());
        assert_eq!(counted, (keys.len() as u64, faults.len() as u64, list.len() as u64), "{list:?}: {found:?}");
    }
}

/// Numbers beyond 64 bits: whichever way they are read, no item vanishes.
#[tokio::test]
async fn items_whose_keys_are_big_numbers_are_all_counted() {
    for pair in [
        ["18446744073709551617", "18446744073709551618"],
        ["-9223372036854775809", "-9223372036854775810"],
        ["9007199254740993", "9007199254740992"],
        ["12345678901234567.89", "12345678901234567.88"],
        ["123456789012345678901234567890", "\"123456789012345678901234567890\""],
        ["1e400", "\"1e400\""],
    ] {
        let ids: Vec<_> = pair.iter().filter_map(|id| serde_json::from_str::<Value>(id).ok()).collect();
        let different: BTreeSet<_> = ids.iter().map(Value::to_string).collect();
        let list = ids.iter().enumerate().map(|(n, id)| json!({ "id": id, "n": n })).collect();
        let found = ledger(&run(&engine(), &listing(json!({})), &list).await);
        assert_eq!((found.done, found.total()), (different.len() as u64, ids.len() as u64), "{pair:?}: {found:?}");
    }
}

/// Numbers that an earlier version recorded as the service wrote them.
#[tokio::test]
async fn a_number_that_was_recorded_as_written_is_known() {
    let (flow, list) = (listing(json!({ "once": true })), json!([{ "id": 12.0 }]));
    let journal = Arc::new(MemoryJournal::default());
    let first = run(&Engine::new(journal.clone()), &flow, &list).await;
    for (written, skipped) in [("12", 1), ("12.0", 1), ("\"12.0\"", 0)] {
        let early = rewritten(&journal, &first, &flow, (Some("typed"), usize::MAX), |text| text.replace("12", written));
        let again = run(&Engine::new(early.await), &flow, &list).await;
        // The last one is the twin: a text is another key.
        assert_eq!((ledger(&again).done, ledger(&again).total()), (1 - skipped, 1), "{written}: {again:?}");
    }
    // A run that began in that form continues in it.
    for most in 1..6 {
        let rewrite = |text: &str| text.replace("12", "12.0");
        let early = rewritten(&journal, &first, &flow, (Some("typed"), most), rewrite).await;
        if matches!(last(&early, &first).await, RunEvent::Finished { .. }) {
            break;
        }
        let resumed = Engine::new(early).resume(&first.id, BTreeMap::new()).await.unwrap().wait().await.unwrap();
        assert_eq!((ledger(&resumed).done, ledger(&resumed).total()), (1, 1), "{most}");
    }
}

//! A test suite for implementations of [`Journal`]: the behaviours that the engine relies on.
//!
//! Any crate can run it over its own journal. Add the engine with the feature `suite` to the `[dev-dependencies]`, and
//! call [`run`] in a test with a function that makes an empty journal. If the journal survives its process, also call
//! [`run_reopening`], which checks what is on disk after a crash.
//!
//! ```
//! use trunkline_engine::{MemoryJournal, journal_suite};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // Your journal in place of this one.
//! journal_suite::run(async || MemoryJournal::default()).await;
//! # });
//! ```
//!
//! A failed check panics, and its backtrace names the behaviour. The suite takes a few thousand calls. It does not
//! check what one process cannot: that two processes exclude each other, and that a flush survives a power cut.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod event_order;
mod found_items;
mod marks;
mod process_log;
mod removal;
mod reopening;
mod run_lists;
mod sample;
mod triggers;

use std::collections::BTreeMap;

pub use reopening::run_reopening;
use sample::*;
use serde_json::{Value, json};
use trunkline_core::{ErrorKind, RunId, StepPath, Timestamp};

use crate::{
    journal::{Flush, Item, Journal, PreviousOutcome, RunSummary},
    run::{ItemOutcome, RunEvent, RunStatus},
};

/// Checks all behaviours of a journal. `fresh` returns an empty journal each time it is called.
///
/// # Panics
///
/// If the journal lacks a behaviour. The backtrace names it.
pub async fn run<J: Journal, F: AsyncFn() -> J>(fresh: F) {
    an_accepted_run_can_be_read(&fresh().await).await;
    a_run_is_accepted_once(&fresh().await).await;
    a_run_that_is_flushed_later_can_be_read_at_once(&fresh().await).await;
    a_flow_version_never_changes(&fresh().await).await;
    triggers::a_trigger_event_is_accepted_once(&fresh().await).await;
    triggers::each_feed_of_a_flow_has_keys_of_its_own(&fresh().await).await;
    triggers::keys_without_a_run_are_taken_too(&fresh().await).await;
    triggers::forgotten_keys_start_runs_again(&fresh().await).await;
    events_are_replayed_unchanged(&fresh().await).await;
    events_keep_their_order(&fresh().await).await;
    events_are_read_page_by_page(&fresh().await).await;
    event_order::the_events_of_all_runs_are_read_in_one_order(&fresh().await).await;
    event_order::the_events_of_a_step_are_found_by_its_path(&fresh().await).await;
    an_item_is_found_under_its_exact_key_only(&fresh().await).await;
    the_last_outcome_of_an_item_counts(&fresh().await).await;
    items_are_listed_page_by_page(&fresh().await).await;
    items_with_once_are_remembered_across_runs(&fresh().await).await;
    found_items::items_are_found_by_key_label_and_result(&fresh().await).await;
    found_items::remembered_items_are_listed_and_forgotten(&fresh().await).await;
    events_that_are_flushed_later_can_be_read_at_once(&fresh().await).await;
    run_lists::runs_are_listed_newest_first(&fresh().await).await;
    process_log::the_newest_log_entries_are_kept(&fresh().await).await;
    run_lists::runs_are_found_by_the_start_of_their_ids(&fresh().await).await;
    run_lists::a_list_is_filtered_and_paged(&fresh().await).await;
    removal::a_removed_run_leaves_only_what_is_remembered(&fresh().await).await;
    removal::only_an_ended_run_without_unknown_outcomes_is_removed(&fresh().await).await;
    removal::a_run_is_kept_for_its_rerun(&fresh().await).await;
    removal::the_retention_is_kept(&fresh().await).await;
    a_cancellation_is_reported(&fresh().await).await;
    signals_are_read_after_the_last_event_seen(&fresh().await).await;
    a_claim_is_exclusive_until_dropped(&fresh().await).await;
    marks::marks_are_counted_for_each_run_until_they_are_removed(&fresh().await).await;
    an_unknown_run_is_not_found(&fresh().await).await;
}

async fn an_accepted_run_can_be_read(journal: &impl Journal) {
    let (run, flow) = (id("a1"), json!({ "name": "copy", "steps": [], "title": "Ärger \"/~\u{0}" }));
    journal.accept(&run, "v1", &flow, started("v1", 7), Flush::Now).await.unwrap();
    assert_eq!(replayed(journal, &run).await, [json(&started("v1", 7))]);
    assert_eq!(journal.flow("v1").await.unwrap().to_string(), flow.to_string(), "the flow, keys in their order");
    assert_eq!(kind(journal.flow("v2").await), ErrorKind::NotFound);
    assert!(!journal.cancel_requested(&run).await.unwrap());
    let expected = RunSummary {
        id: run,
        flow: "copy".into(),
        version: "v1".into(),
        status: RunStatus::Running,
        started_at: Timestamp::from_millis(7),
        finished_at: None,
        trigger: Some("webhook".into()),
        error: None,
        items: BTreeMap::new(),
    };
    assert_eq!(journal.runs().await.unwrap(), [expected]);
}

async fn a_run_that_is_flushed_later_can_be_read_at_once(journal: &impl Journal) {
    let begin = async |name: &str| {
        let flow = json!({ "name": "copy" });
        journal.accept(&id(name), "v1", &flow, started("v1", 1), Flush::Later).await.unwrap();
        id(name)
    };
    assert!(!journal.cancel_requested(&begin("a1").await).await.unwrap());
    assert_eq!(replayed(journal, &begin("a2").await).await, [json(&started("v1", 1))]);
    let (run, end) = (begin("a3").await, finished(RunStatus::Succeeded, 2));
    journal.append(&run, vec![end.clone()], Flush::Now).await.unwrap();
    assert_eq!(replayed(journal, &run).await, [json(&started("v1", 1)), json(&end)]);
    begin("a4").await;
    assert_eq!(journal.runs().await.unwrap().len(), 4);
    // A run that was accepted just now already sees the items of earlier runs.
    journal.append(&run, vec![done_once(&"files".into(), "a", "v1")], Flush::Now).await.unwrap();
    let before = journal.before(&begin("a5").await, &"files".into(), "a").await.unwrap();
    assert_eq!(before.map(|one| one.run), Some(run));
}

async fn a_run_is_accepted_once(journal: &impl Journal) {
    let run = accepted(journal, "a1", 1).await;
    let again = journal.accept(&run, "v1", &json!({}), started("v1", 2), Flush::Now).await;
    assert_eq!(kind(again), ErrorKind::Conflict);
    assert_eq!(replayed(journal, &run).await, [json(&started("v1", 1))], "the rejected run left nothing behind");
    // Another run of the same flow does not conflict.
    accepted(journal, "a2", 3).await;
    assert_eq!(journal.runs().await.unwrap().len(), 2);
}

async fn a_flow_version_never_changes(journal: &impl Journal) {
    journal.accept(&id("a1"), "v1", &json!({ "name": "copy" }), started("v1", 1), Flush::Now).await.unwrap();
    let other = journal.accept(&id("a2"), "v1", &json!({ "name": "changed" }), started("v1", 2), Flush::Now).await;
    assert_eq!(kind(other), ErrorKind::Conflict, "a run is pinned to its flow");
    assert_eq!(journal.flow("v1").await.unwrap(), json!({ "name": "copy" }));
    assert_eq!(journal.runs().await.unwrap().len(), 1, "the rejected run left nothing behind");
    // The same applies to flows that are only called.
    assert_eq!(kind(journal.keep_version("v1", &json!({ "name": "changed" })).await), ErrorKind::Conflict);
    journal.keep_version("v1", &json!({ "name": "copy" })).await.unwrap();
    journal.keep_version("v2", &json!({ "name": "called" })).await.unwrap();
    assert_eq!(journal.flow("v2").await.unwrap(), json!({ "name": "called" }));
}

async fn events_are_replayed_unchanged(journal: &impl Journal) {
    let run = accepted(journal, "a1", 0).await;
    let mut expected = vec![json(&started("v1", 0))];
    for (number, (once, again)) in one_of_each().into_iter().zip(one_of_each()).enumerate() {
        expected.push(json(&again));
        let flush = if number % 2 == 0 { Flush::Now } else { Flush::Later };
        journal.append(&run, vec![once], flush).await.unwrap();
    }
    assert_eq!(replayed(journal, &run).await, expected);
    // A replay changes nothing.
    assert_eq!(replayed(journal, &run).await, expected);
}

async fn events_are_read_page_by_page(journal: &impl Journal) {
    let run = accepted(journal, "a1", 0).await;
    for event in one_of_each().into_iter().filter(|event| !matches!(event, RunEvent::Finished { .. })) {
        journal.append(&run, vec![event], Flush::Later).await.unwrap();
    }
    journal.append(&run, (0..1000).map(resumed).collect(), Flush::Now).await.unwrap();
    let (mut watched, mut pages) = (Vec::new(), 0);
    loop {
        let after = watched.last().map_or(0, |(seq, _)| *seq);
        let (status, page) = journal.events(&run, after).await.unwrap();
        assert_eq!(status, RunStatus::Running);
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 256, "{}", page.len());
        (pages, watched) = (pages + 1, [watched, page].concat());
    }
    assert!(pages >= 4, "{pages}");
    assert!(watched.iter().map(|(seq, _)| *seq).eq(1..=watched.len() as u64));
    // Unchanged, except for the values that subscribers may not see.
    let mut shown = Vec::new();
    journal.replay(&run, &mut |event| shown.push(json(&event.shown()))).await.unwrap();
    assert_eq!(watched.iter().map(|(_, event)| json(event)).collect::<Vec<_>>(), shown);
    for hidden in ["</script>", "offset", "folderId"] {
        assert!(!shown.iter().any(|event| event.contains(hidden)), "{hidden} in {shown:?}");
    }
    let finished = RunEvent::Finished { status: RunStatus::Partial, error: None, at: Timestamp::from_millis(1) };
    journal.append(&run, vec![finished], Flush::Now).await.unwrap();
    let (status, page) = journal.events(&run, watched.len() as u64).await.unwrap();
    assert_eq!((status, page.len()), (RunStatus::Partial, 1), "the end comes after all other events");
    assert_eq!(kind(journal.events(&id("a2"), 0).await.map(drop)), ErrorKind::NotFound);
}

async fn events_keep_their_order(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    for number in 0..300 {
        let flush = if number % 70 == 0 { Flush::Now } else { Flush::Later };
        journal.append(&one, vec![resumed(2 * number), resumed(2 * number + 1)], flush).await.unwrap();
        journal.append(&other, vec![resumed(1000 + number)], Flush::Later).await.unwrap();
    }
    journal.append(&one, Vec::new(), Flush::Now).await.unwrap();
    let at = |events: &[String]| -> Vec<u64> {
        let at = |event: &String| {
            let event: Value = serde_json::from_str(event).unwrap();
            serde_json::from_value::<Timestamp>(event["at"].clone()).unwrap().as_millis()
        };
        events.iter().skip(1).map(at).collect()
    };
    assert_eq!(at(&replayed(journal, &one).await), (0..600).collect::<Vec<_>>());
    assert_eq!(at(&replayed(journal, &other).await), (1000..1300).collect::<Vec<_>>());
}

async fn an_item_is_found_under_its_exact_key_only(journal: &impl Journal) {
    let keys = [
        "",
        "4711",
        "4711 ",
        "a/b",
        "a~1b",
        "a~b",
        "'; DROP TABLE items; --",
        "\"x\"",
        "Ä",
        "A\u{308}",
        "a\u{0}b",
        "a",
        "%",
    ];
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    let (files, inner) = (StepPath::from("files"), StepPath::from("files").join("a/b"));
    let events = keys.iter().map(|key| item(&files, key, skipped(&format!("reason {key}")))).collect();
    journal.append(&one, events, Flush::Now).await.unwrap();
    for key in keys {
        let found = journal.item(&one, &files, key).await.unwrap();
        let expected = format!("reason {key}");
        assert_eq!(found.as_ref().and_then(ItemOutcome::reason), Some(expected.as_str()), "key {key:?}");
        for (run, step) in [(&one, &inner), (&other, &files)] {
            assert!(journal.item(run, step, key).await.unwrap().is_none(), "key {key:?} in {run} {step}");
        }
    }
    for key in [" ", "47", "47111", "a\u{0}", "b", "ä", "__", "reason"] {
        assert!(journal.item(&one, &files, key).await.unwrap().is_none(), "key {key:?}");
    }
    assert!(journal.item(&id("a9"), &files, "").await.unwrap().is_none(), "an unknown run has no items");
}

async fn the_last_outcome_of_an_item_counts(journal: &impl Journal) {
    let (run, step) = (accepted(journal, "a1", 0).await, StepPath::from("files"));
    let twice = vec![
        item(&step, "1", failed()),
        item(&step, "2", ItemOutcome::Done { reason: None }),
        item(&step, "1", ItemOutcome::Done { reason: None }),
    ];
    journal.append(&run, twice, Flush::Now).await.unwrap();
    assert_eq!(journal.item(&run, &step, "1").await.unwrap().unwrap().status(), "done");
    assert_eq!(counts(journal).await, json!({ "done": 2 }), "an item that was done again is one item");
    journal.append(&run, vec![item(&step, "2", ItemOutcome::Unknown { error: error() })], Flush::Later).await.unwrap();
    assert_eq!(counts(journal).await, json!({ "done": 1, "unknown": 1 }));
}

async fn items_are_listed_page_by_page(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    let steps = [StepPath::from("files"), StepPath::from("files/a/inner"), StepPath::from("more")];
    for step in &steps {
        let outcome = |number: usize| if number % 10 == 3 { failed() } else { ItemOutcome::Done { reason: None } };
        let events = (0..25).map(|number| item(step, &format!("{number:02} '\u{0}/"), outcome(number))).collect();
        journal.append(&one, events, Flush::Later).await.unwrap();
    }
    journal.append(&other, vec![item(&steps[0], "x", ItemOutcome::Done { reason: None })], Flush::Later).await.unwrap();
    let all = async |status: Option<&str>, most: usize| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = journal.items(&one, status, after, most).await.unwrap();
            assert!(page.len() <= most);
            let Some(last) = page.last() else { return found };
            after = Some((last.step.clone(), last.key.clone()));
            found.extend(
                page.into_iter()
                    .map(|Item { step, key, outcome, at, .. }| (step, key, outcome.status(), at.as_millis())),
            );
        }
    };
    let everything = all(None, 7).await;
    assert_eq!(everything.len(), 75);
    assert!(everything.is_sorted_by_key(|(step, key, _, _)| (step.clone(), key.clone())));
    assert_eq!(everything[0], (steps[0].clone(), "00 '\u{0}/".into(), "done", 9));
    let expected: Vec<_> = everything.into_iter().filter(|(_, _, status, _)| *status == "failed").collect();
    assert_eq!((expected.len(), all(Some("failed"), 2).await), (9, expected));
    assert!(all(Some("unknown"), 10).await.is_empty());
    // A resolved item counts like any other one.
    journal.append(&one, vec![resolved(&steps[2], "00 '\u{0}/", failed())], Flush::Now).await.unwrap();
    assert_eq!(all(Some("failed"), 100).await.len(), 10);
    assert_eq!(journal.runs().await.unwrap().iter().find(|run| run.id == one).unwrap().items["failed"], 10);
}

async fn items_with_once_are_remembered_across_runs(journal: &impl Journal) {
    let step = StepPath::from("files");
    let first = accepted(journal, "a1", 1).await;
    let remembered = |run: &RunId, fingerprint: &str, unknown| {
        Some(PreviousOutcome { run: run.clone(), fingerprint: fingerprint.to_owned(), unknown })
    };
    let unknown = |key: &str| match done_once(&step, key, "v1") {
        RunEvent::ItemFinished { step, key, once, note, at, .. } => {
            RunEvent::ItemFinished { step, key, outcome: ItemOutcome::Unknown { error: error() }, once, note, at }
        }
        _ => unreachable!(),
    };
    let events = vec![
        done_once(&step, "a", "v1"),
        item(&step, "b", ItemOutcome::Done { reason: None }),
        unknown("c"),
        unknown("d"),
    ];
    journal.append(&first, events, Flush::Now).await.unwrap();
    let second = accepted(journal, "a2", 2).await;
    let before = async |run: &RunId, key: &str| journal.before(run, &step, key).await.unwrap();
    assert_eq!(before(&second, "a").await, remembered(&first, "v1", false));
    assert_eq!(before(&second, "b").await, None, "it has no fingerprint");
    assert_eq!(before(&second, "c").await, remembered(&first, "v1", true));
    assert_eq!(journal.before(&second, &"other".into(), "a").await.unwrap(), None);
    // Nothing is remembered for other flows and other connections.
    for (name, flow, connection) in [("a3", "other", "mediaflow"), ("a4", "copy", "staging")] {
        let mut start = started("v1", 3);
        if let RunEvent::Started { flow: of, connections, .. } = &mut start {
            *of = flow.to_owned();
            connections.insert("source".to_owned(), connection.to_owned());
        }
        journal.accept(&id(name), "v1", &json!({ "name": "copy" }), start, Flush::Now).await.unwrap();
        assert_eq!(before(&id(name), "a").await, None, "{name}");
    }
    // A later failure or skip changes nothing; a later success does.
    let failed_once = match done_once(&step, "a", "v2") {
        RunEvent::ItemFinished { step, key, once, note, at, .. } => {
            RunEvent::ItemFinished { step, key, outcome: failed(), once, note, at }
        }
        _ => unreachable!(),
    };
    journal.append(&second, vec![failed_once, item(&step, "b", skipped("x"))], Flush::Now).await.unwrap();
    assert_eq!(before(&second, "a").await, remembered(&first, "v1", false));
    journal.append(&second, vec![done_once(&step, "a", "v2")], Flush::Now).await.unwrap();
    assert_eq!(before(&first, "a").await, remembered(&second, "v2", false));
    // An operator resolves the unknown items.
    let verdicts = vec![resolved(&step, "c", ItemOutcome::Done { reason: None }), resolved(&step, "d", failed())];
    journal.append(&first, verdicts, Flush::Now).await.unwrap();
    assert_eq!(before(&second, "c").await, remembered(&first, "v1", false));
    assert_eq!(before(&second, "d").await, None);
}

async fn events_that_are_flushed_later_can_be_read_at_once(journal: &impl Journal) {
    let (run, step) = (accepted(journal, "a1", 0).await, StepPath::from("files"));
    for number in 0..100_u64 {
        let key = number.to_string();
        assert!(journal.item(&run, &step, &key).await.unwrap().is_none());
        journal.append(&run, vec![item(&step, &key, failed())], Flush::Later).await.unwrap();
        assert_eq!(journal.item(&run, &step, &key).await.unwrap().unwrap().status(), "failed");
        journal.append(&run, vec![item(&step, &key, ItemOutcome::Done { reason: None })], Flush::Later).await.unwrap();
        assert_eq!(journal.item(&run, &step, &key).await.unwrap().unwrap().status(), "done", "the later one");
        if number % 10 == 0 {
            assert_eq!(replayed(journal, &run).await.len() as u64, 1 + 2 * (number + 1));
        }
    }
    assert!(!journal.cancel_requested(&run).await.unwrap());
    journal
        .append(&run, vec![RunEvent::CancelRequested { at: Timestamp::from_millis(1) }], Flush::Later)
        .await
        .unwrap();
    assert!(journal.cancel_requested(&run).await.unwrap());
}

async fn a_cancellation_is_reported(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    // An output that looks like such an event is not one.
    let look = json!({ "event": "cancel_requested", "text": "\"event\":\"cancel_requested\"" });
    let event = RunEvent::StepFinished {
        step: "cancel_requested".into(),
        output: look,
        warnings: Vec::new(),
        attempt: 1,
        began: None,
        at: Timestamp::from_millis(1),
    };
    journal.append(&one, vec![event], Flush::Now).await.unwrap();
    assert!(!journal.cancel_requested(&one).await.unwrap(), "an output does not count as a request");
    journal
        .append(&one, vec![RunEvent::CancelRequested { at: Timestamp::from_millis(2) }, resumed(3)], Flush::Now)
        .await
        .unwrap();
    assert!(journal.cancel_requested(&one).await.unwrap());
    assert!(!journal.cancel_requested(&other).await.unwrap());
}

async fn signals_are_read_after_the_last_event_seen(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    let signal =
        |name: &str, payload: Value| RunEvent::Signalled { name: name.into(), payload, at: Timestamp::from_millis(1) };
    assert_eq!(journal.signals(&one, 0).await.unwrap().1, 1, "the run has begun");
    // An output that looks like such an event is not one.
    let look = json!({ "event": "signalled", "name": "approved", "payload": 1 });
    let event = RunEvent::StepFinished {
        step: "signalled".into(),
        output: look,
        warnings: Vec::new(),
        attempt: 1,
        began: None,
        at: Timestamp::from_millis(1),
    };
    journal.append(&one, vec![event, signal("a", json!({ "by": "Ä" }))], Flush::Now).await.unwrap();
    journal.append(&one, vec![resumed(2), signal("b", Value::Null), resumed(3)], Flush::Later).await.unwrap();
    let look = async |after: u64| {
        let (found, last) = journal.signals(&one, after).await.unwrap();
        (found.iter().map(json).collect::<Vec<_>>(), last)
    };
    let (a, b) = (json(&signal("a", json!({ "by": "Ä" }))), json(&signal("b", Value::Null)));
    assert_eq!(look(0).await, (vec![a, b.clone()], 6));
    assert_eq!(look(3).await, (vec![b], 6));
    assert_eq!(look(6).await, (vec![], 6));
    assert!(journal.signals(&other, 0).await.unwrap().0.is_empty());
    assert_eq!(kind(journal.signals(&id("a9"), 0).await), ErrorKind::NotFound);
}

async fn a_claim_is_exclusive_until_dropped(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    assert!(!journal.is_claimed(&one).await.unwrap());
    let claim = journal.claim(&one).await.unwrap();
    assert!(journal.is_claimed(&one).await.unwrap() && !journal.is_claimed(&other).await.unwrap());
    assert_eq!(kind(journal.claim(&one).await), ErrorKind::Conflict);
    let second = journal.claim(&other).await.unwrap();
    drop(claim);
    let again = journal.claim(&one).await.unwrap();
    assert_eq!(kind(journal.claim(&one).await), ErrorKind::Conflict);
    drop((second, again));
    assert!(!journal.is_claimed(&one).await.unwrap());
    drop(journal.claim(&one).await.unwrap());
}

async fn an_unknown_run_is_not_found(journal: &impl Journal) {
    accepted(journal, "a1", 0).await;
    let unknown = id("a9");
    assert_eq!(
        kind(journal.replay(&unknown, &mut |_| panic!("an event of an unknown run")).await),
        ErrorKind::NotFound
    );
    assert_eq!(kind(journal.append(&unknown, vec![resumed(1)], Flush::Now).await), ErrorKind::NotFound);
    assert_eq!(kind(journal.append(&unknown, vec![resumed(1)], Flush::Later).await), ErrorKind::NotFound);
    assert_eq!(kind(journal.wait_stored(&unknown).await), ErrorKind::NotFound);
    journal.wait_stored(&id("a1")).await.unwrap();
    let outcome = vec![item(&"files".into(), "1", ItemOutcome::Done { reason: None })];
    assert_eq!(kind(journal.append(&unknown, outcome, Flush::Later).await), ErrorKind::NotFound);
    assert!(journal.item(&unknown, &"files".into(), "1").await.unwrap().is_none(), "a rejected append leaves nothing");
    assert_eq!(kind(journal.cancel_requested(&unknown).await), ErrorKind::NotFound);
    // A rejected append does not count as a failed one: later appends succeed.
    journal.append(&id("a1"), vec![resumed(1)], Flush::Now).await.unwrap();
    assert_eq!(journal.runs().await.unwrap().len(), 1);
}

async fn counts(journal: &impl Journal) -> Value {
    json!(journal.runs().await.unwrap()[0].items)
}

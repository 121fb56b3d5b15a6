//! Items that are found by their names, and items that are remembered across runs.

use serde_json::{Value, json};
use trunkline_core::{ErrorKind, StepPath};

use super::sample::*;
use crate::{
    journal::{Flush, Journal},
    run::{ItemNote, ItemOutcome, RunEvent, RunStatus},
};

pub(super) async fn items_are_found_by_key_label_and_result(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 1).await, accepted(journal, "a2", 2).await);
    let (step, inner) = (StepPath::from("files"), StepPath::from("files").join("4711").join("parts"));
    let result = json!({ "asset": "0b1c-\"'\u{0}", "version": 7, "others": [["n2"], null, true] });
    let events = vec![
        noted(&step, "4711", "press.tif", result, Value::Null),
        noted(&inner, "4711", "press.tif", json!(4712), json!([1])),
        item(&step, "47", failed()),
    ];
    journal.append(&one, events, Flush::Now).await.unwrap();
    journal.append(&other, vec![item(&step, "4711", skipped("unchanged"))], Flush::Later).await.unwrap();
    let find = async |keys: &[&str], prefix: bool, most: usize| {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        let found = journal.find_items(&keys, prefix, None, most).await.unwrap();
        let mut found: Vec<_> = found
            .into_iter()
            .map(|found| format!("{} {} {}", found.run, found.flow, found.item.step.join(&found.item.key)))
            .collect();
        found.sort();
        found
    };
    let (outer, nested, again) = ("a1 copy files/4711", "a1 copy files/4711/parts/4711", "a2 copy files/4711");
    assert_eq!(find(&["4711"], false, 9).await, [outer, nested, again]);
    assert_eq!(find(&["4711", "press.tif"], false, 9).await, [outer, nested, again], "each item once");
    assert_eq!(find(&["4711"], false, 2).await.len(), 2);
    let (key, mut after, mut paged) = (["4711".to_owned()], None, Vec::new());
    while let Some(found) = journal.find_items(&key, false, after.as_ref(), 1).await.unwrap().pop() {
        after = Some(found.place());
        paged.push(found.place());
    }
    let whole = journal.find_items(&key, false, None, 9).await.unwrap();
    assert_eq!(paged, whole.iter().map(|found| found.place()).collect::<Vec<_>>(), "page by page, in the same order");
    assert!(paged.len() == 3 && paged.is_sorted());
    assert_eq!(find(&["press.tif"], false, 9).await, [outer, nested]);
    for id in ["0b1c-\"'\u{0}", "7", "n2"] {
        assert_eq!(find(&[id], false, 9).await, [outer], "{id}");
    }
    assert_eq!(find(&["4712"], false, 9).await, [nested]);
    assert_eq!(find(&["47"], true, 9).await, ["a1 copy files/47", outer, nested, again]);
    for unknown in ["471", "press", "true", "null", "%", ""] {
        assert_eq!(find(&[unknown], false, 9).await, [""; 0], "{unknown}");
    }
    // The last outcome counts, with what is kept of it.
    let changed = noted(&step, "4711", "moved.tif", json!("new"), Value::Null);
    journal.append(&one, vec![changed], Flush::Now).await.unwrap();
    assert_eq!(find(&["n2"], false, 9).await, [""; 0]);
    assert_eq!(find(&["new"], false, 9).await, [outer]);
    let note = ItemNote { label: Some("moved.tif".into()), ..ItemNote::default() };
    let resolved = match resolved(&step, "4711", failed()) {
        RunEvent::ItemResolved { step, key, verdict, before, outcome, at, .. } => {
            RunEvent::ItemResolved { step, key, verdict, before, outcome, note, at }
        }
        _ => unreachable!(),
    };
    journal.append(&one, vec![resolved], Flush::Now).await.unwrap();
    assert_eq!(
        (find(&["new"], false, 9).await, find(&["moved.tif"], false, 9).await),
        (vec![], vec![outer.to_owned()])
    );
    let shown = journal.items(&one, None, None, 9).await.unwrap();
    let shown: Vec<_> = shown.iter().map(|item| (&*item.key, item.label.as_deref(), item.result.clone())).collect();
    assert_eq!(
        shown,
        [("47", None, None), ("4711", Some("moved.tif"), None), ("4711", Some("press.tif"), Some(json!(4712)))]
    );
}

pub(super) async fn remembered_items_are_listed_and_forgotten(journal: &impl Journal) {
    let (step, run) = (StepPath::from("files"), accepted(journal, "a1", 1).await);
    let unknown = match done_once(&step, "c", "v1") {
        RunEvent::ItemFinished { step, key, once, note, at, .. } => {
            RunEvent::ItemFinished { step, key, outcome: ItemOutcome::Unknown { error: error() }, once, note, at }
        }
        _ => unreachable!(),
    };
    let events = vec![done_once(&step, "b", "v1"), done_once(&step, "a", "v1"), unknown, item(&step, "d", failed())];
    journal.append(&run, events, Flush::Now).await.unwrap();
    let list = async |keys: &[String], most: usize| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = journal.remembered("copy", keys, after, most).await.unwrap();
            let Some(last) = page.last().cloned() else { return all };
            after = Some(last);
            all.extend(
                page.into_iter()
                    .map(|item| (item.key, item.run.to_string(), item.unknown, item.connections["source"].clone())),
            );
        }
    };
    let item = |key: &str, unknown| (key.to_owned(), "a1".to_owned(), unknown, "mediaflow".to_owned());
    for most in [1, 2, 10] {
        assert_eq!(list(&[], most).await, [item("a", false), item("b", false), item("c", true)]);
    }
    assert_eq!(list(&["b".into(), "x".into()], 10).await, [item("b", false)]);
    assert_eq!(journal.remembered("other", &[], None, 10).await.unwrap(), []);
    // Nothing is forgotten while a run can remember more.
    assert_eq!(journal.forget("copy", &[]).await.unwrap_err().kind(), ErrorKind::Conflict);
    journal.append(&run, vec![finished(RunStatus::Partial, 3)], Flush::Later).await.unwrap();
    assert_eq!(journal.forget("other", &[]).await.unwrap(), 0);
    assert_eq!(journal.forget("copy", &["a".into(), "c".into(), "x".into()]).await.unwrap(), 1);
    assert_eq!(list(&[], 10).await, [item("b", false), item("c", true)]);
    assert_eq!(journal.before(&run, &step, "a").await.unwrap(), None);
    assert_eq!(journal.forget("copy", &[]).await.unwrap(), 1);
    assert_eq!(list(&[], 10).await, [item("c", true)], "it could be done twice");
    // What is done after that is remembered again.
    let next = accepted(journal, "a2", 4).await;
    journal.append(&next, vec![done_once(&step, "a", "v2")], Flush::Now).await.unwrap();
    assert_eq!(journal.before(&next, &step, "a").await.unwrap().unwrap().fingerprint, "v2");
}

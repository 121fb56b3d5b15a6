use super::*;
use crate::run::{Collected, ItemNote, ItemOutcome};
use serde_json::json;

#[test]
fn an_item_with_an_outcome_leaves_only_a_count() {
    let mut run = Run::new(RunId::from("r"));
    let files = StepPath::default().join("files");
    for key in ["a", "a/b", "a0", "~"] {
        let step = files.join(key).join("copy");
        run.apply(RunEvent::StepStarted { step: step.clone(), attempt: 1, at: Timestamp::from_millis(1) });
        let (output, warnings) = (json!(1), vec!["odd".into()]);
        run.apply(RunEvent::StepFinished {
            step,
            output,
            warnings,
            attempt: 1,
            began: None,
            at: Timestamp::from_millis(2),
        });
    }
    assert_eq!(run.tracked(), 4);
    assert_eq!(run.warnings["odd"], 4);
    let end = |key: &str| RunEvent::ItemFinished {
        step: files.clone(),
        key: key.into(),
        outcome: ItemOutcome::Done { reason: None },
        once: None,
        note: ItemNote::default(),
        at: Timestamp::from_millis(3),
    };
    run.apply(end("a"));
    assert_eq!(run.tracked(), 3, "a/b and a0 are other items");
    run.apply(end("a/b"));
    run.apply(end("a0"));
    run.apply(end("~"));
    assert_eq!((run.tracked(), run.ledger[&files].done), (0, 4));
}

#[test]
fn a_verdict_moves_an_item_from_one_count_to_another() {
    let mut run = Run::new(RunId::from("r"));
    let unknown = || ItemOutcome::Unknown { error: Error::new(ErrorKind::UnknownOutcome, "lost") };
    let inner = StepPath::from("folders/a/files");
    for key in ["1", "2"] {
        let (step, outcome) = (inner.clone(), unknown());
        run.apply(RunEvent::ItemFinished {
            step,
            key: key.into(),
            outcome,
            once: None,
            note: ItemNote::default(),
            at: Timestamp::from_millis(1),
        });
    }
    let resolved = |key: &str| RunEvent::ItemResolved {
        step: inner.clone(),
        key: key.into(),
        verdict: Verdict::Done,
        before: unknown(),
        outcome: ItemOutcome::Done { reason: None },
        note: ItemNote::default(),
        at: Timestamp::from_millis(2),
    };
    run.apply(resolved("1"));
    assert_eq!((run.ledger[&inner].done, run.ledger[&inner].unknown["lost"]), (1, 1));
    let (step, outcome) = ("folders".into(), ItemOutcome::Done { reason: None });
    run.apply(RunEvent::ItemFinished {
        step,
        key: "a".into(),
        outcome,
        once: None,
        note: ItemNote::default(),
        at: Timestamp::from_millis(3),
    });
    run.apply(resolved("2"));
    let summed = &run.ledger[&StepPath::from("folders/*/files")];
    assert_eq!((summed.done, summed.unknown.len(), run.ledger.len()), (2, 0, 2));
}

#[test]
fn pages_of_early_journals_leave_the_items_ahead_unknown() {
    let mut run = Run::new(RunId::from("r"));
    let files = StepPath::from("files");
    assert_eq!(run.ahead(&files), Some(0));
    let end = RunEvent::ItemFinished {
        step: files.clone(),
        key: "a".into(),
        outcome: ItemOutcome::Done { reason: None },
        once: None,
        note: ItemNote::default(),
        at: Timestamp::from_millis(1),
    };
    run.apply(end.clone());
    assert_eq!(run.ahead(&files), Some(1));
    for (ahead, known) in [(json!(7), Some(8)), (Value::Null, None)] {
        let page = json!({ "event": "page_finished", "step": "files", "next": null, "ahead": ahead });
        run.apply(serde_json::from_value(page).unwrap());
        run.apply(end.clone());
        assert_eq!(run.ahead(&files), known);
    }
    run.apply(serde_json::from_value(json!({ "event": "page_finished", "step": "files", "next": null })).unwrap());
    assert_eq!(run.ahead(&files), None);
}

#[test]
fn lists_inside_items_are_summed_up_over_the_items() {
    let mut run = Run::new(RunId::from("r"));
    let outer = StepPath::from("folders");
    for folder in ["a", "b", "*"] {
        let inner = outer.join(folder).join("files");
        for file in ["1", "2"] {
            let outcome = ItemOutcome::Skipped { reason: "odd".into() };
            run.apply(RunEvent::ItemFinished {
                step: inner.clone(),
                key: file.into(),
                outcome,
                once: None,
                note: ItemNote::default(),
                at: Timestamp::from_millis(1),
            });
        }
        run.apply(RunEvent::PageFinished { step: inner, next: None, ahead: None, read: None });
        let outcome = ItemOutcome::Done { reason: None };
        run.apply(RunEvent::ItemFinished {
            step: outer.clone(),
            key: folder.into(),
            outcome,
            once: None,
            note: ItemNote::default(),
            at: Timestamp::from_millis(2),
        });
    }
    let paths: Vec<_> = run.ledger.keys().map(StepPath::as_str).collect();
    assert_eq!((paths, run.tracked()), (vec!["folders", "folders/*/files"], 0));
    assert_eq!(run.ledger[&StepPath::from("folders/*/files")].skipped["odd"], 6);
}

#[test]
fn collected_values_have_the_order_of_the_list_and_are_dropped_with_the_item_around_it() {
    let mut run = Run::new(RunId::from("r"));
    let (outer, inner) = (StepPath::from("files"), StepPath::from("files/a/parts"));
    let mut end = |step: &StepPath, key: &str, outcome: ItemOutcome, collected: Option<(u64, Value)>| {
        let collected = collected.map(|(index, value)| Collected { index, value });
        let note = ItemNote { label: Some(format!("the {key}")), collected, ..ItemNote::default() };
        let (step, key, at) = (step.clone(), key.to_owned(), Timestamp::from_millis(1));
        run.apply(RunEvent::ItemFinished { step, key, outcome, once: None, note, at });
        (run.collected(&outer), run.collected(&inner), run.failures(&StepPath::default()), run.memory())
    };
    let done = || ItemOutcome::Done { reason: None };
    end(&inner, "2", done(), Some((1, json!("second"))));
    let (_, values, ..) = end(&inner, "1", done(), Some((0, json!(null))));
    assert_eq!(values, [json!(null), json!("second")]);
    let failed = ItemOutcome::Failed { error: Error::new(ErrorKind::Failed, "no") };
    let (.., failures, memory) = end(&inner, "3", failed, None);
    assert_eq!((failures.len(), &failures[0]["label"], memory > 0), (1, &json!("the 3"), true));
    assert_eq!(end(&outer, "a", done(), None), (vec![], vec![], vec![], 0), "nothing is left of the inner list");
}

//! An event of each kind, with values that are easily lost when they are stored, and outcomes of items.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep, Retry, RunId, StepPath, Timestamp};

use crate::{
    journal::{Flush, Journal},
    run::{Collected, ItemNote, ItemOutcome, KeyForm, RerunOf, RunEvent, RunStatus, VALUE_NESTING, Verdict, Waiting},
};

pub(super) fn one_of_each() -> Vec<RunEvent> {
    let step = StepPath::from("files").join("a/b~c").join("asset");
    let deepest = (2..VALUE_NESTING).fold(json!([]), |inner, _| json!([inner]));
    let value = json!({
        "deepest": deepest, "z": "keys keep their order", "a": null, "text": "line\nbreak \"quote\" \\ \u{0} \u{1f600} </script>",
        "numbers": [0.1, 1e-7, 31.245270191439438, u64::MAX, i64::MIN, 9_007_199_254_740_993_u64], "": [[], {}]
    });
    vec![
        RunEvent::Resumed { at: Timestamp::from_millis(u64::MAX) },
        RunEvent::StepStarted { step: step.clone(), attempt: 1, at: Timestamp::from_millis(1) },
        RunEvent::Checkpoint { step: step.clone(), value: value.clone() },
        RunEvent::Checkpoint { step: step.clone(), value: Value::Null },
        RunEvent::StepFinished {
            step: step.clone(),
            output: value.clone(),
            warnings: Vec::new(),
            attempt: 2,
            began: Some(Timestamp::from_millis(1)),
            at: Timestamp::from_millis(2),
        },
        RunEvent::StepFailed {
            step: step.clone(),
            error: error(),
            attempt: 1,
            began: Some(Timestamp::from_millis(2)),
            at: Timestamp::from_millis(3),
        },
        RunEvent::StepRetried {
            step: step.clone(),
            error: error(),
            attempt: 3,
            until: Timestamp::from_millis(5),
            at: Timestamp::from_millis(4),
        },
        RunEvent::Listed { step: step.clone(), items: 7, last: true, at: Timestamp::from_millis(4) },
        RunEvent::DeadlineSet { step: step.clone(), until: Timestamp::from_millis(u64::MAX) },
        RunEvent::WaitBegan {
            step: step.clone(),
            wait: Waiting { signal: Some("a/b \u{0}".into()), until: Timestamp::from_millis(7) },
        },
        RunEvent::WaitBegan { step: step.clone(), wait: Waiting { signal: None, until: Timestamp::from_millis(7) } },
        RunEvent::Signalled { name: "Ä/~".into(), payload: value.clone(), at: Timestamp::from_millis(6) },
        RunEvent::Rerun { by: id("a2"), at: Timestamp::from_millis(7) },
        RunEvent::StepResolved {
            step: step.clone(),
            verdict: Verdict::Done,
            output: value.clone(),
            at: Timestamp::from_millis(8),
        },
        resolved(&"files".into(), "a/b~c", ItemOutcome::Done { reason: None }),
        done_once(&step, "4711", "v\u{0}1"),
        RunEvent::BatchFinished { step: "files".into(), batch: "batch-1".into() },
        RunEvent::PageFinished {
            step: "files".into(),
            next: Some(json!({ "offset": 100 })),
            ahead: Some(3),
            read: Some(100),
        },
        RunEvent::ListChanged {
            step: "files".into(),
            reason: "it had 7 items, and then 8".into(),
            at: Timestamp::from_millis(8),
        },
        RunEvent::PageFinished { step: "files".into(), next: None, ahead: None, read: None },
        RunEvent::Skipped { reason: "nothing is new".into(), at: Timestamp::from_millis(8) },
        item(&step, "a/b~c", ItemOutcome::Done { reason: Some("it was already gone".into()) }),
        item(&step, "", skipped("not allowed")),
        noted(&step, "12", "Ä \u{0}", json!({ "z": u64::MAX, "a": ["\u{0}", 0.1] }), value.clone()),
        noted(&step, "13", "", json!({ "id": 7 }), Value::Null),
        item(&step, "4711", failed()),
        item(&step, "Ä\u{0}", ItemOutcome::Unknown { error: error() }),
        RunEvent::CancelRequested { at: Timestamp::from_millis(4) },
        RunEvent::Finished { status: RunStatus::Failed, error: Some(error()), at: Timestamp::from_millis(5) },
        RunEvent::Resumed { at: Timestamp::from_millis(6) },
        RunEvent::Finished { status: RunStatus::Partial, error: None, at: Timestamp::from_millis(7) },
    ]
}

pub(super) fn error() -> Error {
    Error::new(ErrorKind::UnknownOutcome, "the upload of \"a/b\" may have arrived")
        .hint("look into the library")
        .retry(Retry::After(std::time::Duration::from_millis(1500)))
        .with("status", 502)
        .with_detail(ErrorDetail::Repeated { tries: 3 })
        .next(NextStep::ResumeRun { run: Some("7d4f9a".to_owned()) })
        .with("connection", "dam")
        .with("another", "a\nb")
}

pub(super) fn failed() -> ItemOutcome {
    ItemOutcome::Failed { error: error() }
}

pub(super) fn skipped(reason: &str) -> ItemOutcome {
    ItemOutcome::Skipped { reason: reason.to_owned() }
}

pub(super) fn item(step: &StepPath, key: &str, outcome: ItemOutcome) -> RunEvent {
    RunEvent::ItemFinished {
        step: step.clone(),
        key: key.to_owned(),
        outcome,
        once: None,
        note: ItemNote::default(),
        at: Timestamp::from_millis(9),
    }
}

/// An item that is done, with everything that is kept of it.
pub(super) fn noted(step: &StepPath, key: &str, label: &str, result: Value, collected: Value) -> RunEvent {
    let (step, key, outcome) = (step.clone(), key.to_owned(), ItemOutcome::Done { reason: None });
    let collected = Some(Collected { index: u64::MAX, value: collected });
    let note = ItemNote { label: Some(label.to_owned()), result: Some(result), collected };
    RunEvent::ItemFinished { step, key, outcome, once: None, note, at: Timestamp::from_millis(9) }
}

pub(super) fn done_once(step: &StepPath, key: &str, once: &str) -> RunEvent {
    let (step, key, once) = (step.clone(), key.to_owned(), Some(once.to_owned()));
    RunEvent::ItemFinished {
        step,
        key,
        outcome: ItemOutcome::Done { reason: None },
        once,
        note: ItemNote::default(),
        at: Timestamp::from_millis(9),
    }
}

pub(super) fn resolved(step: &StepPath, key: &str, outcome: ItemOutcome) -> RunEvent {
    let (step, key, before) = (step.clone(), key.to_owned(), ItemOutcome::Unknown { error: error() });
    RunEvent::ItemResolved {
        step,
        key,
        verdict: Verdict::Retry,
        before,
        outcome,
        note: ItemNote::default(),
        at: Timestamp::from_millis(10),
    }
}

pub(super) fn resumed(at: u64) -> RunEvent {
    RunEvent::Resumed { at: Timestamp::from_millis(at) }
}

pub(super) fn finished(status: RunStatus, at: u64) -> RunEvent {
    RunEvent::Finished { status, error: None, at: Timestamp::from_millis(at) }
}

pub(super) fn id(name: &str) -> RunId {
    RunId::from(name)
}

pub(super) fn started(version: &str, at: u64) -> RunEvent {
    let connections = BTreeMap::from([("source".to_owned(), "mediaflow".to_owned())]);
    let (input, calls) = (json!({ "folderId": 7 }), BTreeMap::from([("called".to_owned(), "v2".to_owned())]));
    let retry = Some(RerunOf { run: id("a0"), unknown: true });
    RunEvent::Started {
        flow: "copy".into(),
        version: version.into(),
        input,
        connections,
        calls,
        retry,
        start_error: None,
        trigger: Some("webhook".into()),
        keys: KeyForm::default(),
        at: Timestamp::from_millis(at),
    }
}

/// Accepts a run with this id that starts at `at`.
pub(super) async fn accepted(journal: &impl Journal, name: &str, at: u64) -> RunId {
    let run = id(name);
    journal.accept(&run, "v1", &json!({ "name": "copy" }), started("v1", at), Flush::Now).await.unwrap();
    run
}

pub(super) async fn replayed(journal: &impl Journal, run: &RunId) -> Vec<String> {
    let mut events = Vec::new();
    journal.replay(run, &mut |event| events.push(json(&event))).await.unwrap();
    events
}

pub(super) fn json(event: &RunEvent) -> String {
    serde_json::to_string(event).unwrap()
}

pub(super) fn kind<T>(result: trunkline_core::Result<T>) -> ErrorKind {
    result.err().expect("this must fail").kind()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_its_tag_in_json() {
        let mut names = std::collections::BTreeSet::new();
        let started = started("v1", 0);
        for event in one_of_each().into_iter().chain([started]) {
            assert_eq!(serde_json::to_value(&event).unwrap()["event"], event.name());
            names.insert(event.name());
        }
        assert_eq!(names.len(), 21, "every event has a sample: {names:?}");
    }
}

//! The events of all runs, in the order in which they were stored.

use trunkline_core::{ErrorKind, RunId, StepPath};

use super::sample::{accepted, finished, json, one_of_each, resumed};
use crate::{
    journal::{EventPlace, Flush, Journal},
    run::{RunEvent, RunStatus},
};

/// Reads all pages after a place. Returns the events, and the place of each.
async fn read(journal: &impl Journal, mut after: EventPlace) -> (Vec<(RunId, u64, String)>, Vec<EventPlace>) {
    let (mut events, mut places) = (Vec::new(), Vec::new());
    loop {
        let page = journal.all_events(Some(after)).await.unwrap();
        assert!(!page.missed, "{after}");
        if page.next == after {
            return (events, places);
        }
        assert!(page.next > after && page.events.len() <= 256);
        after = page.next;
        for one in page.events {
            assert_eq!(one.flow, "copy");
            places.push(one.place);
            events.push((one.run, one.place.seq, json(&one.event)));
        }
    }
}

/// A journal that keeps no order says so.
pub(super) async fn the_events_of_all_runs_are_read_in_one_order(journal: &impl Journal) {
    let start = match journal.all_events(None).await {
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Config, "{error}"),
        Ok(page) => page.next,
    };
    assert_eq!(read(journal, start).await.0, []);
    let mut expected = Vec::new();
    let (mut seqs, mut runs) = ([1, 1, 1], Vec::new());
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        runs.push(accepted(journal, name, 1 + number as u64).await);
        let first = journal.events(&runs[number], 0).await.unwrap().1.remove(0).1;
        expected.push((runs[number].clone(), 1, json(&first)));
    }
    for round in 0..40u64 {
        let number = usize::try_from(round % 3).unwrap();
        let events: Vec<_> = one_of_each().into_iter().cycle().skip(round as usize).take(round as usize % 17).collect();
        for event in &events {
            seqs[number] += 1;
            expected.push((runs[number].clone(), seqs[number], json(&event.clone().shown())));
        }
        journal.append(&runs[number], events, Flush::Now).await.unwrap();
    }
    let (all, places) = read(journal, start).await;
    assert_eq!(all, expected);
    assert!(places.is_sorted_by(|one, other| one < other));
    // From the place of any event on, exactly those after it are read.
    for at in (0..places.len()).step_by(7) {
        assert_eq!(read(journal, places[at]).await.0, expected[at + 1..], "{at}");
    }
    assert_eq!(read(journal, journal.all_events(None).await.unwrap().next).await.0, []);
    let other = accepted(journal, "d", 9).await;
    let many: Vec<_> = (0..700).map(resumed).chain([finished(RunStatus::Succeeded, 9)]).collect();
    journal.append(&other, many, Flush::Now).await.unwrap();
    let (more, _) = read(journal, places[places.len() - 1]).await;
    assert_eq!(more.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), (1..=702).collect::<Vec<_>>());
    // The events of a removed run are left out.
    journal.remove_run(&other).await.unwrap();
    assert_eq!(read(journal, start).await.0, expected);
    // A place that this journal has never had: it was put back to an earlier state.
    let unknown = EventPlace { write: u64::MAX >> 2, seq: 1 };
    let page = journal.all_events(Some(unknown)).await.unwrap();
    assert!(page.missed && page.events.is_empty());
}

pub(super) async fn the_events_of_a_step_are_found_by_its_path(journal: &impl Journal) {
    let run = accepted(journal, "a", 1).await;
    let of = |step: &str, number: u64| -> RunEvent {
        let step = StepPath::from(step);
        RunEvent::StepFinished {
            step,
            output: number.into(),
            warnings: Vec::new(),
            attempt: 1,
            began: None,
            at: trunkline_core::Timestamp::from_millis(number),
        }
    };
    let steps = ["files/7/copy", "files/70/copy", "files/7/copy/inner", "copy", "files/7/copy"];
    let events: Vec<_> = steps.iter().zip(1..).map(|(step, number)| of(step, number)).collect();
    journal.append(&run, events.clone(), Flush::Later).await.unwrap();
    let found = journal.step_events(&run, &"files/7/copy".into()).await.unwrap();
    let expected = [&events[0], &events[4]].map(json);
    assert_eq!(found.iter().map(json).collect::<Vec<_>>(), expected, "with their outputs");
    assert!(journal.step_events(&run, &"files".into()).await.unwrap().is_empty());
    assert_eq!(super::kind(journal.step_events(&"none".into(), &"copy".into()).await), ErrorKind::NotFound);
}
